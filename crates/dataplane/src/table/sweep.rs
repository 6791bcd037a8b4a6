//! Expiry: each worker walks its own share of the entries, a pass a second.
//!
//! Each block of 64 entries has a hint, the earliest second in which one of them may
//! end; a block whose hint lies ahead is skipped. The hint may be too early, never too
//! late: whoever gives an entry an earlier end lowers it *after* writing the entry, and
//! the sweeper raises it *before* reading the entries, both by read-modify-write, so
//! that one of the two sees the other.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Relaxed},
};

/// Entries that share a hint.
pub(super) const BLOCK: usize = 64;

/// "Nothing ends here."
pub(super) const NEVER: u32 = u32::MAX;

/// The hints, one a block.
pub(super) struct Due(Box<[AtomicU32]>);

impl Due {
    pub(super) fn new(capacity: u32) -> Self {
        let blocks = (capacity as usize).div_ceil(BLOCK);
        Self((0..blocks).map(|_| AtomicU32::new(NEVER)).collect())
    }

    pub(super) fn blocks(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// The entry may end at `deadline`: called after it was written.
    #[inline]
    pub(super) fn lower(&self, slot: u32, deadline: u32) {
        self.0[slot as usize / BLOCK].fetch_min(deadline, AcqRel);
    }

    /// True if something in the block may end; its hint is then reset, for the caller to
    /// lower again while it reads the entries.
    pub(super) fn start(&self, block: usize, now: u32) -> bool {
        if self.0[block].load(Relaxed) > now {
            return false;
        }
        self.0[block].swap(NEVER, AcqRel);
        true
    }
}

/// Where one worker is in its share of the table.
#[derive(Clone, Debug)]
pub struct SweepCursor {
    worker: usize,
    workers: usize,
    /// The next block, relative to the share.
    next: usize,
    /// Entries that may be passed already.
    credit: usize,
}

impl SweepCursor {
    /// For worker number `worker` of `workers`, which together sweep the whole table.
    pub fn new(worker: usize, workers: usize) -> Self {
        assert!(worker < workers, "worker {worker} of {workers}");
        Self { worker, workers, next: 0, credit: 0 }
    }

    /// The blocks of the share.
    pub(super) const fn share(&self, blocks: usize) -> std::ops::Range<usize> {
        blocks * self.worker / self.workers..blocks * (self.worker + 1) / self.workers
    }

    /// Adds what a call may pass, at most one pass.
    pub(super) fn earn(&mut self, entries: usize, blocks: usize) {
        self.credit = (self.credit + entries).min(self.share(blocks).len() * BLOCK);
    }

    /// The next block that the credit pays for.
    pub(super) fn block(&mut self, blocks: usize) -> Option<usize> {
        self.credit = self.credit.checked_sub(BLOCK)?;
        let share = self.share(blocks);
        let block = share.start + self.next;
        self.next = (self.next + 1) % share.len();
        Some(block)
    }
}
