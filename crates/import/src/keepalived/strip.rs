//! keepalived.conf without its LVS part: the lines that are left, as they are.

use std::collections::{BTreeSet, HashMap};

use super::{global, source::Source, tree::Statement, unknown};
use crate::note::{Notes, Place};

/// What is left.
pub(super) struct Stripped {
    /// `None` if there is nothing of VRRP in it.
    pub(super) text: Option<String>,
    /// Lines for other boxes that are not in it.
    pub(super) elsewhere: Vec<(Place, String)>,
}

const OF_LVS: [&str; 4] = ["virtual_server", "virtual_server_group", "SSL", "net_namespace_ipvs"];

/// What makes it worth to run keepalived.
const OF_VRRP: [&str; 15] = [
    "vrrp_instance",
    "vrrp_sync_group",
    "vrrp_script",
    "vrrp_track_process",
    "track_process",
    "vrrp_track_file",
    "track_file",
    "track_group",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "garp_group",
    "interface_up_down_delays",
    "linkbeat_interfaces",
    "bfd_instance",
];

const OF_THE_PROCESS: [&str; 15] = [
    "linkbeat_use_polling",
    "global_defs",
    "net_namespace",
    "namespace_with_ipsets",
    "use_pid_dir",
    "instance",
    "child_wait_time",
    "process_names",
    "process_name",
    "vrrp_process_name",
    "checker_process_name",
    "lvs_process_name",
    "bfd_process_name",
    "use_symlink_paths",
    "set_supplementary_groups",
];

/// Lines by where they go.
#[derive(Default)]
struct Lines {
    dropped: BTreeSet<Place>,
    kept: BTreeSet<Place>,
    replaced: HashMap<Place, String>,
}

/// Takes the LVS part out; says what is unknown at the root.
pub(super) fn strip(source: &Source, root: &[Statement], notes: &mut Notes) -> Stripped {
    let mut lines = Lines::default();
    let mut vrrp = false;
    for statement in root {
        let keyword = statement.keyword();
        if OF_LVS.contains(&keyword) {
            lines.drop(statement);
            continue;
        }
        vrrp |= OF_VRRP.contains(&keyword);
        if !OF_VRRP.contains(&keyword) && !OF_THE_PROCESS.contains(&keyword) {
            unknown(statement, "keepalived.conf", notes);
        }
        lines.kept.insert(statement.place.clone());
        lines.kept.insert(statement.end().clone());
        if keyword == "vrrp_sync_group" {
            lines.sync_group(statement, notes);
        }
        for inner in statement.statements() {
            lines.inner(keyword, inner, notes);
        }
    }
    for place in lines.kept.intersection(&lines.dropped) {
        if vrrp {
            let text = "a line with a part of LVS and another one: it is left as it is in the file for keepalived";
            notes.lost(place, text);
        }
    }
    let elsewhere = source.elsewhere.iter().filter(|(place, _)| !vrrp || lines.is_dropped(place));
    let elsewhere = elsewhere.cloned().collect();
    let text = vrrp.then(|| format!("{}{}", lines.text(source, 0), OFFER));
    Stripped { text, elsewhere }
}

/// How keepalived can follow xlvs.
const OFFER: &str = "
! So that VIPs follow xlvs: take the ! away, and write track_script { xlvs } into each
! vrrp_instance.
!vrrp_script xlvs {
!    script \"/usr/sbin/xlvs status\"
!    interval 1
!    timeout 2
!    fall 2
!    rise 2
!}
";

impl Lines {
    /// All lines from the first to the last, those of comments among them, and the lines
    /// elsewhere that were taken in.
    fn drop(&mut self, statement: &Statement) {
        let (first, last) = (&statement.place, statement.end());
        if first.file == last.file && first.line <= last.line {
            let all = first.line..=last.line;
            self.dropped.extend(all.map(|line| Place::new(&first.file, line)));
        }
        statement.places(&mut |place| {
            self.dropped.insert(place.clone());
        });
    }

    fn inner(&mut self, of: &str, statement: &Statement, notes: &mut Notes) {
        let keyword = statement.keyword();
        if of == "global_defs" && global::is_lvs(statement) {
            return self.drop(statement);
        }
        if of == "vrrp_instance" && keyword.starts_with("lvs_sync_daemon") {
            let text = format!("{}: there is no connection sync", statement.text());
            notes.lost(&statement.place, text);
            return self.drop(statement);
        }
        if of == "global_defs" && keyword == "lvs_id" {
            let line = format!("   router_id {}", statement.word(1).unwrap_or(""));
            self.replaced.insert(statement.place.clone(), line);
        }
        statement.places(&mut |place| {
            self.kept.insert(place.clone());
        });
    }

    /// keepalived 1.0 had the names of instances without `group { }` around them.
    fn sync_group(&mut self, statement: &Statement, notes: &mut Notes) {
        let is_name = |inner: &&Statement| inner.words.len() == 1 && inner.block.is_none();
        let known = ["smtp_alert", "global_tracking", "sync_group_tracking_weight"];
        let names = statement.statements().iter().filter(is_name);
        let names: Vec<_> = names.filter(|name| !known.contains(&name.keyword())).collect();
        for name in &names {
            notes.say(
                &name.place,
                "names of a vrrp_sync_group stand in group { } since keepalived 1.1",
            );
            let mut line = format!("    {}", name.keyword());
            if names.first().is_some_and(|first| first.place == name.place) {
                line.insert_str(0, "  group {\n");
            }
            if names.last().is_some_and(|last| last.place == name.place) {
                line.push_str("\n  }");
            }
            self.replaced.insert(name.place.clone(), line);
        }
    }

    fn is_dropped(&self, place: &Place) -> bool {
        self.dropped.contains(place) && !self.kept.contains(place)
    }

    /// The text of a file, with the texts of files in it of which only a part is left.
    fn text(&self, source: &Source, number: usize) -> String {
        let file = &source.files[number];
        let mut text = String::new();
        for (at, line) in file.lines.iter().enumerate() {
            let place = Place::new(&file.name, at + 1);
            let included = file.includes.get(&(at + 1));
            let whole =
                included.is_none_or(|files| files.iter().all(|f| self.is_whole(source, *f)));
            if self.is_dropped(&place) {
                continue;
            }
            match (included, self.replaced.get(&place)) {
                (Some(files), _) if !whole => {
                    files.iter().for_each(|number| text.push_str(&self.text(source, *number)));
                }
                (_, replaced) => {
                    text.push_str(replaced.unwrap_or(line));
                    text.push('\n');
                }
            }
        }
        text
    }

    /// Nothing is taken out of the file or what it includes.
    fn is_whole(&self, source: &Source, number: usize) -> bool {
        let file = &source.files[number];
        let of_file = |place: &Place| place.file == file.name;
        let touched = self.dropped.iter().any(of_file) || self.replaced.keys().any(of_file);
        !touched && file.includes.values().flatten().all(|inner| self.is_whole(source, *inner))
    }
}
