//! The entries and their free lists.
//!
//! A list hands out its share of the entries in order, then those that came back, last
//! one first. The links lie in the free entries. A worker whose list is empty takes from
//! the next one, so that the last entry of the table can be had from any list.

use std::{
    io,
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use xsk::{Line, Lines, prefetch};

use super::{entry::Entry, lock::Lock};
use crate::forward::Address;

const LISTS: usize = 64;

/// The slots `n` with `n % LISTS` = the list's number, those that are free.
#[repr(align(64))]
struct FreeList {
    lock: Lock,
    /// 1 + the slot that came back last; 0 if there is none. Under the lock.
    returned: AtomicU32,
    /// The next slot that was never used. Under the lock.
    fresh: AtomicU32,
    /// How many it has. Changed under the lock, readable without.
    free: AtomicU32,
}

/// The entries.
pub(super) struct Slab<A> {
    lines: Lines,
    capacity: u32,
    lists: Box<[FreeList]>,
    family: PhantomData<A>,
}

impl<A: Address> Slab<A> {
    pub(super) fn new(capacity: u32) -> io::Result<Self> {
        let lists = (0..LISTS as u32)
            .map(|list| FreeList {
                lock: Lock::default(),
                returned: AtomicU32::new(0),
                fresh: AtomicU32::new(list),
                free: AtomicU32::new(capacity.saturating_sub(list).div_ceil(LISTS as u32)),
            })
            .collect();
        let lines = Lines::new(capacity as usize * Entry::<A>::LINES)?;
        Ok(Self { lines, capacity, lists, family: PhantomData })
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>() + self.lists.len() * size_of::<FreeList>()
    }

    #[inline(always)]
    pub(super) fn entry(&self, slot: u32) -> Entry<'_, A> {
        Entry::at(&self.lines, slot)
    }

    /// The number of free entries; while workers run, a moment's guess.
    pub(super) fn free(&self) -> usize {
        self.lists.iter().map(|list| list.free.load(Relaxed) as usize).sum()
    }

    /// A free entry for the caller alone, from the list that `start` points at, or else
    /// from the next one that has any.
    pub(super) fn take(&self, start: u64) -> Option<u32> {
        let start = start as usize % LISTS;
        let (tail, head) = self.lists.split_at(start);
        head.iter().chain(tail).find_map(|list| self.take_from(list))
    }

    /// Whether [`Slab::take`] would find one; while workers run, a moment's guess. Where there is
    /// room it reads the one word that will be written next.
    #[inline]
    pub(super) fn has_free(&self, start: u64) -> bool {
        let (tail, head) = self.lists.split_at(start as usize % LISTS);
        head.iter().chain(tail).any(|list| list.free.load(Relaxed) > 0)
    }

    /// Fetches the entry that [`Slab::take`] would give now into the cache.
    #[inline]
    pub(super) fn prefetch_free(&self, start: u64) {
        let list = &self.lists[start as usize % LISTS];
        let returned = list.returned.load(Relaxed).checked_sub(1);
        let slot = returned.unwrap_or_else(|| list.fresh.load(Relaxed));
        if slot < self.capacity {
            self.entry(slot).lines().for_each(prefetch);
        }
    }

    fn take_from(&self, list: &FreeList) -> Option<u32> {
        if list.free.load(Relaxed) == 0 {
            return None;
        }
        let _held = list.lock.hold();
        let fresh = list.fresh.load(Relaxed);
        let slot = if let Some(slot) = list.returned.load(Relaxed).checked_sub(1) {
            list.returned.store(self.entry(slot).link().load(Relaxed) as u32, Relaxed);
            slot
        } else if fresh < self.capacity {
            list.fresh.store(fresh + LISTS as u32, Relaxed);
            fresh
        } else {
            return None;
        };
        list.free.store(list.free.load(Relaxed) - 1, Relaxed);
        Some(slot)
    }

    /// Gives an entry back that is free and in no index word any more.
    pub(super) fn give(&self, slot: u32) {
        let list = &self.lists[slot as usize % LISTS];
        let _held = list.lock.hold();
        self.entry(slot).link().store(u64::from(list.returned.load(Relaxed)), Relaxed);
        list.returned.store(slot + 1, Relaxed);
        list.free.store(list.free.load(Relaxed) + 1, Relaxed);
    }
}
