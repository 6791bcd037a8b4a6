//! The verbs by what they are for: a first look at `xlvs --help` should tell where to begin.

use std::fmt::Write;

use clap::Command;

/// Each group with its verbs. One that no group has stands under the last title.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Run it", &["run", "check", "diff", "apply", "reload", "confirm", "rollback"]),
    (
        "See how it is",
        &["status", "list", "top", "health", "service", "conn", "stats", "events", "metrics"],
    ),
    ("Change it while it runs", &["server", "drain", "maint", "ready", "weight", "deny", "token"]),
    ("Understand what it does", &["explain", "verify", "probe", "capture", "report"]),
    ("Come from elsewhere, go elsewhere", &["import", "export", "ipvsadm"]),
    (REST, &["completions", "help"]),
];

const REST: &str = "Other";

/// The verbs with what each of them does, by group.
pub(super) fn list(tree: &Command) -> String {
    let verbs: Vec<&Command> = tree.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
    let width = verbs.iter().map(|verb| verb.get_name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        let mut members: Vec<&&Command> = names
            .iter()
            .filter_map(|name| verbs.iter().find(|verb| verb.get_name() == *name))
            .collect();
        if title == REST {
            members.extend(verbs.iter().filter(|verb| !is_grouped(verb)));
        }
        if members.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{title}:");
        for verb in members {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:width$}  {about}", verb.get_name());
        }
        text.push('\n');
    }
    text
}

fn is_grouped(verb: &Command) -> bool {
    GROUPS.iter().any(|(_, names)| names.contains(&verb.get_name()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_has_a_group_and_a_sentence() {
        let tree = super::super::Command::command();
        for verb in tree.get_subcommands() {
            assert!(is_grouped(verb) || verb.is_hide_set(), "{}", verb.get_name());
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }
}
