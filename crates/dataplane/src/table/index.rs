//! The index: 64-byte buckets of eight words, each a tag and the place of an entry.
//!
//! A word never moves while its connection lives, so a reader without a lock cannot
//! miss it. Only one worker holds the lock of a key, but two keys can meet in a bucket:
//! a free word is claimed by compare-and-swap.

use std::{convert::Infallible, io, sync::atomic::Ordering::Relaxed};

use xsk::{Line, Lines, prefetch};

/// Words of a bucket.
const WAYS: usize = 8;
/// A key goes to its primary bucket while that holds fewer words than this, else to
/// the emptier of its two. Higher means fewer lookups that need the second bucket,
/// lower means a fuller index before both are full.
const CROWDED: u32 = 5;

/// Which of a connection's two keys a word stands for: the low bit of the word.
pub(super) const FORWARD: u64 = 0;
/// The key of the server's answers.
pub(super) const REVERSE: u64 = 1;

/// The highest bit of the upper half of each word that is taken.
const TAKEN: u32 = 1 << 31;

/// One word of the index: taken (1) | tag (31) | slot (31) | direction (1); 0 is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    #[inline(always)]
    fn new(hash: u64, slot: u32, direction: u64) -> Self {
        Self(u64::from(tag(hash)) << 32 | u64::from(slot) << 1 | direction)
    }

    #[inline(always)]
    pub(super) const fn slot(self) -> u32 {
        self.0 as u32 >> 1
    }

    #[inline(always)]
    pub(super) const fn direction(self) -> u64 {
        self.0 & 1
    }
}

/// The upper half of a hash's word: the tag, with the mark of a word that is taken.
#[inline(always)]
const fn tag(hash: u64) -> u32 {
    hash as u32 | TAKEN
}

/// A word of a bucket that was free a moment ago; no word's if both buckets were full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vacancy {
    bucket: usize,
    way: usize,
}

/// The buckets.
pub(super) struct Index {
    buckets: Lines,
}

impl Index {
    /// An index for `capacity` connections of two keys each. 30 bytes a connection: with
    /// both keys of all connections in it, 53 % of the words are taken; there both buckets
    /// of a key are full about once in 50 million insertions (simulated).
    pub(super) fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self { buckets: Lines::new((capacity * 15).div_ceil(32).max(4))? })
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Line>()
    }

    #[inline(always)]
    fn primary(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    /// Another bucket than the primary one.
    #[inline(always)]
    fn alternate(&self, hash: u64) -> usize {
        let buckets = self.buckets.len() as u64;
        let other = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let step = 1 + ((other * (buckets - 1)) >> 32) as usize;
        let bucket = self.primary(hash) + step;
        if bucket < self.buckets.len() { bucket } else { bucket - self.buckets.len() }
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.primary(hash)]);
    }

    #[inline(always)]
    pub(super) fn prefetch_alternate(&self, hash: u64) {
        prefetch(&self.buckets[self.alternate(hash)]);
    }

    /// A word of the primary bucket with the hash's tag.
    #[inline(always)]
    pub(super) fn candidate(&self, hash: u64) -> Option<Word> {
        candidate(&self.buckets[self.primary(hash)], hash)
    }

    /// A word of the alternate bucket with the hash's tag.
    #[inline]
    pub(super) fn alternate_candidate(&self, hash: u64) -> Option<Word> {
        candidate(&self.buckets[self.alternate(hash)], hash)
    }

    /// The first of the words with the hash's tag, in both buckets, for which `check` has an
    /// answer; else where a key with this hash would go.
    #[inline(always)]
    pub(super) fn seek<T>(
        &self,
        hash: u64,
        check: impl FnMut(Word) -> Option<T>,
    ) -> Result<T, Vacancy> {
        let [first, second] = [self.primary(hash), self.alternate(hash)];
        let [words, others] = [first, second].map(|bucket| self.buckets[bucket].upper_halves());
        if words.equal(tag(hash)) | others.equal(tag(hash)) != 0
            && let Some(answer) = self.search(hash, check)
        {
            return Ok(answer);
        }
        let (mut bucket, mut full) = (first, words.highest_bits());
        if full.count_ones() >= CROWDED {
            let other = others.highest_bits();
            if other.count_ones() < full.count_ones() {
                (bucket, full) = (second, other);
            }
        }
        // All taken: a way beyond the bucket.
        Err(Vacancy { bucket, way: full.trailing_ones() as usize })
    }

    /// As [`Index::seek`], word by word.
    #[inline(never)]
    fn search<T>(&self, hash: u64, mut check: impl FnMut(Word) -> Option<T>) -> Option<T> {
        for bucket in [self.primary(hash), self.alternate(hash)] {
            for word in &self.buckets[bucket].0 {
                let word = word.load(Relaxed);
                if word >> 32 == u64::from(tag(hash))
                    && let Some(answer) = check(Word(word))
                {
                    return Some(answer);
                }
            }
        }
        None
    }

    /// Puts a key in, into that place if it is still free; false if both buckets are full. The
    /// caller holds the key's lock.
    #[inline]
    pub(super) fn place(&self, mut at: Vacancy, hash: u64, slot: u32, direction: u64) -> bool {
        let word = Word::new(hash, slot, direction).0;
        while at.way < WAYS {
            let place = &self.buckets[at.bucket].0[at.way];
            if place.compare_exchange(0, word, Relaxed, Relaxed).is_ok() {
                return true;
            }
            // Another worker was faster, or another key came since; then look again.
            at = self.vacancy(hash);
        }
        false
    }

    /// Where a key with this hash would go.
    #[inline(never)]
    pub(super) fn vacancy(&self, hash: u64) -> Vacancy {
        match self.seek(hash, |_| None::<Infallible>) {
            Ok(never) => match never {},
            Err(vacancy) => vacancy,
        }
    }

    /// Takes a key out. The caller holds the key's lock.
    pub(super) fn clear(&self, hash: u64, slot: u32, direction: u64) {
        let word = Word::new(hash, slot, direction).0;
        let place = [self.primary(hash), self.alternate(hash)]
            .into_iter()
            .flat_map(|bucket| &self.buckets[bucket].0)
            .find(|place| place.load(Relaxed) == word);
        if let Some(place) = place {
            place.store(0, Relaxed);
        }
    }

    /// The number of words taken.
    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(count).sum()
    }
}

/// A word that had the hash's tag a moment ago.
#[inline(always)]
fn candidate(bucket: &Line, hash: u64) -> Option<Word> {
    let found = bucket.upper_halves().equal(tag(hash));
    let word = bucket.0.get(found.trailing_zeros() as usize)?;
    Some(Word(word.load(Relaxed)))
}

/// The words taken in a bucket.
fn count(bucket: &Line) -> usize {
    bucket.0.iter().filter(|word| word.load(Relaxed) != 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn put(index: &Index, hash: u64, slot: u32, direction: u64) -> bool {
        index.place(index.vacancy(hash), hash, slot, direction)
    }

    /// All the keys that an index was made for fit, again and again while they change.
    #[test]
    fn holds_what_it_was_made_for() {
        for (capacity, seeds) in [(1, 200), (3, 200), (16, 200), (1000, 50), (200_000, 2)] {
            for seed in 0..seeds {
                let mut state = seed << 32 | capacity as u64;
                let index = Index::new(capacity).unwrap();
                let mut keys: Vec<u64> = (0..capacity * 2).map(|_| random(&mut state)).collect();
                for (slot, &key) in keys.iter().enumerate() {
                    assert!(put(&index, key, slot as u32, FORWARD), "{capacity} seed {seed}");
                }
                for _ in 0..capacity * 4 {
                    let at = random(&mut state) as usize % keys.len();
                    index.clear(keys[at], at as u32, FORWARD);
                    keys[at] = random(&mut state);
                    assert!(put(&index, keys[at], at as u32, FORWARD), "{capacity} seed {seed}");
                }
                assert_eq!(index.len(), keys.len());
                for (slot, &key) in keys.iter().enumerate() {
                    let found = index
                        .seek(key, |word| (word.slot() == slot as u32).then_some(word.direction()));
                    assert_eq!(found, Ok(FORWARD));
                    index.clear(key, slot as u32, FORWARD);
                }
                assert_eq!(index.len(), 0);
            }
        }
    }

    #[test]
    fn full_is_said() {
        let index = Index::new(1).unwrap();
        let hash = 0x1234_5678_9abc_def0;
        assert!((0..16).all(|slot| put(&index, hash, slot, REVERSE)));
        assert!(!put(&index, hash, 16, REVERSE));
        assert_eq!(index.len(), 16);
    }
}
