//! Changing a packet in place: addresses, ports and checksums of NAT and FullNAT, the MSS
//! option, the Ethernet header.

use crate::{
    forward::{Protocol, Tuple},
    packet::{Fragment, Packet},
    sctp,
    topology::{Hop, Mac},
    wire::{self, Delta, Ip, ethernet, put_u16, tcp, u16_at, udp},
};

/// Gives the packet the addresses and ports of `new` and lowers its TTL; checksums follow
/// incrementally (RFC 1624), so a wrong one stays wrong. A UDP checksum of 0 becomes a valid one, as
/// the kernel's `udp_dnat_handler` does it, but stays 0 on a fragment, whose whole is not here.
/// SCTP's checksum covers no address: it follows the ports.
#[inline(always)]
pub fn translate<A: Ip>(frame: &mut [u8], packet: &Packet<A>, new: Tuple<A>) {
    let old = packet.tuple;
    let addresses = Delta::addresses([old.src, old.dst], [new.src, new.dst]);
    A::forward_to(&mut frame[ethernet::LEN..], [new.src, new.dst], addresses);
    if packet.fragment == Fragment::Later {
        return;
    }
    let segment = &mut frame[usize::from(packet.l4)..usize::from(packet.end)];
    let ports = Delta::word(old.sport, new.sport).and(Delta::word(old.dport, new.dport));
    let delta = addresses.and(ports);
    match new.protocol {
        Protocol::Tcp => {
            let header: &mut [u8; tcp::LEN] = segment.first_chunk_mut().expect("parsed TCP header");
            put_u16(header, 0, new.sport);
            put_u16(header, 2, new.dport);
            let checksum = delta.apply(u16_at(header, tcp::CHECKSUM));
            put_u16(header, tcp::CHECKSUM, checksum);
        }
        Protocol::Udp => {
            let header: &mut [u8; udp::LEN] = segment.first_chunk_mut().expect("parsed UDP header");
            put_u16(header, 0, new.sport);
            put_u16(header, 2, new.dport);
            translate_udp_checksum(segment, packet.fragment, new, delta);
        }
        // A fragment whose ports change does not come here (`sctp_fragment`).
        Protocol::Sctp => sctp::set_ports(segment, [new.sport, new.dport]),
    }
}

#[inline(always)]
fn translate_udp_checksum<A: Ip>(
    segment: &mut [u8],
    fragment: Fragment,
    new: Tuple<A>,
    delta: Delta,
) {
    let checksum = match u16_at(segment, udp::CHECKSUM) {
        0 if fragment == Fragment::First => return,
        0 => {
            // The datagram may be shorter than the IP payload.
            let length = usize::from(u16_at(segment, udp::LENGTH));
            wire::transport_checksum(new.src, new.dst, Protocol::Udp as u8, &segment[..length])
        }
        old => delta.apply(old),
    };
    // RFC 768: a computed 0 is sent as all ones.
    put_u16(segment, udp::CHECKSUM, if checksum == 0 { 0xffff } else { checksum });
}

/// Lowers the MSS option of a SYN to `limit` octets (RFC 9293 section 3.7.1), if it has one.
pub fn clamp_mss(segment: &mut [u8], limit: u16) {
    const MSS: u8 = 2;
    const MSS_LEN: u8 = 4;
    let header = usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4;
    let mut at = tcp::LEN;
    while let Some(&[kind, len]) = segment[..header.min(segment.len())][at..].first_chunk() {
        match kind {
            0 => return,
            1 => at += 1,
            MSS if len == MSS_LEN && at + 4 <= header => return lower_mss(segment, at + 2, limit),
            _ if len >= 2 && at + usize::from(len) <= header => at += usize::from(len),
            _ => return,
        }
    }
}

fn lower_mss(segment: &mut [u8], at: usize, limit: u16) {
    let old = u16_at(segment, at);
    if old <= limit {
        return;
    }
    put_u16(segment, at, limit);
    // At an odd offset the value straddles two checksum words: swapped halves sum alike.
    let swap = |word: u16| if at % 2 == 1 { word.swap_bytes() } else { word };
    let checksum = Delta::word(swap(old), swap(limit)).apply(u16_at(segment, tcp::CHECKSUM));
    put_u16(segment, tcp::CHECKSUM, checksum);
}

/// Writes the Ethernet header.
#[inline(always)]
pub fn address_frame(frame: &mut [u8], hop: &Hop, mac: Mac) {
    let header: &mut [u8; ethernet::LEN] = frame.first_chunk_mut().expect("parsed frame");
    header[ethernet::DESTINATION].copy_from_slice(&mac.0);
    header[ethernet::SOURCE].copy_from_slice(&hop.source.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{V4, V6};

    /// A SYN with the given options, checksummed for 10.0.0.1 -> 10.0.0.2.
    fn syn(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; tcp::LEN];
        segment.extend_from_slice(options);
        segment[tcp::DATA_OFFSET] = ((segment.len() / 4) << 4) as u8;
        segment[tcp::FLAGS] = tcp::SYN;
        let checksum = check(&segment);
        put_u16(&mut segment, tcp::CHECKSUM, checksum);
        segment
    }

    fn check(segment: &[u8]) -> u16 {
        wire::transport_checksum(V4(0x0a00_0001), V4(0x0a00_0002), 6, segment)
    }

    #[test]
    fn mss_is_lowered_at_even_and_odd_offsets_only_if_larger() {
        let cases: [(&[u8], u16, &[u8]); 6] = [
            (&[2, 4, 5, 0xb4], 1360, &[2, 4, 5, 0x50]),
            (&[1, 2, 4, 5, 0xb4, 1, 1, 0], 1360, &[1, 2, 4, 5, 0x50, 1, 1, 0]),
            (&[2, 4, 2, 0x18], 1360, &[2, 4, 2, 0x18]),
            (&[4, 2, 1, 1], 1360, &[4, 2, 1, 1]),
            (&[2, 4, 5, 0xb4, 3, 200, 0, 0], 1360, &[2, 4, 5, 0x50, 3, 200, 0, 0]),
            (&[8, 0, 2, 4], 1360, &[8, 0, 2, 4]),
        ];
        for (options, limit, expected) in cases {
            let mut segment = syn(options);
            clamp_mss(&mut segment, limit);
            assert_eq!(&segment[tcp::LEN..], expected);
            assert_eq!(check(&segment), 0, "checksum after {options:?}");
        }
    }

    #[test]
    fn addresses_and_ports_move_and_checksums_follow() {
        let old = Tuple {
            src: V6(1 << 64 | 7),
            dst: V6(2 << 96),
            sport: 4000,
            dport: 53,
            protocol: Protocol::Udp,
        };
        let new = Tuple { src: V6(5), dst: V6(3 << 80), sport: 10_001, dport: 5353, ..old };
        let mut frame = vec![0u8; ethernet::LEN + wire::ipv6::LEN];
        frame[ethernet::LEN + wire::ipv6::HOP_LIMIT] = 64;
        frame.extend_from_slice(&[0x0f, 0xa0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        let l4 = ethernet::LEN + wire::ipv6::LEN;
        let before = wire::transport_checksum(old.src, old.dst, 17, &frame[l4..]);
        put_u16(&mut frame[l4..], udp::CHECKSUM, before);
        let packet = Packet {
            tuple: old,
            l4: l4 as u16,
            end: frame.len() as u16,
            ttl: 64,
            flags: 0,
            dont_fragment: true,
            fragment: Fragment::Whole,
            id: 0,
        };
        translate(&mut frame, &packet, new);
        assert_eq!(V6::addresses(&frame[ethernet::LEN..]), [new.src, new.dst]);
        assert_eq!(frame[ethernet::LEN + wire::ipv6::HOP_LIMIT], 63);
        assert_eq!(wire::transport_checksum(new.src, new.dst, 17, &frame[l4..]), 0);
    }
}
