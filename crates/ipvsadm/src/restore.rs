//! The rules that `-R` reads.

use crate::command::Command;
use crate::names::Resolver;
use crate::parse::{Program, parse};
use crate::refusal::Refusal;

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its line, from 1.
    pub line: usize,
    /// A change of the director's table or settings, never a listing or another restore.
    pub command: Command,
}

/// The rules of a text, all of them or none.
///
/// Words are parted by blanks, tabs and carriage returns; there is no quoting. The word
/// `ipvsadm` is passed over wherever it stands. Lines without words are passed over, and those
/// that begin with `#`, which ipvsadm refuses and ipvsadm-restore strips. `name` is the
/// program's, for errors.
///
/// # Errors
/// That of the first line that ipvsadm would refuse, with its exit code and the line's number.
/// ipvsadm would have applied the lines before it.
pub fn rules(text: &str, name: &str, names: &dyn Resolver) -> Result<Vec<Rule>, Refusal> {
    let mut rules = Vec::new();
    for (line, words) in text.lines().map(words).enumerate() {
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        let line = line + 1;
        let command =
            rule(words, name, names).map_err(|refusal| Refusal { line: Some(line), ..refusal })?;
        rules.push(Rule { line, command });
    }
    Ok(rules)
}

fn words(line: &str) -> Vec<String> {
    line.split([' ', '\t', '\r'])
        .filter(|word| !word.is_empty() && *word != "ipvsadm")
        .map(str::to_owned)
        .collect()
}

fn rule(words: Vec<String>, name: &str, names: &dyn Resolver) -> Result<Command, Refusal> {
    let argv: Vec<String> = std::iter::once(name.to_owned()).chain(words).collect();
    let command = parse(Program::Ipvsadm, &argv, names)?;
    let what = match command {
        Command::Restore { .. } => return Err(Refusal::try_help(name)),
        Command::List(_) => "list",
        Command::Save { .. } => "save",
        Command::Help => "help",
        Command::Version => "version",
        _ => return Ok(command),
    };
    Err(Refusal::usage(format!("the '{what}' command is no rule that can be restored")))
}
