//! Weighted round robin (`ip_vs_wrr.c`): passes over the servers with a falling threshold.
//! Each pass picks the servers whose weight reaches it; after the lowest pass the highest
//! follows.

use crate::Candidate;

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
}

impl WeightedRoundRobin {
    pub(crate) fn new(candidates: &[Candidate]) -> Self {
        let mut wrr = Self { next: 0, threshold: 0, highest: 0, step: 1 };
        wrr.changed(candidates);
        wrr
    }

    pub(crate) fn pick(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let best = candidates.iter().filter(|c| c.eligible()).map(|c| c.weight).max();
        let Some(best) = best.filter(|_| self.highest > 0) else {
            self.exhaust();
            return None;
        };
        loop {
            let start = self.next.min(candidates.len());
            let reaches = |c: &Candidate| c.available && c.weight >= self.threshold;
            if let Some(further) = candidates[start..].iter().position(reaches) {
                self.next = start + further + 1;
                return Some(start + further);
            }
            self.next = 0;
            self.descend(best);
        }
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
        if self.highest == 0 {
            return;
        }
        if self.next == 0 || self.threshold > self.step {
            self.next = 0;
            self.threshold = self.highest;
        } else {
            self.threshold = 1;
        }
    }

    /// Starts a pass over the new list, with a threshold as near the old one as its weights
    /// allow. So a service that grows server by server begins with a pass of threshold 1.
    pub(crate) fn changed(&mut self, candidates: &[Candidate]) {
        let weights = || candidates.iter().map(|c| c.weight).filter(|&weight| weight > 0);
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

/// The greatest common divisor (Euclid).
const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
