//! Weighted round robin (`ip_vs_wrr.c`): passes over the servers with a falling threshold.
//! Each pass picks the servers whose weight reaches it; after the lowest pass the highest
//! follows.
//!
//! Slow start: a server's turns stay where they are, and of 256 turns it takes as many as its
//! share says, evenly spread, while the others pass it over. So the order of all others does
//! not change, and a server at its full share takes every turn, as in the kernel.

use crate::{Candidate, Change, Loads};

#[derive(Clone, Debug)]
pub(crate) struct WeightedRoundRobin {
    /// How many servers of this pass were tried; 0 is the kernel's list head.
    next: usize,
    /// The weight that this pass asks for. Within a list without weights 0, else a
    /// multiple of `step` and 1, so that the lowest pass asks for 1.
    threshold: u32,
    /// The weight that the highest pass asks for; 0 if no server has a weight.
    highest: u32,
    /// What lies between two passes: the greatest common divisor of the weights.
    step: u32,
    /// For each server in the list, what it has saved up in slow start towards its next
    /// turn, in 256ths of a turn: always below 256.
    saved: Vec<u16>,
}

impl WeightedRoundRobin {
    pub(crate) fn new(candidates: &[Candidate]) -> Self {
        let mut wrr = Self { next: 0, threshold: 0, highest: 0, step: 1, saved: Vec::new() };
        wrr.saved.resize(candidates.len(), 0);
        wrr.restart(candidates);
        wrr
    }

    pub(crate) fn pick(&mut self, candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
        if self.highest == 0 {
            return None;
        }
        let pass = self.rest_of_pass(candidates, loads);
        if pass.is_some() {
            return pass;
        }
        loop {
            // Asked anew for each pass: another core may close or open a server meanwhile.
            let eligible = candidates.iter().filter(|c| c.eligible(loads));
            let Some(best) = eligible.map(|c| c.weight).max() else {
                self.exhaust();
                return None;
            };
            self.next = 0;
            self.descend(best);
            let pass = self.rest_of_pass(candidates, loads);
            if pass.is_some() {
                return pass;
            }
        }
    }

    /// The next server of this pass that takes its turn.
    fn rest_of_pass(&mut self, candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
        for (at, candidate) in candidates.iter().enumerate().skip(self.next) {
            let reaches = candidate.active_weight() >= self.threshold;
            if reaches && candidate.eligible(loads) && self.takes_turn(at, candidate.share()) {
                self.next = at + 1;
                return Some(at);
            }
        }
        None
    }

    /// A server in slow start has saved enough for a turn.
    fn takes_turn(&mut self, at: usize, share: u16) -> bool {
        if share == Candidate::FULL {
            return true;
        }
        let Some(saved) = self.saved.get_mut(at) else {
            return true;
        };
        *saved += share;
        let enough = *saved >= Candidate::FULL;
        if enough {
            *saved -= Candidate::FULL;
        }
        enough
    }

    /// Goes on to the next pass that picks any server; `best` is the highest weight available.
    const fn descend(&mut self, best: u32) {
        self.threshold =
            if self.threshold > self.step { self.threshold - self.step } else { self.highest };
        // The kernel walks through the passes that nobody reaches; this is where it ends.
        if self.threshold > best {
            let passes = (self.threshold - best).div_ceil(self.step);
            self.threshold -= passes * self.step;
        }
    }

    /// Where the kernel's search stands after it found nothing.
    const fn exhaust(&mut self) {
        if self.next == 0 || self.threshold > self.step {
            self.next = 0;
            self.threshold = self.highest;
        } else {
            self.threshold = 1;
        }
    }

    pub(crate) fn changed(&mut self, candidates: &[Candidate], change: Change) {
        match change {
            Change::Added(at) => self.saved.insert(at.min(self.saved.len()), 0),
            Change::Removed(at) if at < self.saved.len() => {
                self.saved.remove(at);
            }
            Change::Removed(_) | Change::Edited(_) => {}
        }
        self.restart(candidates);
    }

    /// Starts a pass over the new list, with a threshold as near the old one as its weights
    /// allow. So a service that grows server by server begins with a pass of threshold 1.
    fn restart(&mut self, candidates: &[Candidate]) {
        let weights = || candidates.iter().map(Candidate::active_weight).filter(|&w| w > 0);
        self.next = 0;
        self.step = weights().reduce(gcd).unwrap_or(1);
        self.highest = weights().max().map_or(0, |weight| weight - (self.step - 1));
        if self.threshold > self.highest || self.threshold == 0 {
            self.threshold = self.highest;
        } else if self.step > 1 {
            self.threshold = self.threshold / self.step * self.step + 1;
        }
    }
}

/// The greatest common divisor (Euclid); of 0 and another number, the other.
pub(crate) const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
