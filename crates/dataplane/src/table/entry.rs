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
    connection::{Connection, Found, Hops, Meta},
    index::FORWARD,
    sight::Sight,
};
use crate::forward::{Address, Tuple};

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

/// Everything in an entry but its meta word, as it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) stamp: u64,
    pub(super) hops: u64,
    pub(super) ports: u64,
    pub(super) kind: u64,
    /// The client's and the VIP's, then the server's and the local one: four words each, of which
    /// IPv4 uses the first.
    pub(super) addresses: [u64; 8],
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

    /// Moves the stamp of a connection on, whose stamp word was `from`. The word holds nothing
    /// else that changes, so a stale reader fails, or writes to a reused entry what belongs there.
    #[inline]
    pub(super) fn restamp(self, from: u64, to: u32) {
        // Whoever was faster wrote the same second or a neighbouring one.
        let to = u64::from(to) << 32 | from & LOW;
        let _ = self.first.0[STAMP].compare_exchange(from, to, Relaxed, Relaxed);
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
        self.read_if(id, FORWARD, |_| true).map(Sight::found)
    }

    /// The connection, if the entry lives and its key of that direction is `tuple`.
    #[inline(always)]
    pub(super) fn read_key(self, id: u32, direction: u64, key: &Tuple<A>) -> Option<Sight<A>> {
        self.read_if(id, direction, |words| words.has_key(direction, key))
    }

    #[inline(always)]
    fn read_if(self, id: u32, direction: u64, wanted: impl Fn(&Words) -> bool) -> Option<Sight<A>> {
        let before = self.meta();
        if !before.alive() {
            return None;
        }
        let words = self.words();
        if !wanted(&words) {
            return None;
        }
        fence(Acquire);
        let meta = Meta(self.first.0[META].load(Relaxed));
        (meta.generation() == before.generation()).then_some(Sight::new(id, direction, meta, words))
    }

    #[inline(always)]
    fn words(self) -> Words {
        let first = |word: usize| self.first.0[word].load(Relaxed);
        let addresses = if A::IPV6 {
            std::array::from_fn(|word| self.last.0[word].load(Relaxed))
        } else {
            [first(ADDRESSES), 0, 0, 0, first(ADDRESSES + 1), 0, 0, 0]
        };
        Words {
            stamp: first(STAMP),
            hops: first(HOPS),
            ports: first(PORTS),
            kind: first(KIND),
            addresses,
        }
    }

    /// Fills a free entry that belongs to the caller, and brings it to life.
    #[inline]
    pub(super) fn publish(self, connection: &Connection<A>, meta: Meta, now: u32, hops: Hops) {
        // A reader that sees one of these words must also see that the generation is even.
        fence(Release);
        let store = |line: &Line, word: usize, value: u64| line.0[word].store(value, Relaxed);
        let c = connection;
        store(self.first, STAMP, stamp_word(c, now));
        store(self.first, HOPS, hops.0);
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

impl Words {
    /// The words of a direction's addresses. Chosen, not indexed: so all of them stay in registers.
    #[inline(always)]
    const fn half(&self, direction: u64) -> [u64; 4] {
        let [a, b, c, d, e, f, g, h] = self.addresses;
        if direction == FORWARD { [a, b, c, d] } else { [e, f, g, h] }
    }

    #[inline(always)]
    const fn port_pair(&self, direction: u64) -> u32 {
        (self.ports >> (32 * direction)) as u32
    }

    /// True if the key of that direction is `key`.
    #[inline(always)]
    fn has_key<A: Address>(&self, direction: u64, key: &Tuple<A>) -> bool {
        let words = self.half(direction);
        let addresses = if A::IPV6 {
            let [src, src_low] = key.src.words();
            let [dst, dst_low] = key.dst.words();
            (words[0] ^ src) | (words[1] ^ src_low) | (words[2] ^ dst) | (words[3] ^ dst_low)
        } else {
            words[0] ^ pair(key.src, key.dst)
        };
        let ports = self.port_pair(direction) ^ port_pair(key.sport, key.dport);
        let protocol = self.kind as u8 ^ key.protocol as u8;
        addresses | u64::from(ports) | u64::from(protocol) == 0
    }

    /// The addresses of a direction's key, and its ports.
    #[inline(always)]
    pub(super) fn key<A: Address>(&self, direction: u64) -> ([A; 2], [u16; 2]) {
        let [src, src_low, dst, dst_low] = self.half(direction);
        let addresses = if A::IPV6 {
            [A::from_words([src, src_low]), A::from_words([dst, dst_low])]
        } else {
            [A::from_words([src >> 32, 0]), A::from_words([src & LOW, 0])]
        };
        let ports = self.port_pair(direction);
        (addresses, [(ports >> 16) as u16, ports as u16])
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
pub(super) fn stamp_word<A>(connection: &Connection<A>, stamp: u32) -> u64 {
    u64::from(stamp) << 32 | u64::from(connection.server_id) << 8 | u64::from(connection.flags)
}

#[cfg(test)]
mod tests {
    use xsk::Lines;

    use super::*;
    use crate::{
        forward::{Forward, Protocol, V4, V6},
        table::{Keys, TemplateRef},
    };

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
        entry.publish(&connection(0), first, 5, Hops::unknown(1));
        let found = entry.read(1).expect("alive");
        assert_eq!((found.connection, found.meta, found.stamp), (connection(0), first, 5));

        let end = |_: &Words| entry.change(first, Meta::new(2, 0, 0)).is_ok();
        assert_eq!(entry.read_if(1, FORWARD, end), None, "it ended");
        assert_eq!(entry.read(1), None);

        let second = Meta::new(3, 7, 9);
        entry.publish(&connection(1), second, 6, Hops::unknown(3));
        let replace = |_: &Words| {
            entry.change(second, Meta::new(4, 0, 0)).expect("alive");
            entry.publish(&connection(2), Meta::new(5, 7, 9), 7, Hops::unknown(5));
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
        entry.publish(&connection(0), Meta::new(1, 0, 9), 5, Hops::unknown(1));
        let stale = entry.read(0).expect("alive");
        entry.change(stale.meta, Meta::new(2, 0, 0)).expect("alive");
        entry.publish(&connection(1), Meta::new(3, 0, 9), 5, Hops::unknown(3));
        entry.restamp(stamp_word(&stale.connection, stale.stamp), 99);
        assert!(!entry.change_hops(stale.hops, Hops::new(1, 1, 1, 1)));
        assert_eq!(entry.change(stale.meta, Meta::new(1, 1, 1)), Err(Meta::new(3, 0, 9)));
        let found = entry.read(0).expect("alive");
        assert_eq!((found.connection, found.stamp), (connection(1), 5));
        assert_eq!(found.hops, Hops::unknown(3));
    }
}
