//! Parsing: once per packet, from a frame to what the pipeline needs to know.
//!
//! The frame's length is never trusted over the IP length: `end` is where the packet
//! ends, what follows it is Ethernet padding. Nothing here panics, whatever the octets.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice};

use crate::{
    forward::{Address, Protocol, Tuple, V4, V6},
    sctp,
    verdict::{Drop, Punt},
    wire::{self, ethernet, ipv4, protocol, u16_at},
};

/// Which part of its datagram a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The beginning: transport header present, more to come.
    First,
    /// A later part, without the transport header.
    Later,
}

/// A TCP, UDP or SCTP packet of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<A> {
    /// Addresses, ports and protocol; ports are 0 in later fragments.
    pub tuple: Tuple<A>,
    /// Octets from the frame's start to the transport header.
    pub l4: u16,
    /// Octets from the frame's start to the packet's end.
    pub end: u16,
    /// TTL or hop limit as it arrived.
    pub ttl: u8,
    /// TCP flags; SCTP's [`sctp::event`], a chunk type; 0 for UDP.
    pub flags: u8,
    /// IPv4: DF is set. IPv6: true, since routers never fragment it.
    pub dont_fragment: bool,
    /// Which part of the datagram this is.
    pub fragment: Fragment,
    /// The fragment identification (16 bits in IPv4), meaningful unless [`Fragment::Whole`].
    pub id: u32,
}

impl<A> Packet<A> {
    /// Octets of the IP packet.
    pub const fn ip_len(&self) -> usize {
        self.end as usize - ethernet::LEN
    }
}

/// An ICMP or ICMPv6 error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<A> {
    /// Who sent it.
    pub src: A,
    /// To whom.
    pub dst: A,
    /// Octets from the frame's start to the ICMP header.
    pub l4: u16,
    /// Octets from the frame's start to the packet's end.
    pub end: u16,
    /// TTL or hop limit as it arrived.
    pub ttl: u8,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
}

/// What a frame holds.
// An explicit tag: the one that the compiler would hide in a field takes longer to read, and
// each stage reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Parsed {
    /// IPv4 TCP, UDP or SCTP.
    V4(Packet<V4>),
    /// IPv6 TCP, UDP or SCTP.
    V6(Packet<V6>),
    /// An ICMP error.
    Error4(IcmpError<V4>),
    /// An ICMPv6 error.
    Error6(IcmpError<V6>),
    /// Nothing for us, or nothing for anybody: decided already.
    Punt(Punt),
    /// Broken or forbidden.
    Drop(Drop),
}

impl Default for Parsed {
    /// Of no frame.
    fn default() -> Self {
        Self::Drop(Drop::Malformed)
    }
}

/// Reads a frame.
pub fn parse(frame: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    parse_into(frame, &mut parsed);
    parsed
}

/// The same, to where it is wanted: a worker's stage takes no copy.
#[inline(always)]
pub(crate) fn parse_into(frame: &[u8], parsed: &mut Parsed) {
    // Nearly all headers have no options: lengths and places are constants there.
    if let Some(head) = frame.first_chunk::<{ ethernet::LEN + ipv4::LEN }>()
        && head[0] & 1 == 0
        && u16_at(head, ethernet::TYPE.start) == ethernet::IPV4
        && head[ethernet::LEN] == VERSION_4_IHL_5
        && let Some(fixed) = head[ethernet::LEN..].first_chunk()
        && let Ok(packet) = parse_ipv4_header(frame, fixed, &[])
    {
        *parsed = Parsed::V4(packet);
    } else if let Some(head) = frame.first_chunk::<{ ethernet::LEN }>()
        && head[0] & 1 == 0
        && u16_at(head, ethernet::TYPE.start) == ethernet::IPV6
        && let Ok(packet) = parse_ipv6(frame)
    {
        *parsed = Parsed::V6(packet);
    } else {
        *parsed = parse_uncommon(frame);
    }
}

/// IPv4, with a header of 5 words.
const VERSION_4_IHL_5: u8 = 0x45;

/// Reads any frame.
#[inline(never)]
fn parse_uncommon(frame: &[u8]) -> Parsed {
    if frame.len() < ethernet::LEN {
        return Parsed::Drop(Drop::Malformed);
    }
    // Broadcast and multicast frames are the kernel's (PACKET_HOST is asked for by ip_vs_in).
    if frame[0] & 1 != 0 {
        return Parsed::Punt(Punt::Unhandled);
    }
    match u16_at(frame, ethernet::TYPE.start) {
        ethernet::IPV4 => parse_ipv4(frame),
        ethernet::IPV6 => match parse_ipv6(frame) {
            Ok(packet) => Parsed::V6(packet),
            Err(other) => other,
        },
        _ => Parsed::Punt(Punt::Unhandled),
    }
}

fn parse_ipv4(frame: &[u8]) -> Parsed {
    let header = Ipv4HeaderSlice::from_slice(&frame[ethernet::LEN..]).map(|header| header.slice());
    match header.ok().and_then(|header| header.split_first_chunk()) {
        Some((fixed, options)) => match parse_ipv4_header(frame, fixed, options) {
            Ok(packet) => Parsed::V4(packet),
            Err(other) => other,
        },
        None => Parsed::Drop(Drop::Malformed),
    }
}

/// IPv4: what `ip_rcv_core` and the martian checks of `ip_route_input` refuse is dropped by name.
#[inline(always)]
fn parse_ipv4_header(
    frame: &[u8],
    fixed: &[u8; ipv4::LEN],
    options: &[u8],
) -> Result<Packet<V4>, Parsed> {
    let header_len = ipv4::LEN + options.len();
    let total = usize::from(u16_at(fixed, ipv4::TOTAL_LENGTH));
    let end = ethernet::LEN + total;
    if end > frame.len() || total < header_len {
        return Err(Parsed::Drop(Drop::Malformed));
    }
    if !wire::header_adds_up(fixed, options) {
        return Err(Parsed::Drop(Drop::BadIpChecksum));
    }
    if let Err(drop) = check_options(options) {
        return Err(Parsed::Drop(drop));
    }
    let src = V4::from_wire(&fixed[ipv4::SOURCE..]);
    let dst = V4::from_wire(&fixed[ipv4::DESTINATION..]);
    if let Some(drop) = bad_ipv4_source(src, dst) {
        return Err(Parsed::Drop(drop));
    }
    let l4 = ethernet::LEN + header_len;
    let flags = u16_at(fixed, ipv4::FRAGMENT);
    let fragment = if flags & (ipv4::OFFSET | ipv4::MF) == 0 {
        Fragment::Whole
    } else if usize::from(flags & ipv4::OFFSET) * 8 + total > usize::from(u16::MAX) {
        // A datagram is at most 65535 octets (ip_frag_queue drops what would end beyond).
        return Err(Parsed::Drop(Drop::Malformed));
    } else if flags & ipv4::OFFSET == 0 {
        Fragment::First
    } else {
        Fragment::Later
    };
    let number = fixed[ipv4::PROTOCOL];
    let Some(protocol) = Protocol::from_number(number) else {
        if number == protocol::ICMP && fragment == Fragment::Whole {
            return Err(parse_icmpv4(&frame[..end], src, dst, l4, fixed[ipv4::TTL]));
        }
        return Err(Parsed::Punt(other_protocol(number, protocol::ICMP, fragment)));
    };
    let mut packet = Packet {
        tuple: Tuple { src, dst, sport: 0, dport: 0, protocol },
        l4: l4 as u16,
        end: end as u16,
        ttl: fixed[ipv4::TTL],
        flags: 0,
        dont_fragment: flags & ipv4::DF != 0,
        fragment,
        id: u32::from(u16_at(fixed, ipv4::ID)),
    };
    read_transport(&mut packet, &frame[l4..end]).map_err(Parsed::Drop)?;
    Ok(packet)
}

/// IPv6: the extension headers that hosts may send are walked (RFC 8200 section 4).
#[inline(always)]
fn parse_ipv6(frame: &[u8]) -> Result<Packet<V6>, Parsed> {
    let Ok(header) = Ipv6HeaderSlice::from_slice(&frame[ethernet::LEN..]) else {
        return Err(Parsed::Drop(Drop::Malformed));
    };
    let end = ethernet::LEN + wire::ipv6::LEN + usize::from(header.payload_length());
    // A payload length of 0 with content is a jumbogram (RFC 2675): longer than any frame here.
    if end > frame.len() || header.payload_length() == 0 {
        return Err(Parsed::Drop(Drop::Malformed));
    }
    let src = V6::from_wire(&header.slice()[wire::ipv6::SOURCE..]);
    let dst = V6::from_wire(&header.slice()[wire::ipv6::DESTINATION..]);
    if let Some(drop) = bad_ipv6_source(src, dst) {
        return Err(Parsed::Drop(drop));
    }
    let first = header.next_header().0;
    let behind = ethernet::LEN + wire::ipv6::LEN;
    let chain = match Protocol::from_number(first) {
        Some(_) => Chain { protocol: first, l4: behind, fragment: Fragment::Whole, id: 0 },
        None => walk_extensions(&frame[..end], first, behind)?,
    };
    if chain.protocol == protocol::ICMPV6 && chain.fragment == Fragment::Whole {
        return Err(parse_icmpv6(&frame[..end], src, dst, chain.l4, header.hop_limit()));
    }
    let Some(protocol) = Protocol::from_number(chain.protocol) else {
        return Err(Parsed::Punt(other_protocol(chain.protocol, protocol::ICMPV6, chain.fragment)));
    };
    let mut packet = Packet {
        tuple: Tuple { src, dst, sport: 0, dport: 0, protocol },
        l4: chain.l4 as u16,
        end: end as u16,
        ttl: header.hop_limit(),
        flags: 0,
        dont_fragment: true,
        fragment: chain.fragment,
        id: chain.id,
    };
    read_transport(&mut packet, &frame[chain.l4..end]).map_err(Parsed::Drop)?;
    Ok(packet)
}

/// Ports and flags; later fragments have none.
#[inline(always)]
fn read_transport<A>(packet: &mut Packet<A>, segment: &[u8]) -> Result<(), Drop> {
    if packet.fragment == Fragment::Later {
        return Ok(());
    }
    match packet.tuple.protocol {
        Protocol::Tcp => {
            let header = TcpHeaderSlice::from_slice(segment).map_err(|_| Drop::Malformed)?;
            packet.tuple.sport = header.source_port();
            packet.tuple.dport = header.destination_port();
            packet.flags = header.slice()[wire::tcp::FLAGS];
        }
        Protocol::Udp => {
            let header: &[u8; wire::udp::LEN] = segment.first_chunk().ok_or(Drop::Malformed)?;
            let length = usize::from(u16_at(header, wire::udp::LENGTH));
            let whole = packet.fragment == Fragment::Whole;
            if length < wire::udp::LEN || (whole && length > segment.len()) {
                return Err(Drop::Malformed);
            }
            packet.tuple.sport = u16_at(header, 0);
            packet.tuple.dport = u16_at(header, 2);
        }
        Protocol::Sctp => {
            // A packet without a chunk is nothing (`sctp_conn_schedule` drops it).
            packet.flags = sctp::event(segment).ok_or(Drop::Malformed)?;
            packet.tuple.sport = u16_at(segment, 0);
            packet.tuple.dport = u16_at(segment, 2);
        }
    }
    Ok(())
}

/// Refuses options that are broken (`ip_options_compile` does) and source routes, which
/// RFC 7126 sections 4.3 and 4.4 ask routers to drop.
#[inline]
fn check_options(mut options: &[u8]) -> Result<(), Drop> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const LSRR: u8 = 131;
    const SSRR: u8 = 137;
    loop {
        match *options {
            [] | [END, ..] => return Ok(()),
            [NOP, ref rest @ ..] => options = rest,
            [LSRR | SSRR, ..] => return Err(Drop::SourceRoute),
            [_, len, ..] if len >= 2 && usize::from(len) <= options.len() => {
                options = &options[usize::from(len)..];
            }
            _ => return Err(Drop::Malformed),
        }
    }
}

#[inline(always)]
fn bad_ipv4_source(V4(src): V4, V4(dst): V4) -> Option<Drop> {
    let top = src >> 24;
    // Zero network, loopback, multicast; 255.255.255.255 (RFC 1122 3.2.1.3).
    if top == 0 || top == 127 || top >> 4 == 0xe || src == u32::MAX {
        return Some(Drop::BadSource);
    }
    (src == dst).then_some(Drop::Land)
}

fn bad_ipv6_source(V6(src): V6, V6(dst): V6) -> Option<Drop> {
    // Unspecified, loopback, multicast, IPv4-mapped (RFC 4291 2.5, 2.7).
    if src <= 1 || src >> 120 == 0xff || src >> 32 == 0xffff {
        return Some(Drop::BadSource);
    }
    (src == dst).then_some(Drop::Land)
}

const fn other_protocol(number: u8, icmp: u8, fragment: Fragment) -> Punt {
    match fragment {
        Fragment::Later => Punt::Fragment,
        _ if number == icmp => Punt::Icmp,
        _ => Punt::Unhandled,
    }
}

/// What stands behind an IPv6 packet's extension headers.
pub(crate) struct Chain {
    /// The upper-layer protocol.
    pub(crate) protocol: u8,
    /// Where it begins in the octets that were walked.
    pub(crate) l4: usize,
    pub(crate) fragment: Fragment,
    id: u32,
}

/// Follows the extension headers to the upper-layer one.
#[inline(never)]
pub(crate) fn walk_extensions(packet: &[u8], first: u8, start: usize) -> Result<Chain, Parsed> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    // More headers than any sane host chains.
    const CHAIN_MAX: usize = 8;

    let mut chain = Chain { protocol: first, l4: start, fragment: Fragment::Whole, id: 0 };
    const MALFORMED: Parsed = Parsed::Drop(Drop::Malformed);
    for _ in 0..CHAIN_MAX {
        let rest = &packet[chain.l4..];
        match chain.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let [next, len, ..] = *rest else { return Err(MALFORMED) };
                let octets = 8 * (usize::from(len) + 1);
                if octets > rest.len() {
                    return Err(MALFORMED);
                }
                if chain.protocol == ROUTING && rest[3] != 0 {
                    // Segments are left: not at its destination yet, which the transport
                    // checksum is about. Type 0 is forbidden (RFC 5095).
                    let forbidden = rest[2] == 0;
                    return Err(if forbidden {
                        Parsed::Drop(Drop::SourceRoute)
                    } else {
                        Parsed::Punt(Punt::Unhandled)
                    });
                }
                chain.protocol = next;
                chain.l4 += octets;
            }
            FRAGMENT => {
                let Some(header) = rest.first_chunk::<8>() else { return Err(MALFORMED) };
                let flags = u16_at(header, 2);
                chain.protocol = header[0];
                chain.l4 += header.len();
                chain.id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                chain.fragment = match (flags >> 3, flags & 1) {
                    (0, 0) => Fragment::Whole,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                if chain.fragment == Fragment::Later {
                    return Ok(chain);
                }
            }
            _ => return Ok(chain),
        }
    }
    Err(MALFORMED)
}

/// The kinds that LVS follows to a connection (`ip_vs_in_icmp`); others are the local stack's.
#[inline(never)]
fn parse_icmpv4(packet: &[u8], src: V4, dst: V4, l4: usize, ttl: u8) -> Parsed {
    const UNREACHABLE: u8 = 3;
    const SOURCE_QUENCH: u8 = 4;
    const TIME_EXCEEDED: u8 = 11;
    let Some(&[kind, code, ..]) = packet[l4..].first_chunk::<8>() else {
        return Parsed::Drop(Drop::Malformed);
    };
    match kind {
        UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED => Parsed::Error4(IcmpError {
            src,
            dst,
            l4: l4 as u16,
            end: packet.len() as u16,
            ttl,
            kind,
            code,
        }),
        _ => Parsed::Punt(Punt::Icmp),
    }
}

#[inline(never)]
fn parse_icmpv6(packet: &[u8], src: V6, dst: V6, l4: usize, ttl: u8) -> Parsed {
    // RFC 4443 section 2.1: error messages have a zero high bit in their type.
    const INFORMATIONAL: u8 = 0x80;
    let Some(&[kind, code, ..]) = packet[l4..].first_chunk::<8>() else {
        return Parsed::Drop(Drop::Malformed);
    };
    if kind & INFORMATIONAL != 0 {
        return Parsed::Punt(Punt::Icmp);
    }
    Parsed::Error6(IcmpError { src, dst, l4: l4 as u16, end: packet.len() as u16, ttl, kind, code })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::parse_quoted;

    #[test]
    fn random_octets_never_panic() {
        let mut seed = 88_172_645_463_325_252u64;
        let mut frame = [0u8; 128];
        for round in 0..400_000u32 {
            for octet in &mut frame {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                *octet = seed as u8;
            }
            // Half of them get past the first checks.
            if round % 2 == 0 {
                let v6 = round % 4 == 0;
                frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
                frame[14] = if v6 { 0x60 } else { 0x45 + (frame[14] & 3) };
                frame[16] = 0;
                frame[18] = 0;
                frame[20] = [0, 6, 17, 43, 44, 58, 60, 132, frame[20]][(round / 4 % 9) as usize];
            }
            let len = (seed >> 40) as usize % frame.len();
            parse(&frame[..len]);
            let _ = parse_quoted::<V4>(&frame[14.min(len)..len]);
            let _ = parse_quoted::<V6>(&frame[14.min(len)..len]);
        }
    }
}
