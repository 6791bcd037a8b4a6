//! What lblc and lblcr remember of destinations: a hash table of fixed size, taken at once.
//!
//! The kernel lets its table grow over its limit and looks once a minute for destinations to
//! forget: those idle for six minutes if there are too many, every half hour those idle for
//! the whole expiration time. Here a destination is forgotten when it is asked for after that
//! time. When the table is full, a new one takes the place of the longest idle of a few, and
//! of these few all that were idle for six minutes go.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
};

/// Seconds without use after which a destination goes when the table is full
/// (`ENTRY_TIMEOUT`).
const IDLE: u32 = 360;

/// How many destinations are looked at to make room for one.
const SAMPLE: usize = 32;

/// No entry.
const END: u32 = u32::MAX;

/// Destinations, each with a value.
#[derive(Clone, Debug)]
pub(crate) struct Memory<T> {
    /// Keyed, so that no client can choose destinations that share a bucket.
    hasher: RandomState,
    /// The first entry of each chain.
    buckets: Box<[u32]>,
    entries: Box<[Entry<T>]>,
    /// The first entry of the chain of free ones.
    free: u32,
    /// Seconds without use after which a destination is forgotten.
    expiration: u32,
    /// The entry from which on room is made next time.
    rover: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    destination: IpAddr,
    /// When it was asked for last.
    used: u32,
    /// The next entry of its chain.
    next: u32,
    /// `None` in a free entry.
    value: Option<T>,
}

impl<T: Copy> Memory<T> {
    /// Room for as many destinations as `limit`.
    pub(crate) fn new(limit: u32, expiration: u32) -> Self {
        let limit = limit.min(END - 1);
        let vacant = |next| Entry {
            destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            used: 0,
            next,
            value: None,
        };
        let entries = (1..=limit).map(|next| vacant(if next < limit { next } else { END }));
        let buckets = (limit as usize).next_power_of_two();
        Self {
            hasher: RandomState::new(),
            buckets: vec![END; buckets].into_boxed_slice(),
            entries: entries.collect(),
            free: if limit > 0 { 0 } else { END },
            expiration,
            rover: 0,
        }
    }

    /// What is remembered of a destination, which counts as use. A value that has expired is
    /// given to `forgotten` instead.
    pub(crate) fn recall(
        &mut self,
        destination: IpAddr,
        now: u32,
        forgotten: impl FnOnce(T),
    ) -> Option<&mut T> {
        let at = self.find(destination)?;
        if self.idle(at, now) >= self.expiration {
            forgotten(self.forget(at)?);
            return None;
        }
        let entry = &mut self.entries[at as usize];
        entry.used = entry.used.max(now);
        entry.value.as_mut()
    }

    /// Remembers a destination that [`Memory::recall`] did not know. False if there is room
    /// for none at all.
    pub(crate) fn remember(
        &mut self,
        destination: IpAddr,
        now: u32,
        value: T,
        forgotten: impl FnMut(T),
    ) -> bool {
        if self.free == END {
            self.make_room(now, forgotten);
        }
        let at = self.free;
        if at == END {
            return false;
        }
        let bucket = self.bucket(destination);
        let entry = &mut self.entries[at as usize];
        self.free = entry.next;
        *entry = Entry { destination, used: now, next: self.buckets[bucket], value: Some(value) };
        self.buckets[bucket] = at;
        true
    }

    /// Keeps the destinations for whose values `keep` is true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        for at in 0..self.entries.len() {
            let value = self.entries[at].value.as_mut();
            if value.is_some_and(|value| !keep(value)) {
                self.forget(at as u32);
            }
        }
    }

    /// Forgets some of the destinations from the rover on; at least one if there are any.
    fn make_room(&mut self, now: u32, mut forgotten: impl FnMut(T)) {
        let entries = self.entries.len();
        let sample = SAMPLE.min(entries);
        let mut oldest = None;
        for step in 0..sample {
            let at = ((self.rover + step) % entries) as u32;
            let idle = self.idle(at, now);
            if idle >= IDLE {
                self.forget(at).into_iter().for_each(&mut forgotten);
            } else if oldest.is_none_or(|(longest, _)| idle > longest) {
                oldest = Some((idle, at));
            }
        }
        if let (END, Some((_, at))) = (self.free, oldest) {
            self.forget(at).into_iter().for_each(&mut forgotten);
        }
        self.rover = (self.rover + sample).checked_rem(entries).unwrap_or(0);
    }

    /// Seconds since an entry was used.
    fn idle(&self, at: u32, now: u32) -> u32 {
        now.saturating_sub(self.entries[at as usize].used)
    }

    fn find(&self, destination: IpAddr) -> Option<u32> {
        let mut at = self.buckets[self.bucket(destination)];
        while at != END {
            let entry = &self.entries[at as usize];
            if entry.destination == destination {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Takes an entry out of its chain and gives back what it had.
    fn forget(&mut self, at: u32) -> Option<T> {
        let entry = self.entries[at as usize];
        let value = entry.value?;
        let bucket = self.bucket(entry.destination);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = entry.next;
        } else {
            let mut before = self.buckets[bucket] as usize;
            while self.entries[before].next != at {
                before = self.entries[before].next as usize;
            }
            self.entries[before].next = entry.next;
        }
        self.entries[at as usize].value = None;
        self.entries[at as usize].next = self.free;
        self.free = at;
        Some(value)
    }

    fn bucket(&self, destination: IpAddr) -> usize {
        self.hasher.hash_one(destination) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// Beside a map: what is recalled is what was remembered last, as many fit as were asked
    /// for, and each value is either there or was given back, once.
    #[test]
    fn nothing_is_lost_or_mixed_up() {
        for limit in [0, 1, 2, 7, 64] {
            let mut memory = Memory::new(limit, 500);
            let mut last: HashMap<IpAddr, u32> = HashMap::new();
            let (mut live, mut gone) = (HashSet::new(), Vec::new());
            for (now, value) in (0..20_000_u32).step_by(3).zip(0_u32..) {
                let number = value.wrapping_mul(0x9E37_79B1) >> 25;
                let destination = IpAddr::from(Ipv4Addr::from(number));
                let known = memory.recall(destination, now, |old| gone.push(old)).copied();
                if let Some(known) = known {
                    assert_eq!(Some(&known), last.get(&destination));
                } else if memory.remember(destination, now, value, |old| gone.push(old)) {
                    last.insert(destination, value);
                    assert!(live.insert(value));
                } else {
                    assert_eq!(limit, 0);
                }
                if value % 100 == 99 {
                    memory.retain(|value| {
                        let keeps = *value % 7 > 0;
                        keeps || !live.remove(value)
                    });
                }
                for old in gone.drain(..) {
                    assert!(live.remove(&old), "{old} was given back twice");
                }
                assert!(live.len() <= limit as usize);
                assert_eq!(live.len(), memory.entries.iter().filter(|e| e.value.is_some()).count());
            }
        }
    }

    /// Those idle for six minutes all go when room is needed, the others one by one.
    #[test]
    fn idle_destinations_make_room() {
        let destination = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        for (now, expected) in [(359, 1), (360, 3)] {
            let mut memory = Memory::new(5, 86_400);
            for number in 0..5 {
                memory.remember(destination(number), if number < 3 { 0 } else { 1 }, number, drop);
            }
            let mut gone = Vec::new();
            memory.remember(destination(9), now, 9, |old| gone.push(old));
            assert_eq!(gone, (0..expected).collect::<Vec<u32>>());
        }
    }
}
