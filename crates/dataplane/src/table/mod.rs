//! The connection table: one for the box and one family, of fixed size.
//!
//! ```text
//!   hash(tuple) ──► bucket (64 B)          entry (IPv4 64 B, IPv6 128 B)
//!                   [tag|slot|dir] ───┐    [meta|stamp|hops|ports|...|addresses]
//!                   [tag|slot|dir] ─┐ └──► forward key: client -> VIP
//!                   ... 8 words     └────► reverse key: server -> local address (NAT, FullNAT)
//!   full? second bucket
//! ```
//!
//! A burst is looked up in stages, each for all of its packets before the next, so that
//! memory is fetched for many at a time: [`Table::prefetch`] (bucket), [`Table::probe`]
//! (entry), [`Table::probe_again`] (entry by the second bucket), [`Table::find_at`]. An IPv4
//! connection costs 64 bytes of entry, 30 of index and a sixteenth of a hint: 94 in all.
//!
//! Any worker finds any connection without a lock: it reads a word of a bucket, then the
//! entry, and takes the entry only if its generation was alive and the same before and
//! after. A find that loses such a race is a miss. Packets of a live connection write
//! nothing but the stamp, once a second, and what [`Table::transition`] and
//! [`Table::set_hops`] change, by compare-and-swap from what they saw.
//!
//! Insertion and removal hold the locks of the connection's keys, of both at once, lower
//! shard first; so there are never two connections with one key, and exactly one caller
//! removes a connection. An insertion fills the index before the entry comes to life; a
//! removal ends its life first: half of a connection is never found.
//!
//! Time is in whole seconds since the process began, given by the caller. Workers' clocks
//! may differ by a second.

mod connection;
mod entry;
mod hash;
mod index;
mod lock;
mod shards;
mod sight;
mod slab;
mod sweep;

use std::io;

pub use self::{
    connection::{
        Connection, ConnectionRef, Expired, Found, Hops, InsertError, Keys, Meta, TemplateRef, Way,
    },
    hash::Secret,
    sight::Sight,
    sweep::SweepCursor,
};
use self::{
    entry::stamp_word,
    index::{FORWARD, Index, REVERSE, Vacancy, Word},
    shards::Shards,
    slab::Slab,
    sweep::Due,
};
use crate::{
    forward::{Address, Tuple},
    topology::{HopId, NO_HOP},
};

/// What a table is made from.
#[derive(Clone, Copy, Debug)]
pub struct TableConfig {
    /// How many connections fit, at least 1 and below 2^31.
    pub capacity: usize,
    /// The key of the hash.
    pub secret: Secret,
}

/// The connections of one address family.
pub struct Table<A> {
    secret: Secret,
    index: Index,
    slab: Slab<A>,
    shards: Shards,
    due: Due,
}

/// The first stage of a find: what the index says.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    hash: u64,
    candidate: Option<Word>,
}

impl Probe {
    /// The first bucket had nothing.
    #[inline(always)]
    pub const fn is_missing(&self) -> bool {
        self.candidate.is_none()
    }

    /// What was found is a client's key, but for one time in 2^31.
    #[inline(always)]
    pub(crate) fn is_clients(&self) -> bool {
        self.candidate.is_some_and(|word| word.direction() == FORWARD)
    }
}

/// A key that is in no connection, as far as its holder knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent {
    hash: u64,
    /// The turn of its shard before the index was looked at, and where the key may go; `None` if
    /// nobody has looked.
    seen: Option<(u32, Vacancy)>,
}

impl Absent {
    /// Nobody has looked.
    pub(crate) const fn unseen(hash: u64) -> Self {
        Self { hash, seen: None }
    }
}

/// A key and its hash in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<A> {
    key: Tuple<A>,
    hash: u64,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) state: u8,
    /// Seconds that it may be idle.
    pub(crate) timeout: u32,
    /// The second of its first packet.
    pub(crate) now: u32,
    /// The route generation and the hop towards its server, if it is known.
    pub(crate) hop_in: Option<(u32, HopId)>,
}

impl<A: Address> Table<A> {
    /// Takes all the memory that the table will ever use.
    ///
    /// # Errors
    /// If the capacity is out of range or the memory is not there.
    pub fn new(config: TableConfig) -> io::Result<Self> {
        let capacity = u32::try_from(config.capacity)
            .ok()
            .filter(|capacity| (1..1 << 31).contains(capacity))
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "capacity not within 1..2^31")
            })?;
        Ok(Self {
            secret: config.secret,
            index: Index::new(config.capacity)?,
            slab: Slab::new(capacity)?,
            shards: Shards::new(),
            due: Due::new(capacity),
        })
    }

    /// The key of its hash.
    pub const fn secret(&self) -> Secret {
        self.secret
    }

    /// The number of connections; while workers run, a moment's guess.
    pub fn len(&self) -> usize {
        self.capacity() - self.slab.free().min(self.capacity())
    }

    /// True if there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many connections fit.
    pub fn capacity(&self) -> usize {
        self.slab.capacity() as usize
    }

    /// How many more connections fit; while workers run, a moment's guess.
    pub fn free(&self) -> usize {
        self.slab.free()
    }

    /// Whether a connection finds an entry; while workers run, a moment's guess.
    #[inline]
    pub(crate) fn has_room(&self, absent: &Absent) -> bool {
        self.slab.has_free(absent.hash)
    }

    /// Fetches the entry that a connection would get into the cache, while it is decided whether
    /// there will be one.
    #[inline]
    pub(crate) fn prefetch_free(&self, absent: &Absent) {
        self.slab.prefetch_free(absent.hash);
    }

    /// All the memory of the table.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.slab.bytes() + self.shards.bytes() + self.due.bytes()
    }

    /// The number of keys in the index: one or two for each connection.
    pub fn keys(&self) -> usize {
        self.index.len()
    }
}

/// Finding.
impl<A: Address> Table<A> {
    /// The hash of a tuple in this table.
    #[inline(always)]
    pub fn hash(&self, tuple: &Tuple<A>) -> u64 {
        hash::hash(&self.secret, tuple)
    }

    /// Fetches the bucket of a hash into the cache: for the whole burst before [`Table::probe`].
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Reads the bucket and fetches the entry: for the whole burst before [`Table::find_at`].
    #[inline(always)]
    pub fn probe(&self, hash: u64) -> Probe {
        let candidate = self.index.candidate(hash);
        match candidate {
            Some(word) => self.prefetch_entry(word),
            None => self.index.prefetch_alternate(hash),
        }
        Probe { hash, candidate }
    }

    /// Between [`Table::probe`] and [`Table::find_at`], again for the whole burst: where the
    /// first bucket had nothing, reads the second one. Optional; it saves a wait for memory
    /// with each tenth packet while the table is full, and costs next to nothing else.
    #[inline(always)]
    pub fn probe_again(&self, probe: &mut Probe) {
        if probe.candidate.is_none() {
            probe.candidate = self.index.alternate_candidate(probe.hash);
            probe.candidate.inspect(|word| self.prefetch_entry(*word));
        }
    }

    #[inline(always)]
    fn prefetch_entry(&self, word: Word) {
        self.slab.entry(word.slot()).lines().for_each(xsk::prefetch);
    }

    /// The connection of a packet with this tuple, whose hash the probe was made from.
    #[inline(always)]
    pub fn find_at(&self, probe: &Probe, tuple: &Tuple<A>) -> Option<Found<A>> {
        self.find_or_absent(probe, tuple).ok()
    }

    /// As [`Table::find_at`]; else what [`Table::insert_absent`] wants to know.
    #[inline(always)]
    pub(crate) fn find_or_absent(
        &self,
        probe: &Probe,
        tuple: &Tuple<A>,
    ) -> Result<Found<A>, Absent> {
        match self.find_candidate(probe, tuple) {
            Some(found) => Ok(found),
            None => self.seek(probe.hash, tuple),
        }
    }

    /// The connection, if the entry that the probe fetched is the one: nearly always, if there
    /// is a connection. Else ask [`Table::find_at`].
    #[inline(always)]
    pub fn find_candidate(&self, probe: &Probe, tuple: &Tuple<A>) -> Option<Found<A>> {
        self.see(probe, tuple).map(Sight::found)
    }

    /// As [`Table::find_candidate`], and takes nothing apart.
    #[inline(always)]
    pub fn see(&self, probe: &Probe, tuple: &Tuple<A>) -> Option<Sight<A>> {
        let word = probe.candidate?;
        self.slab.entry(word.slot()).read_key(word.slot(), word.direction(), tuple)
    }

    /// The connection of a packet with this tuple.
    pub fn find(&self, tuple: &Tuple<A>) -> Option<Found<A>> {
        self.look(tuple).ok()
    }

    /// As [`Table::find`]; else what [`Table::insert_absent`] wants to know.
    pub(crate) fn look(&self, tuple: &Tuple<A>) -> Result<Found<A>, Absent> {
        self.find_or_absent(&self.probe(self.hash(tuple)), tuple)
    }

    /// Looks at every word of both buckets.
    #[inline(never)]
    fn seek(&self, hash: u64, tuple: &Tuple<A>) -> Result<Found<A>, Absent> {
        let turn = self.shards.turn(hash);
        // In an odd one a key may come while the index is looked at.
        let quiet = turn & 1 == 0;
        self.search(hash, tuple)
            .map_err(|vacancy| Absent { hash, seen: quiet.then_some((turn, vacancy)) })
    }

    #[inline(always)]
    fn search(&self, hash: u64, tuple: &Tuple<A>) -> Result<Found<A>, Vacancy> {
        self.index.seek(hash, |word| {
            let sight = self.slab.entry(word.slot()).read_key(word.slot(), word.direction(), tuple);
            sight.map(Sight::found)
        })
    }

    /// The connection of a packet with this tuple, of which there was none a moment ago.
    #[inline]
    pub(crate) fn find_again(&self, absent: &mut Absent, tuple: &Tuple<A>) -> Option<Found<A>> {
        let turn = self.shards.turn(absent.hash);
        if absent.seen.is_some_and(|(before, _)| before == turn) {
            return None;
        }
        match self.seek(absent.hash, tuple) {
            Ok(found) => Some(found),
            Err(newer) => {
                *absent = newer;
                None
            }
        }
    }

    /// A connection inserted before, seen from the client's side.
    pub fn get(&self, connection: ConnectionRef) -> Option<Found<A>> {
        let found = self.slab.entry(connection.id).read(connection.id)?;
        (found.meta.generation() == connection.generation).then_some(found)
    }

    /// Calls `each` for every connection, also while workers run: then those that come and
    /// go meanwhile may be missing.
    pub fn for_each(&self, each: &mut impl FnMut(Found<A>)) {
        self.for_each_in(0..self.slab.capacity(), each);
    }

    /// As [`Table::for_each`], for the connections in these entries (below the capacity).
    pub fn for_each_in(&self, slots: std::ops::Range<u32>, each: &mut impl FnMut(Found<A>)) {
        for slot in slots {
            if let Some(found) = self.slab.entry(slot).read(slot) {
                each(found);
            }
        }
    }
}

/// Changing what is there.
impl<A: Address> Table<A> {
    /// Notes that the connection had a packet. Writes only if the second is a new one.
    #[inline(always)]
    pub fn touch(&self, found: &Found<A>, now: u32) {
        if now > found.stamp {
            self.slab.entry(found.id).restamp(stamp_word(&found.connection, found.stamp), now);
        }
    }

    /// The same of one that was only seen.
    #[inline(always)]
    pub fn touch_seen(&self, sight: &Sight<A>, now: u32) {
        if now > sight.stamp() {
            self.slab.entry(sight.id).restamp(sight.words.stamp, now);
        }
    }

    /// Moves the connection to another state and timeout (seconds), if it is still as it was
    /// found; so each change of state is made by exactly one worker.
    ///
    /// # Errors
    /// What the connection is instead; another generation means that it is gone.
    pub fn transition(
        &self,
        found: &Found<A>,
        state: u8,
        timeout: u32,
        now: u32,
    ) -> Result<(), Meta> {
        // First the stamp: a shorter timeout must not meet an old one.
        self.touch(found, now);
        let meta = Meta::new(found.meta.generation(), state, timeout);
        self.slab.entry(found.id).change(found.meta, meta)?;
        if timeout < found.meta.timeout() {
            self.due.lower(found.id, now.saturating_add(timeout));
        }
        Ok(())
    }

    /// Caches the connection's next hops with the route generation (its low 24 bits) for
    /// which they hold. False if another worker changed them since, or the connection ended.
    pub fn set_hops(
        &self,
        found: &Found<A>,
        route_generation: u32,
        hop_in: HopId,
        hop_out: HopId,
    ) -> bool {
        let hops = Hops::new(found.meta.generation(), route_generation, hop_in, hop_out);
        let entry = self.slab.entry(found.id);
        let same = entry.meta().generation() == found.meta.generation();
        same && entry.change_hops(found.hops, hops)
    }
}

/// Coming and going.
impl<A: Address> Table<A> {
    /// Adds a connection in a state, with a timeout in seconds.
    ///
    /// # Errors
    /// [`InsertError`]; the table is then as before.
    pub fn insert(
        &self,
        connection: &Connection<A>,
        state: u8,
        timeout: u32,
        now: u32,
    ) -> Result<ConnectionRef, InsertError> {
        let absent = Absent::unseen(self.hash(&connection.forward_key()));
        let beginning = Beginning { state, timeout, now, hop_in: None };
        let reverse = self.prepare_reverse(connection);
        self.insert_absent(connection, reverse, &absent, beginning).map(|found| found.reference())
    }

    /// The key of the server's answers, if there is one, whose buckets are on their way into the
    /// cache then. The sooner before [`Table::insert_absent`], the better.
    #[inline]
    pub(crate) fn prepare_reverse(&self, connection: &Connection<A>) -> Option<Hashed<A>> {
        let key = connection.reverse_key()?;
        let hash = self.hash(&key);
        self.index.prefetch(hash);
        self.index.prefetch_alternate(hash);
        Some(Hashed { key, hash })
    }

    /// Adds a connection whose client's key was looked for, and whose other key was prepared.
    /// Without a client's key its hash still chooses the lock and the free list.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub(crate) fn insert_absent(
        &self,
        connection: &Connection<A>,
        reverse: Option<Hashed<A>>,
        absent: &Absent,
        beginning: Beginning,
    ) -> Result<Found<A>, InsertError> {
        debug_assert!(connection.server_id < Connection::<A>::MAX_SERVER);
        let hash = absent.hash;
        let locks = self.shards.lock(hash, reverse.map(|reverse| reverse.hash));
        // Before the buckets of the other key are looked at: they may still be on their way.
        let slot = self.slab.take(hash);
        let placed = self.vacancies(connection, reverse, absent, locks.turn()).and_then(
            |[forward, reverse]| {
                let slot = slot.ok_or(InsertError::Full)?;
                self.place(slot, forward, reverse).then_some(slot).ok_or(InsertError::Full)
            },
        );
        let slot = match placed {
            Ok(slot) => slot,
            Err(error) => {
                slot.into_iter().for_each(|slot| self.slab.give(slot));
                return Err(error);
            }
        };
        let Beginning { state, timeout, now, hop_in } = beginning;
        let entry = self.slab.entry(slot);
        let generation = entry.meta().generation().wrapping_add(1);
        let meta = Meta::new(generation, state, timeout);
        let hops = match hop_in {
            Some((routes, hop)) => Hops::new(generation, routes, hop, NO_HOP),
            None => Hops::unknown(generation),
        };
        entry.publish(connection, meta, now, hops);
        self.due.lower(slot, now.saturating_add(timeout));
        let (connection, direction) = (*connection, Way::Forward);
        Ok(Found { id: slot, direction, connection, meta, stamp: now, hops })
    }

    /// Where the connection's keys go, the client's first. The caller holds their locks.
    #[inline(always)]
    fn vacancies(
        &self,
        connection: &Connection<A>,
        reverse: Option<Hashed<A>>,
        absent: &Absent,
        turn: u32,
    ) -> Result<[Option<(u64, Vacancy)>; 2], InsertError> {
        let forward = match connection.client_key() {
            Some(key) => {
                let vacancy = self.vacant(absent, turn, &key).ok_or(InsertError::Exists)?;
                Some((absent.hash, vacancy))
            }
            None => None,
        };
        let reverse = match reverse {
            Some(Hashed { key, .. }) if key == connection.forward_key() => {
                return Err(InsertError::ReverseTaken);
            }
            Some(Hashed { key, hash }) => match self.search(hash, &key) {
                Ok(_) => return Err(InsertError::ReverseTaken),
                Err(vacancy) => Some((hash, vacancy)),
            },
            None => None,
        };
        Ok([forward, reverse])
    }

    /// Where a client's key goes that was looked for, if there is still no connection with it. The
    /// caller holds the key's lock, and has taken it in this turn.
    #[inline]
    fn vacant(&self, absent: &Absent, turn: u32, key: &Tuple<A>) -> Option<Vacancy> {
        match absent.seen {
            Some((before, vacancy)) if before == turn => Some(vacancy),
            _ => self.search_again(absent.hash, key),
        }
    }

    #[inline(never)]
    fn search_again(&self, hash: u64, key: &Tuple<A>) -> Option<Vacancy> {
        self.search(hash, key).err()
    }

    /// Puts the keys into the index, or none.
    #[inline]
    fn place(
        &self,
        slot: u32,
        forward: Option<(u64, Vacancy)>,
        reverse: Option<(u64, Vacancy)>,
    ) -> bool {
        if forward.is_some_and(|(hash, at)| !self.index.place(at, hash, slot, FORWARD)) {
            return false;
        }
        let placed = reverse.is_none_or(|(hash, at)| self.index.place(at, hash, slot, REVERSE));
        if !placed && let Some((hash, _)) = forward {
            self.index.clear(hash, slot, FORWARD);
        }
        placed
    }

    /// Ends a connection, whatever its state is by now. True for exactly one caller.
    pub fn remove(&self, found: &Found<A>) -> bool {
        self.take(found).is_some()
    }

    /// As [`Table::remove`], and tells the state in which it ended.
    pub fn take(&self, found: &Found<A>) -> Option<Meta> {
        self.take_if(found, |_, _| true)
    }

    /// Ends a connection if it is still the one that was found and `condition` holds for its
    /// meta word and stamp.
    fn take_if(&self, found: &Found<A>, condition: impl Fn(Meta, u32) -> bool) -> Option<Meta> {
        let hash = self.hash(&found.connection.forward_key());
        let reverse_hash = found.connection.reverse_key().map(|key| self.hash(&key));
        let entry = self.slab.entry(found.id);
        let generation = found.meta.generation();
        let _locks = self.shards.lock(hash, reverse_hash);
        let mut meta = entry.meta();
        loop {
            if meta.generation() != generation || !condition(meta, entry.stamp()) {
                return None;
            }
            match entry.change(meta, Meta::new(generation.wrapping_add(1), 0, 0)) {
                Ok(()) => break,
                // A change of state came between.
                Err(other) => meta = other,
            }
        }
        if found.connection.client_key().is_some() {
            self.index.clear(hash, found.id, FORWARD);
        }
        if let Some(hash) = reverse_hash {
            self.index.clear(hash, found.id, REVERSE);
        }
        self.slab.give(found.id);
        Some(meta)
    }
}
