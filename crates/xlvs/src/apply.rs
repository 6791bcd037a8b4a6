//! `xlvs apply`, `reload`, `diff`, `confirm`, `rollback`: another configuration while the box runs.

use std::{fmt::Write, io::stdout, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use control::{api::config::ApplyOrder, apply::Applied, file, origin::Origin};

use crate::{
    command::Socket,
    daemon::{post_within, print_json},
    failure,
};

/// How long the daemon may need for a large configuration.
const PATIENCE: Duration = Duration::from_secs(60);

/// `xlvs diff` found differences.
const DIFFERS: u8 = 3;

/// What `apply` is told.
#[derive(Args)]
pub(crate) struct Apply {
    /// The configuration to put into force, with what it includes; the daemon's own if absent.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only print what would change.
    #[arg(long)]
    dry_run: bool,
    /// Go back by itself unless `xlvs confirm` comes within this time.
    #[arg(long, value_name = "TIME", value_parser = file::duration)]
    confirm: Option<Duration>,
    #[command(flatten)]
    more: More,
}

/// What `reload` is told.
#[derive(Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    more: More,
}

/// What `diff` is told.
#[derive(Args)]
pub(crate) struct Diff {
    /// As for `xlvs apply`.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    more: More,
}

#[derive(Args)]
struct More {
    /// Remove what commands and the API made, too: the file is all that there is.
    #[arg(long)]
    prune: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// What `confirm` and `rollback` are told.
#[derive(Args)]
pub(crate) struct Plain {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

pub(crate) fn apply(Apply { file, dry_run, confirm, more }: Apply) -> ExitCode {
    let confirm_within_s = confirm.map(|time| time.as_secs());
    ask(file, ApplyOrder { dry_run, confirm_within_s, ..ApplyOrder::default() }, more).0
}

pub(crate) fn reload(Reload { more }: Reload) -> ExitCode {
    ask(None, ApplyOrder::default(), more).0
}

pub(crate) fn diff(Diff { file, more }: Diff) -> ExitCode {
    let (code, differs) = ask(file, ApplyOrder { dry_run: true, ..ApplyOrder::default() }, more);
    if differs { ExitCode::from(DIFFERS) } else { code }
}

pub(crate) fn confirm(Plain { json, socket }: Plain) -> ExitCode {
    tell(&socket, "/v1/config/confirm", &(), json, "confirmed").0
}

pub(crate) fn rollback(Plain { json, socket }: Plain) -> ExitCode {
    tell(&socket, "/v1/config/rollback", &(), json, "taken back").0
}

/// Sends the order; true if something is, or would be, otherwise.
fn ask(file: Option<PathBuf>, order: ApplyOrder, more: More) -> (ExitCode, bool) {
    let More { prune, json, socket } = more;
    let files = match file.map(|file| Origin::new(file).texts()).transpose() {
        Ok(files) => files,
        Err(faults) => return (failure(&faults), false),
    };
    let order = ApplyOrder { files, prune, ..order };
    tell(&socket, "/v1/config/apply", &order, json, "applied")
}

fn tell(
    socket: &Socket,
    path: &str,
    what: &impl serde::Serialize,
    json: bool,
    done: &str,
) -> (ExitCode, bool) {
    let applied: Applied = match post_within(&socket.way(), path, what, PATIENCE) {
        Ok(applied) => applied,
        Err(code) => return (code, false),
    };
    let differs = !applied.changes.is_empty();
    let code = match json {
        true => print_json(&applied),
        false => crate::print(&mut stdout(), &text(&applied, done).trim_end()),
    };
    (code, differs && applied.dry_run)
}

fn text(applied: &Applied, done: &str) -> String {
    let mut text = String::new();
    for change in &applied.changes {
        let _ = writeln!(text, "{change}");
    }
    let sections = [
        ("commands made this, and it stays (--prune removes it):", &applied.beside),
        ("commands had made this, and the file overrules it:", &applied.overruled),
    ];
    for (title, changes) in sections {
        if !changes.is_empty() {
            let _ = writeln!(text, "{title}");
        }
        for change in changes {
            let _ = writeln!(text, "  {change}");
        }
    }
    for note in &applied.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let count = match applied.changes.len() {
        0 => "no changes".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let done = if applied.dry_run { "nothing was done" } else { done };
    let _ = writeln!(text, "{count}; {done}");
    if let Some(seconds) = applied.confirm_within_s {
        let _ = writeln!(text, "it goes back in {seconds} s unless `xlvs confirm` comes before");
    }
    text
}
