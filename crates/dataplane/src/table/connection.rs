//! What goes into the table and what comes out of it.

use crate::{
    forward::{Address, Forward, Protocol, Tuple},
    topology::{HopId, NO_HOP},
};

/// One connection: who talks to whom, and how it is rewritten. Never changes while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<A> {
    /// The client's address.
    pub client: A,
    /// The client's port.
    pub cport: u16,
    /// The address that the client talks to.
    pub vip: A,
    /// The port that the client talks to.
    pub vport: u16,
    /// The real server's address; in TUN unused (the outer address is in the server's record).
    pub server: A,
    /// The real server's port.
    pub rport: u16,
    /// The address that the server answers to: the client's in NAT, ours in FullNAT; unused in
    /// DR and TUN.
    pub local: A,
    /// The port that the server answers to; unused in DR and TUN.
    pub lport: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Forwarding method; NAT and FullNAT have a reverse key.
    pub forward: Forward,
    /// The real server's id, below [`Connection::MAX_SERVER`].
    pub server_id: u32,
    /// For the pipeline's use.
    pub flags: u8,
    /// Under which keys it is found.
    pub keys: Keys,
    /// The persistence template that controls it.
    pub template: TemplateRef,
}

/// Under which of its keys a connection is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Keys {
    /// The client's, and the server's where its answers pass here.
    #[default]
    Both = 0,
    /// One packet of a client: the server's only. Clients have as many as they like.
    Answers = 1,
    /// One packet of a client, whose answers are not translated: none, only its number.
    Neither = 2,
    /// Both in each mode, of a health probe: its answers pass here in DR and TUN too.
    Probe = 3,
}

impl Keys {
    /// The inverse of `self as u8`.
    pub(super) const fn from_u8(value: u8) -> Self {
        match value & 3 {
            0 => Self::Both,
            1 => Self::Answers,
            2 => Self::Neither,
            _ => Self::Probe,
        }
    }
}

/// Which persistence template controls a connection: its number (24 bits) and the low 24 bits
/// of its generation, which is odd. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TemplateRef(pub(super) u64);

impl TemplateRef {
    /// No template.
    pub const NONE: Self = Self(0);
    /// Templates of one table, at most.
    pub const MAX: usize = 1 << 24;
    const HALF: u32 = (1 << 24) - 1;

    /// The template that has this place in its table.
    pub const fn new(template: ConnectionRef) -> Self {
        Self((template.id as u64) << 24 | (template.generation & Self::HALF) as u64)
    }

    /// Its number.
    pub const fn id(self) -> u32 {
        (self.0 >> 24) as u32
    }

    /// The low 24 bits of its generation.
    pub const fn generation(self) -> u32 {
        self.0 as u32 & Self::HALF
    }

    /// There is one.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// It is the template that has this place.
    pub const fn is(self, template: ConnectionRef) -> bool {
        self.0 == Self::new(template).0
    }
}

impl<A: Address> Found<A> {
    /// What becomes of the addresses and ports of its packets, in NAT and FullNAT.
    #[inline(always)]
    pub const fn translated(&self) -> Tuple<A> {
        let c = &self.connection;
        match self.direction {
            Way::Forward => Tuple {
                src: c.local,
                dst: c.server,
                sport: c.lport,
                dport: c.rport,
                protocol: c.protocol,
            },
            Way::Reverse => c.forward_key().reversed(),
        }
    }
}

impl<A: Address> Connection<A> {
    /// True if a persistence template decided about its server (`cp->control`).
    pub const fn controlled(&self) -> bool {
        self.template.0 != TemplateRef::NONE.0
    }

    /// Server ids fit 24 bits.
    pub const MAX_SERVER: u32 = 1 << 24;

    /// What the client's packets look like.
    #[inline]
    pub const fn forward_key(&self) -> Tuple<A> {
        Tuple {
            src: self.client,
            dst: self.vip,
            sport: self.cport,
            dport: self.vport,
            protocol: self.protocol,
        }
    }

    /// The client's key, if it is found by it.
    #[inline]
    pub const fn client_key(&self) -> Option<Tuple<A>> {
        match self.keys {
            Keys::Both | Keys::Probe => Some(self.forward_key()),
            Keys::Answers | Keys::Neither => None,
        }
    }

    /// What the server's answers look like, if they pass here.
    #[inline]
    pub const fn reverse_key(&self) -> Option<Tuple<A>> {
        match self.keys {
            Keys::Neither => return None,
            Keys::Both | Keys::Answers if !self.forward.two_way() => return None,
            Keys::Both | Keys::Answers | Keys::Probe => {}
        }
        Some(Tuple {
            src: self.server,
            dst: self.local,
            sport: self.rport,
            dport: self.lport,
            protocol: self.protocol,
        })
    }
}

/// Which key of a connection a packet matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Forward,
    /// From the server, in NAT and FullNAT.
    Reverse,
}

/// The changing part of a connection as it was read: generation (32) | state (8) |
/// timeout (24). An odd generation is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta(pub(super) u64);

impl Meta {
    /// The first generation of an entry is 1.
    pub(super) const fn new(generation: u32, state: u8, timeout: u32) -> Self {
        let timeout = if timeout < Self::MAX_TIMEOUT { timeout } else { Self::MAX_TIMEOUT };
        Self((generation as u64) << 32 | (state as u64) << 24 | timeout as u64)
    }

    /// The longest idle time in seconds, 194 days.
    pub const MAX_TIMEOUT: u32 = (1 << 24) - 1;

    /// Which use of the entry this is; a reused entry has another one.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The state, in the numbers of whoever inserted the connection.
    pub const fn state(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Seconds that it may be idle.
    pub const fn timeout(self) -> u32 {
        self.0 as u32 & Self::MAX_TIMEOUT
    }

    pub(super) const fn alive(self) -> bool {
        self.0 >> 32 & 1 == 1
    }
}

/// The cached next hops as they were read: generation (8) | route generation (24) | way in to
/// the server (16) | way out to the client (16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hops(pub(super) u64);

impl Hops {
    pub(super) const fn new(generation: u32, routes: u32, hop_in: HopId, hop_out: HopId) -> Self {
        let routes = (routes & 0x00ff_ffff) as u64;
        Self((generation as u64) << 56 | routes << 32 | (hop_in as u64) << 16 | hop_out as u64)
    }

    pub(super) const fn unknown(generation: u32) -> Self {
        Self::new(generation, 0, NO_HOP, NO_HOP)
    }

    /// The low 24 bits of the route generation for which the hops hold.
    pub const fn route_generation(self) -> u32 {
        (self.0 >> 32) as u32 & 0x00ff_ffff
    }

    /// The hop towards the server; [`NO_HOP`] until it is set.
    pub const fn hop_in(self) -> HopId {
        (self.0 >> 16) as HopId
    }

    /// The hop towards the client; [`NO_HOP`] until it is set.
    pub const fn hop_out(self) -> HopId {
        self.0 as HopId
    }
}

/// A connection that was found, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<A> {
    /// The entry's number, below the table's capacity.
    pub id: u32,
    /// Which key matched.
    pub direction: Way,
    /// The connection.
    pub connection: Connection<A>,
    /// Generation, state and timeout.
    pub meta: Meta,
    /// The second of its last packet.
    pub stamp: u32,
    /// Its next hops.
    pub hops: Hops,
}

impl<A> Found<A> {
    /// A handle of it.
    pub const fn reference(&self) -> ConnectionRef {
        ConnectionRef { id: self.id, generation: self.meta.generation() }
    }
}

/// A handle of a connection just inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRef {
    /// The entry's number.
    pub id: u32,
    /// Which use of the entry it is.
    pub generation: u32,
}

/// A connection that its timeout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired<A> {
    /// The entry's number, free again by now.
    pub id: u32,
    /// The connection.
    pub connection: Connection<A>,
    /// Its last generation, state and timeout.
    pub meta: Meta,
    /// The second of its last packet.
    pub stamp: u32,
    /// Its last next hops.
    pub hops: Hops,
}

impl<A> Expired<A> {
    /// The handle that it had.
    pub const fn reference(&self) -> ConnectionRef {
        ConnectionRef { id: self.id, generation: self.meta.generation() }
    }
}

/// Why a connection was not inserted; the table is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// A connection with this forward key is there already: find it.
    #[error("the connection exists")]
    Exists,
    /// The reverse key belongs to another connection: take another local port.
    #[error("the server's answers would belong to another connection")]
    ReverseTaken,
    /// No free entry, or no room in the index.
    #[error("the connection table is full")]
    Full,
}
