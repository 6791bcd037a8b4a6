//! What one breath does beside its packets, at most: packets must not wait for it. What is left
//! over is done with the next breaths, which then come at once.

use crate::stats::Stats;

/// What a breath may do, and what it did.
#[derive(Debug)]
pub struct Effort {
    looked: usize,
    ended: usize,
    bounded: bool,
    /// Something was left over.
    short: bool,
}

impl Effort {
    /// Entries that are looked at, templates too, but for what is left of a [step](Self::STEP):
    /// some 10 us if all of them have to be fetched.
    pub const LOOKS: usize = 2048;
    /// Entries that are ended, but for what is left of a step: 10 us.
    pub const ENDS: usize = 64;
    /// Entries that are looked at in one go, all of which may end.
    pub const STEP: usize = 64;
    /// Idle connections whose ends are asked for their numbers.
    pub const PROBES: u32 = 32;
    /// Held frames that are looked at again.
    pub const HELD: usize = 64;

    /// That of one breath.
    pub const fn of_a_breath() -> Self {
        Self { looked: 0, ended: 0, bounded: true, short: false }
    }

    /// As much as one likes: where nobody waits.
    pub const fn unbounded() -> Self {
        Self { looked: 0, ended: 0, bounded: false, short: false }
    }

    /// Whether there may be another step of what is due.
    pub(crate) fn goes_on(&mut self) -> bool {
        let spent = self.looked >= Self::LOOKS || self.ended >= Self::ENDS;
        self.short |= self.bounded && spent;
        !(self.bounded && spent)
    }

    /// Counts entries that were looked at.
    pub(crate) fn looks(&mut self, entries: usize) {
        self.looked += entries;
    }

    /// Counts an entry that ended.
    pub(crate) fn ends(&mut self) {
        self.ended += 1;
    }

    /// Something was left over.
    pub(crate) const fn is_short(&self) -> bool {
        self.short
    }

    /// Counts what was done.
    pub(crate) fn count(&self, stats: &Stats) {
        stats.upkeep_looks.add(self.looked as u64);
        stats.upkeep_ends.add(self.ended as u64);
    }
}
