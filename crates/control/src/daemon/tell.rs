//! What happens goes into the log, the chronicle and to hooks.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ::health::event::{self, Health};
use dataplane::snapshot::{ServerId, ServiceId, Services};

use super::Daemon;
use crate::{
    compile::ServerKey,
    event::{Counts, Event, Kind, Subject},
    registry::{Known, Registry},
};

impl Daemon {
    /// Tells everybody; never waits.
    pub(super) fn tell(&self, mut event: Event) {
        self.chronicle.write(&mut event);
        note(&event);
        self.hooks.tell(&event);
    }

    fn counts(&self, services: &Services, service: ServiceId) -> Option<Counts> {
        let Registry { board, model, overrides, .. } = &self.registry;
        board.counts(model, overrides, services, service)
    }

    /// A server's health changed, or the weight that its checks give it. `before` is what was
    /// known of it.
    pub(super) fn tell_health(
        &self,
        heard: &event::Event,
        before: Option<&Known>,
        services: &Services,
    ) {
        let old = before.map_or("unknown", |known| known.health.name());
        let initial = before.is_none_or(|known| known.health == Health::Waiting);
        let begins = before.is_none() && heard.health == Health::Waiting;
        let Some(subject) = of_server(services, heard.server).filter(|_| !begins) else { return };
        let of = |kind, old: String, new: String| Event {
            time: heard.at,
            initial,
            reason: heard.why.clone(),
            counts: services
                .server(heard.server)
                .and_then(|server| self.counts(services, server.service)),
            ..Event::new(kind, subject.clone(), old, new)
        };
        let new = heard.health.name();
        if old != new {
            self.tell(of(Kind::Server, old.to_owned(), new.to_owned()));
        }
        let weight = |weight: Option<u32>| weight.map_or("configured".into(), |w| w.to_string());
        if let Some(known) = before.filter(|known| !initial && known.weight != heard.weight) {
            self.tell(of(Kind::Weight, weight(known.weight), weight(heard.weight)));
        }
    }

    /// Tells which services stand otherwise.
    pub(super) fn tell_turns(&mut self) {
        let services = Arc::clone(&self.publisher.current().services);
        for turn in self.registry.turned() {
            let Some(subject) = of_service(&services, turn.service) else { continue };
            let counts = self.counts(&services, turn.service);
            let before = |pick: fn(&crate::registry::Stand) -> &'static str| {
                turn.before.as_ref().map_or("unknown", pick)
            };
            let states = [
                (Kind::Quorum, before(|stand| stand.quorum), turn.now.quorum),
                (Kind::Service, before(|stand| stand.serves), turn.now.serves),
            ];
            for (kind, old, new) in states {
                if old == new || new == "waiting" {
                    continue;
                }
                let initial = matches!(old, "unknown" | "waiting");
                self.tell(Event { initial, counts, ..Event::new(kind, subject.clone(), old, new) });
            }
        }
    }

    /// Tells which servers the operator drains or has in maintenance now, or not any more.
    pub(super) fn tell_states(&mut self, before: &Services, now: &Services) {
        let reasons = std::mem::take(&mut self.reasons);
        let word = |is| if is { "on" } else { "off" };
        let reason = |id| {
            let server = now.server(id)?;
            let service = now.service_of(id)?.key;
            reasons.get(&ServerKey { service, address: server.address, port: server.port })
        };
        for (id, rests) in self.registry.board.rested() {
            if let Some(subject) = of_server(now, id) {
                let event = Event::new(Kind::Maint, subject, word(!rests), word(rests));
                self.tell(Event { reason: reason(id).cloned().unwrap_or_default(), ..event });
            }
        }
        for (id, server) in now.servers.iter().enumerate() {
            let old = before.servers.get(id).and_then(Option::as_ref);
            let (Some(server), Some(old)) = (server, old) else { continue };
            if server.drained == old.drained || server.address != old.address {
                continue;
            }
            if let Some(subject) = of_server(now, id as ServerId) {
                let (old, new) = (word(old.drained), word(server.drained));
                let reason = reason(id as ServerId).cloned().unwrap_or_default();
                self.tell(Event { reason, ..Event::new(Kind::Drain, subject, old, new) });
            }
        }
    }

    /// A managed VIP came or went.
    pub(super) fn tell_vip(&self, vip: IpAddr, states: [&'static str; 2], reason: String) {
        let subject = Subject { vip: Some(vip), ..Subject::default() };
        let [old, new] = states;
        let initial = old == "unknown";
        self.tell(Event { initial, reason, ..Event::new(Kind::Vip, subject, old, new) });
    }

    /// The daemon itself.
    pub(super) fn tell_director(&self, old: &'static str, new: &'static str, reason: String) {
        let event = Event::new(Kind::Director, Subject::default(), old, new);
        self.tell(Event { reason, ..event });
    }
}

/// Into the log: a sentence, and its facts for a log that keeps them.
fn note(event: &Event) {
    let level = event.level();
    if level > log::max_level() {
        return;
    }
    let fields = event.fields();
    log::logger().log(
        &log::Record::builder()
            .args(format_args!("{event}"))
            .level(level)
            .target(module_path!())
            .module_path_static(Some(module_path!()))
            .key_values(&fields)
            .build(),
    );
}

pub(super) fn of_service(services: &Services, id: ServiceId) -> Option<Subject> {
    let service = services.services.get(id as usize)?.as_ref()?;
    let endpoint = service.key.endpoint();
    Some(Subject {
        service: Some(service.name.clone()),
        vip: endpoint.map(|endpoint| endpoint.address),
        port: endpoint.map(|endpoint| endpoint.port),
        protocol: endpoint.map(|endpoint| endpoint.protocol.name().to_owned()),
        mark: service.key.mark(),
        ..Subject::default()
    })
}

/// A server by its key, as far as its service is known.
pub(super) fn of_key(services: &Services, key: &ServerKey) -> Subject {
    let service = services.by_key.get(&key.service).and_then(|id| of_service(services, *id));
    let server = Some(SocketAddr::new(key.address, key.port));
    Subject { server, ..service.unwrap_or_default() }
}

fn of_server(services: &Services, id: ServerId) -> Option<Subject> {
    let server = services.server(id)?;
    let subject = of_service(services, server.service)?;
    Some(Subject { server: Some(SocketAddr::new(server.address, server.port)), ..subject })
}
