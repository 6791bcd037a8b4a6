//! The connections as a listing shows them, and their lives from birth to death.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use dataplane::{
    director::{Director, Family},
    forward::{Forward, Protocol},
    table::{Found, Table},
    tcp::State,
};

use crate::talk::end;

/// One line of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) protocol: Protocol,
    pub(crate) forward: Forward,
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    /// Address and port that the server has, in DR and TUN unspecified.
    pub(crate) server: SocketAddr,
    /// Who the server sees, in DR and TUN unspecified.
    pub(crate) local: SocketAddr,
    pub(crate) server_id: u32,
    pub(crate) state: u8,
    pub(crate) timeout: u32,
    pub(crate) stamp: u32,
    /// Route generation, way in, way out.
    pub(crate) hops: (u32, u16, u16),
}

/// What tells a packet's connection: protocol, source, destination.
pub(crate) type Key = (Protocol, SocketAddr, SocketAddr);

impl Line {
    fn new<A: Family>(found: &Found<A>) -> Self {
        let c = &found.connection;
        let unspecified = end(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let two_way = |address: A, port: u16| {
            if c.forward.two_way() { end(address.ip(), port) } else { unspecified }
        };
        Self {
            slot: found.id,
            generation: found.meta.generation(),
            protocol: c.protocol,
            forward: c.forward,
            client: end(c.client.ip(), c.cport),
            vip: end(c.vip.ip(), c.vport),
            server: two_way(c.server, c.rport),
            local: two_way(c.local, c.lport),
            server_id: c.server_id,
            state: found.meta.state(),
            timeout: found.meta.timeout(),
            stamp: found.stamp,
            hops: (found.hops.route_generation(), found.hops.hop_in(), found.hops.hop_out()),
        }
    }

    pub(crate) fn place(&self) -> (bool, u32) {
        (self.client.is_ipv6(), self.slot)
    }

    pub(crate) fn key(&self) -> Key {
        (self.protocol, self.client, self.vip)
    }

    pub(crate) fn reverse_key(&self) -> Option<Key> {
        self.forward.two_way().then_some((self.protocol, self.server, self.local))
    }

    /// Idle for longer than it may be.
    pub(crate) fn over(&self, now: u32) -> bool {
        now > self.stamp + self.timeout
    }

    /// The part that never changes while it lives.
    pub(crate) fn fixed(&self) -> Self {
        Self { state: 0, timeout: 0, stamp: 0, hops: (0, 0, 0), ..*self }
    }
}

/// All connections of both families, by place.
pub(crate) type Listing = BTreeMap<(bool, u32), Line>;

pub(crate) fn list(director: &Director) -> Listing {
    fn add<A: Family>(table: &Table<A>, listing: &mut Listing) {
        table.for_each(&mut |found| {
            let line = Line::new(&found);
            listing.insert(line.place(), line);
        });
    }
    let mut listing = Listing::new();
    add(&director.v4, &mut listing);
    add(&director.v6, &mut listing);
    listing
}

/// What the director's counters must say about a listing: active and inactive connections
/// by server, and the half-open ones.
pub(crate) fn recount(listing: &Listing) -> (BTreeMap<u32, (u32, u32)>, u32) {
    let mut by_server: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    let mut half_open = 0;
    for line in listing.values() {
        let state = State::from_u8(line.state);
        let (active, inactive) = by_server.entry(line.server_id).or_default();
        *if state.is_some_and(State::active) { active } else { inactive } += 1;
        half_open += u32::from(state.is_some_and(State::half_open));
    }
    (by_server, half_open)
}

/// The counters are those of the listing, for every server below `servers`.
pub(crate) fn check_counts(director: &Director, listing: &Listing, servers: usize) {
    let (by_server, half_open) = recount(listing);
    for id in 0..servers as u32 {
        let record = director.server(id);
        let counted = by_server.get(&id).copied().unwrap_or_default();
        assert_eq!((record.active(), record.inactive()), counted, "law 6: server {id}");
    }
    assert_eq!(director.half_open(), half_open, "law 6: half-open");
}

/// No two connections have a key in common.
pub(crate) fn check_keys(listing: &Listing) {
    let mut keys = BTreeSet::new();
    for line in listing.values() {
        assert!(keys.insert(line.key()), "two connections of {line:?}");
        let reverse = line.reverse_key();
        assert!(reverse.is_none_or(|key| keys.insert(key)), "answers crossed: {line:?}");
    }
}

/// A connection from the breath in which it was born to that in which it died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) line: Line,
    born: u64,
    died: Option<u64>,
}

/// All that ever lived.
#[derive(Default)]
pub(crate) struct Lives {
    all: Vec<Life>,
    living: BTreeMap<(bool, u32), u32>,
    by_key: BTreeMap<Key, Vec<u32>>,
}

impl Lives {
    pub(crate) fn born(&mut self, line: Line, breath: u64) {
        let number = self.all.len() as u32;
        self.all.push(Life { line, born: breath, died: None });
        self.living.insert(line.place(), number);
        for key in [Some(line.key()), line.reverse_key()].into_iter().flatten() {
            self.by_key.entry(key).or_default().push(number);
        }
    }

    pub(crate) fn died(&mut self, line: &Line, breath: u64) {
        let number = self.living.remove(&line.place()).expect("it lived");
        self.all[number as usize].died = Some(breath);
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Line> {
        self.all.get(number as usize).map(|life| &life.line)
    }

    /// It lived in that breath, also if it was born or died in it.
    pub(crate) fn lived(&self, number: u32, breath: u64) -> bool {
        let life = &self.all[number as usize];
        life.born <= breath && life.died.is_none_or(|died| died >= breath)
    }

    /// It lived in that breath and did not die in it.
    pub(crate) fn outlived(&self, number: u32, breath: u64) -> bool {
        let died_then = self.all[number as usize].died == Some(breath);
        self.lived(number, breath) && !died_then
    }

    /// It lives, and did so before this breath.
    pub(crate) fn lives_on(&self, number: u32, breath: u64) -> bool {
        let life = &self.all[number as usize];
        life.born < breath && life.died.is_none()
    }

    /// The connections with that key, either side's, that lived in that breath.
    pub(crate) fn of(&self, key: Key, breath: u64) -> impl Iterator<Item = u32> {
        let numbers = self.by_key.get(&key).into_iter().flatten().copied();
        numbers.filter(move |number| self.lived(*number, breath))
    }

    /// A connection with that key lived, or does.
    pub(crate) fn ever(&self, key: Key) -> bool {
        self.by_key.contains_key(&key)
    }

    /// The living connection with that key.
    pub(crate) fn living(&self, key: Key) -> Option<u32> {
        let numbers = self.by_key.get(&key).into_iter().flatten().copied();
        numbers.rev().find(|number| self.all[*number as usize].died.is_none())
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }
}
