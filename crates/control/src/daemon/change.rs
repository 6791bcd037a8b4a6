//! Services, servers and marks change while traffic flows.

use std::{sync::Arc, time::Duration};

use dataplane::forward::ServiceKey;
use ipvsadm::{Command, Denial};

use super::Daemon;
use crate::{
    errand::{Back, Errand},
    front::{self, Answer, Ask, View},
    live::{self, Finding},
    order,
    stats::Stats,
    traffic::Traffic,
};

/// How long control waits for the workers to take up a snapshot. A worker that sleeps is
/// woken; one that works needs microseconds. Longer than this, it has been stopped from
/// outside, and new servers are enlisted nevertheless.
const PATIENCE: Duration = Duration::from_millis(100);

impl Daemon {
    /// Does an errand of the API.
    pub(super) async fn run(&mut self, errand: Errand) {
        match errand {
            Errand::Tell(event) => self.tell(event),
            Errand::Ipvsadm(ask, back) => {
                let found = self.answer(&ask).await;
                Self::reply(&ask, found, back);
            }
            // Who asked may be gone by now.
            Errand::Apply(read, terms, back) => drop(back.send(self.apply(read, terms).await)),
            Errand::Confirm(back) => drop(back.send(self.confirm())),
            Errand::RollBack(back) => drop(back.send(self.roll_back("taken back").await)),
            Errand::Servers(order, back) => drop(back.send(self.order_servers(&order).await)),
            Errand::Find(texts, all, back) => {
                drop(back.send(order::find(&self.registry.model, &texts, all)));
            }
            Errand::Deny(order, back) => drop(back.send(self.deny(&order).await)),
            Errand::Allow { source, service, who, back } => {
                let allowed = self.allow((&source, service.as_deref()), &who).await;
                drop(back.send(allowed));
            }
            Errand::Denials(back) => drop(back.send(self.registry.denials.all().to_vec())),
            Errand::Zero(service, back) => {
                drop(back.send(self.zero(service.as_deref()).await));
            }
            Errand::Model(back) => drop(back.send(self.registry.model.clone())),
            Errand::Export(query, back) => drop(back.send(self.export(query).await)),
            Errand::Stats(back) => {
                if let Answer::Listing(listing) = self.answer(&Ask::List).await {
                    drop(back.send(Stats::of(&self.registry.model, &listing)));
                }
            }
        }
    }

    /// Does, or lists, what the ipvsadm front asks for.
    pub(super) async fn answer(&mut self, ask: &Ask) -> Answer {
        if let Ask::Change(commands) = ask
            && let Some((at, denial)) = self.swallows(commands)
        {
            return Answer::Denied { at, denial };
        }
        let snapshot = self.publisher.current();
        let stats = self.crew.stats();
        let view = View {
            services: &snapshot.services,
            director: &self.director,
            stats: &stats,
            now: self.crew.clock.tick().seconds(),
        };
        let overridden = !self.registry.overrides.is_empty();
        let before = overridden.then(|| self.registry.model.clone());
        let (mut answer, changed) = front::answer(&mut self.registry, view, ask);
        if let (true, Some(before), Answer::Done(warnings)) = (changed, before, &mut answer) {
            warnings.extend(self.settle_overrides(&before).iter().map(ToString::to_string));
        }
        if let (Answer::Done(warnings), Ask::Change(commands)) = (&mut answer, ask) {
            warnings.extend(own_servers(commands));
        }
        if changed {
            self.publish().await;
        }
        answer
    }

    /// Hands an answer over: where there is a service more, when it is known which rules of
    /// netfilter do not see its packets any more. Control does not wait for that.
    pub(super) fn reply(ask: &Ask, found: Answer, to: Back<Answer>) {
        let added: Vec<ServiceKey> = match ask {
            Ask::Change(commands) => commands.iter().filter_map(added).collect(),
            _ => Vec::new(),
        };
        match found {
            Answer::Done(mut warnings) if !added.is_empty() => {
                tokio::task::spawn_blocking(move || {
                    let findings = live::netfilter(&added);
                    warnings.extend(findings.into_iter().map(|finding| {
                        let Finding { subject, sentence, remedy, .. } = finding;
                        format!("{subject}: {sentence}; {remedy}")
                    }));
                    let _ = to.send(Answer::Done(warnings));
                });
            }
            // Who asked may be gone by now.
            found => drop(to.send(found)),
        }
    }

    /// A command that would take packets from this box's own sockets.
    fn swallows(&self, commands: &[Command]) -> Option<(usize, Denial)> {
        front::swallows(&self.registry.model, commands, live::sockets)
            .unwrap_or_else(|error| Some((0, Denial::Other(error.to_string()))))
    }

    /// Takes the measure of what passed in the last two seconds.
    pub(super) fn measure(&mut self) {
        let snapshot = self.publisher.current();
        let stats = self.crew.stats();
        let raw = |id| Traffic::raw(&self.director, &stats, id);
        self.registry.ledger.tick(&snapshot.services, &raw);
    }

    /// Publishes what the registry says now. What it does not name any more gets no new
    /// connections before the workers hear of it; what is new gets connections when every
    /// worker knows it.
    pub(super) async fn publish(&mut self) {
        let before = Arc::clone(&self.publisher.current().services);
        let mut services = self.registry.compile(&before);
        let now = self.crew.clock.tick().seconds();
        self.registry.ramp(&before, &mut services, now);
        self.director.retire(&services);
        self.publisher.services(services);
        self.wake();
        self.acknowledged().await;
        let snapshot = self.publisher.current();
        self.director.enlist(&snapshot.services);
        self.matched.follow(&snapshot);
        self.tell_states(&before, &snapshot.services);
        self.tell_turns();
        self.follow_quorums().await;
        self.show();
        self.ask_servers();
        let _ = self.ask.send(self.servers()).await;
    }

    /// Removed servers whose last connection is over leave their ids.
    pub(super) async fn release(&mut self) {
        let services = Arc::clone(&self.publisher.current().services);
        let now = self.crew.clock.tick().seconds();
        if self.registry.release(&services, &self.director, &self.crew.stats(), now) {
            self.publish().await;
        }
    }

    /// Waits until every worker reads the newest snapshot.
    async fn acknowledged(&self) {
        let newest = self.publisher.current().generation;
        let stats = self.crew.stats();
        let reads_it = || stats.iter().all(|stats| stats.snapshot.value() >= newest);
        let waiting = async {
            while !reads_it() {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            log::warn!("a worker has not taken up the change within {} ms", PATIENCE.as_millis());
        }
    }
}

/// What to know of servers on this box, as far as its addresses can be read.
pub(super) fn own_servers(commands: &[Command]) -> Vec<String> {
    front::own_servers(commands, live::addresses).unwrap_or_else(|error| vec![error.to_string()])
}

/// The service that a command adds.
fn added(command: &Command) -> Option<ServiceKey> {
    match command {
        Command::AddService(spec) => Some(front::key(&spec.service)),
        _ => None,
    }
}
