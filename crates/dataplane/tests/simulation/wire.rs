//! Packets as the fake hosts write and read them, from the RFCs and with nothing of the
//! datapath in it. A packet that is not right is refused with the reason.

use std::{collections::BTreeMap, net::IpAddr};

use dataplane::topology::Mac;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const IPIP: u8 = 4;
pub(crate) const IPV6: u8 = 41;
const FRAGMENT: u8 = 44;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// What is wrong with a packet.
pub(crate) type Wrong = &'static str;

/// An IP packet of either family; offsets in octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) id: u32,
    pub(crate) df: bool,
    pub(crate) offset: usize,
    pub(crate) more: bool,
    pub(crate) protocol: u8,
    pub(crate) payload: Vec<u8>,
}

impl Ip {
    pub(crate) fn new(src: IpAddr, dst: IpAddr, protocol: u8, payload: Vec<u8>) -> Self {
        let df = src.is_ipv6();
        Self { src, dst, ttl: 64, id: 0, df, offset: 0, more: false, protocol, payload }
    }

    pub(crate) const fn is_part(&self) -> bool {
        self.more || self.offset > 0
    }

    pub(crate) fn len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    const fn header_len(&self) -> usize {
        match (self.src.is_ipv6(), self.is_part()) {
            (false, _) => 20,
            (true, false) => 40,
            (true, true) => 48,
        }
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        match self.src {
            IpAddr::V4(_) => self.octets_v4(),
            IpAddr::V6(_) => self.octets_v6(),
        }
    }

    fn octets_v4(&self) -> Vec<u8> {
        let flags = u16::from(self.df) << 14 | u16::from(self.more) << 13;
        let mut header = vec![0x45, 0];
        header.extend((self.len() as u16).to_be_bytes());
        header.extend((self.id as u16).to_be_bytes());
        header.extend((flags | (self.offset / 8) as u16).to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(address_octets(self.src));
        header.extend(address_octets(self.dst));
        let checksum = checksum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        [header, self.payload.clone()].concat()
    }

    fn octets_v6(&self) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(((self.len() - 40) as u16).to_be_bytes());
        header.extend([if self.is_part() { FRAGMENT } else { self.protocol }, self.ttl]);
        header.extend(address_octets(self.src));
        header.extend(address_octets(self.dst));
        if self.is_part() {
            header.extend([self.protocol, 0]);
            header.extend((self.offset as u16 | u16::from(self.more)).to_be_bytes());
            header.extend(self.id.to_be_bytes());
        }
        [header, self.payload.clone()].concat()
    }

    /// Reads a packet that must fill `octets` exactly.
    pub(crate) fn read(octets: &[u8]) -> Result<Self, Wrong> {
        match octets.first().ok_or("no IP header")? >> 4 {
            4 => Self::read_v4(octets),
            6 => Self::read_v6(octets),
            _ => Err("no IP version"),
        }
    }

    fn read_v4(octets: &[u8]) -> Result<Self, Wrong> {
        let header = octets.get(..20).ok_or("short IPv4 header")?;
        check(header[0] == 0x45, "IPv4 options")?;
        check(checksum(&[header]) == 0, "IPv4 header checksum")?;
        check(word(octets, 2) == octets.len(), "IPv4 total length")?;
        let flags = word(octets, 6);
        Ok(Self {
            src: address(&octets[12..16]),
            dst: address(&octets[16..20]),
            ttl: octets[8],
            id: word(octets, 4) as u32,
            df: flags & 0x4000 != 0,
            offset: (flags & 0x1fff) * 8,
            more: flags & 0x2000 != 0,
            protocol: octets[9],
            payload: octets[20..].to_vec(),
        })
    }

    fn read_v6(octets: &[u8]) -> Result<Self, Wrong> {
        check(octets.len() >= 40, "short IPv6 header")?;
        check(word(octets, 4) + 40 == octets.len(), "IPv6 payload length")?;
        let mut ip =
            Self::new(address(&octets[8..24]), address(&octets[24..40]), octets[6], vec![]);
        ip.ttl = octets[7];
        let mut rest = &octets[40..];
        if ip.protocol == FRAGMENT {
            check(rest.len() >= 8, "short fragment header")?;
            ip.protocol = rest[0];
            ip.offset = word(rest, 2) & 0xfff8;
            ip.more = rest[3] & 1 == 1;
            ip.id = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
            rest = &rest[8..];
        }
        ip.payload = rest.to_vec();
        Ok(ip)
    }

    /// The packet in fragments of at most `mtu` octets, as its sender makes them.
    pub(crate) fn cut(&self, mtu: usize) -> Vec<Self> {
        if self.len() <= mtu {
            return vec![self.clone()];
        }
        let part = Self { more: true, ..self.clone() };
        let step = (mtu - part.header_len()) & !7;
        let pieces: Vec<&[u8]> = self.payload.chunks(step).collect();
        let last = pieces.len() - 1;
        let piece = |(i, payload): (usize, &&[u8])| Self {
            offset: i * step,
            more: i < last,
            payload: payload.to_vec(),
            ..self.clone()
        };
        pieces.iter().enumerate().map(piece).collect()
    }
}

/// A TCP segment or a UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) flags: u8,
    pub(crate) data: Vec<u8>,
    /// UDP without a checksum.
    pub(crate) unchecked: bool,
}

impl Segment {
    pub(crate) fn octets(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let mut octets = [self.sport.to_be_bytes(), self.dport.to_be_bytes()].concat();
        let at = if self.protocol == TCP {
            octets.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, self.flags, 0x20, 0, 0, 0, 0, 0]);
            16
        } else {
            octets.extend((self.data.len() as u16 + 8).to_be_bytes());
            octets.extend([0, 0]);
            6
        };
        octets.extend(&self.data);
        let sum = transport_checksum(src, dst, self.protocol, &octets);
        if !self.unchecked {
            let sum = if sum == 0 && self.protocol == UDP { 0xffff } else { sum };
            octets[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        octets
    }

    /// Reads the payload of a whole packet; only UDP over IPv4 may go without a checksum.
    pub(crate) fn read(ip: &Ip) -> Result<Self, Wrong> {
        let octets = &ip.payload;
        let data_at = if ip.protocol == TCP { 20 } else { 8 };
        check(octets.len() >= data_at, "short transport header")?;
        let unchecked = ip.protocol == UDP && ip.src.is_ipv4() && word(octets, 6) == 0;
        let right = transport_checksum(ip.src, ip.dst, ip.protocol, octets) == 0;
        check(unchecked || right, "transport checksum")?;
        check(ip.protocol == TCP || word(octets, 4) == octets.len(), "UDP length")?;
        Ok(Self {
            protocol: ip.protocol,
            sport: word(octets, 0) as u16,
            dport: word(octets, 2) as u16,
            flags: if ip.protocol == TCP { octets[13] } else { 0 },
            data: octets[data_at..].to_vec(),
            unchecked,
        })
    }
}

/// When and where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) breath: u64,
    /// The neighbour that it was sent to.
    pub(crate) neighbour: usize,
}

/// Puts fragments together. Identifications are unique in a simulation, so that they alone
/// tell datagrams apart.
#[derive(Default)]
pub(crate) struct Reassembly(BTreeMap<(bool, u32), Vec<(Ip, Seen)>>);

impl Reassembly {
    /// Takes a packet; returns it, or the datagram that it completes with where its first
    /// part was seen. All parts must have gone to one place.
    pub(crate) fn add(&mut self, ip: Ip, seen: Seen) -> Result<Option<(Ip, Seen)>, Wrong> {
        if !ip.is_part() {
            return Ok(Some((ip, seen)));
        }
        let key = (ip.src.is_ipv6(), ip.id);
        let parts = self.0.entry(key).or_default();
        if let Some((first, _)) = parts.first() {
            check((first.src, first.dst) == (ip.src, ip.dst), "parts of a datagram went apart")?;
        }
        parts.push((ip, seen));
        parts.sort_by_key(|(part, _)| part.offset);
        let mut payload = Vec::new();
        for (part, _) in &*parts {
            if part.offset != payload.len() {
                return Ok(None);
            }
            payload.extend(&part.payload);
        }
        if parts.last().is_some_and(|(part, _)| part.more) {
            return Ok(None);
        }
        let parts = self.0.remove(&key).unwrap_or_default();
        let (first, seen) = parts.into_iter().min_by_key(|(_, seen)| seen.breath).ok_or("none")?;
        Ok(Some((Ip { offset: 0, more: false, payload, ..first }, seen)))
    }

    /// The neighbours that have parts of this packet's datagram.
    pub(crate) fn places(&self, ip: &Ip) -> impl Iterator<Item = usize> {
        let parts = self.0.get(&(ip.src.is_ipv6(), ip.id)).filter(|_| ip.is_part());
        parts.into_iter().flatten().map(|(_, seen)| seen.neighbour)
    }
}

/// An Ethernet frame around a packet.
pub(crate) fn frame(dst: Mac, src: Mac, ip: &Ip) -> Vec<u8> {
    let kind: [u8; 2] = if ip.src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    [&dst.0[..], &src.0[..], &kind[..], &ip.octets()[..]].concat()
}

/// The addresses of a frame and its packet; the EtherType must be the packet's.
pub(crate) fn read_frame(frame: &[u8]) -> Result<(Mac, Mac, &[u8]), Wrong> {
    check(frame.len() > 14, "short frame")?;
    let mac = |at: usize| Mac(std::array::from_fn(|i| frame[at + i]));
    let expected = if frame[14] >> 4 == 4 { 0x0800 } else { 0x86dd };
    check(word(frame, 12) == expected, "EtherType")?;
    Ok((mac(0), mac(6), &frame[14..]))
}

/// The Internet checksum over slices, all but the last of even length (RFC 1071).
pub(crate) fn checksum(slices: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in slices.iter().flat_map(|slice| slice.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(crate) fn transport_checksum(src: IpAddr, dst: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let length = (segment.len() as u32).to_be_bytes();
    let addresses = [address_octets(src), address_octets(dst)].concat();
    checksum(&[&addresses, &length, &[0, 0, 0, protocol], segment])
}

pub(crate) fn address_octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(octets) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets).expect("an address")),
    }
}

/// A big-endian word.
pub(crate) fn word(octets: &[u8], at: usize) -> usize {
    usize::from(octets[at]) << 8 | usize::from(octets[at + 1])
}

pub(crate) const fn check(holds: bool, wrong: Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(wrong) }
}
