//! The outer headers of TUN, as `ip_vs_tunnel_xmit` makes them: IP in IP (RFC 2003, RFC 2473,
//! RFC 4213), GUE (draft-ietf-intarea-gue) and GRE (RFC 2784), with or without their checksums.

use std::net::IpAddr;

use crate::{
    forward::{Address, Tunnel, V4, V6},
    packet::Packet,
    verdict::Drop,
    wire::{
        Ip, address_sum, ethernet, fold, ipv4, ipv6, protocol, put_u16, sum, transport_checksum,
        u16_at, udp,
    },
};

/// Octets of GUE's own header: version and control, header length, payload, flags.
const GUE: usize = 4;
/// Octets of GRE's header without a checksum.
const GRE: usize = 4;
/// The checksum and a reserved word.
const GRE_CHECKSUM: usize = 4;
/// GRE: the header has a checksum.
const GRE_FLAG_CHECKSUM: u16 = 0x8000;

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

    /// Octets of the outer IP header.
    const fn header(&self) -> usize {
        match self {
            Self::V4(..) => ipv4::LEN,
            Self::V6(..) => ipv6::LEN,
        }
    }
}

/// How packets get to a server through a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    ends: Ends,
    kind: Tunnel,
    overhead: u16,
    /// `pmtu_disc`: what may not be fragmented inside may not be outside, either.
    pub pmtu_disc: bool,
}

/// What the sender of an outer packet may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The identification of an outer IPv4 header, used where DF is not set.
    pub id: u16,
    /// DF of an outer IPv4 header, which only IPv4 packets hand on.
    pub dont_fragment: bool,
    /// GUE: the UDP source port ([`Path::source_port`]).
    pub source_port: u16,
}

impl Path {
    /// The tunnel of this kind between these ends.
    pub const fn new(ends: Ends, kind: Tunnel, pmtu_disc: bool) -> Self {
        let overhead = (ends.header() + kind_header(kind)) as u16;
        Self { ends, kind, overhead, pmtu_disc }
    }

    /// Octets that the outer headers add.
    #[inline(always)]
    pub const fn overhead(&self) -> u16 {
        self.overhead
    }

    /// What the outer header is.
    pub const fn kind(&self) -> Tunnel {
        self.kind
    }

    /// GUE: a source port that is one for the flow, so that the way and the server's queues can
    /// be chosen by it; in Linux's default range of ephemeral ports, spread as
    /// `udp_flow_src_port` does it. 0 for others, which do not ask for the hash.
    #[inline(always)]
    pub fn source_port(&self, flow_hash: impl FnOnce() -> u64) -> u16 {
        const FIRST: u64 = 32_768;
        const LAST: u64 = 60_999;
        match self.kind {
            Tunnel::Gue { .. } => {
                let high = flow_hash() >> 32;
                (FIRST + ((high * (LAST - FIRST + 1)) >> 32)) as u16
            }
            Tunnel::Ipip | Tunnel::Gre { .. } => 0,
        }
    }
}

/// Octets between the outer IP header and the packet.
const fn kind_header(kind: Tunnel) -> usize {
    match kind {
        Tunnel::Ipip => 0,
        Tunnel::Gue { .. } => udp::LEN + GUE,
        Tunnel::Gre { checksum: false } => GRE,
        Tunnel::Gre { checksum: true } => GRE + GRE_CHECKSUM,
    }
}

/// Puts the outer headers in front of the packet, and lowers its own TTL. Returns where the packet
/// now ends.
///
/// # Errors
/// [`Drop::FrameRoom`] if the frame cannot hold it.
#[inline(always)]
pub fn encapsulate<A: Ip>(
    room: &mut [u8],
    packet: &Packet<A>,
    path: &Path,
    chosen: Chosen,
) -> Result<usize, Drop> {
    let inner = usize::from(packet.end) - ethernet::LEN;
    let added = usize::from(path.overhead);
    let end = ethernet::LEN + added + inner;
    if end > room.len() {
        return Err(Drop::FrameRoom);
    }
    shift(room, inner, added);
    let packet_head = &mut room[ethernet::LEN + added..];
    let tos = outer_tos(inner_tos::<A>(packet_head));
    A::decrement_ttl(packet_head);
    let (outer, payload) = room[ethernet::LEN..end].split_at_mut(path.ends.header());
    let protocol = match path.kind {
        Tunnel::Ipip => A::AS_PAYLOAD,
        Tunnel::Gue { port, checksum } => {
            write_gue::<A>(payload, [chosen.source_port, port]);
            if checksum {
                fill_udp_checksum(payload, &path.ends);
            }
            protocol::UDP
        }
        Tunnel::Gre { checksum } => {
            write_gre::<A>(payload, checksum);
            protocol::GRE
        }
    };
    let header = Outer { protocol, tos, ttl: packet.ttl - 1, payload: payload.len() };
    let ethertype = match path.ends {
        Ends::V4(src, dst) => {
            let df = chosen.dont_fragment && !A::IPV6;
            header.write_ipv4(outer, [src, dst], (!df).then_some(chosen.id));
            ethernet::IPV4
        }
        Ends::V6(src, dst) => {
            header.write_ipv6(outer, [src, dst]);
            ethernet::IPV6
        }
    };
    put_u16(room, ethernet::TYPE.start, ethertype);
    Ok(end)
}

/// Moves `inner` octets behind the Ethernet header by `added`. A call of memmove costs more than the
/// octets of a short packet: those go through registers, with what happens to lie behind them.
#[inline(always)]
fn shift(room: &mut [u8], inner: usize, added: usize) {
    const SHORT: usize = 64;
    let from = ethernet::LEN;
    if inner <= SHORT
        && let Some(packet) = room[from..].first_chunk::<SHORT>().copied()
        && let Some(place) = room[from + added..].first_chunk_mut::<SHORT>()
    {
        *place = packet;
    } else {
        room.copy_within(from..from + inner, from + added);
    }
}

/// What an outer IP header says, besides its addresses.
struct Outer {
    protocol: u8,
    tos: u8,
    ttl: u8,
    /// Octets behind the header.
    payload: usize,
}

impl Outer {
    /// Without an identification DF is set.
    #[inline(always)]
    fn write_ipv4(&self, header: &mut [u8], [src, dst]: [V4; 2], id: Option<u16>) {
        let (id, flags) = id.map_or((0, ipv4::DF), |id| (id, 0));
        let header: &mut [u8; ipv4::LEN] = header.first_chunk_mut().expect("room for it");
        let first = u16::from_be_bytes([0x45, self.tos]);
        let length = (ipv4::LEN + self.payload) as u16;
        let ttl = u16::from_be_bytes([self.ttl, self.protocol]);
        // Summed before it is written: octets are slow to read that were written just now.
        let words = [first, length, id, flags, ttl].map(u64::from).into_iter().sum::<u64>();
        let checksum = !fold(words + address_sum(src) + address_sum(dst));
        put_u16(header, 0, first);
        put_u16(header, ipv4::TOTAL_LENGTH, length);
        put_u16(header, ipv4::ID, id);
        put_u16(header, ipv4::FRAGMENT, flags);
        put_u16(header, ipv4::TTL, ttl);
        put_u16(header, ipv4::CHECKSUM, checksum);
        src.to_wire(&mut header[ipv4::SOURCE..]);
        dst.to_wire(&mut header[ipv4::DESTINATION..]);
    }

    #[inline(always)]
    fn write_ipv6(&self, header: &mut [u8], [src, dst]: [V6; 2]) {
        header[..4].copy_from_slice(&(6u32 << 28 | u32::from(self.tos) << 20).to_be_bytes());
        put_u16(header, ipv6::PAYLOAD_LENGTH, self.payload as u16);
        header[ipv6::NEXT_HEADER] = self.protocol;
        header[ipv6::HOP_LIMIT] = self.ttl;
        src.to_wire(&mut header[ipv6::SOURCE..]);
        dst.to_wire(&mut header[ipv6::DESTINATION..]);
    }
}

/// UDP without a checksum (over IPv6: RFC 6935) and GUE version 0 without flags
/// (`ipvs_gue_encap`).
fn write_gue<A: Ip>(payload: &mut [u8], [sport, dport]: [u16; 2]) {
    let length = payload.len() as u16;
    put_u16(payload, 0, sport);
    put_u16(payload, 2, dport);
    put_u16(payload, udp::LENGTH, length);
    put_u16(payload, udp::CHECKSUM, 0);
    payload[udp::LEN..udp::LEN + GUE].copy_from_slice(&[0, A::AS_PAYLOAD, 0, 0]);
}

fn fill_udp_checksum(segment: &mut [u8], ends: &Ends) {
    let checksum = match *ends {
        Ends::V4(src, dst) => transport_checksum(src, dst, protocol::UDP, segment),
        Ends::V6(src, dst) => transport_checksum(src, dst, protocol::UDP, segment),
    };
    // RFC 768: a computed 0 is sent as all ones.
    put_u16(segment, udp::CHECKSUM, if checksum == 0 { 0xffff } else { checksum });
}

/// GRE version 0 without key and sequence number (`ipvs_gre_encap`); its checksum covers the
/// header and the packet (RFC 2784 section 2.3).
fn write_gre<A: Ip>(payload: &mut [u8], checksum: bool) {
    put_u16(payload, 0, if checksum { GRE_FLAG_CHECKSUM } else { 0 });
    put_u16(payload, 2, A::ETHERTYPE);
    if checksum {
        payload[GRE..GRE + GRE_CHECKSUM].fill(0);
        let checksum = !fold(sum(payload));
        put_u16(payload, GRE, checksum);
    }
}

/// What a quoted outer packet says about the tunnel it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedTunnel {
    kind: Tunnel,
    /// The family of the packet inside.
    pub ipv6: bool,
}

impl QuotedTunnel {
    /// Reads what is behind a quoted outer IP header, whose protocol is `number`
    /// (`ipvs_udp_decap`, `ipvs_gre_decap`). `None` if it is of no tunnel that we make.
    pub fn read(number: u8, payload: &[u8]) -> Option<Self> {
        let (kind, inner) = match number {
            protocol::IPIP | protocol::IPV6 => (Tunnel::Ipip, number),
            protocol::UDP => {
                let header: &[u8; udp::LEN + GUE] = payload.first_chunk()?;
                let [0, inner, 0, 0] = header[udp::LEN..] else { return None };
                let checksum = u16_at(header, udp::CHECKSUM) != 0;
                (Tunnel::Gue { port: u16_at(header, 2), checksum }, inner)
            }
            protocol::GRE => {
                let header: &[u8; GRE] = payload.first_chunk()?;
                let checksum = match u16_at(header, 0) {
                    0 => false,
                    GRE_FLAG_CHECKSUM => true,
                    _ => return None,
                };
                let inner = match u16_at(header, 2) {
                    ethernet::IPV4 => protocol::IPIP,
                    ethernet::IPV6 => protocol::IPV6,
                    _ => return None,
                };
                (Tunnel::Gre { checksum }, inner)
            }
            _ => return None,
        };
        matches!(inner, protocol::IPIP | protocol::IPV6)
            .then_some(Self { kind, ipv6: inner == protocol::IPV6 })
    }

    /// Octets between the outer IP header and the packet inside.
    pub const fn header(&self) -> usize {
        kind_header(self.kind)
    }

    /// True if a server with such a tunnel may have been meant: checksums may have been switched
    /// since the packet left.
    pub const fn is_of(&self, tunnel: Tunnel) -> bool {
        match (self.kind, tunnel) {
            (Tunnel::Ipip, Tunnel::Ipip) | (Tunnel::Gre { .. }, Tunnel::Gre { .. }) => true,
            (Tunnel::Gue { port: quoted, .. }, Tunnel::Gue { port, .. }) => quoted == port,
            _ => false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const V4_ENDS: Ends = Ends::V4(V4(0x0a00_0201), V4(0x0a00_040b));
    const V6_ENDS: Ends = Ends::V6(V6(1), V6(2));
    const GUE_PLAIN: Tunnel = Tunnel::Gue { port: 6080, checksum: false };

    #[test]
    fn overheads() {
        let cases = [
            (Tunnel::Ipip, 0),
            (GUE_PLAIN, 12),
            (Tunnel::Gue { port: 6080, checksum: true }, 12),
            (Tunnel::Gre { checksum: false }, 4),
            (Tunnel::Gre { checksum: true }, 8),
        ];
        for (kind, more) in cases {
            assert_eq!(Path::new(V4_ENDS, kind, true).overhead(), 20 + more, "{kind:?}");
            assert_eq!(Path::new(V6_ENDS, kind, true).overhead(), 40 + more, "{kind:?}");
        }
    }

    #[test]
    fn source_ports_are_spread_over_the_ephemeral_range() {
        let port = |hash| Path::new(V4_ENDS, GUE_PLAIN, true).source_port(|| hash);
        let hashes = [0, u64::from(u32::MAX), 1 << 63, u64::MAX];
        assert_eq!(hashes.map(port), [32_768, 32_768, 46_884, 60_999]);
        let asked =
            Path::new(V4_ENDS, Tunnel::Ipip, true).source_port(|| panic!("no need of a hash"));
        assert_eq!(asked, 0);
    }

    #[test]
    fn quoted_tunnel_headers() {
        let gue = |checksum| Tunnel::Gue { port: 6080, checksum };
        let gre = |checksum| Tunnel::Gre { checksum };
        type Row = (u8, &'static [u8], Option<(Tunnel, bool)>);
        let cases: [Row; 17] = [
            (4, &[], Some((Tunnel::Ipip, false))),
            (41, &[], Some((Tunnel::Ipip, true))),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 0, 4, 0, 0], Some((gue(false), false))),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 1, 2, 0, 41, 0, 0], Some((gue(true), true))),
            // Cut; version 1; a header length; control; flags; another payload.
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 0, 4, 0], None),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 0x40, 4, 0, 0], None),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 1, 4, 0, 0], None),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 0x20, 4, 0, 0], None),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 0, 4, 0, 1], None),
            (17, &[0x80, 1, 0x17, 0xc0, 0, 40, 0, 0, 0, 6, 0, 0], None),
            (47, &[0, 0, 8, 0], Some((gre(false), false))),
            (47, &[0x80, 0, 0x86, 0xdd, 1, 2, 0, 0], Some((gre(true), true))),
            // Cut; a key; version 1; Ethernet inside.
            (47, &[0, 0, 8], None),
            (47, &[0x20, 0, 8, 0], None),
            (47, &[0, 1, 8, 0], None),
            (47, &[0, 0, 0x65, 0x58], None),
            (6, &[0; 20], None),
        ];
        for (number, payload, expected) in cases {
            let read = QuotedTunnel::read(number, payload).map(|read| (read.kind, read.ipv6));
            assert_eq!(read, expected, "{number} {payload:02x?}");
        }
    }

    #[test]
    fn a_quoted_tunnel_is_of_the_server_with_that_kind_and_port() {
        let quoted = |kind| QuotedTunnel { kind, ipv6: false };
        let [plain, summed] = [false, true].map(|checksum| Tunnel::Gre { checksum });
        assert!(quoted(Tunnel::Ipip).is_of(Tunnel::Ipip));
        assert!(quoted(plain).is_of(summed));
        assert!(quoted(GUE_PLAIN).is_of(Tunnel::Gue { port: 6080, checksum: true }));
        assert!(!quoted(GUE_PLAIN).is_of(Tunnel::Gue { port: 6081, checksum: false }));
        assert!(!quoted(Tunnel::Ipip).is_of(plain) && !quoted(plain).is_of(GUE_PLAIN));
    }
}
