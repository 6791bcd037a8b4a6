//! Octets on the wire: where the fields are, and checksum arithmetic.
//!
//! Reading is etherparse's; this module writes, in place and by offset, because a
//! forwarded packet changes a few fields only. Offsets count from the start of the
//! header that they belong to.

use crate::forward::{Address, V4, V6};

/// Ethernet II, IEEE 802.3 clause 3.
pub mod ethernet {
    /// Octets of the header without a VLAN tag.
    pub const LEN: usize = 14;
    /// Destination MAC.
    pub const DESTINATION: std::ops::Range<usize> = 0..6;
    /// Source MAC.
    pub const SOURCE: std::ops::Range<usize> = 6..12;
    /// EtherType.
    pub const TYPE: std::ops::Range<usize> = 12..14;
    /// EtherType of IPv4.
    pub const IPV4: u16 = 0x0800;
    /// EtherType of IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// IPv4, RFC 791 section 3.1.
pub mod ipv4 {
    /// Octets of the header without options.
    pub const LEN: usize = 20;
    /// Type of service: DSCP and ECN.
    pub const TOS: usize = 1;
    /// Total length.
    pub const TOTAL_LENGTH: usize = 2;
    /// Identification.
    pub const ID: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Don't fragment, in the flags.
    pub const DF: u16 = 0x4000;
    /// More fragments, in the flags.
    pub const MF: u16 = 0x2000;
    /// The offset's bits, in units of 8 octets.
    pub const OFFSET: u16 = 0x1fff;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: usize = 10;
    /// Source address.
    pub const SOURCE: usize = 12;
    /// Destination address.
    pub const DESTINATION: usize = 16;
}

/// IPv6, RFC 8200 section 3.
pub mod ipv6 {
    /// Octets of the fixed header.
    pub const LEN: usize = 40;
    /// Payload length.
    pub const PAYLOAD_LENGTH: usize = 4;
    /// Next header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address.
    pub const SOURCE: usize = 8;
    /// Destination address.
    pub const DESTINATION: usize = 24;
}

/// TCP, RFC 9293 section 3.1.
pub mod tcp {
    /// Octets of the header without options.
    pub const LEN: usize = 20;
    /// Sequence number.
    pub const SEQUENCE: usize = 4;
    /// Acknowledgment number.
    pub const ACKNOWLEDGMENT: usize = 8;
    /// Data offset (high four bits).
    pub const DATA_OFFSET: usize = 12;
    /// Flags.
    pub const FLAGS: usize = 13;
    /// Checksum.
    pub const CHECKSUM: usize = 16;
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// UDP, RFC 768.
pub mod udp {
    /// Octets of the header.
    pub const LEN: usize = 8;
    /// Length of header and data.
    pub const LENGTH: usize = 4;
    /// Checksum; 0 means none (IPv4).
    pub const CHECKSUM: usize = 6;
}

/// Protocol numbers of ICMP and of tunnels.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP, RFC 2003.
    pub const IPIP: u8 = 4;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP, RFC 2473, RFC 4213.
    pub const IPV6: u8 = 41;
    /// Generic Routing Encapsulation, RFC 2784.
    pub const GRE: u8 = 47;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// Reads a big-endian word.
#[inline(always)]
pub fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// Writes a big-endian word.
#[inline(always)]
pub fn put_u16(octets: &mut [u8], at: usize, value: u16) {
    octets[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Folds a sum of 16-bit words to 16 bits, with end-around carry (RFC 1071).
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    // Halves added to each other crosswise: the upper one becomes their sum with its carry.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// True if the words of an IPv4 header add up to all ones.
#[inline(always)]
pub fn header_adds_up(header: &[u8; ipv4::LEN], options: &[u8]) -> bool {
    // The order of octets does not matter here (RFC 1071 section 2 (B)).
    let sum = |octets: &[u8]| -> u64 {
        let words = octets.as_chunks::<4>().0;
        words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()
    };
    fold(sum(header) + sum(options)) == 0xffff
}

/// The sum of big-endian words of `octets`, unfolded; an odd last octet counts as high half.
#[inline]
pub fn sum(octets: &[u8]) -> u64 {
    let mut total = 0u64;
    let (fours, rest) = octets.as_chunks::<4>();
    for four in fours {
        total += u64::from(u32::from_be_bytes(*four));
    }
    let (twos, last) = rest.as_chunks::<2>();
    for two in twos {
        total += u64::from(u16::from_be_bytes(*two));
    }
    if let [octet] = last {
        total += u64::from(*octet) << 8;
    }
    total
}

/// A change to checksummed words, as an unfolded one's complement sum of
/// (new - old): RFC 1624 equation 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// The change from one word to another.
    #[inline(always)]
    pub const fn word(old: u16, new: u16) -> Self {
        Self((!old) as u64 + new as u64)
    }

    /// The change from one pair of addresses to another.
    #[inline(always)]
    pub fn addresses<A: Address>([src, dst]: [A; 2], [to_src, to_dst]: [A; 2]) -> Self {
        if !A::IPV6 {
            // All ones for each word keep the difference positive and are zero in one's
            // complement.
            const ZERO: u64 = 2 * 0xffff_ffff;
            let [old, new] =
                [address_sum(src) + address_sum(dst), address_sum(to_src) + address_sum(to_dst)];
            return Self(new + ZERO - old);
        }
        let ([a, b], [c, d]) = (src.words(), dst.words());
        let ([e, f], [g, h]) = (to_src.words(), to_dst.words());
        let words = [!a, !b, !c, !d, e, f, g, h];
        let sum = words.into_iter().fold(0u128, |sum, word| sum + u128::from(word));
        let low = sum as u64;
        Self((sum >> 64) as u64 + (low >> 32) + (low & 0xffff_ffff))
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold((!checksum) as u64 + self.0)
    }
}

/// The sum of an address's 32-bit words, at most 4 * 0xffff_ffff: folded, it is that of its
/// 16-bit words.
#[inline(always)]
pub(crate) fn address_sum<A: Address>(address: A) -> u64 {
    let words = |w: u64| (w >> 32) + (w & 0xffff_ffff);
    let [high, low] = address.words();
    words(high) + words(low)
}

/// The checksum of a transport segment with its pseudo-header (RFC 9293, RFC 8200 8.1),
/// the checksum field taken as it stands (set it to zero first).
pub fn transport_checksum<A: Address>(src: A, dst: A, protocol: u8, segment: &[u8]) -> u16 {
    let pseudo = address_sum(src) + address_sum(dst) + u64::from(protocol) + segment.len() as u64;
    !fold(pseudo + sum(segment))
}

/// What differs between the two IP headers when a packet is patched in place.
/// All slices start at the IP header.
pub trait Ip: Address {
    /// Octets of the fixed header.
    const HEADER: usize;
    /// EtherType.
    const ETHERTYPE: u16;
    /// "The payload is a packet of this family", as a protocol number.
    const AS_PAYLOAD: u8;
    /// The ICMP of this family.
    const ICMP: u8;
    /// Smallest MTU that a link of this family may have (RFC 791: 68, RFC 8200: 1280).
    const MTU_MIN: u16;
    /// Lowers TTL or hop limit by one and keeps the header checksum right.
    fn decrement_ttl(header: &mut [u8]);
    /// Sets both addresses and keeps the header checksum right.
    fn set_addresses(header: &mut [u8], src: Self, dst: Self, delta: Delta);
    /// Both at once: what a forwarded packet needs whose addresses change.
    fn forward_to(header: &mut [u8], addresses: [Self; 2], delta: Delta);
    /// Reads the addresses.
    fn addresses(header: &[u8]) -> [Self; 2];
}

/// The TTL is the high octet of its word: the sum falls by 0x0100.
const TTL_FELL: Delta = Delta::word(0x0100, 0);

impl Ip for V4 {
    const HEADER: usize = ipv4::LEN;
    const ETHERTYPE: u16 = ethernet::IPV4;
    const AS_PAYLOAD: u8 = protocol::IPIP;
    const ICMP: u8 = protocol::ICMP;
    const MTU_MIN: u16 = 68;

    #[inline(always)]
    fn decrement_ttl(header: &mut [u8]) {
        let header: &mut [u8; ipv4::LEN] = header.first_chunk_mut().expect("parsed IPv4 header");
        header[ipv4::TTL] -= 1;
        let checksum = TTL_FELL.apply(u16_at(header, ipv4::CHECKSUM));
        put_u16(header, ipv4::CHECKSUM, checksum);
    }

    #[inline(always)]
    fn forward_to(header: &mut [u8], [src, dst]: [Self; 2], delta: Delta) {
        let header: &mut [u8; ipv4::LEN] = header.first_chunk_mut().expect("parsed IPv4 header");
        header[ipv4::TTL] -= 1;
        Self::set_addresses(header, src, dst, delta.and(TTL_FELL));
    }

    #[inline(always)]
    fn set_addresses(header: &mut [u8], src: Self, dst: Self, delta: Delta) {
        let header: &mut [u8; ipv4::LEN] = header.first_chunk_mut().expect("parsed IPv4 header");
        src.to_wire(&mut header[ipv4::SOURCE..]);
        dst.to_wire(&mut header[ipv4::DESTINATION..]);
        let checksum = delta.apply(u16_at(header, ipv4::CHECKSUM));
        put_u16(header, ipv4::CHECKSUM, checksum);
    }

    fn addresses(header: &[u8]) -> [Self; 2] {
        [Self::from_wire(&header[ipv4::SOURCE..]), Self::from_wire(&header[ipv4::DESTINATION..])]
    }
}

impl Ip for V6 {
    const HEADER: usize = ipv6::LEN;
    const ETHERTYPE: u16 = ethernet::IPV6;
    const AS_PAYLOAD: u8 = protocol::IPV6;
    const ICMP: u8 = protocol::ICMPV6;
    const MTU_MIN: u16 = 1280;

    #[inline(always)]
    fn decrement_ttl(header: &mut [u8]) {
        header[ipv6::HOP_LIMIT] -= 1;
    }

    #[inline(always)]
    fn forward_to(header: &mut [u8], [src, dst]: [Self; 2], delta: Delta) {
        Self::decrement_ttl(header);
        Self::set_addresses(header, src, dst, delta);
    }

    #[inline(always)]
    fn set_addresses(header: &mut [u8], src: Self, dst: Self, _: Delta) {
        src.to_wire(&mut header[ipv6::SOURCE..ipv6::DESTINATION]);
        dst.to_wire(&mut header[ipv6::DESTINATION..ipv6::LEN]);
    }

    fn addresses(header: &[u8]) -> [Self; 2] {
        [Self::from_wire(&header[ipv6::SOURCE..]), Self::from_wire(&header[ipv6::DESTINATION..])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1624 section 4: 0x5555 becomes 0x3285, checksum 0xdd2f becomes 0x0000.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(Delta::word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn incremental_equals_recomputed() {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..100_000 {
            let old = [V6(u128::from(next()) << 64 | u128::from(next())), V6(next().into())];
            let new = [V6(next().into()), V6(u128::from(next()) << 64 | u128::from(next()))];
            let segment: Vec<u8> = next().to_be_bytes()[..(next() % 8) as usize].to_vec();
            let before = transport_checksum(old[0], old[1], 17, &segment);
            let after = transport_checksum(new[0], new[1], 17, &segment);
            assert_eq!(Delta::addresses(old, new).apply(before), after);
        }
    }
}
