//! Where the fragments of a datagram go: the first fragment's decision, kept for the later
//! ones, in both directions and whatever queue they arrive on.
//!
//! Fixed size, in sets of eight that each have a lock: fragments are rare, and a set is
//! held for some ten nanoseconds.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    admit::Refusal,
    breath::Breath,
    clock::Now,
    director::Family,
    forward::{Address, Protocol},
    gone::Standing,
    io::Frame,
    packet::Packet,
    snapshot::ServerId,
    stats::OwnLine,
    table::{ConnectionRef, Found, Probe, Way},
    verdict::{Drop, Punt, Verdict, Wait},
};

impl Breath<'_> {
    /// A first fragment goes like a whole packet, and its decision is kept for the others.
    #[cold]
    pub(crate) fn first_fragment<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        probe: Option<&Probe>,
    ) -> Verdict {
        let found = match self.connection(packet, probe) {
            Ok(found) => found,
            Err(Refusal::Stateless(server)) => {
                if !self.keep(packet, Decision::Stateless { server }) {
                    return Verdict::Drop(Drop::FragmentTableFull);
                }
                return self.forward_stateless(frame, packet, server);
            }
            Err(refusal) => {
                let decision = match refusal {
                    Refusal::Punt(_) => Decision::Punted,
                    _ => Decision::Dropped,
                };
                self.keep(packet, decision);
                return self.refuse(frame, packet, refusal);
            }
        };
        let decision = Decision::Connection {
            id: found.id,
            generation: found.meta.generation(),
            reverse: found.direction == Way::Reverse,
        };
        if sctp_port_changes(packet, &found) {
            self.keep(packet, Decision::Dropped);
            return Verdict::Drop(Drop::SctpFragment);
        }
        if !self.keep(packet, decision) {
            return Verdict::Drop(Drop::FragmentTableFull);
        }
        self.forward(frame, packet, &found)
    }

    fn keep<A: Family>(&self, packet: &Packet<A>, decision: Decision) -> bool {
        self.director.fragments.decide(datagram(packet), decision, self.now)
    }

    /// A later fragment follows its first one.
    #[cold]
    pub(crate) fn later_fragment<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
    ) -> Verdict {
        // Read before the look: the decision that another worker makes in between is noticed.
        let epoch = self.director.fragments.epoch();
        match self.director.fragments.find(&datagram(packet), self.now) {
            None => Verdict::Wait(Wait::FirstFragment { epoch }),
            Some(Decision::Punted) => Verdict::Punt(Punt::Fragment),
            Some(Decision::Dropped) => Verdict::Drop(Drop::FragmentOfDropped),
            Some(Decision::Stateless { server }) => self.forward_stateless(frame, packet, server),
            Some(Decision::Connection { id, generation, reverse }) => {
                let table = A::table(self.director);
                let Some(found) = table.get(ConnectionRef { id, generation }) else {
                    return Verdict::Drop(Drop::FragmentOfDropped);
                };
                let direction = if reverse { Way::Reverse } else { Way::Forward };
                let found = Found { direction, ..found };
                match self.standing_since(packet, &found) {
                    Standing::Stays => self.forward(frame, packet, &found),
                    _ => Verdict::Drop(Drop::FragmentOfDropped),
                }
            }
        }
    }
}

/// CRC32c covers ports, but no addresses (RFC 9260 section 6.8): a fragment that keeps its ports
/// can be carried.
fn sctp_port_changes<A>(packet: &Packet<A>, found: &Found<A>) -> bool {
    let c = &found.connection;
    packet.tuple.protocol == Protocol::Sctp
        && c.forward.two_way()
        && (c.lport, c.rport) != (c.cport, c.vport)
}

/// The datagram that a fragment is part of.
pub fn datagram<A: Address>(packet: &Packet<A>) -> Datagram {
    Datagram {
        src: packet.tuple.src.ip(),
        dst: packet.tuple.dst.ip(),
        id: packet.id,
        protocol: packet.tuple.protocol as u8,
    }
}

/// What identifies a fragmented datagram: RFC 791 section 3.2, RFC 8200 section 4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Identification.
    pub id: u32,
    /// Transport protocol number.
    pub protocol: u8,
}

/// What happened to the first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It belongs to this connection: slot and generation in its family's table.
    Connection {
        /// The slot.
        id: u32,
        /// The slot's generation.
        generation: u32,
        /// True if it came from the server.
        reverse: bool,
    },
    /// It went to a server without an entry.
    Stateless {
        /// The server.
        server: ServerId,
    },
    /// It was given to the kernel.
    Punted,
    /// It was dropped.
    Dropped,
}

#[derive(Clone, Copy)]
struct Entry {
    datagram: Datagram,
    decision: Decision,
    until_ms: u64,
}

const WAYS: usize = 8;
/// How long a decision is kept, in milliseconds. Fragments of one datagram leave their sender
/// back to back; the identification may come round in seconds.
const LIFETIME_MS: u64 = 2_000;

/// The box-wide table of first fragments.
pub struct FragmentTable {
    sets: Box<[Mutex<[Option<Entry>; WAYS]>]>,
    epoch: OwnLine<AtomicU32>,
    hasher: RandomState,
}

impl FragmentTable {
    /// A table for `capacity` datagrams.
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Mutex::new([None; WAYS])).collect(),
            epoch: OwnLine::default(),
            hasher: RandomState::new(),
        }
    }

    /// One that says the same, from now on apart. Its connections are the other one's.
    pub(crate) fn replica(&self) -> Self {
        let set = |set: &Mutex<_>| Mutex::new(*set.lock().unwrap_or_else(PoisonError::into_inner));
        Self {
            sets: self.sets.iter().map(set).collect(),
            epoch: OwnLine(AtomicU32::new(self.epoch())),
            hasher: self.hasher.clone(),
        }
    }

    /// How many datagrams it has room for, if they spread evenly.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// How many datagrams it knows now. Takes every set's lock in turn: for listings.
    pub fn live(&self, now: Now) -> usize {
        let of = |set: &Mutex<[Option<Entry>; WAYS]>| {
            let set = set.lock().unwrap_or_else(PoisonError::into_inner);
            set.iter().flatten().filter(|entry| entry.until_ms > now.millis).count()
        };
        self.sets.iter().map(of).sum()
    }

    /// Rises with every decision: those who wait for one look again when it moved.
    pub fn epoch(&self) -> u32 {
        self.epoch.0.load(Ordering::Acquire)
    }

    /// Keeps a first fragment's decision; false if its set holds eight live others.
    pub fn decide(&self, datagram: Datagram, decision: Decision, now: Now) -> bool {
        let mut set = self.set(&datagram).lock().unwrap_or_else(PoisonError::into_inner);
        let same = |e: &Option<Entry>| e.as_ref().is_some_and(|e| e.datagram == datagram);
        let free = |e: &Option<Entry>| e.as_ref().is_none_or(|e| e.until_ms <= now.millis);
        let Some(at) = set.iter().position(same).or_else(|| set.iter().position(free)) else {
            return false;
        };
        set[at] = Some(Entry { datagram, decision, until_ms: now.millis + LIFETIME_MS });
        drop(set);
        self.epoch.0.fetch_add(1, Ordering::Release);
        true
    }

    /// The decision for a later fragment, if its first one was seen.
    pub fn find(&self, datagram: &Datagram, now: Now) -> Option<Decision> {
        let set = self.set(datagram).lock().unwrap_or_else(PoisonError::into_inner);
        set.iter()
            .flatten()
            .find(|e| e.datagram == *datagram && e.until_ms > now.millis)
            .map(|e| e.decision)
    }

    fn set(&self, datagram: &Datagram) -> &Mutex<[Option<Entry>; WAYS]> {
        &self.sets[self.hasher.hash_one(datagram) as usize & (self.sets.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(id: u32) -> Datagram {
        Datagram { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), id, protocol: 17 }
    }

    #[test]
    fn full_set_refuses_until_entries_age() {
        let table = FragmentTable::new(8);
        let at = |millis| Now { millis };
        assert!((0..8).all(|id| table.decide(datagram(id), Decision::Punted, at(1))));
        assert!(!table.decide(datagram(8), Decision::Punted, at(2)));
        assert_eq!(table.find(&datagram(3), at(2)), Some(Decision::Punted));
        assert_eq!(table.find(&datagram(3), at(2_001)), None);
        assert_eq!((table.live(at(2)), table.live(at(2_001)), table.capacity()), (8, 0, 8));
        assert!(table.decide(datagram(8), Decision::Dropped, at(2_001)));
        assert_eq!(table.find(&datagram(8), at(2_002)), Some(Decision::Dropped));
    }

    #[test]
    fn a_reused_identification_replaces() {
        let table = FragmentTable::new(64);
        let now = Now { millis: 1 };
        assert!(table.decide(datagram(1), Decision::Punted, now));
        let epoch = table.epoch();
        assert!(table.decide(datagram(1), Decision::Dropped, now));
        assert_eq!(table.find(&datagram(1), now), Some(Decision::Dropped));
        assert_ne!(table.epoch(), epoch);
    }
}
