//! What health knows of servers, and what their services make of it: which of them take new
//! connections, which lose their old ones, whether the sorry server is needed.

use std::{net::IpAddr, time::SystemTime};

use dataplane::snapshot::{self, ServerId, ServiceId, Services};
use hashbrown::HashMap;
use health::{
    check::Via,
    event::{Event, Health},
    member::Member,
    pool::{Decision, Pool, Seat},
};

use crate::{
    model::{Model, OnDown, Server, Service, Vip},
    report::Standing,
};

/// Everything that is known.
#[derive(Default)]
pub struct Board {
    servers: HashMap<ServerId, Known>,
    pools: HashMap<ServiceId, (Pool, Decision)>,
    /// What an earlier run knew, by [`name`].
    earlier: HashMap<String, Health>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its health.
    pub health: Health,
    /// The weight that its checks give it.
    pub weight: Option<u32>,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
}

/// A service gained its quorum, or lost it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which service.
    pub service: ServiceId,
    /// Its name.
    pub name: String,
    /// It has its quorum now.
    pub quorum: bool,
    /// The sorry server takes new connections now.
    pub sorry: bool,
}

impl Board {
    /// What an earlier run knew, by [`name`].
    pub fn recall(&mut self, earlier: HashMap<String, Health>) {
        self.earlier = earlier;
    }

    /// Takes an event; false if it is of a server that is not there any more.
    pub fn take(&mut self, event: &Event, services: &Services) -> bool {
        let there = services.server(event.server).is_some_and(|server| !server.removed);
        if there {
            let Event { health, weight, why, at, .. } = event.clone();
            self.servers.insert(event.server, Known { health, weight, why, since: at });
        }
        there
    }

    /// What is known of a server.
    pub fn known(&self, server: ServerId) -> Option<&Known> {
        self.servers.get(&server)
    }

    /// What was decided about a service last.
    pub fn decision(&self, service: ServiceId) -> Option<&Decision> {
        self.pools.get(&service).map(|(_, decision)| decision)
    }

    /// How all services stand to their quorums.
    pub fn standings(&self, model: &Model, services: &Services) -> HashMap<ServiceId, Standing> {
        let standing = |service: &Service| {
            let id = *services.by_key.get(&service.key)?;
            let decision = self.decision(id)?;
            let needed = service.health.pool.quorum;
            let standing = Standing {
                quorum: decision.quorum && (!decision.waiting || decision.weight >= needed),
                waiting: decision.waiting,
                weight: decision.weight,
                needed,
                sorry: decision.sorry,
            };
            Some((id, standing))
        };
        model.services.iter().filter_map(standing).collect()
    }

    /// The servers that are to be asked: those with checks.
    pub fn members(&self, model: &Model, services: &Services) -> Vec<Member> {
        let mut members = Vec::new();
        for service in &model.services {
            for (server, id) in seated(service, services) {
                let mut checks = server.checks.clone();
                for check in &mut checks {
                    if let Via::Service(path) = &mut check.question.target.via {
                        path.server = id;
                    }
                }
                if checks.is_empty() {
                    continue;
                }
                members.push(Member {
                    server: id,
                    checks,
                    require: service.health.require,
                    damping: service.health.damping,
                    known: self.earlier.get(&name(service, server)).copied(),
                });
            }
        }
        members
    }

    /// Whether a managed VIP is to be taken away: all of its services that say `withdraw` are
    /// below their quorum, or any of them.
    pub fn withdraws(&self, model: &Model, services: &Services, vip: &Vip) -> bool {
        let own = model.services.iter().filter(|service| {
            service.health.withdraw
                && service.key.endpoint().is_some_and(|endpoint| endpoint.address == vip.address)
        });
        let mut below = own.map(|service| {
            let decision = services.by_key.get(&service.key).and_then(|id| self.decision(*id));
            decision.is_some_and(|decision| !decision.quorum)
        });
        match vip.withdraw_any {
            true => below.any(|below| below),
            false => {
                let all: Vec<bool> = below.collect();
                !all.is_empty() && !all.contains(&false)
            }
        }
    }

    /// The servers of services whose checks pause, since their VIP is elsewhere.
    pub fn paused(
        &self,
        model: &Model,
        services: &Services,
        elsewhere: impl Fn(IpAddr) -> bool,
    ) -> Vec<ServerId> {
        let paused = model.services.iter().filter(|service| {
            service.health.pause_without_vip
                && service.key.endpoint().is_some_and(|endpoint| elsewhere(endpoint.address))
        });
        paused.flat_map(|service| seated(service, services)).map(|(_, id)| id).collect()
    }

    /// What would be worth knowing after a restart.
    pub fn memory(&self, model: &Model, services: &Services) -> HashMap<String, Health> {
        let mut memory = HashMap::new();
        for service in &model.services {
            for (server, id) in seated(service, services) {
                if let Some(known) = self.servers.get(&id).filter(|k| k.health != Health::Waiting) {
                    memory.insert(name(service, server), known.health);
                }
            }
        }
        memory
    }

    /// Writes into the compiled services what health makes of them, and gives the services whose
    /// quorum or sorry server turned.
    pub fn overlay(&mut self, model: &Model, services: &mut Services) -> Vec<Turn> {
        let mut turns = Vec::new();
        for service in &model.services {
            let Some(&id) = services.by_key.get(&service.key) else { continue };
            let seats: Vec<Seat> = seated(service, services)
                .map(|(server, id)| self.seat(service, server, id, services))
                .collect();
            let (pool, decision) = self.pools.entry(id).or_default();
            let before = std::mem::replace(decision, pool.decide(&service.health.pool, &seats));
            let first = before.uses.is_empty() && before.tiers == 0;
            let (was, is) =
                ((before.quorum || first, before.sorry), (decision.quorum, decision.sorry));
            if was != is {
                let (name, (quorum, sorry)) = (service.name.clone(), is);
                turns.push(Turn { service: id, name, quorum, sorry });
            }
            let decision = decision.clone();
            for (seat, used) in seats.iter().zip(&decision.uses) {
                let weight = self.servers.get(&seat.server).and_then(|known| known.weight);
                if let Some(Some(record)) = services.servers.get_mut(seat.server as usize) {
                    seat_record(record, service, seat.health, *used, weight);
                }
            }
            let sorry = sorry_of(service, services);
            if let Some(Some(record)) = sorry.and_then(|id| services.servers.get_mut(id as usize)) {
                (record.up, record.standby) = (true, !decision.sorry);
            }
        }
        let there = |id: &ServerId| services.server(*id).is_some_and(|server| !server.removed);
        self.servers.retain(|id, _| there(id));
        let live: Vec<ServiceId> = services.by_key.values().copied().collect();
        self.pools.retain(|id, _| live.contains(id));
        turns
    }

    fn seat(&self, service: &Service, server: &Server, id: ServerId, services: &Services) -> Seat {
        let unknown = if server.checks.is_empty() { Health::Up } else { Health::Waiting };
        let earlier = || self.earlier.get(&name(service, server)).copied();
        let health = self.servers.get(&id).map(|known| known.health);
        Seat {
            server: id,
            tier: server.tier,
            weight: server.weight,
            drained: services.server(id).is_some_and(|record| record.drained),
            health: health.or_else(earlier).unwrap_or(unknown),
        }
    }
}

/// The servers of a service with the ids that the compiled services give them.
fn seated<'s>(
    service: &'s Service,
    services: &Services,
) -> impl Iterator<Item = (&'s Server, ServerId)> {
    let compiled = services.by_key.get(&service.key);
    let compiled = compiled.and_then(|id| services.services.get(*id as usize)?.as_ref());
    let ids: HashMap<_, _> = compiled
        .into_iter()
        .flat_map(|compiled| &compiled.servers)
        .filter_map(|&id| Some(((services.server(id)?.address, services.server(id)?.port), id)))
        .collect();
    service
        .servers
        .iter()
        .filter_map(move |server| ids.get(&(server.address, server.port)).map(|id| (server, *id)))
}

/// The id of the service's sorry server.
fn sorry_of(service: &Service, services: &Services) -> Option<ServerId> {
    let sorry = service.health.sorry.as_ref()?;
    let compiled = services.services.get(*services.by_key.get(&service.key)? as usize)?.as_ref()?;
    let is = |id: &&ServerId| {
        let record = services.server(**id);
        record.is_some_and(|record| (record.address, record.port) == (sorry.address, sorry.port))
    };
    compiled.servers.iter().find(is).copied()
}

/// What a server's health makes of its record.
fn seat_record(
    record: &mut snapshot::Server,
    service: &Service,
    health: Health,
    used: bool,
    weight: Option<u32>,
) {
    if let Some(weight) = weight {
        record.weight = weight;
    }
    let down = health == Health::Down;
    (record.up, record.standby, record.absent) = match (used, down, service.health.on_down) {
        // Up, or treated as if it were.
        (true, ..) => (true, false, false),
        // Its connections go on: it waits, or another tier serves, or they are kept.
        (false, false, _) => (true, true, false),
        (false, true, OnDown::Weight0) => {
            record.weight = 0;
            (true, false, false)
        }
        (false, true, OnDown::Remove) => (false, false, true),
        (false, true, OnDown::Leave) if service.health.keeps => (true, true, false),
        (false, true, OnDown::Leave) => (false, false, false),
    };
}

/// A server's name in what outlives a run.
fn name(service: &Service, server: &Server) -> String {
    format!("{} {}:{}", service.key, server.address, server.port)
}
