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

use super::{
    Table,
    connection::{Connection, Expired, Found, Meta},
};
use crate::{effort::Effort, forward::Address};

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

    /// The credit pays for a block.
    pub(super) const fn is_due(&self) -> bool {
        self.credit >= BLOCK
    }

    /// The next block, which the credit pays for.
    pub(super) fn block(&mut self, blocks: usize) -> usize {
        self.credit -= BLOCK;
        let share = self.share(blocks);
        let block = share.start + self.next;
        self.next = (self.next + 1) % share.len();
        block
    }
}

/// Sweeping.
impl<A: Address> Table<A> {
    /// How many entries make one pass over the cursor's share: pass so many to
    /// [`Table::sweep`] in each second, in any portions.
    pub fn pass(&self, cursor: &SweepCursor) -> usize {
        cursor.share(self.due.blocks()).len() * BLOCK
    }

    /// Goes on in the worker's share by `entries` entries (what is left of less than a block
    /// of 64 is kept for the next call) and ends the connections whose timeout has passed:
    /// each is given to `ended` exactly once, by one worker.
    pub fn sweep(
        &self,
        cursor: &mut SweepCursor,
        now: u32,
        entries: usize,
        ended: &mut impl FnMut(Expired<A>),
    ) {
        let mut effort = Effort::unbounded();
        self.sweep_but(cursor, now, (entries, &mut effort), &|_| false, ended);
    }

    /// As [`Table::sweep`], within what a breath may do; what is not done is kept for the next
    /// call, too. Those live on for which `kept` is true, which may have given them more time.
    pub fn sweep_but(
        &self,
        cursor: &mut SweepCursor,
        now: u32,
        (entries, effort): (usize, &mut Effort),
        kept: &impl Fn(&Found<A>) -> bool,
        ended: &mut impl FnMut(Expired<A>),
    ) {
        let blocks = self.due.blocks();
        cursor.earn(entries, blocks);
        while cursor.is_due() && effort.goes_on() {
            let block = cursor.block(blocks);
            if self.due.start(block, now) {
                effort.looks(BLOCK);
                self.sweep_block(block, now, kept, &mut |expired| {
                    effort.ends();
                    ended(expired);
                });
            } else {
                effort.looks(1);
            }
        }
    }

    fn sweep_block(
        &self,
        block: usize,
        now: u32,
        kept: &impl Fn(&Found<A>) -> bool,
        ended: &mut impl FnMut(Expired<A>),
    ) {
        let first = (block * BLOCK) as u32;
        let last = (first + BLOCK as u32).min(self.slab.capacity());
        let mut over = 0u64;
        let mut next = NEVER;
        for slot in first..last {
            let entry = self.slab.entry(slot);
            let meta = entry.meta();
            if !meta.alive() {
                continue;
            }
            let deadline = deadline(meta, entry.stamp());
            if deadline > now {
                next = next.min(deadline);
            } else if let Some(found) = entry.read(slot) {
                if kept(&found) {
                    next = next.min(now.saturating_add(1));
                    continue;
                }
                over |= 1 << (slot - first);
                self.fetch_keys(&found.connection);
            }
        }
        while over != 0 {
            let slot = first + over.trailing_zeros();
            over &= over - 1;
            match self.expire(slot, now) {
                Some(expired) => ended(expired),
                // It lives on, or another one has its place: look again in the next pass.
                None => next = now,
            }
        }
        self.due.lower(first, next);
    }

    /// Fetches what an end of the connection will change.
    fn fetch_keys(&self, connection: &Connection<A>) {
        self.index.prefetch(self.hash(&connection.forward_key()));
        if let Some(key) = connection.reverse_key() {
            self.index.prefetch(self.hash(&key));
        }
    }

    /// Ends the connection in a slot if its time is over.
    fn expire(&self, slot: u32, now: u32) -> Option<Expired<A>> {
        let found = self.slab.entry(slot).read(slot)?;
        let meta = self.take_if(&found, |meta, stamp| deadline(meta, stamp) <= now)?;
        let Found { connection, stamp, hops, .. } = found;
        Some(Expired { id: slot, connection, meta, stamp, hops })
    }
}

/// The second in which an idle connection ends.
fn deadline(meta: Meta, stamp: u32) -> u32 {
    stamp.saturating_add(meta.timeout())
}
