//! How a connection lies in its lines.
//!
//! ```text
//! word     0          1              2          3               4          5             6            7
//! IPv4   [meta | stamp,server,flags | hops | r/l,c/v ports | protocol,   | client,vip | server,local | link ]
//! IPv6   [meta | stamp,server,flags | hops | r/l,c/v ports |   forward   | -          | -            | link ]
//!        [client (2 words)          | vip (2)              | server (2)               | local (2)           ]
//! ```
//!
//! `protocol` shares its word with how packets are forwarded, under which keys the connection is
//! found, and its template. `meta` is the entry's sequence count as well. A writer changes the other words only
//! while the generation is even (free) and only one writer owns a free entry; a reader
//! takes what it read only if the generation was odd and the same before and after
//! (Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012).

use std::{
    marker::PhantomData,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
};

use xsk::Line;

use super::{
    connection::{Connection, Found, Hops, Keys, Meta, TemplateRef, Way},
    index::FORWARD,
};
use crate::forward::{Address, Forward, Protocol, Tuple};

const META: usize = 0;
const STAMP: usize = 1;
const HOPS: usize = 2;
const PORTS: usize = 3;
const KIND: usize = 4;
/// IPv4: client and VIP, then server and local address.
const ADDRESSES: usize = 5;
const LINK: usize = 7;

/// An entry in its place.
#[derive(Clone, Copy)]
pub(super) struct Entry<'t, A> {
    /// The words that both families have.
    first: &'t Line,
    /// The addresses of IPv6; with IPv4 the first line once more.
    last: &'t Line,
    family: PhantomData<A>,
}

/// Everything in an entry but its meta word.
struct Contents<A> {
    connection: Connection<A>,
    stamp: u32,
    hops: Hops,
}

impl<'t, A: Address> Entry<'t, A> {
    /// Lines of an entry.
    pub(super) const LINES: usize = if A::IPV6 { 2 } else { 1 };

    #[inline(always)]
    pub(super) fn at(lines: &'t [Line], slot: u32) -> Self {
        let first = slot as usize * Self::LINES;
        Self { first: &lines[first], last: &lines[first + Self::LINES - 1], family: PhantomData }
    }

    #[inline(always)]
    pub(super) fn lines(self) -> impl Iterator<Item = &'t Line> {
        [self.first, self.last].into_iter().take(Self::LINES)
    }

    #[inline(always)]
    pub(super) fn meta(self) -> Meta {
        Meta(self.first.0[META].load(Acquire))
    }

    /// Changes the meta word; on failure the word that was there instead.
    #[inline]
    pub(super) fn change(self, from: Meta, to: Meta) -> Result<(), Meta> {
        match self.first.0[META].compare_exchange(from.0, to.0, Release, Acquire) {
            Ok(_) => Ok(()),
            Err(other) => Err(Meta(other)),
        }
    }

    /// The second of the last packet. Only meaningful while the entry lives.
    #[inline(always)]
    pub(super) fn stamp(self) -> u32 {
        (self.first.0[STAMP].load(Relaxed) >> 32) as u32
    }

    /// Moves the stamp of a connection on. The word holds nothing else that changes, so a
    /// stale reader fails, or writes to a reused entry what belongs there.
    #[inline]
    pub(super) fn restamp(self, connection: &Connection<A>, from: u32, to: u32) {
        let word = |stamp: u32| stamp_word(connection, stamp);
        // Whoever was faster wrote the same second or a neighbouring one.
        let _ = self.first.0[STAMP].compare_exchange(word(from), word(to), Relaxed, Relaxed);
    }

    #[inline]
    pub(super) fn change_hops(self, from: Hops, to: Hops) -> bool {
        self.first.0[HOPS].compare_exchange(from.0, to.0, Relaxed, Relaxed).is_ok()
    }

    /// The next entry of a free list, as it was stored. Only while the entry is free.
    pub(super) fn link(self) -> &'t AtomicU64 {
        &self.first.0[LINK]
    }

    /// The connection, if the entry lives.
    #[inline(always)]
    pub(super) fn read(self, id: u32) -> Option<Found<A>> {
        self.read_if(id, FORWARD, || true)
    }

    /// The connection, if the entry lives and its key of that direction is `tuple`.
    #[inline(always)]
    pub(super) fn read_key(self, id: u32, direction: u64, key: &Tuple<A>) -> Option<Found<A>> {
        self.read_if(id, direction, || self.has_key(direction, key))
    }

    #[inline(always)]
    fn read_if(self, id: u32, direction: u64, wanted: impl Fn() -> bool) -> Option<Found<A>> {
        let before = self.meta();
        if !before.alive() || !wanted() {
            return None;
        }
        let Contents { connection, stamp, hops } = self.contents();
        fence(Acquire);
        let meta = Meta(self.first.0[META].load(Relaxed));
        let direction = if direction == FORWARD { Way::Forward } else { Way::Reverse };
        (meta.generation() == before.generation()).then_some(Found {
            id,
            direction,
            connection,
            meta,
            stamp,
            hops,
        })
    }

    #[inline(always)]
    fn has_key(self, direction: u64, key: &Tuple<A>) -> bool {
        let ports = (self.first.0[PORTS].load(Relaxed) >> (32 * direction)) as u32;
        let protocol = self.first.0[KIND].load(Relaxed) as u8;
        let same = if A::IPV6 {
            let words = &self.last.0[4 * direction as usize..][..4];
            let [src, src_low] = key.src.words();
            let [dst, dst_low] = key.dst.words();
            [src, src_low, dst, dst_low]
                .iter()
                .zip(words)
                .fold(0, |differ, (key, word)| differ | (key ^ word.load(Relaxed)))
                == 0
        } else {
            let word = &self.first.0[ADDRESSES + direction as usize];
            word.load(Relaxed) == pair(key.src, key.dst)
        };
        same & (ports == port_pair(key.sport, key.dport)) & (protocol == key.protocol as u8)
    }

    #[inline(always)]
    fn contents(self) -> Contents<A> {
        let first = |word: usize| self.first.0[word].load(Relaxed);
        let last = |word: usize| self.last.0[word].load(Relaxed);
        let (stamp, ports, kind) = (first(STAMP), first(PORTS), first(KIND));
        let [client, vip, server, local] = if A::IPV6 {
            [0, 2, 4, 6].map(|word| A::from_words([last(word), last(word + 1)]))
        } else {
            let (clients, servers) = (first(ADDRESSES), first(ADDRESSES + 1));
            [clients >> 32, clients & LOW, servers >> 32, servers & LOW]
                .map(|address| A::from_words([address, 0]))
        };
        let connection = Connection {
            client,
            cport: (ports >> 16) as u16,
            vip,
            vport: ports as u16,
            server,
            rport: (ports >> 48) as u16,
            local,
            lport: (ports >> 32) as u16,
            protocol: Protocol::from_number(kind as u8).unwrap_or(Protocol::Tcp),
            forward: Forward::from_u8((kind >> 8) as u8),
            server_id: stamp as u32 >> 8,
            flags: stamp as u8,
            keys: Keys::from_u8((kind >> 10) as u8),
            template: TemplateRef(kind >> 16),
        };
        Contents { connection, stamp: (stamp >> 32) as u32, hops: Hops(first(HOPS)) }
    }

    /// Fills a free entry that belongs to the caller, and brings it to life.
    pub(super) fn publish(self, connection: &Connection<A>, meta: Meta, now: u32) {
        // A reader that sees one of these words must also see that the generation is even.
        fence(Release);
        let store = |line: &Line, word: usize, value: u64| line.0[word].store(value, Relaxed);
        let c = connection;
        store(self.first, STAMP, stamp_word(c, now));
        store(self.first, HOPS, Hops::unknown(meta.generation()).0);
        let ports = u64::from(port_pair(c.rport, c.lport)) << 32;
        store(self.first, PORTS, ports | u64::from(port_pair(c.cport, c.vport)));
        let how = c.forward as u8 | (c.keys as u8) << 2;
        let kind = u64::from(how) << 8 | u64::from(c.protocol as u8);
        store(self.first, KIND, c.template.0 << 16 | kind);
        if A::IPV6 {
            let addresses = [c.client, c.vip, c.server, c.local];
            for (word, value) in addresses.into_iter().flat_map(A::words).enumerate() {
                store(self.last, word, value);
            }
        } else {
            store(self.first, ADDRESSES, pair(c.client, c.vip));
            store(self.first, ADDRESSES + 1, pair(c.server, c.local));
        }
        self.first.0[META].store(meta.0, Release);
    }
}

const LOW: u64 = 0xffff_ffff;

/// Two IPv4 addresses in a word.
#[inline(always)]
fn pair<A: Address>(high: A, low: A) -> u64 {
    high.words()[0] << 32 | low.words()[0]
}

#[inline(always)]
fn port_pair(high: u16, low: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

#[inline(always)]
fn stamp_word<A>(connection: &Connection<A>, stamp: u32) -> u64 {
    u64::from(stamp) << 32 | u64::from(connection.server_id) << 8 | u64::from(connection.flags)
}

#[cfg(test)]
mod tests {
    use xsk::Lines;

    use super::*;
    use crate::forward::{V4, V6};

    fn connection<A: Address>(n: u16) -> Connection<A> {
        let address = |high: u64| A::from_words([high + u64::from(n), 3 * high].map(|w| w & LOW));
        Connection {
            client: address(1 << 8),
            cport: n,
            vip: address(1 << 16),
            vport: n + 1,
            server: address(1 << 24),
            rport: n + 2,
            local: address(0xdead_0000),
            lport: n + 3,
            protocol: if n == 0 { Protocol::Tcp } else { Protocol::Udp },
            forward: Forward::from_u8(n as u8),
            server_id: 0x00ff_ff00 + u32::from(n),
            flags: 0x80 + n as u8,
            keys: Keys::from_u8(n as u8 % 4),
            template: TemplateRef(0xffff_ffff_ffff - u64::from(n)),
        }
    }

    /// The entry's life ends, and another one begins, after the reader saw it alive: the
    /// interleaving that threads meet too rarely to rely on them.
    fn reused_while_read<A: Address>() {
        let lines = Lines::new(4).expect("memory");
        let entry = Entry::<A>::at(&lines, 1);
        assert_eq!(entry.read(1), None);
        let first = Meta::new(1, 7, 9);
        entry.publish(&connection(0), first, 5);
        let found = entry.read(1).expect("alive");
        assert_eq!((found.connection, found.meta, found.stamp), (connection(0), first, 5));

        let end = || entry.change(first, Meta::new(2, 0, 0)).is_ok();
        assert_eq!(entry.read_if(1, FORWARD, end), None, "it ended");
        assert_eq!(entry.read(1), None);

        let second = Meta::new(3, 7, 9);
        entry.publish(&connection(1), second, 6);
        let replace = || {
            entry.change(second, Meta::new(4, 0, 0)).expect("alive");
            entry.publish(&connection(2), Meta::new(5, 7, 9), 7);
            true
        };
        assert_eq!(entry.read_if(1, FORWARD, replace), None, "it is another one");
        assert_eq!(entry.read(1).map(|found| found.connection), Some(connection(2)));
    }

    #[test]
    fn a_read_that_lost_a_race_is_a_miss() {
        reused_while_read::<V4>();
        reused_while_read::<V6>();
    }

    /// Whoever still holds what was found in an earlier life changes nothing in this one.
    #[test]
    fn the_stale_hand_has_no_effect() {
        let lines = Lines::new(1).expect("memory");
        let entry = Entry::<V4>::at(&lines, 0);
        entry.publish(&connection(0), Meta::new(1, 0, 9), 5);
        let stale = entry.read(0).expect("alive");
        entry.change(stale.meta, Meta::new(2, 0, 0)).expect("alive");
        entry.publish(&connection(1), Meta::new(3, 0, 9), 5);
        entry.restamp(&stale.connection, stale.stamp, 99);
        assert!(!entry.change_hops(stale.hops, Hops::new(1, 1, 1, 1)));
        assert_eq!(entry.change(stale.meta, Meta::new(1, 1, 1)), Err(Meta::new(3, 0, 9)));
        let found = entry.read(0).expect("alive");
        assert_eq!((found.connection, found.stamp), (connection(1), 5));
        assert_eq!(found.hops, Hops::unknown(3));
    }
}
