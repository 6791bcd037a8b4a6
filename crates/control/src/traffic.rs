//! What passed: counts of servers and services as operators see them. The workers' counters
//! and the director's only grow, and go on when a server's id is given to another server; here
//! stands from where each server and service counts, and how fast.

mod estimator;
mod odometer;

use std::{ops::AddAssign, sync::Arc, time::Duration};

use dataplane::{
    director::Director,
    forward::ServiceKey,
    snapshot::{ServerId, Service, Services},
    stats::{self, Counter, Stats},
};
use hashbrown::HashMap;

use estimator::Estimator;
pub use estimator::Rates;
pub use odometer::Odometer;

/// How often rates are measured.
pub const PERIOD: Duration = Duration::from_secs(2);

/// What a server, or a service, has had. Octets are those of IP packets; what goes out is only
/// seen in NAT and FullNAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections made.
    pub connections: u64,
    /// Packets towards servers.
    pub in_packets: u64,
    /// Packets from servers.
    pub out_packets: u64,
    /// Octets towards servers.
    pub in_bytes: u64,
    /// Octets from servers.
    pub out_bytes: u64,
}

impl Traffic {
    /// All that was ever counted under a server's id.
    pub fn raw(director: &Director, stats: &[Arc<Stats>], id: ServerId) -> Self {
        let sum = |pick: fn(&stats::Traffic) -> &Counter| {
            stats.iter().map(|stats| pick(stats.server(id)).value()).sum()
        };
        Self {
            connections: director.server(id).opened(),
            in_packets: sum(|traffic| &traffic.in_packets),
            out_packets: sum(|traffic| &traffic.out_packets),
            in_bytes: sum(|traffic| &traffic.in_bytes),
            out_bytes: sum(|traffic| &traffic.out_bytes),
        }
    }

    /// What came since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::wrapping_sub)
    }

    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            connections: with(self.connections, other.connections),
            in_packets: with(self.in_packets, other.in_packets),
            out_packets: with(self.out_packets, other.out_packets),
            in_bytes: with(self.in_bytes, other.in_bytes),
            out_bytes: with(self.out_bytes, other.out_bytes),
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(&other, u64::wrapping_add);
    }
}

/// From where counts count, and the rates.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What the id had when its server came, or was set to zero.
    start: HashMap<ServerId, Traffic>,
    /// What servers had that are gone for good: it stays with their service.
    left: HashMap<ServiceKey, Traffic>,
    servers: HashMap<ServerId, Estimator>,
    services: HashMap<ServiceKey, Estimator>,
}

impl Ledger {
    /// What a server has had, of all that its id had.
    pub fn server(&self, id: ServerId, raw: Traffic) -> Traffic {
        raw.since(&self.start.get(&id).copied().unwrap_or_default())
    }

    /// What each service has had, by its id: its servers, also removed ones, and those that left.
    pub fn services(&self, services: &Services, raw: &dyn Fn(ServerId) -> Traffic) -> Vec<Traffic> {
        let left = |service: &Option<Service>| {
            service.as_ref().and_then(|service| self.left.get(&service.key)).copied()
        };
        let mut sums: Vec<Traffic> =
            services.services.iter().map(|service| left(service).unwrap_or_default()).collect();
        for (id, server) in services.servers.iter().enumerate() {
            if let Some(server) = server {
                sums[server.service as usize] += self.server(id as ServerId, raw(id as ServerId));
            }
        }
        sums
    }

    /// A server's rates.
    pub fn server_rates(&self, id: ServerId) -> Rates {
        self.servers.get(&id).map(Estimator::rates).unwrap_or_default()
    }

    /// A service's rates.
    pub fn service_rates(&self, key: &ServiceKey) -> Rates {
        self.services.get(key).map(Estimator::rates).unwrap_or_default()
    }

    /// A server is gone for good, its id free: the next owner starts at nothing.
    pub fn release(&mut self, services: &Services, id: ServerId, raw: Traffic) {
        let had = self.server(id, raw);
        let service = services.servers[id as usize].as_ref().map(|server| server.service);
        let service = service.and_then(|service| services.services[service as usize].as_ref());
        if let Some(service) = service.filter(|service| services.by_key.contains_key(&service.key))
        {
            *self.left.entry(service.key).or_default() += had;
        }
        self.start.insert(id, raw);
        self.servers.remove(&id);
    }

    /// Forgets the services that are not there any more.
    pub fn keep(&mut self, services: &Services) {
        self.left.retain(|key, _| services.by_key.contains_key(key));
        self.services.retain(|key, _| services.by_key.contains_key(key));
    }

    /// Sets the counts and rates of a service and its servers to zero.
    pub fn zero(
        &mut self,
        services: &Services,
        key: &ServiceKey,
        raw: &dyn Fn(ServerId) -> Traffic,
    ) {
        self.left.remove(key);
        self.services.remove(key);
        let service = services.by_key.get(key).copied();
        for (id, server) in services.servers.iter().enumerate() {
            if server.as_ref().is_some_and(|server| Some(server.service) == service) {
                self.start.insert(id as ServerId, raw(id as ServerId));
                self.servers.remove(&(id as ServerId));
            }
        }
    }

    /// To be called every two seconds ([`Estimator`]).
    pub fn tick(&mut self, services: &Services, raw: &dyn Fn(ServerId) -> Traffic) {
        for (id, server) in services.servers.iter().enumerate() {
            if server.is_some() {
                let id = id as ServerId;
                let had = self.server(id, raw(id));
                self.servers.entry(id).or_default().tick(had);
            }
        }
        let sums = self.services(services, raw);
        for (key, id) in &services.by_key {
            self.services.entry(*key).or_default().tick(sums[*id as usize]);
        }
    }
}
