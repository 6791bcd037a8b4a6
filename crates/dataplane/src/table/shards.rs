//! The locks of insertion and removal, by hash. Readers never take one.

use super::lock::{Held, Lock};

const SHARDS: usize = 512;

/// A lock on a line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Shard(Lock);

/// The locks.
pub(super) struct Shards(Box<[Shard]>);

/// The locks of a connection's keys, held.
pub(super) struct Both<'a> {
    first: Held<'a>,
    second: Option<Held<'a>>,
    /// The first one is the client's key's.
    in_order: bool,
}

impl Both<'_> {
    /// The turn of the client's key's lock before it was taken.
    #[inline(always)]
    pub(super) const fn turn(&self) -> u32 {
        match &self.second {
            Some(second) if !self.in_order => second.turn(),
            _ => self.first.turn(),
        }
    }
}

impl Shards {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Locks the keys with these hashes. The lower shard comes first, so no two workers can
    /// wait for each other.
    #[inline]
    pub(super) fn lock(&self, hash: u64, other: Option<u64>) -> Both<'_> {
        let shard = hash as usize % SHARDS;
        let other = other.map_or(shard, |hash| hash as usize % SHARDS);
        let first = self.0[shard.min(other)].0.hold();
        let second = (shard != other).then(|| self.0[shard.max(other)].0.hold());
        Both { first, second, in_order: shard <= other }
    }

    /// Whose turn it is at the lock of this hash. Who reads it before it looks at the index, and
    /// again when it holds the lock, knows whether a key can have come in between.
    #[inline(always)]
    pub(super) fn turn(&self, hash: u64) -> u32 {
        self.0[hash as usize % SHARDS].0.turn()
    }
}
