//! Words to a [`Command`].
//!
//! Options are taken in the order in which they stand, because ipvsadm does so and it shows: a
//! server named before its service does not take its port, `-6` needs `-f` before it.

mod daemon;
mod endpoint;
mod legal;
mod list;
mod number;
mod options;
mod server;
mod service;
mod words;

use serde::{Deserialize, Serialize};

use crate::command::{Command, ListSpec, ListWhat, Timeouts, View};
use crate::names::Resolver;
use crate::refusal::Refusal;
use daemon::DaemonPart;
use legal::Given;
use list::ListPart;
use options::{Kind, Verb};
use server::ServerPart;
use service::ServicePart;
use words::{Found, Words};

/// Seconds that a timeout may have: 31 days.
const LONGEST_TIMEOUT: i64 = 86400 * 31;

/// The program that a command line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// `ipvsadm`.
    Ipvsadm,
    /// `ipvsadm-save`: takes `-n` alone.
    Save,
    /// `ipvsadm-restore`: heeds no words.
    Restore,
}

/// The command that a command line asks for.
///
/// `argv` begins with the program's name, which help and errors repeat as it was typed. Texts
/// and codes of refusals are those of ipvsadm 1.31 with popt 1.19.
///
/// # Errors
/// What to print on standard error, and the exit code.
pub fn parse(program: Program, argv: &[String], names: &dyn Resolver) -> Result<Command, Refusal> {
    let (name, words) = match argv.split_first() {
        Some((name, words)) => (name.as_str(), words),
        None => ("ipvsadm", argv),
    };
    match program {
        Program::Ipvsadm => command(name, words, names),
        Program::Save => save(name, words),
        Program::Restore => Ok(Command::Restore { flush: true }),
    }
}

fn save(name: &str, words: &[String]) -> Result<Command, Refusal> {
    if words.iter().any(|word| word.starts_with('-') && word != "-n") {
        let base = name.rsplit('/').next().unwrap_or(name);
        return Err(Refusal::new(
            1,
            format!(
                "{base}: Script to save the IPVS table to stdout.\n   \
                 With the -n option, prints out the table in numeric format."
            ),
        ));
    }
    Ok(Command::Save { numeric: words.iter().any(|word| word == "-n") })
}

fn command(name: &str, words: &[String], names: &dyn Resolver) -> Result<Command, Refusal> {
    if words.is_empty() {
        return Ok(list_all());
    }
    let mut words = Words::new(words);
    let first = words.next().ok().flatten().ok_or_else(|| Refusal::try_help(name))?;
    let verb = match first.option.kind {
        Kind::Verb(verb) => verb,
        Kind::Help => return Ok(Command::Help),
        Kind::Version => return Ok(Command::Version),
        _ => return Err(Refusal::try_help(name)),
    };
    let mut request = Request::new(verb);
    request.daemon.role(verb, first.value)?;
    request.take_all(&mut words, names)?;
    request.legal()?;
    request.command(name)
}

/// `ipvsadm` alone.
fn list_all() -> Command {
    Command::List(ListSpec {
        what: ListWhat::Table { service: None, view: View::Plain },
        numeric: false,
        exact: false,
        sorted: true,
    })
}

/// What has been read of a command line.
struct Request {
    verb: Verb,
    given: Given,
    service: ServicePart,
    server: ServerPart,
    list: ListPart,
    daemon: DaemonPart,
    timeouts: Option<Timeouts>,
}

impl Request {
    fn new(verb: Verb) -> Self {
        Self {
            verb,
            given: Given::default(),
            service: ServicePart::default(),
            server: ServerPart::default(),
            list: ListPart::default(),
            daemon: DaemonPart::default(),
            timeouts: None,
        }
    }

    fn take_all(&mut self, words: &mut Words, names: &dyn Resolver) -> Result<(), Refusal> {
        loop {
            match words.next() {
                Ok(Some(found)) => self.take(&found, words.current(), names)?,
                Ok(None) => break,
                Err(fault) => {
                    let text = format!("{}: {}", words.current(), fault.text());
                    return Err(Refusal::new(u8::MAX, text));
                }
            }
        }
        if self.verb == Verb::Timeouts {
            self.timeouts = Some(timeouts(words)?);
        }
        match words.argument() {
            Some(word) => Err(Refusal::usage(format!("unexpected argument {word}"))),
            None => self.service.settle_flags(),
        }
    }

    fn take(&mut self, found: &Found, word: &str, names: &dyn Resolver) -> Result<(), Refusal> {
        if let Some(field) = found.option.field {
            self.given.add(field)?;
        }
        match found.option.kind {
            Kind::Service(option) => self.service.take(option, found.value, names),
            Kind::Server(option) => {
                self.server.take(option, found.value.unwrap_or(""), &self.service, names)
            }
            Kind::List(option) => {
                self.list.take(option);
                Ok(())
            }
            Kind::Daemon(option) => self.daemon.take(option, found.value.unwrap_or("")),
            Kind::Verb(_) | Kind::Help | Kind::Version => {
                Err(Refusal::usage(format!("invalid option `{word}'")))
            }
        }
    }

    /// The checks that follow once all options are read, in ipvsadm's order.
    fn legal(&self) -> Result<(), Refusal> {
        self.given.fit_command(self.verb)?;
        match self.verb {
            Verb::AddService | Verb::EditService => self.service.legal(),
            Verb::AddServer | Verb::EditServer => self.server.legal(&self.given, &self.service),
            _ => Ok(()),
        }
    }

    fn command(self, name: &str) -> Result<Command, Refusal> {
        let missing = || Refusal::try_help(name);
        let service = self.service.key();
        let key = service.ok_or_else(missing);
        Ok(match self.verb {
            Verb::AddService => Command::AddService(self.service.spec(key?)?),
            Verb::EditService => Command::EditService(self.service.spec(key?)?),
            Verb::DeleteService => Command::DeleteService(key?),
            Verb::Flush => Command::Flush,
            Verb::List => Command::List(self.list.spec(&self.given, service)?),
            Verb::AddServer => {
                Command::AddServer(key?, self.server.spec(&self.service).ok_or_else(missing)?)
            }
            Verb::EditServer => {
                Command::EditServer(key?, self.server.spec(&self.service).ok_or_else(missing)?)
            }
            Verb::DeleteServer => {
                Command::DeleteServer(key?, self.server.key().ok_or_else(missing)?)
            }
            Verb::Timeouts => Command::Timeouts(self.timeouts.ok_or_else(missing)?),
            Verb::StartDaemon => Command::StartDaemon(self.daemon.daemon()),
            Verb::StopDaemon => Command::StopDaemon(self.daemon.role, self.daemon.sync_id),
            Verb::Restore => Command::Restore { flush: false },
            Verb::Save => Command::Save { numeric: self.list.numeric },
            Verb::Zero => Command::Zero(service),
        })
    }
}

/// The three words of `--set`, which are arguments and may stand anywhere.
fn timeouts(words: &mut Words) -> Result<Timeouts, Refusal> {
    let (Some(tcp), Some(tcpfin), Some(udp)) =
        (words.argument(), words.argument(), words.argument())
    else {
        return Err(Refusal::usage("--set option requires 3 timeout values"));
    };
    Ok(Timeouts { tcp: timeout(tcp, 0)?, tcpfin: timeout(tcpfin, 0)?, udp: timeout(udp, 0)? })
}

/// A timeout in seconds, of at least `least`.
fn timeout(text: &str, least: i64) -> Result<u32, Refusal> {
    number::within(text, least, LONGEST_TIMEOUT)
        .ok_or_else(|| Refusal::usage(format!("invalid timeout value `{text}' specified")))
}
