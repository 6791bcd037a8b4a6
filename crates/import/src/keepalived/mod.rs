//! keepalived.conf: the LVS part as a file of xlvs, the rest as a keepalived.conf to run beside
//! it.
//!
//! What is read is what keepalived 2 reads (keepalived.conf(5), keepalived/check of its source),
//! and what 1.1 did: `nb_get_retry`, `lvs_id`. keepalived repairs what it does not like; what it
//! made of it is done here, too, and told.

mod checker;
mod checks;
mod command;
mod forwarding;
mod global;
mod group;
mod hooks;
mod http;
mod real;
mod service;
mod source;
mod strip;
mod timing;
mod tree;
mod value;
mod virtual_server;
mod vrrp;
mod words;

use global::Global;
pub use source::Include;
use tree::Statement;

use crate::{Imported, Settings, document::Document, note::Notes};

/// What came of keepalived.conf.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The LVS part.
    pub imported: Imported,
    /// A keepalived.conf without it, if anything of VRRP is in it.
    pub vrrp: Option<String>,
}

/// Translates a keepalived.conf. `name` is what it is called in notes, `id` is what `@` lines
/// are compared with (`keepalived --config-id`, the host's name unless given), `include` finds
/// what it includes.
pub fn import(
    name: &str,
    text: &str,
    id: Option<&str>,
    include: &Include<'_>,
    settings: &Settings,
) -> Translated {
    let mut source = source::read(name, text, id, include);
    let mut document = Document::default();
    let mut notes = std::mem::take(&mut source.notes);
    let root = tree::grow(std::mem::take(&mut source.parts), &mut notes);
    let global = Global::of(&root, &mut notes);
    let groups = group::all(&root, &mut notes);
    let servers: Vec<&Statement> =
        root.iter().filter(|s| s.keyword() == "virtual_server").collect();
    let mut seen = Vec::new();
    for statement in servers {
        let Some(virtual_server) = virtual_server::read(statement, &mut notes) else { continue };
        seen.extend(virtual_server.group_name());
        service::add(virtual_server, &groups, &global, &mut document);
    }
    for group in groups.iter().filter(|group| !seen.contains(&group.name)) {
        notes.say(&group.place, format!("no virtual_server uses it: {}", group.text));
    }
    global::ssl(&root, &mut notes);
    global::process(&root, &mut notes);
    document.lift_mails();
    document.timeouts = global.timeouts.clone();
    vrrp::add(&root, &mut document);
    let stripped = strip::strip(&source, &root, &mut notes);
    for (place, line) in stripped.elsewhere {
        notes.say(&place, format!("left out, for another box by its condition: {line}"));
    }
    document.notes.append(notes);
    head(&mut document, name, stripped.text.is_some());
    Translated { imported: document.finish(settings), vrrp: stripped.text }
}

fn head(document: &mut Document, name: &str, vrrp: bool) {
    document.head.push(format!("Made from {name} by xlvs import keepalived."));
    if document.services.is_empty() {
        document.head.push("It has no virtual_server: LVS was not configured by it.".to_owned());
        return;
    }
    let same = [
        "keepalived's defaults are written out. Where it is otherwise:",
        "- A check's timeout holds for all of it, not for each step; and retry counts from the",
        "  begin of a check, not from its end, so neither is shorter than the timeout.",
        "- Without alpha a server is up at the start; it is taken out after as many failures as",
        "  later, while keepalived did so after the first one.",
    ];
    document.head.extend(same.map(str::to_owned));
    if vrrp {
        let line =
            "VIPs stay with keepalived, which runs on beside xlvs with what is left of its file.";
        document.head.push(line.to_owned());
    }
}

/// Says that nothing is known of a statement here.
fn unknown(statement: &Statement, of: &str, notes: &mut Notes) {
    notes.lost(&statement.place, format!("unknown in {of}: {}", statement.text()));
}

/// The same with its block commented out: appended to the YAML where it has no file of its own.
pub fn commented(vrrp: &str) -> String {
    let mut text = String::from(
        "\n# What is left of keepalived.conf, to run beside xlvs; --vrrp-out FILE writes it to a file:\n#\n",
    );
    for line in vrrp.lines() {
        let line = line.trim_end();
        text.push_str(if line.is_empty() { "#" } else { "#   " });
        text.extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        text.push('\n');
    }
    text
}
