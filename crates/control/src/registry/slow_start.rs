//! Slow start: a server that joins gets a share of its weight that grows with each second.

use dataplane::{
    policy::OnJoin,
    snapshot::{Server, ServerId, Service, Services},
};
use hashbrown::HashMap;

use super::same;

/// 256ths: all of the weight.
const FULL: u16 = 256;

/// The servers that have joined and not yet come to their full share.
#[derive(Debug, Default)]
pub(super) struct SlowStart {
    /// When they joined, in seconds.
    since: HashMap<ServerId, u32>,
}

impl SlowStart {
    /// Gives each server of `services` its share at `now`. A server joins if it takes
    /// connections and did not `before`: it is new, came up, has a weight again, is not drained
    /// any more.
    pub(super) fn ramp(&mut self, before: &Services, services: &mut Services, now: u32) {
        let seconds: Vec<Option<u32>> = services.services.iter().map(seconds).collect();
        for (id, server) in services.servers.iter_mut().enumerate() {
            let Some(server) = server else { continue };
            let old = before.servers.get(id).and_then(Option::as_ref);
            let id = id as ServerId;
            server.share = FULL;
            let Some(seconds) = seconds[server.service as usize].filter(|_| takes(server)) else {
                self.since.remove(&id);
                continue;
            };
            let stayed = old.is_some_and(|old| same(server, old) && takes(old));
            if !stayed {
                self.since.insert(id, now);
            }
            let Some(since) = self.since.get(&id) else { continue };
            server.share = share(now.saturating_sub(*since), seconds);
            if server.share == FULL {
                self.since.remove(&id);
            }
        }
        let there = |id: ServerId| services.servers.get(id as usize).is_some_and(Option::is_some);
        self.since.retain(|id, _| there(*id));
    }

    pub(super) fn ramps(&self) -> bool {
        !self.since.is_empty()
    }
}

/// The length of a service's slow start, if it has one.
fn seconds(service: &Option<Service>) -> Option<u32> {
    match service.as_ref()?.policy.on_join {
        OnJoin::SlowStart(seconds) if seconds > 0 => Some(seconds),
        _ => None,
    }
}

/// It is a candidate for new connections.
const fn takes(server: &Server) -> bool {
    !server.gone() && !server.drained && server.weight > 0
}

/// The share after so many seconds of a slow start: at least one part, all at its end.
fn share(elapsed: u32, seconds: u32) -> u16 {
    let parts = u64::from(elapsed) * u64::from(FULL) / u64::from(seconds);
    parts.clamp(1, FULL.into()) as u16
}
