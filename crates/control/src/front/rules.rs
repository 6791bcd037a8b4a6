//! The rules of a file that `ipvsadm-save` wrote, done when the director starts.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use ipvsadm::{Command, Denial, Resolver, restore::rules};

use super::{Sockets, edit_all, swallows};
use crate::{live::LiveError, registry::Registry};

/// Why the rules of a file are not done; then none of them is.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file.
    #[error("{}: cannot be read: {source}; name a file that ipvsadm-save wrote", file.display())]
    Unread {
        /// Which file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A rule: displayed as `FILE:LINE: SENTENCE`.
    #[error("{}{}: {text}", file.display(), Line(*line))]
    Refused {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: Option<usize>,
        /// In ipvsadm's words, and what to do about it.
        text: String,
    },
    /// The sockets of this box.
    #[error(transparent)]
    Box(#[from] LiveError),
}

/// `:LINE`, if there is one.
struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Adds what a file's rules say to what the registry has. Returns the commands that were done,
/// for [`super::warnings`].
///
/// # Errors
/// See [`RulesError`]; the registry is then as it was.
pub fn load(
    registry: &mut Registry,
    file: &Path,
    names: &dyn Resolver,
    sockets: impl FnOnce() -> Result<Sockets, LiveError>,
) -> Result<Vec<Command>, RulesError> {
    let text = fs::read_to_string(file)
        .map_err(|source| RulesError::Unread { file: file.to_owned(), source })?;
    restore(registry, file, &text, names, sockets)
}

/// As [`load`], from the file's text; `file` only names it.
///
/// # Errors
/// As [`load`].
pub fn restore(
    registry: &mut Registry,
    file: &Path,
    text: &str,
    names: &dyn Resolver,
    sockets: impl FnOnce() -> Result<Sockets, LiveError>,
) -> Result<Vec<Command>, RulesError> {
    let refused = |line, text| RulesError::Refused { file: file.to_owned(), line, text };
    let rules = rules(text, "ipvsadm", names).map_err(|refusal| {
        refused(
            refusal.line,
            format!("{refusal}; write the line as ipvsadm-save does, or remove it"),
        )
    })?;
    let commands: Vec<Command> = rules.iter().map(|rule| rule.command.clone()).collect();
    let line = |at: usize| rules.get(at).map(|rule| rule.line);
    if let Some((at, denial)) = swallows(&registry.model, &commands, sockets)? {
        return Err(refused(line(at), advised(&denial)));
    }
    let room = registry.room();
    edit_all(&mut registry.model, &commands, room)
        .map_err(|(at, denial)| refused(line(at), advised(&denial)))?;
    Ok(commands)
}

/// A refusal, and what to do about it.
fn advised(denial: &Denial) -> String {
    let remedy = match denial {
        Denial::ServiceExists => {
            "rules are added to the configuration: remove the line, or the other one of that service"
        }
        Denial::DestinationExists => "remove the line, or the other one of that server",
        Denial::ServiceNotDefined | Denial::NoSuchService => {
            "write the -A line of that service before it"
        }
        Denial::NoSuchDestination => "write the -a line of that server before it",
        Denial::SchedulerNotFound => {
            "write a scheduler of LVS, with options of its own, and no persistence engine"
        }
        Denial::OutOfRange => "write a -y that is not above -x",
        Denial::Invalid => "write unicast addresses, and the port of a GUE tunnel",
        Denial::FamilyNotSupported | Denial::NotWithIpv6 => {
            "write addresses of one family, or -i for the server"
        }
        Denial::NoMemory => "raise services and servers under limits: in the configuration",
        Denial::DaemonRuns | Denial::NoDaemon => "remove the line: there is no connection sync",
        // It says so itself, or has nothing to do with rules.
        Denial::Other(_) | Denial::NotPermitted | Denial::NoProtocol => return denial.to_string(),
    };
    format!("{denial}; {remedy}")
}
