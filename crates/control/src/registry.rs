//! The services as they are now: the model, the ids that connections refer to, and from where
//! traffic counts. The file fills it; commands change it while traffic flows.

mod board;
mod denials;
mod hints;
pub mod naming;
mod overrides;
mod slow_start;
mod stand;

use std::sync::{Arc, Mutex, PoisonError};

use dataplane::{
    access::Gates,
    director::Director,
    forward::ServiceKey,
    snapshot::{Server, ServerId, Services},
    stats::Stats,
};
use hashbrown::{HashMap, HashSet};

use crate::{
    compile::{Ids, ServerKey, compile},
    model::{Limits, Model},
    traffic::{Ledger, Odometer, Traffic},
};
pub(crate) use board::seated;
pub use board::{Board, Known};
pub use dataplane::prefix::Prefix;
pub use denials::{Denial, Denials, Full as NoRoomToDeny, source};
pub use hints::{Failures, Hint, Hints, Suspects};
pub use overrides::{Fate, Field, Full, Override, Overrides, Said, Settled, Sign, Wish};
use slow_start::SlowStart;
pub use stand::{Stand, Turn};

/// How long a removed server without connections is remembered, in seconds, so that it comes
/// back with its counts (`IP_VS_DEST_TRASH_PERIOD`).
const TRASH_PERIOD: u32 = 120;

/// What there is, and what there was.
pub struct Registry {
    /// The configuration, with what commands made of it.
    pub model: Model,
    /// From where traffic counts.
    pub ledger: Ledger,
    /// What has been counted in all; reports read it too. To be changed before what follows from
    /// the change is published.
    pub odometer: Arc<Mutex<Odometer>>,
    ids: Ids,
    /// Removed servers without connections, and since when, in seconds.
    trash: HashMap<ServerId, u32>,
    joined: SlowStart,
    /// What operators want of single servers for a while.
    pub overrides: Overrides,
    /// Whom operators deny for a while.
    pub denials: Denials,
    /// What health knows.
    pub board: Board,
    /// What traffic tells.
    pub hints: Hints,
    /// Services whose stand turned, not yet told.
    turns: Vec<Turn>,
}

/// The ids that are taken, by what has them, for finding out whether more would fit.
#[derive(Debug)]
pub struct Room {
    services: HashSet<ServiceKey>,
    servers: HashSet<ServerKey>,
    limits: Limits,
}

impl Room {
    /// A service needs an id, unless it has one. False if there are as many as `limits:` allows.
    pub fn take_service(&mut self, key: ServiceKey) -> bool {
        self.services.insert(key);
        self.services.len() <= self.limits.services as usize
    }

    /// As [`Room::take_service`], for a real server.
    pub fn take_server(&mut self, key: ServerKey) -> bool {
        self.servers.insert(key);
        self.servers.len() <= self.limits.servers as usize
    }
}

impl Registry {
    /// What a file says; nothing was there before.
    pub fn new(model: Model) -> Self {
        Self {
            model,
            ledger: Ledger::default(),
            odometer: Arc::default(),
            ids: Ids::default(),
            trash: HashMap::new(),
            joined: SlowStart::default(),
            overrides: Overrides::default(),
            denials: Denials::default(),
            board: Board::default(),
            hints: Hints::default(),
            turns: Vec::new(),
        }
    }

    /// What has an id, or gets one when the model is compiled: also what was removed and still
    /// has connections.
    pub fn room(&self) -> Room {
        let (mut services, mut servers) = self.ids.keys();
        for service in &self.model.services {
            services.insert(service.key);
            servers.extend(service.servers.iter().map(|server| ServerKey {
                service: service.key,
                address: server.address,
                port: server.port,
            }));
        }
        Room { services, servers, limits: self.model.limits.clone() }
    }

    /// Whether a model has room within `limits:`, beside what was removed and still has connections.
    ///
    /// # Errors
    /// It has not, in words for the operator.
    pub fn fits(&self, model: &Model) -> Result<(), String> {
        let (mut services, mut servers) = self.ids.keys();
        for service in &model.services {
            services.insert(service.key);
            servers.extend(service.servers.iter().map(|server| ServerKey::of(service.key, server)));
            servers.extend(service.health.sorry.iter().map(|s| ServerKey::of(service.key, s)));
        }
        let limits = &self.model.limits;
        let counts = [
            ("services", services.len(), limits.services),
            ("servers", servers.len(), limits.servers),
        ];
        for (what, count, limit) in counts {
            if count > limit as usize {
                return Err(format!(
                    "{count} {what} with those that were removed and are still remembered, more than \
                     limits.{what} ({limit}); raise it and restart, or wait until their connections are over"
                ));
            }
        }
        Ok(())
    }

    /// Slow start: gives the servers that have joined lately their share at `now`, in seconds.
    /// `before` is what the workers read now; nothing joins what was never published. To be
    /// called on everything that is published.
    pub fn ramp(&mut self, before: &Services, services: &mut Services, now: u32) {
        self.joined.ramp(before, services, now);
    }

    /// A server is on its way to its full share: [`Registry::ramp`] is due each second.
    pub fn ramps(&self) -> bool {
        self.joined.ramps()
    }

    /// The services whose stand turned since this was asked last.
    pub fn turned(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.turns)
    }

    /// What the workers are to read: the model, what operators want for a while, and what health
    /// makes of them all. `before` is what they read now.
    pub fn compile(&mut self, before: &Services) -> Services {
        let mut services = compile(&self.model, &mut self.ids);
        services.denied = self.denials.compiled(&services);
        services.gates = Gates::new(&services);
        self.turns.extend(self.board.overlay(&self.model, &self.overrides, &mut services));
        services.follow(before);
        self.ledger.keep(&services);
        services
    }

    /// Frees the ids of removed servers whose last connection ended some time ago. True if there
    /// were any: then the workers are to read other services.
    pub fn release(
        &mut self,
        services: &Services,
        director: &Director,
        stats: &[Arc<Stats>],
        now: u32,
    ) -> bool {
        let mut released = false;
        let shared = Arc::clone(&self.odometer);
        for (id, server) in services.servers.iter().enumerate() {
            let id = id as ServerId;
            if server.as_ref().is_none_or(|server| !server.removed) || director.in_use(id) {
                self.trash.remove(&id);
                continue;
            }
            let since = *self.trash.entry(id).or_insert(now);
            if now.saturating_sub(since) >= TRASH_PERIOD {
                let raw = Traffic::raw(director, stats, id);
                shared.lock().unwrap_or_else(PoisonError::into_inner).release(services, id, raw);
                self.ledger.release(services, id, raw);
                self.trash.remove(&id);
                released |= self.ids.release(id);
            }
        }
        if released {
            self.forget_former();
        }
        released
    }

    /// As many former services and servers have their counts kept as there may be present ones.
    fn forget_former(&self) {
        let (services, servers) = self.ids.keys();
        let limits = &self.model.limits;
        let mut odometer = self.odometer.lock().unwrap_or_else(PoisonError::into_inner);
        odometer.keep_services(limits.services as usize, |key| services.contains(key));
        odometer.keep_servers(limits.servers as usize, |key| servers.contains(key));
    }
}

/// The same real server of the same service.
fn same(one: &Server, other: &Server) -> bool {
    let key = |server: &Server| (server.service, server.address, server.port);
    key(one) == key(other)
}
