//! What operators order while the box runs: done, published, told, kept.

use std::{sync::Arc, time::SystemTime};

use dataplane::{forward::ServiceKey, snapshot::Services};
use ipvsadm::{NoNames, save};

use super::{Daemon, tell};
use crate::{
    api::export::{ExportQuery, Format},
    compile::ServerKey,
    event::{Event, Kind, Subject},
    export,
    front::{self, Answer, Ask},
    model::{AdminState, Compat, Model, Server, Service},
    order::{self, DenyOrder, Refused, ServerOrder, ServerOutcome},
    registry::{Denial, Fate, Field, Registry, Settled, Wish, naming},
};

impl Daemon {
    /// Servers are to be as somebody wants.
    pub(super) async fn order_servers(
        &mut self,
        order: &ServerOrder,
    ) -> Result<ServerOutcome, Refused> {
        let before = self.registry.overrides.clone();
        let mut outcome = order::servers(&mut self.registry, order)?;
        if outcome.changed.is_empty() {
            return Ok(outcome);
        }
        let reason = format!("by {}", order.sign);
        if let Wish::Weight(_) | Wish::FileWeight = order.wish {
            for key in &outcome.changed {
                let was = before.get(key).and_then(|known| known.weight.as_ref());
                self.tell_weight(key, was.map(|said| said.value), &reason);
            }
        }
        for key in &outcome.changed {
            self.reasons.insert(*key, reason.clone());
        }
        outcome.warnings.extend(self.keep_notes());
        self.publish().await;
        Ok(outcome)
    }

    /// A source is to be denied.
    pub(super) async fn deny(
        &mut self,
        order: &DenyOrder,
    ) -> Result<(Vec<Denial>, Vec<String>), Refused> {
        let denials = order::deny(&mut self.registry, order)?;
        let warnings: Vec<String> = self.keep_notes().into_iter().collect();
        self.publish().await;
        self.tell_denials(&denials, "added", "by");
        Ok((denials, warnings))
    }

    /// A source is to be denied no more; `who` wants it.
    pub(super) async fn allow(
        &mut self,
        (source, service): (&str, Option<&str>),
        who: &str,
    ) -> Result<Vec<Denial>, Refused> {
        let mut removed = order::allow(&mut self.registry, source, service)?;
        self.keep_notes();
        self.publish().await;
        for denial in &mut removed {
            denial.sign.why = format!("removed by {who}");
        }
        self.tell_denials(&removed, "removed", "denied by");
        Ok(removed)
    }

    /// Sets the counts of a service, or of all, to zero.
    pub(super) async fn zero(&mut self, service: Option<&str>) -> Result<Vec<String>, Refused> {
        let services = match service {
            Some(name) => naming::services(&self.registry.model, name)?,
            None => self.registry.model.services.iter().collect(),
        };
        let keys: Vec<ServiceKey> = services.iter().map(|service| service.key).collect();
        for key in &keys {
            let _ = self.answer(&Ask::Zero(Some(front::reference(key)))).await;
        }
        Ok(keys.iter().map(ToString::to_string).collect())
    }

    /// The running state as a file.
    pub(super) async fn export(&mut self, query: ExportQuery) -> String {
        let ExportQuery { format, effective } = query;
        let Registry { model, overrides, .. } = &self.registry;
        if format == Format::Yaml {
            return export::yaml(model, overrides, effective);
        }
        let weight = |service: &Service, server: &Server| match overrides.state(service.key, server)
        {
            AdminState::Ready => overrides.weight(service.key, server).unwrap_or(server.weight),
            _ => 0,
        };
        let weights: Vec<Vec<u32>> = model
            .services
            .iter()
            .map(|service| service.servers.iter().map(|server| weight(service, server)).collect())
            .collect();
        let reversed = model.compat == Compat::Lvs;
        let Answer::Listing(mut listing) = self.answer(&Ask::List).await else {
            return String::new();
        };
        if effective {
            for (listed, weights) in listing.services.iter_mut().zip(weights) {
                let all = weights.len();
                for (at, server) in listed.servers.iter_mut().enumerate() {
                    server.spec.weight = weights[if reversed { all - 1 - at } else { at }];
                }
            }
        }
        save::text(&listing, true, &NoNames)
    }

    /// What the clock ends: denied sources, overrides of servers that left long ago.
    pub(super) async fn end_orders(&mut self) {
        let now = SystemTime::now();
        let over = self.registry.denials.expire(now);
        let forgotten = self.registry.overrides.age(&self.registry.model, now);
        for settled in &forgotten {
            log::info!("{settled}");
        }
        if !over.is_empty() || !forgotten.is_empty() {
            self.keep_notes();
        }
        if !over.is_empty() {
            self.publish().await;
            self.tell_denials(&over, "expired", "denied by");
        }
    }

    /// The configuration changed: what it says anew wins over what operators wanted before. To be
    /// called before the new model is published; gives what became of overrides.
    pub(super) fn settle_overrides(&mut self, before: &Model) -> Vec<Settled> {
        let settled = self.registry.overrides.settle(before, &self.registry.model);
        for one in &settled {
            log::info!("{one}");
            if let Fate::FileWins { field, override_value, .. } = &one.fate {
                let reason = "the configuration file says so by now";
                match field {
                    Field::Weight => {
                        self.tell_weight(&one.server, override_value.parse().ok(), reason);
                    }
                    Field::State => {
                        self.reasons.insert(one.server, reason.to_owned());
                    }
                }
            }
        }
        if !settled.is_empty() {
            self.keep_notes();
        }
        settled
    }

    /// Keeps what was ordered for a restart; what is wrong with that.
    fn keep_notes(&self) -> Option<String> {
        let written = self.notes.write(&self.registry.overrides, &self.registry.denials);
        written.err().inspect(|warning| log::error!("{warning}"))
    }

    /// An operator gave a server another weight; `was` is the one that held in place of the file's.
    fn tell_weight(&self, key: &ServerKey, was: Option<u32>, reason: &str) {
        let services = &self.publisher.current().services;
        let now = self.registry.overrides.get(key).and_then(|known| known.weight.as_ref());
        let now = now.map(|said| said.value);
        let word = |weight: Option<u32>| weight.map_or("configured".into(), |w| w.to_string());
        let subject = tell::of_key(services, key);
        let event = Event::new(Kind::Weight, subject, word(was), word(now));
        self.tell(Event { reason: reason.to_owned(), ..event });
    }

    fn tell_denials(&self, denials: &[Denial], what: &'static str, how: &str) {
        let services = Arc::clone(&self.publisher.current().services);
        for denial in denials {
            let place = denial.service.map(|key| of_service(&services, &key)).unwrap_or_default();
            let subject = Subject { source: Some(denial.source.to_string()), ..place };
            let until =
                denial.until.map(|until| format!(", until {}", crate::event::time::text(until)));
            let before = if what == "added" { "open" } else { "denied" };
            let event = Event::new(Kind::Deny, subject, before, what);
            let reason = format!("{how} {}{}", denial.sign, until.unwrap_or_default());
            self.tell(Event { reason, ..event });
        }
    }
}

fn of_service(services: &Services, key: &ServiceKey) -> Subject {
    let id = services.by_key.get(key);
    id.and_then(|id| tell::of_service(services, *id)).unwrap_or_default()
}
