//! Source hashing (`ip_vs_sh.c`): each client has its server. 256 slots are filled with the
//! servers in list order, each as often as its weight says and at least once, again and
//! again.
//!
//! A server that is drained or overloaded keeps its slots; its clients get no server, unless
//! the fallback flag is set. One that is down keeps them too, and its clients go where the
//! fallback leads, with the flag or without. Slow start does not count.

use crate::{Candidate, Loads, Plan, Request, key};

const SLOTS: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct SourceTable {
    /// Positions; empty if there are no servers.
    slots: Vec<u32>,
}

impl SourceTable {
    pub(crate) fn new(candidates: &[Candidate]) -> Self {
        let mut table = Self { slots: Vec::with_capacity(SLOTS) };
        table.fill(candidates);
        table
    }

    /// Fills the slots anew, after every change. The weight counts, also of drained servers.
    pub(crate) fn fill(&mut self, candidates: &[Candidate]) {
        self.slots.clear();
        let turns = (0u32..).zip(candidates).cycle().take(SLOTS);
        for (at, server) in turns {
            let free = SLOTS - self.slots.len();
            let turns = free.min(server.weight.max(1) as usize);
            self.slots.extend(std::iter::repeat_n(at, turns));
        }
    }

    pub(crate) fn pick(
        &self,
        plan: &Plan,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        let port = if plan.port { u32::from(request.client_port) } else { 0 };
        let hash = key::hash_8(key::fold(request.client).wrapping_add(port)) as usize;
        let at = |slot: usize| self.slots.get(slot % SLOTS).map(|&at| at as usize);
        let first = at(hash)?;
        let server = candidates.get(first)?;
        if server.eligible(loads) {
            return Some(first);
        }
        if server.up && !plan.fallback {
            return None;
        }
        // The kernel walks from the hash on and adds the hash to each step.
        let offsets = (0..SLOTS).map(|step| (step + hash) % SLOTS);
        let mut others = offsets.filter_map(|offset| at(offset + hash));
        others.find(|&at| candidates.get(at).is_some_and(|server| server.eligible(loads)))
    }
}
