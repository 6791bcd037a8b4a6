//! The locks of insertion and removal, by hash. Readers never take one.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

const SHARDS: usize = 512;

/// A lock on a line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Shard {
    lock: Mutex<()>,
    /// How many keys came under the lock, in all.
    arrivals: AtomicU32,
}

/// The locks.
pub(super) struct Shards(Box<[Shard]>);

impl Shards {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Locks the keys with these hashes. The lower shard comes first, so no two workers can
    /// wait for each other.
    pub(super) fn lock(
        &self,
        hash: u64,
        other: Option<u64>,
    ) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let shard = hash as usize % SHARDS;
        let other = other.map_or(shard, |hash| hash as usize % SHARDS);
        let first = self.hold(shard.min(other));
        (first, (shard != other).then(|| self.hold(shard.max(other))))
    }

    fn hold(&self, shard: usize) -> MutexGuard<'_, ()> {
        self.0[shard].lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many keys of this hash's shard have come. Who reads it before it looks at the index, and
    /// again under the lock, knows whether a key can have come in between.
    #[inline(always)]
    pub(super) fn arrivals(&self, hash: u64) -> u32 {
        self.0[hash as usize % SHARDS].arrivals.load(Acquire)
    }

    /// Tells of a key that is in the index now. The caller holds its lock.
    #[inline(always)]
    pub(super) fn arrived(&self, hash: u64) {
        let arrivals = &self.0[hash as usize % SHARDS].arrivals;
        arrivals.store(arrivals.load(Relaxed).wrapping_add(1), Release);
    }
}
