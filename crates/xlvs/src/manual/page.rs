//! One verb's page.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::SECTION;

/// A verb that is called by this path.
pub(super) fn page(verb: &Command, path: &[&str]) -> io::Result<String> {
    let name = path.join("-");
    let man = Man::new(verb.clone().display_name(&name).bin_name(path.join(" ")))
        .title(name.to_uppercase())
        .section(SECTION)
        .source(concat!("xlvs ", env!("CARGO_PKG_VERSION")))
        .manual("xlvs");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if verb.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    let mut more = Roff::default();
    verbs(&mut more, verb, &name);
    if let Some(after) = verb.get_after_long_help().or(verb.get_after_help()) {
        sections(&mut more, &after.to_string());
    }
    if path.len() == 1 {
        whole(&mut more);
    }
    see_also(&mut more, path);
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(text + &more.to_roff())
}

/// What can be said after this verb, with the pages that say more.
fn verbs(page: &mut Roff, verb: &Command, name: &str) {
    let verbs: Vec<&Command> = verb.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
    if verbs.is_empty() {
        return;
    }
    page.control("SH", ["COMMANDS"]);
    for verb in verbs {
        page.control("TP", []);
        page.text([bold(format!("{name}-{}", verb.get_name())), roman(format!("({SECTION})"))]);
        page.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

/// What stands after a help text: a line that begins at the margin and ends with a colon is a
/// section of its own, what is indented below is shown as it is.
fn sections(page: &mut Roff, after: &str) {
    let mut verbatim = false;
    for line in after.lines() {
        let indented = line.starts_with(' ');
        if verbatim != indented {
            page.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        match line.strip_suffix(':').filter(|_| !indented) {
            Some(title) => page.control("SH", [title.to_uppercase().as_str()]),
            None if line.trim().is_empty() => page.control("PP", []),
            None => page.text([roman(line.strip_prefix("  ").unwrap_or(line))]),
        };
    }
    if verbatim {
        page.control("fi", []);
    }
}

/// What concerns xlvs as a whole.
fn whole(page: &mut Roff) {
    let tables: [(&str, &[(&str, &str)]); 4] = [
        (
            "FILES",
            &[
                ("/etc/xlvs/xlvs.yaml", "the configuration, xlvs.yaml(5)"),
                ("/run/xlvs/xlvs.sock", "the API, mode 0660; every verb asks it"),
                ("/var/lib/xlvs", "what operators ordered while it ran"),
                ("/sys/fs/bpf/xlvs", "pinned XDP links, with when_down: drop only"),
                ("/usr/lib/xlvs", "realserver, to be copied to real servers of DR and TUN; hooks"),
            ],
        ),
        (
            "ENVIRONMENT",
            &[
                ("RUST_LOG", "what the daemon logs: error, warn, info (the default), debug"),
                ("XLVS_SOCKET", "the daemon's socket, for xlvs ipvsadm only"),
                ("NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM", "systemd's: see systemd.exec(5)"),
            ],
        ),
        (
            "SIGNALS",
            &[
                (
                    "SIGTERM, SIGINT",
                    "managed VIPs are withdrawn, forwarding goes on for stop_grace (a second signal \
                     ends that), then the programs are detached and the process ends with 0",
                ),
                ("SIGHUP", "the same as xlvs reload, without its answer"),
            ],
        ),
        (
            "EXIT STATUS",
            &[
                ("0", "all is well, or it was done"),
                ("1", "a fault, a refusal, or no daemon to ask"),
                ("2", "the command line is wrong"),
                ("3 to 8", "of single verbs: xlvs-status(8), xlvs-diff(8)"),
            ],
        ),
    ];
    for (title, rows) in tables {
        page.control("SH", [title]);
        for (name, meaning) in rows {
            page.control("TP", []);
            page.text([bold(*name)]);
            page.text([roman(*meaning)]);
        }
    }
}

fn see_also(page: &mut Roff, path: &[&str]) {
    page.control("SH", ["SEE ALSO"]);
    let mut pages = vec![];
    for length in 1..path.len() {
        pages.extend([bold(path[..length].join("-")), roman(format!("({SECTION}), "))]);
    }
    pages.extend([bold("xlvs.yaml"), roman("(5), "), italic("/usr/share/doc/xlvs/README.md")]);
    page.text(pages);
}
