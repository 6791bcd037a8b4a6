//! Which number a service and a real server have, over reloads. Counts, scheduler state and
//! connections refer to these numbers, so one is never given to another key while it is in use.

use std::{collections::BTreeSet, net::IpAddr};

use dataplane::{
    forward::ServiceKey,
    snapshot::{Server, ServerId, Service, ServiceId},
};
use hashbrown::{HashMap, HashSet};

/// What makes a real server the same one after a reload: the LVS identity of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey {
    /// The service it serves.
    pub service: ServiceKey,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// The allocator of ids. Keep one for the life of the daemon and hand it to every
/// [`crate::compile::compile`].
///
/// A server that leaves the file keeps its id and its record, marked removed, and so does its
/// service, until [`Ids::release`] says that its last connection ended.
#[derive(Debug, Default)]
pub struct Ids {
    services: Slots<Service>,
    servers: Slots<Server>,
    service_of: HashMap<ServiceKey, ServiceId>,
    server_of: HashMap<ServerKey, ServerId>,
    /// The services of the file last compiled.
    named: HashSet<ServiceId>,
}

impl Ids {
    /// The last connection of a removed server ended: its id may be given to another one.
    /// Returns false, and does nothing, if the server is in the file or unknown.
    pub fn release(&mut self, id: ServerId) -> bool {
        let Some(Some(server)) = self.servers.items.get(id as usize) else { return false };
        if !server.removed {
            return false;
        }
        let Server { service, address, port, .. } = *server;
        if let Some(record) = &self.services.items[service as usize] {
            self.server_of.remove(&ServerKey { service: record.key, address, port });
        }
        self.servers.clear(id);
        if !self.named.contains(&service) && !self.in_use().contains(&service) {
            self.forget(service);
        }
        true
    }

    /// The id of a server, if it has one.
    pub fn server_id(&self, key: &ServerKey) -> Option<ServerId> {
        self.server_of.get(key).copied()
    }

    /// What a server was when it was last compiled, if it still has its id.
    pub(super) fn record(&self, key: &ServerKey) -> Option<&Server> {
        self.servers.items[self.server_id(key)? as usize].as_ref()
    }

    /// The services and servers that have ids, removed ones among them.
    pub fn keys(&self) -> (HashSet<ServiceKey>, HashSet<ServerKey>) {
        (self.service_of.keys().copied().collect(), self.server_of.keys().copied().collect())
    }

    /// Everything counts as removed until it is named again.
    pub(super) fn begin(&mut self) {
        self.named.clear();
        self.servers.items.iter_mut().flatten().for_each(|server| server.removed = true);
        self.services.items.iter_mut().flatten().for_each(|service| service.servers.clear());
    }

    /// The id of a service: the one it had, also when it comes back while connections of its
    /// former life last, else the lowest free one.
    pub(super) fn service(&mut self, key: ServiceKey) -> ServiceId {
        let id = *self.service_of.entry(key).or_insert_with(|| self.services.take());
        self.named.insert(id);
        id
    }

    pub(super) fn set_service(&mut self, id: ServiceId, record: Service) {
        self.services.items[id as usize] = Some(record);
    }

    /// The id of a server, the one it had or the lowest free one; stores its record.
    pub(super) fn server(&mut self, key: ServerKey, record: Server) -> ServerId {
        let id = *self.server_of.entry(key).or_insert_with(|| self.servers.take());
        self.servers.items[id as usize] = Some(record);
        id
    }

    /// Forgets the services that were not named, unless servers of theirs still have
    /// connections: packets of those match by the service's key.
    pub(super) fn finish(&mut self) {
        let in_use = self.in_use();
        let known: Vec<ServiceId> = self.service_of.values().copied().collect();
        for id in known {
            if !self.named.contains(&id) && !in_use.contains(&id) {
                self.forget(id);
            }
        }
    }

    pub(super) fn services(&self) -> &[Option<Service>] {
        &self.services.items
    }

    pub(super) fn servers(&self) -> &[Option<Server>] {
        &self.servers.items
    }

    fn in_use(&self) -> HashSet<ServiceId> {
        self.servers.items.iter().flatten().map(|server| server.service).collect()
    }

    fn forget(&mut self, id: ServiceId) {
        if let Some(record) = self.services.clear(id) {
            self.service_of.remove(&record.key);
        }
    }
}

/// Records by id, the lowest free id first.
#[derive(Debug)]
struct Slots<T> {
    items: Vec<Option<T>>,
    free: BTreeSet<u32>,
}

impl<T> Slots<T> {
    fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.items.push(None);
            (self.items.len() - 1) as u32
        })
    }

    fn clear(&mut self, id: u32) -> Option<T> {
        self.free.insert(id);
        self.items[id as usize].take()
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: BTreeSet::new() }
    }
}
