//! IP in IP (RFC 2003, RFC 2473, RFC 4213): the outer header of TUN, as
//! `ip_vs_tunnel_xmit` makes it.

use std::net::IpAddr;

use crate::{
    forward::{Address, V4, V6},
    packet::Packet,
    verdict::Drop,
    wire::{Ip, ethernet, fold, ipv4, ipv6, put_u16, sum, u16_at},
};

/// Octets that the outer header adds.
pub const fn overhead(server: IpAddr) -> u16 {
    match server {
        IpAddr::V4(_) => ipv4::LEN as u16,
        IpAddr::V6(_) => ipv6::LEN as u16,
    }
}

/// The ends of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Over IPv4: our address, the server's.
    V4(V4, V4),
    /// Over IPv6.
    V6(V6, V6),
}

impl Ends {
    /// Both addresses must be of one family.
    pub fn new(source: IpAddr, server: IpAddr) -> Option<Self> {
        match (source, server) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                Some(Self::V4(V4::from_ip(source)?, V4::from_ip(server)?))
            }
            (IpAddr::V6(_), IpAddr::V6(_)) => {
                Some(Self::V6(V6::from_ip(source)?, V6::from_ip(server)?))
            }
            _ => None,
        }
    }

    /// The server's address.
    pub fn server(&self) -> IpAddr {
        match self {
            Self::V4(_, server) => server.ip(),
            Self::V6(_, server) => server.ip(),
        }
    }
}

/// Puts the outer header in front of the packet, whose own TTL has been lowered already.
/// Returns where the packet now ends. `id` is the outer identification, used where DF is not set.
///
/// # Errors
/// [`Drop::FrameRoom`] if the frame cannot hold it.
#[inline]
pub fn encapsulate<A: Ip>(
    room: &mut [u8],
    packet: &Packet<A>,
    ends: &Ends,
    id: u16,
) -> Result<usize, Drop> {
    let end = usize::from(packet.end);
    let header = match ends {
        Ends::V4(..) => ipv4::LEN,
        Ends::V6(..) => ipv6::LEN,
    };
    if end + header > room.len() {
        return Err(Drop::FrameRoom);
    }
    room.copy_within(ethernet::LEN..end, ethernet::LEN + header);
    let (outer, inner) = room[ethernet::LEN..end + header].split_at_mut(header);
    let tos = outer_tos(inner_tos::<A>(inner));
    let ttl = packet.ttl - 1;
    let ethertype = match ends {
        Ends::V4(src, dst) => {
            // The kernel copies DF from an inner IPv4 packet (`sysctl_pmtu_disc`).
            let df = packet.dont_fragment && !A::IPV6;
            let (id, flags) = if df { (0, ipv4::DF) } else { (id, 0) };
            outer[0] = 0x45;
            outer[ipv4::TOS] = tos;
            put_u16(outer, ipv4::TOTAL_LENGTH, (end + header - ethernet::LEN) as u16);
            put_u16(outer, ipv4::ID, id);
            put_u16(outer, ipv4::FRAGMENT, flags);
            outer[ipv4::TTL] = ttl;
            outer[ipv4::PROTOCOL] = A::AS_PAYLOAD;
            put_u16(outer, ipv4::CHECKSUM, 0);
            src.to_wire(&mut outer[ipv4::SOURCE..]);
            dst.to_wire(&mut outer[ipv4::DESTINATION..]);
            let checksum = !fold(sum(outer));
            put_u16(outer, ipv4::CHECKSUM, checksum);
            ethernet::IPV4
        }
        Ends::V6(src, dst) => {
            outer[..4].copy_from_slice(&(6u32 << 28 | u32::from(tos) << 20).to_be_bytes());
            put_u16(outer, ipv6::PAYLOAD_LENGTH, (end - ethernet::LEN) as u16);
            outer[ipv6::NEXT_HEADER] = A::AS_PAYLOAD;
            outer[ipv6::HOP_LIMIT] = ttl;
            src.to_wire(&mut outer[ipv6::SOURCE..]);
            dst.to_wire(&mut outer[ipv6::DESTINATION..]);
            ethernet::IPV6
        }
    };
    put_u16(room, ethernet::TYPE.start, ethertype);
    Ok(end + header)
}

/// DSCP and ECN of the inner packet.
fn inner_tos<A: Ip>(inner: &[u8]) -> u8 {
    if A::IPV6 { (u16_at(inner, 0) >> 4) as u8 } else { inner[ipv4::TOS] }
}

/// `INET_ECN_encapsulate`: congestion experienced inside starts afresh as ECT(0) outside.
const fn outer_tos(inner: u8) -> u8 {
    const ECN: u8 = 3;
    const CE: u8 = 3;
    const ECT_0: u8 = 2;
    if inner & ECN == CE { inner & !ECN | ECT_0 } else { inner }
}
