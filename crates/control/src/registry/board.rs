//! What health knows of servers, and what their services make of it: which of them take new
//! connections, which lose their old ones, whether the sorry server is needed.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use dataplane::snapshot::{self, ServerId, ServiceId, Services};
use hashbrown::{HashMap, HashSet};
use health::{
    check::Via,
    event::{Event, Health},
    member::Member,
    pool::{Decision, Pool, Seat},
};

use super::{
    hints::Suspects,
    overrides::Overrides,
    stand::{Stand, Turn},
};
use crate::{
    event::Counts,
    model::{AdminState, Model, OnDown, Server, Service, Vip},
    report::Standing,
};

/// Everything that is known.
#[derive(Default)]
pub struct Board {
    servers: HashMap<ServerId, Known>,
    pools: HashMap<ServiceId, (Pool, Decision)>,
    /// What an earlier run knew, by [`name`].
    earlier: HashMap<String, Health>,
    /// Servers that their traffic speaks against.
    pub suspects: Suspects,
    /// Servers in maintenance: nothing is known of them, and nobody asks.
    resting: HashSet<ServerId>,
    /// Those that came into maintenance (true) or out of it, not yet told.
    rested: Vec<(ServerId, bool)>,
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

impl Board {
    /// What an earlier run knew, by [`name`].
    pub fn recall(&mut self, earlier: HashMap<String, Health>) {
        self.earlier = earlier;
    }

    /// Takes an event; false if it is of a server that is not there any more, or in maintenance.
    pub fn take(&mut self, event: &Event, services: &Services) -> bool {
        let there = services.server(event.server).is_some_and(|server| !server.removed)
            && !self.resting.contains(&event.server);
        if there {
            let Event { health, weight, why, at, .. } = event.clone();
            self.servers.insert(event.server, Known { health, weight, why, since: at });
        }
        there
    }

    /// Suspects a server for so long at most, unless no other one of its service would be left;
    /// true if it is suspect now.
    pub fn suspect(
        &mut self,
        server: ServerId,
        service: &snapshot::Service,
        most: Duration,
        why: String,
    ) -> bool {
        let serves = |id: &ServerId| {
            let known = self.servers.get(id);
            known.is_some_and(|known| known.health == Health::Up) && !self.suspects.has(*id)
        };
        let alone = !service.servers.iter().any(|id| *id != server && serves(id));
        if alone || !serves(&server) {
            return false;
        }
        self.suspects.add(server, most, why);
        true
    }

    /// The servers that came into maintenance (true) or out of it since this was asked last.
    pub fn rested(&mut self) -> Vec<(ServerId, bool)> {
        std::mem::take(&mut self.rested)
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

    /// How a service is, for who hears of an event.
    pub fn counts(
        &self,
        model: &Model,
        overrides: &Overrides,
        services: &Services,
        id: ServiceId,
    ) -> Option<Counts> {
        let is = |service: &&Service| services.by_key.get(&service.key) == Some(&id);
        let service = model.services.iter().find(is)?;
        let seats = seated(service, services);
        let seats: Vec<Seat> =
            seats.map(|(server, id)| self.seat((service, server), id, overrides)).collect();
        Some(Counts {
            up: seats.iter().filter(|seat| seat.health == Health::Up).count(),
            servers: seats.len(),
            weight: self.decision(id).map_or(0, |decision| decision.weight),
            quorum: service.health.pool.quorum,
        })
    }

    /// The servers that are to be asked: those with checks that are not in maintenance.
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
                if checks.is_empty() || self.resting.contains(&id) {
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

    /// Writes into the compiled services what operators and health make of them, and gives the
    /// services whose stand turned.
    pub fn overlay(
        &mut self,
        model: &Model,
        overrides: &Overrides,
        services: &mut Services,
    ) -> Vec<Turn> {
        let mut turns = Vec::new();
        self.rest(model, overrides, services);
        for service in &model.services {
            let Some(&id) = services.by_key.get(&service.key) else { continue };
            let seated: Vec<(&Server, ServerId)> = seated(service, services).collect();
            let seat =
                |(server, id): &(&Server, ServerId)| self.seat((service, *server), *id, overrides);
            let seats: Vec<Seat> = seated.iter().map(seat).collect();
            let (pool, decision) = self.pools.entry(id).or_default();
            let mut decided = pool.decide(&service.health.pool, &seats);
            keep_resting(&mut decided, &seats, &self.resting);
            let before = std::mem::replace(decision, decided);
            let before = (before != Decision::default()).then(|| Stand::of(&before));
            let now = Stand::of(decision);
            if before != Some(now) {
                turns.push(Turn { service: id, before, now });
            }
            let decision = decision.clone();
            for ((seat, used), (server, _)) in seats.iter().zip(&decision.uses).zip(&seated) {
                let checked = self.servers.get(&seat.server).and_then(|known| known.weight);
                let weight = overrides.weight(service.key, server).or(checked);
                if let Some(Some(record)) = services.servers.get_mut(seat.server as usize) {
                    seat_record(record, service, seat.health, *used, weight);
                    take_state(record, service, overrides.state(service.key, server));
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

    /// Which servers are in maintenance. What was known of one before is not known after it: it
    /// begins like a new one.
    fn rest(&mut self, model: &Model, overrides: &Overrides, services: &Services) {
        let mut resting = HashSet::new();
        let by_file = |service: &&Service| {
            service.servers.iter().any(|server| server.state == AdminState::Maint)
        };
        let concerned = !self.resting.is_empty() || !overrides.is_empty();
        for service in model.services.iter().filter(|service| concerned || by_file(service)) {
            for (server, id) in seated(service, services) {
                let rests = overrides.state(service.key, server) == AdminState::Maint;
                if rests != self.resting.contains(&id) {
                    self.rested.push((id, rests));
                    self.servers.remove(&id);
                    self.earlier.remove(&name(service, server));
                }
                if rests {
                    resting.insert(id);
                }
            }
        }
        self.resting = resting;
    }

    fn seat(
        &self,
        (service, server): (&Service, &Server),
        id: ServerId,
        overrides: &Overrides,
    ) -> Seat {
        let unknown = if server.checks.is_empty() { Health::Up } else { Health::Waiting };
        let earlier = || self.earlier.get(&name(service, server)).copied();
        let health = self.servers.get(&id).map(|known| known.health);
        Seat {
            server: id,
            tier: server.tier,
            weight: overrides.weight(service.key, server).unwrap_or(server.weight),
            drained: overrides.state(service.key, server).drains(),
            health: match health.or_else(earlier).unwrap_or(unknown) {
                _ if self.resting.contains(&id) => Health::Down,
                Health::Up if self.suspects.has(id) => Health::Waiting,
                health => health,
            },
        }
    }
}

/// The servers of a service with the ids that the compiled services give them.
pub(crate) fn seated<'s>(
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

/// Not even `all_down` has a server in use that is in maintenance.
fn keep_resting(decision: &mut Decision, seats: &[Seat], resting: &HashSet<ServerId>) {
    for (used, seat) in decision.uses.iter_mut().zip(seats) {
        *used &= !resting.contains(&seat.server);
    }
    decision.all_down &= decision.uses.contains(&true);
}

/// What the operator's state makes of a record, over what health made of it.
fn take_state(record: &mut snapshot::Server, service: &Service, state: AdminState) {
    record.drained = state.drains();
    record.keeps_clients = state == AdminState::DrainPersistent;
    // Weight 0 alone would let clients with templates come, where LVS's setting says so.
    if state == AdminState::Maint && service.health.on_down == OnDown::Weight0 {
        record.standby = true;
    }
}

/// A server's name in what outlives a run.
fn name(service: &Service, server: &Server) -> String {
    format!("{} {}:{}", service.key, server.address, server.port)
}
