//! Frames for the tests, octet by octet.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::IpAddr;

/// The interface's address in all tests.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => 0x0800,
            Self::V6 => 0x86dd,
        }
    }

    pub(crate) const fn icmp(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }

    /// ICMP types that are errors: RFC 792, RFC 4443.
    pub(crate) const fn errors(self) -> &'static [u8] {
        match self {
            Self::V4 => &[3, 4, 11, 12],
            Self::V6 => &[1, 2, 3, 4],
        }
    }

    /// Octets of the plain header.
    pub(crate) const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Whole,
    First,
    Later,
    /// IPv6: a fragment header, but all of the datagram.
    Atomic,
}

/// A packet in the making.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    source: IpAddr,
    destination: IpAddr,
    piece: Piece,
    id: u16,
    options: Vec<u8>,
    extensions: Vec<(u8, u8)>,
}

impl Packet {
    pub(crate) fn new(source: IpAddr, destination: IpAddr) -> Self {
        let (options, extensions) = (Vec::new(), Vec::new());
        Self { source, destination, piece: Piece::Whole, id: 0, options, extensions }
    }

    pub(crate) fn piece(mut self, piece: Piece, id: u16) -> Self {
        self.piece = piece;
        self.id = id;
        self
    }

    /// IPv4 options, a multiple of four octets.
    pub(crate) fn options(mut self, options: Vec<u8>) -> Self {
        self.options = options;
        self
    }

    /// IPv6 extension headers: number, and length in eight octets beyond the first.
    pub(crate) fn extensions(mut self, extensions: &[(u8, u8)]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    pub(crate) fn frame(self, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
        let ethertype = match self.source {
            IpAddr::V4(_) => 0x0800,
            IpAddr::V6(_) => 0x86dd,
        };
        ethernet(MAC, ethertype, self.ip(protocol, payload))
    }

    pub(crate) fn ip(self, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(source.octets(), destination.octets(), protocol, payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(source.octets(), destination.octets(), protocol, payload)
            }
            mixed => panic!("{mixed:?}"),
        }
    }

    fn ipv4(
        self,
        source: [u8; 4],
        destination: [u8; 4],
        protocol: u8,
        payload: Vec<u8>,
    ) -> Vec<u8> {
        let header = 20 + self.options.len();
        let fragment: u16 = match self.piece {
            Piece::Whole | Piece::Atomic => 0,
            Piece::First => 0x2000,
            Piece::Later => 185,
        };
        let mut ip = vec![0x40 | (header / 4) as u8, 0];
        ip.extend(((header + payload.len()) as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(fragment.to_be_bytes());
        ip.extend([64, protocol, 0, 0]);
        ip.extend(source);
        ip.extend(destination);
        ip.extend(&self.options);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(payload);
        ip
    }

    fn ipv6(
        self,
        source: [u8; 16],
        destination: [u8; 16],
        protocol: u8,
        payload: Vec<u8>,
    ) -> Vec<u8> {
        let mut chain: Vec<(u8, Vec<u8>)> = self
            .extensions
            .iter()
            .map(|(number, length)| {
                let mut header = vec![0; 8 * (usize::from(*length) + 1)];
                header[1] = *length;
                (*number, header)
            })
            .collect();
        let fragment: Option<u16> = match self.piece {
            Piece::Whole => None,
            Piece::Atomic => Some(0),
            Piece::First => Some(1),
            Piece::Later => Some(1480),
        };
        if let Some(fragment) = fragment {
            let [high, low] = fragment.to_be_bytes();
            let [id_high, id_low] = self.id.to_be_bytes();
            chain.push((44, vec![0, 0, high, low, 0, 0, id_high, id_low]));
        }
        let mut next = protocol;
        let mut body = payload;
        for (number, mut header) in chain.into_iter().rev() {
            header[0] = next;
            next = number;
            header.extend(body);
            body = header;
        }
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend((body.len() as u16).to_be_bytes());
        ip.extend([next, 64]);
        ip.extend(source);
        ip.extend(destination);
        ip.extend(body);
        ip
    }
}

pub(crate) fn ethernet(destination: [u8; 6], ethertype: u16, payload: Vec<u8>) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 0xfe]);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[12] = 0x50;
    header[13] = 2;
    header
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut header = vec![0; 8];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[5] = 8;
    header
}

pub(crate) fn icmp_error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    message
}

/// The first octets of a packet.
pub(crate) fn quote(mut packet: Vec<u8>, octets: usize) -> Vec<u8> {
    packet.truncate(octets);
    packet
}

/// RFC 1071.
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
