//! Counts that only grow, for who compares one look with the next: no command sets them to zero,
//! and a server or a service that comes back goes on where it was.

use std::hash::Hash;

use dataplane::{
    forward::ServiceKey,
    snapshot::{ServerId, Services},
};
use hashbrown::HashMap;

use super::Traffic;
use crate::compile::ServerKey;

/// What servers and services have had since the daemon started, also in former lives. An id's raw
/// counts go on with its next owner; here stands what they were when it got the id.
#[derive(Debug, Default)]
pub struct Odometer {
    base: HashMap<ServerId, Traffic>,
    servers: Former<ServerKey>,
    services: Former<ServiceKey>,
}

impl Odometer {
    /// What a server has had; `raw` is all that its id had.
    pub fn server(&self, key: &ServerKey, id: ServerId, raw: Traffic) -> Traffic {
        let mut had = self.servers.of(key);
        had += self.now(id, raw);
        had
    }

    /// What the servers of a service have had that are gone for good. The rest is
    /// [`Odometer::now`] of those that have ids.
    pub fn gone(&self, key: &ServiceKey) -> Traffic {
        self.services.of(key)
    }

    /// What an id had with its owner of now.
    pub fn now(&self, id: ServerId, raw: Traffic) -> Traffic {
        raw.since(&self.base.get(&id).copied().unwrap_or_default())
    }

    /// A server is gone for good, its id free.
    pub fn release(&mut self, services: &Services, id: ServerId, raw: Traffic) {
        let Some(server) = services.server(id) else { return };
        let Some(Some(service)) = services.services.get(server.service as usize) else { return };
        let had = self.now(id, raw);
        let (service, address, port) = (service.key, server.address, server.port);
        self.services.add(service, had);
        self.servers.add(ServerKey { service, address, port }, had);
        self.base.insert(id, raw);
    }

    /// Forgets the services that have been gone longest, beyond so many. Who has an id stays.
    pub fn keep_services(&mut self, most: usize, has_id: impl Fn(&ServiceKey) -> bool) {
        self.services.keep(most, has_id);
    }

    /// The same for servers.
    pub fn keep_servers(&mut self, most: usize, has_id: impl Fn(&ServerKey) -> bool) {
        self.servers.keep(most, has_id);
    }

    /// How many services and servers are remembered.
    pub fn remembered(&self) -> (usize, usize) {
        (self.services.had.len(), self.servers.had.len())
    }
}

/// What was counted before, and when it was added to last.
#[derive(Debug)]
struct Former<K> {
    had: HashMap<K, (Traffic, u64)>,
    additions: u64,
}

impl<K> Default for Former<K> {
    fn default() -> Self {
        Self { had: HashMap::new(), additions: 0 }
    }
}

impl<K: Eq + Hash + Clone> Former<K> {
    fn of(&self, key: &K) -> Traffic {
        self.had.get(key).map(|(had, _)| *had).unwrap_or_default()
    }

    fn add(&mut self, key: K, more: Traffic) {
        self.additions += 1;
        let (had, last) = self.had.entry(key).or_default();
        *had += more;
        *last = self.additions;
    }

    fn keep(&mut self, most: usize, has_id: impl Fn(&K) -> bool) {
        if self.had.len() <= most {
            return;
        }
        let gone = self.had.iter().filter(|(key, _)| !has_id(key));
        let mut gone: Vec<(u64, K)> = gone.map(|(key, (_, last))| (*last, key.clone())).collect();
        gone.sort_unstable_by_key(|(last, _)| *last);
        let surplus = gone.len().saturating_sub(most);
        for (_, key) in gone.drain(..surplus) {
            self.had.remove(&key);
        }
    }
}
