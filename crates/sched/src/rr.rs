//! Round robin (`ip_vs_rr.c`): the next server that takes connections after the last one
//! picked. Slow start does not count: each server gets its turn.

use crate::{Candidate, Change, Loads};

#[derive(Clone, Debug, Default)]
pub(crate) struct RoundRobin {
    /// How many servers lie before the next one to try: the last one picked is at `next - 1`,
    /// and 0 is the kernel's list head.
    next: usize,
}

impl RoundRobin {
    pub(crate) fn pick(&mut self, candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
        let start = self.next.min(candidates.len());
        let after = start..candidates.len();
        let picked = after.chain(0..start).find(|&at| candidates[at].eligible(loads))?;
        self.next = picked + 1;
        Some(picked)
    }

    /// The place stays with the server picked last; if that goes, with the one before it.
    pub(crate) const fn changed(&mut self, change: Change) {
        match change {
            Change::Added(at) if at < self.next => self.next += 1,
            Change::Removed(at) if at < self.next => self.next -= 1,
            _ => {}
        }
    }
}
