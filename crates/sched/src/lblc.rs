//! Locality-based least connections (`ip_vs_lblc.c`), for caches: a destination stays with
//! its server until that has more connections than its weight while another is half idle;
//! then, and for a new destination, as wlc.

use crate::{Candidate, Change, Loads, Plan, Request, least, memory::Memory};

#[derive(Clone, Debug)]
pub(crate) struct Locality {
    /// The server's id for each destination.
    memory: Memory<u32>,
    roll: Roll,
}

impl Locality {
    pub(crate) fn new(plan: &Plan, candidates: &[Candidate]) -> Self {
        let memory = Memory::new(plan.destinations, plan.expiration);
        Self { memory, roll: Roll::new(candidates) }
    }

    pub(crate) fn pick(
        &mut self,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        let Request { destination, now, .. } = *request;
        let Some(server) = self.memory.recall(destination, now, drop) else {
            let at = least::weighted_connections(candidates, loads)?;
            self.memory.remember(destination, now, candidates[at].id, drop);
            return Some(at);
        };
        // As in the kernel, a server past its threshold keeps its destinations.
        let known = candidates.iter().position(|c| c.id == *server);
        let stays = |at: &usize| {
            let server = &candidates[*at];
            server.open() && !crowded(server, candidates, loads)
        };
        if let Some(at) = known.filter(stays) {
            return Some(at);
        }
        let at = least::weighted_connections(candidates, loads)?;
        *server = candidates[at].id;
        Some(at)
    }

    /// A removed server leaves the memory, so that another one may have its id.
    pub(crate) fn changed(&mut self, candidates: &[Candidate], change: Change) {
        if let Some(gone) = self.roll.changed(candidates, change) {
            self.memory.retain(|server| *server != gone);
        }
    }
}

/// A server has more active connections than its weight, and some other that is up has less
/// than half of its own.
pub(crate) fn crowded(server: &Candidate, candidates: &[Candidate], loads: &impl Loads) -> bool {
    let active = |server: &Candidate| u64::from(loads.load(server.id).active);
    let half_idle = |other: &Candidate| {
        other.up && active(other) * 2 * u64::from(Candidate::FULL) < other.scaled_weight()
    };
    active(server) * u64::from(Candidate::FULL) > server.scaled_weight()
        && candidates.iter().any(half_idle)
}

/// Which server stands where, to know which one went.
#[derive(Clone, Debug)]
pub(crate) struct Roll(Vec<u32>);

impl Roll {
    pub(crate) fn new(candidates: &[Candidate]) -> Self {
        Self(candidates.iter().map(|server| server.id).collect())
    }

    /// The list as it is now; returns the id of the server that went.
    pub(crate) fn changed(&mut self, candidates: &[Candidate], change: Change) -> Option<u32> {
        let gone = match change {
            Change::Removed(at) => self.0.get(at).copied(),
            Change::Added(_) | Change::Edited(_) => None,
        };
        self.0.clear();
        self.0.extend(candidates.iter().map(|server| server.id));
        gone
    }
}
