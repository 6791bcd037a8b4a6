//! The services as they are now: the model, the ids that connections refer to, and from where
//! traffic counts. The file fills it; commands change it while traffic flows.

use std::sync::Arc;

use dataplane::{
    director::Director,
    snapshot::{Server, ServerId, Services},
    stats::Stats,
};
use hashbrown::HashMap;

use crate::{
    compile::{Ids, compile},
    model::Model,
    traffic::{Ledger, Traffic},
};

/// How long a removed server without connections is remembered, in seconds, so that it comes
/// back with its counts (`IP_VS_DEST_TRASH_PERIOD`).
const TRASH_PERIOD: u32 = 120;

/// What there is, and what there was.
pub struct Registry {
    /// The configuration, with what commands made of it.
    pub model: Model,
    /// From where traffic counts.
    pub ledger: Ledger,
    ids: Ids,
    /// Removed servers without connections, and since when, in seconds.
    trash: HashMap<ServerId, u32>,
}

impl Registry {
    /// What a file says; nothing was there before.
    pub fn new(model: Model) -> Self {
        Self { model, ledger: Ledger::default(), ids: Ids::default(), trash: HashMap::new() }
    }

    /// What the workers are to read. Servers that were there `before` keep what health and the
    /// operator say of them; new ones are up.
    pub fn compile(&mut self, before: &Services) -> Services {
        let mut services = compile(&self.model, &mut self.ids);
        for (id, server) in services.servers.iter_mut().enumerate() {
            let (Some(server), Some(Some(old))) = (server, before.servers.get(id)) else {
                continue;
            };
            if same(server, old) {
                (server.up, server.drained) = (old.up, old.drained);
            }
        }
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
        for (id, server) in services.servers.iter().enumerate() {
            let id = id as ServerId;
            if server.as_ref().is_none_or(|server| !server.removed) || director.in_use(id) {
                self.trash.remove(&id);
                continue;
            }
            let since = *self.trash.entry(id).or_insert(now);
            if now.saturating_sub(since) >= TRASH_PERIOD {
                self.ledger.release(services, id, Traffic::raw(director, stats, id));
                self.trash.remove(&id);
                released |= self.ids.release(id);
            }
        }
        released
    }
}

/// The same real server of the same service.
fn same(one: &Server, other: &Server) -> bool {
    let key = |server: &Server| (server.service, server.address, server.port);
    key(one) == key(other)
}
