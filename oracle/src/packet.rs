//! Packets in octets: building those that arrive, reading those that leave.
//!
//! Written out by hand from RFC 791, 8200, 9293, 768, 9260, 792, 4443 and 2784: neither the kernel
//! nor xlvs has a part in it.
use std::net::{IpAddr, SocketAddr};

use crate::ground::{self, Mac, Port};
use crate::order::{Checksum, Content, Packet};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const FRAGMENT: u8 = 44;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// The frames in which a packet arrives at the director: one, or its fragments.
pub fn frames(packet: &Packet) -> Vec<Vec<u8>> {
    let mut pieces = packets(packet);
    if packet.reversed {
        pieces.reverse();
    }
    let kind: [u8; 2] = if packet.from.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    let frame =
        |octets: Vec<u8>| [&packet.port.mac()[..], &neighbour_mac(packet), &kind, &octets].concat();
    pieces.into_iter().map(frame).collect()
}

/// Who hands the packet to the director.
fn neighbour_mac(packet: &Packet) -> Mac {
    let all = ground::neighbours();
    let source = packet.from.ip();
    let sender = all.iter().find(|neighbour| {
        source == IpAddr::V4(neighbour.address4) || source == IpAddr::V6(neighbour.address6)
    });
    let name = if packet.port == Port::Front { "gw" } else { "router" };
    match sender.or_else(|| all.iter().find(|neighbour| neighbour.name == name)) {
        Some(neighbour) => neighbour.mac,
        None => [2, 0, 0, 0, 0, 0xff],
    }
}

/// The IP packets of a packet: one, or its fragments in order.
pub fn packets(packet: &Packet) -> Vec<Vec<u8>> {
    if let Content::Other(4 | 41, Some(inner)) = &packet.content {
        return packets(inner).iter().map(|piece| whole(packet, piece, 0, false)).collect();
    }
    let payload = payload(packet);
    let header = if packet.from.is_ipv4() { 20 + 4 * usize::from(packet.options) } else { 40 };
    let Some(mtu) = packet.fragments else {
        return vec![whole(packet, &payload, 0, false)];
    };
    let extension = if packet.from.is_ipv4() { 0 } else { 8 };
    let each = ((mtu - header - extension) / 8 * 8).max(8);
    let last = payload.len().div_ceil(each) - 1;
    payload
        .chunks(each)
        .enumerate()
        .map(|(number, piece)| whole(packet, piece, number * each, number != last))
        .collect()
}

fn whole(packet: &Packet, payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
    if packet.from.is_ipv4() {
        ipv4(packet, payload, offset, more)
    } else {
        ipv6(packet, payload, offset, more)
    }
}

fn ipv4(packet: &Packet, payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
    let options: &[u8] = if packet.options { &[0x94, 4, 0, 0] } else { &[] };
    let length = 20 + options.len();
    let words = u8::try_from(length / 4).unwrap_or(5);
    let mut octets = vec![0x40 | words, packet.tos];
    octets.extend(word(length + payload.len()));
    octets.extend(packet.id.to_be_bytes());
    let flags = (usize::from(packet.dont_fragment) << 14) | (usize::from(more) << 13);
    octets.extend(word(flags | (offset / 8)));
    octets.extend([packet.ttl, protocol(packet), 0, 0]);
    octets.extend(address(packet.from));
    octets.extend(address(packet.to));
    octets.extend(options);
    let checksum = !ones_sum(&octets) ^ u16::from(packet.bad_header);
    octets[10..12].copy_from_slice(&checksum.to_be_bytes());
    octets.extend(payload);
    octets
}

fn ipv6(packet: &Packet, payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
    let fragmented = packet.fragments.is_some();
    let mut rest = Vec::new();
    let next = if fragmented { FRAGMENT } else { protocol(packet) };
    if packet.options {
        rest.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    if fragmented {
        rest.extend([protocol(packet), 0]);
        rest.extend(word(offset | usize::from(more)));
        rest.extend(u32::from(packet.id).to_be_bytes());
    }
    rest.extend(payload);
    let mut octets = vec![0x60 | (packet.tos >> 4), packet.tos << 4, 0, 0];
    octets.extend(word(rest.len()));
    octets.extend([if packet.options { 0 } else { next }, packet.ttl]);
    octets.extend(address(packet.from));
    octets.extend(address(packet.to));
    octets.extend(rest);
    octets
}

fn protocol(packet: &Packet) -> u8 {
    match packet.content {
        Content::Tcp(_) => TCP,
        Content::Udp | Content::Gue(_) => UDP,
        Content::Sctp(_) => SCTP,
        Content::Icmp { .. } if packet.from.is_ipv4() => ICMP,
        Content::Icmp { .. } => ICMP6,
        Content::Other(protocol, _) => protocol,
    }
}

/// The transport header, its checksum, and what is behind it.
fn payload(packet: &Packet) -> Vec<u8> {
    let data: Vec<u8> = (b'a'..=b'z').cycle().take(packet.length).collect();
    match &packet.content {
        Content::Tcp(flags) => tcp(packet, *flags, &data),
        Content::Udp => udp(packet, &data),
        Content::Sctp(chunks) => sctp(packet, chunks),
        Content::Icmp { kind, code, about } => {
            let mut about = about.as_deref().map(quote).unwrap_or_default();
            // An error is no longer than 576 octets (RFC 1812), or 1280 (RFC 4443).
            let most = if packet.from.is_ipv4() { 548 } else { 1232 };
            about.truncate(packet.quote.unwrap_or(most));
            icmp(packet, [*kind, *code], &[about, data].concat())
        }
        Content::Gue(inner) => {
            let kind = if inner.from.is_ipv4() { 4 } else { 41 };
            udp(packet, &[vec![0, kind, 0, 0], quote(inner)].concat())
        }
        Content::Other(GRE, Some(inner)) => {
            let kind = if inner.from.is_ipv4() { 0x0800 } else { 0x86dd };
            [vec![0, 0], word(kind).to_vec(), quote(inner)].concat()
        }
        Content::Other(_, Some(inner)) => quote(inner),
        Content::Other(_, None) => data,
    }
}

/// The packet inside another one.
fn quote(inner: &Packet) -> Vec<u8> {
    packets(inner).into_iter().next().unwrap_or_default()
}

fn ports(packet: &Packet) -> Vec<u8> {
    [packet.from.port().to_be_bytes(), packet.to.port().to_be_bytes()].concat()
}

fn tcp(packet: &Packet, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut octets = ports(packet);
    let acknowledged = if flags & 16 == 0 { 0 } else { packet.acknowledged };
    octets.extend(packet.sequence.to_be_bytes());
    octets.extend(acknowledged.to_be_bytes());
    octets.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    octets.extend(data);
    seal(packet, octets, 16, TCP)
}

fn udp(packet: &Packet, data: &[u8]) -> Vec<u8> {
    let mut octets = ports(packet);
    octets.extend(word(8 + data.len()));
    octets.extend([0, 0]);
    octets.extend(data);
    seal(packet, octets, 6, UDP)
}

fn icmp(packet: &Packet, kind: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let mut octets = kind.to_vec();
    octets.extend([0; 4]);
    octets.extend(packet.mtu.to_be_bytes());
    octets.extend(rest);
    seal(packet, octets, 2, protocol(packet))
}

/// A chunk of each kind, as short as it may be.
fn sctp(packet: &Packet, chunks: &[u8]) -> Vec<u8> {
    let mut octets = ports(packet);
    octets.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    for kind in chunks {
        let value: &[u8] = match kind {
            0 => &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'd', b'a', b't', b'a'],
            1 | 2 => &[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1],
            3 => &[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
            7 | 10 => &[0, 0, 0, 1],
            _ => &[],
        };
        // DATA: first and last of its message.
        octets.extend([*kind, if *kind == 0 { 3 } else { 0 }]);
        octets.extend(word(4 + value.len()));
        octets.extend(value);
    }
    let mut checksum = crc32c(&octets);
    match packet.checksum {
        Checksum::Right => {}
        Checksum::Bad => checksum ^= 1,
        Checksum::Zero => checksum = 0,
    }
    octets[8..12].copy_from_slice(&checksum.to_le_bytes());
    octets
}

/// Puts the internet checksum where it belongs. That of ICMP covers no addresses.
fn seal(packet: &Packet, mut octets: Vec<u8>, at: usize, protocol: u8) -> Vec<u8> {
    let covered = match protocol {
        ICMP => octets.clone(),
        _ => [pseudo_header(packet, octets.len(), protocol), octets.clone()].concat(),
    };
    let checksum = match (!ones_sum(&covered), packet.checksum) {
        (_, Checksum::Zero) => 0,
        (right, Checksum::Bad) => right ^ 1,
        (0, Checksum::Right) if protocol == UDP => 0xffff,
        (right, Checksum::Right) => right,
    };
    octets[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    octets
}

/// Addresses, length and protocol (the same sum for IPv4 and IPv6).
fn pseudo_header(packet: &Packet, length: usize, protocol: u8) -> Vec<u8> {
    let tail = [&word(length)[..], &[0, protocol]].concat();
    [address(packet.from), address(packet.to), tail].concat()
}

fn address(endpoint: SocketAddr) -> Vec<u8> {
    match endpoint.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn word(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

/// The ones' complement sum of RFC 1071.
pub fn ones_sum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        (u32::from(pair[0]) << 8) | u32::from(pair.get(1).copied().unwrap_or_default())
    };
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default()
}

/// CRC32c (RFC 9260, appendix A), bit by bit.
pub fn crc32c(octets: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    let fold = |crc: u32, octet: &u8| (0..8).fold(crc ^ u32::from(*octet), step);
    !octets.iter().fold(!0, fold)
}

/// Octets as hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What a reader of transcripts asks of an IP packet that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The innermost transport's protocol that is not cut off.
    pub protocol: u8,
    /// Its source.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// Where the transport header begins.
    pub transport: usize,
}

/// Reads the outer headers; `None` if they are cut short or of another version.
pub fn seen(packet: &[u8]) -> Option<Seen> {
    let ip = |octets: &[u8]| -> Option<IpAddr> {
        match octets.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
        }
    };
    let (from, to, protocol, transport) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet[0] & 15) * 4;
            (ip(packet.get(12..16)?)?, ip(packet.get(16..20)?)?, *packet.get(9)?, length)
        }
        6 => (ip(packet.get(8..24)?)?, ip(packet.get(24..40)?)?, *packet.get(6)?, 40),
        _ => return None,
    };
    let port = |at: usize| match (protocol, packet.get(at..at + 2)) {
        (TCP | UDP | SCTP, Some(port)) => u16::from_be_bytes([port[0], port[1]]),
        _ => 0,
    };
    let (from, to) =
        (SocketAddr::new(from, port(transport)), SocketAddr::new(to, port(transport + 2)));
    Some(Seen { protocol, from, to, transport })
}

/// The packet that an ICMP error quotes; `None` for what is no error.
pub fn quoted(packet: &[u8]) -> Option<&[u8]> {
    let seen = seen(packet)?;
    let kind = *packet.get(seen.transport)?;
    let error = match seen.protocol {
        ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        ICMP6 => kind < 128,
        _ => false,
    };
    packet.get(seen.transport + 8..).filter(|_| error)
}

#[cfg(test)]
mod tests {
    use super::{crc32c, frames, hex, ones_sum, packets, quoted, seen};
    use crate::order::Packet;

    fn octets(order: &str) -> Vec<u8> {
        packets(&Packet::parse(order).unwrap()).remove(0)
    }

    #[test]
    fn a_segment_as_scapy_builds_it() {
        // IP(src, dst, id=1)/TCP(sport=9001, dport=80, flags="S", seq=1000, window=8192)
        assert_eq!(
            hex(&octets("tcp 198.18.0.5:9001 > 10.9.0.1:80 S")),
            "45000028000100004006aaaec61200050a09000123290050000003e8000000005002200098600000"
        );
    }

    #[test]
    fn checksums_are_right() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        for order in [
            "udp 198.18.0.5:9001 > 10.9.0.1:53 len=5",
            "udp [2001:db8:c::5]:9001 > [fd09::1]:53 len=5",
            "icmp 3/1 2001:db8:c::5 > fd09::1 about udp [fd09::1]:53 > [2001:db8:c::5]:9",
        ] {
            let packet = octets(order);
            let seen = seen(&packet).unwrap();
            let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
            let transport = &packet[seen.transport..];
            let length = u16::try_from(transport.len()).unwrap();
            let mut covered = packet[addresses].to_vec();
            covered.extend(length.to_be_bytes());
            covered.extend([0, seen.protocol]);
            covered.extend(transport);
            assert_eq!(ones_sum(&covered), 0xffff, "{order}");
        }
    }

    #[test]
    fn fragments_cover_the_datagram() {
        let order = "udp 198.18.0.5:9001 > 10.9.0.1:53 len=2000 fragments=1500 reversed";
        let frames = frames(&Packet::parse(order).unwrap());
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [14 + 548, 14 + 1500]);
        let order = "udp [2001:db8:c::5]:9001 > [fd09::1]:53 len=2000 fragments=1280";
        let sizes = packets(&Packet::parse(order).unwrap()).iter().map(Vec::len).sum::<usize>();
        assert_eq!(sizes, 2008 + 2 * 48);
    }

    #[test]
    fn an_error_quotes_its_packet() {
        let error =
            octets("icmp 3/3 10.9.0.1 > 198.18.0.5 about tcp 198.18.0.5:9001 > 10.9.0.1:80 S");
        let inner = seen(quoted(&error).unwrap()).unwrap();
        assert_eq!((inner.from.port(), inner.to.port()), (9001, 80));
        assert_eq!(quoted(&octets("icmp 8/0 198.18.0.5 > 10.9.0.1")), None);
    }
}
