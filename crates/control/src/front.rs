//! The ipvsadm front's other end: what a command line asked for, done to the registry, and what
//! it lists. The grammar and the texts are the `ipvsadm` crate's.

mod command_line;
mod connections;
mod edit;
mod listing;
mod own;
mod rules;
mod swallow;

use std::sync::Arc;

use dataplane::{director::Director, mark, snapshot::Services, stats::Stats};
use ipvsadm::{Command, Connection, Denial, Listing, ServiceRef, Timeouts};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use command_line::{Desk, Terminal, run};
pub use connections::{Cursor, Filter, Page, states};
pub use edit::{edit, edit_all, key};
pub use listing::reference;
pub use own::own_servers;
pub use rules::{RulesError, load, restore};
pub use swallow::swallows;

pub use crate::sockets::Sockets;

use crate::{model::Model, registry::Registry, traffic::Traffic};

/// What the front asks the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// These changes, all or none.
    Change(Vec<Command>),
    /// Set the counts of a service, or of all, to zero.
    Zero(Option<ServiceRef>),
    /// All services with their counts.
    List,
    /// The idle times that `--set` sets.
    Timeouts,
    /// A page of connections.
    Connections(Page),
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done. What the operator should know, a sentence each.
    Done(Vec<String>),
    /// Nothing is done.
    Denied {
        /// Which command is at fault, from 0.
        at: usize,
        /// Why.
        denial: Denial,
    },
    /// To [`Ask::List`].
    Listing(Listing),
    /// To [`Ask::Timeouts`].
    Timeouts(Timeouts),
    /// To [`Ask::Connections`].
    Connections {
        /// A page of them.
        rows: Vec<Connection>,
        /// Where the next page begins, if there is one.
        next: Option<Cursor>,
    },
}

/// The running parts that answers are made of.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What is published.
    pub services: &'a Services,
    /// The counts of connections.
    pub director: &'a Director,
    /// The workers' counters.
    pub stats: &'a [Arc<Stats>],
    /// The second of the datapath's clock.
    pub now: u32,
}

/// Answers, or changes the registry's model: then the caller publishes it before it passes the
/// answer on. True if it did.
pub fn answer(registry: &mut Registry, view: View<'_>, ask: &Ask) -> (Answer, bool) {
    match ask {
        Ask::Change(commands) => {
            let room = registry.room();
            if let Err((at, denial)) = edit_all(&mut registry.model, commands, room) {
                return (Answer::Denied { at, denial }, false);
            }
            for command in commands {
                if let Command::Zero(which) = command {
                    zero(registry, view, which.as_ref());
                }
            }
            (Answer::Done(warnings(&registry.model, commands)), true)
        }
        Ask::Zero(which) => {
            let unknown = |service: &ServiceRef| !view.services.by_key.contains_key(&key(service));
            if which.as_ref().is_some_and(unknown) {
                return (Answer::Denied { at: 0, denial: Denial::NoSuchService }, false);
            }
            zero(registry, view, which.as_ref());
            (Answer::Done(Vec::new()), false)
        }
        Ask::List => (Answer::Listing(listing::listing(registry, view)), false),
        Ask::Connections(page) => {
            let (rows, next) = connections::page(view, page);
            (Answer::Connections { rows, next }, false)
        }
        Ask::Timeouts => (Answer::Timeouts(timeouts(&registry.model)), false),
    }
}

/// Sets the counts of a service, or of all, to zero.
fn zero(registry: &mut Registry, view: View<'_>, which: Option<&ServiceRef>) {
    let raw = |id| Traffic::raw(view.director, view.stats, id);
    let one = which.map(key);
    for known in view.services.by_key.keys() {
        if one.is_none_or(|one| one == *known) {
            registry.ledger.zero(view.services, known, &raw);
        }
    }
}

fn timeouts(model: &Model) -> Timeouts {
    use dataplane::tcp::State;
    let tcp = |state: State| model.timeouts.tcp[state as usize];
    Timeouts { tcp: tcp(State::Established), tcpfin: tcp(State::FinWait), udp: model.timeouts.udp }
}

/// What these commands did but will not do anything, a sentence each.
pub fn warnings(model: &Model, commands: &[Command]) -> Vec<String> {
    let unmarked = commands.iter().filter_map(|command| {
        let Command::AddService(spec) = command else { return None };
        let ServiceRef::Mark { mark, ipv6 } = spec.service else { return None };
        (!mark::possible(&model.marks, mark, ipv6)).then(|| {
            format!(
                "no packet gets mark {mark}: xlvs does not see netfilter's marks; \
                 write a rule with mark: {mark} under marks: in the configuration file"
            )
        })
    });
    unmarked.collect()
}
