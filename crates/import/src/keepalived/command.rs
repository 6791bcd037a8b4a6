//! Scripts: their words, and as whom they run.

use super::tree::Statement;
use crate::note::Notes;

/// A script and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    pub(super) user: Option<String>,
}

/// As whom scripts run that say nothing, where there is no `keepalived_script`.
const USER: &str = "root";

impl Command {
    /// `"SCRIPT WORDS" [USER [GROUP]]`.
    pub(super) fn with_user(statement: &Statement, notes: &mut Notes) -> Option<Self> {
        let mut command = Self::of(statement, statement.words.get(1..2)?, notes)?;
        command.user = statement.word(2).map(str::to_owned);
        if let Some(more) = statement.words.get(3..).filter(|more| !more.is_empty()) {
            group(statement, &more.join(" "), notes);
        }
        Some(command)
    }

    /// A script and its words, quoted together or one by one.
    pub(super) fn of(statement: &Statement, words: &[String], notes: &mut Notes) -> Option<Self> {
        let mut argv: Vec<String> = match words {
            [one] => super::words::words(one),
            several => several.to_vec(),
        };
        if argv.first().is_none_or(String::is_empty) {
            notes.lost(&statement.place, format!("{}: no script", statement.keyword()));
            return None;
        }
        let shell = |word: &String| word.contains(['|', '>', '<', ';', '&', '`', '*']);
        if argv.iter().any(shell) || argv.iter().any(|word| word.starts_with('$')) {
            let text = "no shell reads these words, as in keepalived 2; keepalived 1.1 asked one: \
                        write argv: [/bin/sh, -c, ...] if that is wanted";
            notes.say(&statement.place, text);
        }
        if argv.iter().any(|word| word.chars().any(char::is_control)) {
            let text = "a control character in a script's words; look whether it is meant";
            notes.say(&statement.place, text);
        }
        if !argv[0].starts_with('/') {
            // Looked for in PATH, as keepalived does.
            argv.insert(0, "/usr/bin/env".to_owned());
        }
        Some(Self { argv, user: None })
    }

    /// As whom it runs, `default` being `script_user`.
    pub(super) fn user(&self, default: Option<&str>) -> String {
        self.user.as_deref().or(default).unwrap_or(USER).to_owned()
    }

    /// What is to be said of the user, if nobody says who it is.
    pub(super) fn told(
        &self,
        default: Option<&str>,
        statement: &crate::note::Place,
        notes: &mut Notes,
    ) {
        if self.user.is_none() && default.is_none() {
            let text = "keepalived runs scripts as keepalived_script if there is such a user, else \
                        as root, which is written here";
            notes.say(statement, text);
        }
    }
}

pub(super) fn group(statement: &Statement, name: &str, notes: &mut Notes) {
    let text = format!("group {name} of a script: it has the groups of its user");
    notes.lost(&statement.place, text);
}
