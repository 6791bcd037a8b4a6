//! A connection as it was seen at one moment, its words not taken apart: an established packet
//! needs a few of them only.

use std::marker::PhantomData;

use super::{
    connection::{Connection, Found, Hops, Keys, Meta, TemplateRef, Way},
    entry::Words,
    index::{FORWARD, REVERSE},
};
use crate::{
    forward::{Address, Forward, Protocol, Tuple},
    topology::HopId,
};

/// A connection that was found; [`Sight::found`] takes it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight<A> {
    pub(super) id: u32,
    direction: u64,
    meta: Meta,
    pub(super) words: Words,
    family: PhantomData<A>,
}

impl<A: Address> Sight<A> {
    #[inline(always)]
    pub(super) const fn new(id: u32, direction: u64, meta: Meta, words: Words) -> Self {
        Self { id, direction, meta, words, family: PhantomData }
    }

    /// Which key matched.
    #[inline(always)]
    pub const fn way(&self) -> Way {
        if self.direction == FORWARD { Way::Forward } else { Way::Reverse }
    }

    /// The state, as [`Meta::state`].
    #[inline(always)]
    pub const fn state(&self) -> u8 {
        self.meta.state()
    }

    /// The second of its last packet.
    #[inline(always)]
    pub const fn stamp(&self) -> u32 {
        (self.words.stamp >> 32) as u32
    }

    /// The last second of its life, if no packet comes.
    #[inline(always)]
    pub const fn deadline(&self) -> u64 {
        self.stamp() as u64 + self.meta.timeout() as u64
    }

    /// Its next hops.
    #[inline(always)]
    pub const fn hops(&self) -> Hops {
        Hops(self.words.hops)
    }

    /// The hop in the packet's direction.
    #[inline(always)]
    pub const fn hop(&self) -> HopId {
        (self.words.hops >> (16 * (1 - self.direction))) as HopId
    }

    /// The real server's id.
    #[inline(always)]
    pub const fn server_id(&self) -> u32 {
        self.words.stamp as u32 >> 8
    }

    /// Forwarding method.
    #[inline(always)]
    pub const fn forward(&self) -> Forward {
        Forward::from_u8((self.words.kind >> 8) as u8)
    }

    /// Under which keys it is found.
    #[inline(always)]
    pub const fn keys(&self) -> Keys {
        Keys::from_u8((self.words.kind >> 10) as u8)
    }

    /// What becomes of the addresses and ports of its packets, in NAT and FullNAT: the other
    /// key's, the other way round.
    #[inline(always)]
    pub fn translated(&self, protocol: Protocol) -> Tuple<A> {
        let ([dst, src], [dport, sport]) = self.words.key(REVERSE - self.direction);
        Tuple { src, dst, sport, dport, protocol }
    }

    /// Everything about it.
    #[inline(always)]
    pub fn found(self) -> Found<A> {
        let Words { stamp, hops, kind, .. } = self.words;
        let ([client, vip], [cport, vport]) = self.words.key(FORWARD);
        let ([server, local], [rport, lport]) = self.words.key(REVERSE);
        let connection = Connection {
            client,
            cport,
            vip,
            vport,
            server,
            rport,
            local,
            lport,
            protocol: Protocol::from_number(kind as u8).unwrap_or(Protocol::Tcp),
            forward: self.forward(),
            server_id: self.server_id(),
            flags: stamp as u8,
            keys: self.keys(),
            template: TemplateRef(kind >> 16),
        };
        Found {
            id: self.id,
            direction: self.way(),
            connection,
            meta: self.meta,
            stamp: self.stamp(),
            hops: Hops(hops),
        }
    }
}
