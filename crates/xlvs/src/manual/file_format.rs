//! xlvs.yaml(5): a few words, and the example that has every key with its meaning and its default.

use clap_mangen::roff::{Roff, bold, roman};

const EXAMPLE: &str = include_str!("../../../../configs/full.yaml");

const DESCRIPTION: &[&str] = &[
    "One YAML file says which interfaces xlvs serves, which addresses and ports are services, and \
     which real servers stand behind them. xlvs check finds every fault at once, with line, column \
     and remedy; a key that is not known is refused.",
    "Times carry a unit: 500ms, 2s, 10m, 24h. Services are written ADDRESS:PORT/PROTOCOL; an IPv6 \
     address with a port stands in brackets, and in quotes: \"[2001:db8::10]:80/tcp\". Keys at the \
     top that begin with x- are a place for anchors.",
    "What follows is one example that shows every key. What it says is the default where it says so.",
];

/// The page.
pub(super) fn page() -> String {
    let mut page = Roff::default();
    let version = concat!("xlvs ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["XLVS.YAML", "5", "", version, "xlvs"]);
    page.control("SH", ["NAME"]);
    page.text([roman("xlvs.yaml - the configuration of xlvs")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/xlvs/xlvs.yaml")]);
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        page.control("PP", []);
        page.text([roman(*paragraph)]);
    }
    page.control("SH", ["KEYS"]);
    for block in EXAMPLE.split("\n\n") {
        show(&mut page, block);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("xlvs"), roman("(8), "), bold("xlvs-check"), roman("(8)")]);
    page.to_roff()
}

/// Lines without a blank one between them: comments at the margin are text, the others are shown
/// as they are. A key at the margin begins a section.
fn show(page: &mut Roff, block: &str) {
    let (mut verbatim, mut text) = (false, Vec::new());
    for line in block.lines() {
        if let Some(comment) = line.strip_prefix('#').filter(|_| !verbatim) {
            text.push(comment.trim());
            continue;
        }
        if let Some(key) = key(line) {
            if verbatim {
                page.control("fi", []);
            }
            page.control("SS", [key]);
            verbatim = false;
        }
        if !text.is_empty() {
            page.control("PP", []);
            page.text([roman(text.join(" "))]);
            text.clear();
        }
        if !verbatim {
            page.control("PP", []);
            page.control("nf", []);
            verbatim = true;
        }
        page.text([roman(line)]);
    }
    if verbatim {
        page.control("fi", []);
    }
    if !text.is_empty() {
        page.control("PP", []);
        page.text([roman(text.join(" "))]);
    }
}

/// The key at the margin of a line.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    (!key.starts_with([' ', '#', '-'])).then_some(key)
}
