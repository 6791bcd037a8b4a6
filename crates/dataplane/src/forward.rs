//! What a service is and how its packets are forwarded: the small words that
//! every other part of the datapath uses.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A transport protocol, by its IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP, RFC 9293.
    Tcp = 6,
    /// UDP, RFC 768.
    Udp = 17,
    /// SCTP, RFC 9260.
    Sctp = 132,
}

impl Protocol {
    /// The protocol with this IANA number, if it is one that services have.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// `tcp`, `udp` or `sctp`, as in the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// How packets reach a real server: the forwarding methods of LVS, and DPVS's FullNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Forward {
    /// Masquerading: the destination becomes the server's; answers pass here again.
    Nat = 0,
    /// As NAT, and the source becomes an address of the director.
    FullNat = 1,
    /// Direct routing: only the destination MAC changes; answers bypass the director.
    Dr = 2,
    /// IP in IP: an outer header to the server; answers bypass the director.
    Tun = 3,
}

impl Forward {
    /// True where answers of the server pass the director and are translated back.
    pub const fn two_way(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// The word in the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat => "fullnat",
            Self::Dr => "dr",
            Self::Tun => "tun",
        }
    }

    /// The inverse of `self as u8`.
    pub const fn from_u8(value: u8) -> Self {
        match value & 3 {
            0 => Self::Nat,
            1 => Self::FullNat,
            2 => Self::Dr,
            _ => Self::Tun,
        }
    }
}

/// What a tunnel's outer header is (`IP_VS_CONN_F_TUNNEL_TYPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// IP in IP (RFC 2003, RFC 2473, RFC 4213).
    #[default]
    Ipip,
    /// Generic UDP Encapsulation (`--tun-type gue`).
    Gue {
        /// The destination port, not 0.
        port: u16,
        /// Whether the outer UDP checksum is filled.
        checksum: bool,
    },
    /// Generic Routing Encapsulation (RFC 2784).
    Gre {
        /// Whether the header carries a checksum.
        checksum: bool,
    },
}

/// An IP address of one family, in the form that the table stores and the
/// rewrites patch: everything generic over the family goes through this trait.
pub trait Address: Copy + Eq + std::fmt::Debug + std::hash::Hash + Send + Sync + 'static {
    /// Octets on the wire: 4 or 16.
    const OCTETS: usize;
    /// True for IPv6.
    const IPV6: bool;
    /// `255.255.255.255/32` or `/128`: the number of bits.
    const BITS: u8 = (Self::OCTETS * 8) as u8;
    /// Reads the address from the first `OCTETS` octets.
    fn from_wire(octets: &[u8]) -> Self;
    /// Writes the address to the first `OCTETS` octets.
    fn to_wire(self, octets: &mut [u8]);
    /// The address for display, configuration and maps.
    fn ip(self) -> IpAddr;
    /// The address, if it is of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// Two words that hold the address (IPv4: the low 32 bits of the first), for hashing and storing.
    fn words(self) -> [u64; 2];
    /// The inverse of [`Address::words`].
    fn from_words(words: [u64; 2]) -> Self;
}

/// An IPv4 address in host order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V4(pub u32);

/// An IPv6 address in host order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V6(pub u128);

impl std::fmt::Debug for V4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ip().fmt(f)
    }
}

impl std::fmt::Debug for V6 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ip().fmt(f)
    }
}

impl Address for V4 {
    const OCTETS: usize = 4;
    const IPV6: bool = false;

    #[inline(always)]
    fn from_wire(octets: &[u8]) -> Self {
        Self(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]))
    }

    #[inline(always)]
    fn to_wire(self, octets: &mut [u8]) {
        octets[..4].copy_from_slice(&self.0.to_be_bytes());
    }

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.0))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(Self(u32::from(ip))),
            IpAddr::V6(_) => None,
        }
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [u64::from(self.0), 0]
    }

    #[inline(always)]
    fn from_words(words: [u64; 2]) -> Self {
        Self(words[0] as u32)
    }
}

impl Address for V6 {
    const OCTETS: usize = 16;
    const IPV6: bool = true;

    #[inline(always)]
    fn from_wire(octets: &[u8]) -> Self {
        let mut wire = [0; 16];
        wire.copy_from_slice(&octets[..16]);
        Self(u128::from_be_bytes(wire))
    }

    #[inline(always)]
    fn to_wire(self, octets: &mut [u8]) {
        octets[..16].copy_from_slice(&self.0.to_be_bytes());
    }

    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.0))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(Self(u128::from(ip))),
        }
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [(self.0 >> 64) as u64, self.0 as u64]
    }

    #[inline(always)]
    fn from_words(words: [u64; 2]) -> Self {
        Self(u128::from(words[0]) << 64 | u128::from(words[1]))
    }
}

/// The address pair, port pair and protocol of a packet, as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl<A: Copy> Tuple<A> {
    /// The tuple of an answer to this packet.
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            protocol: self.protocol,
        }
    }
}

/// A protocol, an address and a port: what clients connect to, or what a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The address.
    pub address: IpAddr,
    /// The port; 0 in the key of a service that takes every port of its VIP.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol.name())
    }
}

/// The key of one LVS service (`ip_vs_service_find`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKey {
    /// Packets to a VIP and port.
    Endpoint(Endpoint),
    /// Packets of one family that a mark rule gave this mark, of whatever protocol.
    Mark {
        /// The mark, not 0.
        mark: u32,
        /// The family.
        ipv6: bool,
    },
}

impl Hash for ServiceKey {
    /// In few words: each packet without a connection asks for one.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Endpoint(Endpoint { protocol, address, port }) => {
                let rest = u64::from(*port) << 8 | u64::from(*protocol as u8);
                match address {
                    IpAddr::V4(ip) => state.write_u64(u64::from(u32::from(*ip)) << 32 | rest),
                    IpAddr::V6(ip) => {
                        state.write_u128(u128::from(*ip));
                        state.write_u64(rest);
                    }
                }
            }
            Self::Mark { mark, ipv6 } => {
                state.write_u64(u64::from(*mark) << 1 | u64::from(*ipv6));
            }
        }
    }
}

impl ServiceKey {
    /// The endpoint, if it is one.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint),
            Self::Mark { .. } => None,
        }
    }

    /// The mark, if it is one.
    pub const fn mark(&self) -> Option<u32> {
        match self {
            Self::Endpoint(_) => None,
            Self::Mark { mark, .. } => Some(*mark),
        }
    }

    /// The family of its packets.
    pub const fn is_ipv6(&self) -> bool {
        match self {
            Self::Endpoint(endpoint) => endpoint.address.is_ipv6(),
            Self::Mark { ipv6, .. } => *ipv6,
        }
    }

    /// The port of the VIP; 0 where it takes several.
    pub const fn port(&self) -> u16 {
        match self {
            Self::Endpoint(endpoint) => endpoint.port,
            Self::Mark { .. } => 0,
        }
    }
}

impl From<Endpoint> for ServiceKey {
    fn from(endpoint: Endpoint) -> Self {
        Self::Endpoint(endpoint)
    }
}

impl std::fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Mark { mark, ipv6: false } => write!(f, "mark {mark}"),
            Self::Mark { mark, ipv6: true } => write!(f, "mark {mark} IPv6"),
        }
    }
}
