//! The headers of a frame, for the eye, and what of them differs after a rewrite.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use dataplane::topology::Mac;
use etherparse::{IpNumber, IpSlice, Ipv4Slice, Ipv6Slice};

/// What stands in a frame's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// To whom the frame goes.
    pub to: Mac,
    /// The packet in it.
    pub packet: Option<Packet>,
    octets: usize,
}

/// An IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    /// Octets of the packet.
    len: usize,
    fragment: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Ports { protocol: &'static str, ports: (u16, u16), flags: String },
    Icmp { kind: u8, code: u8 },
    Tunnel { name: &'static str, inner: Option<Box<Packet>> },
    Other(u8),
}

impl Headers {
    /// Reads a frame, as far as it can be read.
    pub fn read(frame: &[u8]) -> Self {
        let mut to = Mac::default();
        for (octet, found) in to.0.iter_mut().zip(frame) {
            *octet = *found;
        }
        let packet = frame.get(14..).and_then(Packet::read);
        Self { to, packet, octets: frame.len() }
    }

    /// What became of the packet: each change in words.
    pub fn changes(&self, after: &Self) -> Vec<String> {
        let (Some(before), Some(packet)) = (&self.packet, &after.packet) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let mut inner = packet;
        while let Kind::Tunnel { name, inner: Some(within) } = &inner.kind {
            changes
                .push(format!("wrapped in {name} from {} to {}", inner.source, inner.destination));
            inner = within;
        }
        let ends = [
            ("source", before.ends().0, inner.ends().0),
            ("destination", before.ends().1, inner.ends().1),
        ];
        for (name, was, is) in ends.iter().filter(|(_, was, is)| was != is) {
            changes.push(format!("{name} {was} becomes {is}"));
        }
        if before.ttl != inner.ttl {
            changes.push(format!("TTL {} becomes {}", before.ttl, inner.ttl));
        }
        if self.to != after.to {
            changes.push(format!("to MAC {}", after.to));
        }
        changes
    }
}

impl Packet {
    fn read(octets: &[u8]) -> Option<Self> {
        let slice = match octets.first()? >> 4 {
            4 => IpSlice::Ipv4(Ipv4Slice::from_slice(octets).ok()?),
            6 => IpSlice::Ipv6(Ipv6Slice::from_slice(octets).ok()?),
            _ => return None,
        };
        let payload = slice.payload();
        let ttl = match &slice {
            IpSlice::Ipv4(packet) => packet.header().ttl(),
            IpSlice::Ipv6(packet) => packet.header().hop_limit(),
        };
        let offset = match &slice {
            IpSlice::Ipv4(packet) => {
                let header = packet.header();
                header
                    .is_fragmenting_payload()
                    .then(|| usize::from(header.fragments_offset().value()) * 8)
            }
            IpSlice::Ipv6(packet) => {
                packet.extensions().clone().into_iter().find_map(|e| match e {
                    etherparse::Ipv6ExtensionSlice::Fragment(part)
                        if part.is_fragmenting_payload() =>
                    {
                        Some(usize::from(part.fragment_offset().value()) * 8)
                    }
                    _ => None,
                })
            }
        };
        let kind = match offset {
            Some(1..) => Kind::Other(payload.ip_number.0),
            _ => kind(payload.ip_number, payload.payload),
        };
        let header = payload.payload.as_ptr() as usize - octets.as_ptr() as usize;
        Some(Self {
            source: slice.source_addr(),
            destination: slice.destination_addr(),
            ttl,
            len: header + payload.payload.len(),
            fragment: offset.map(|offset| format!("fragment at {offset}")),
            kind,
        })
    }

    fn ends(&self) -> (String, String) {
        match &self.kind {
            Kind::Ports { ports, .. } => (
                SocketAddr::new(self.source, ports.0).to_string(),
                SocketAddr::new(self.destination, ports.1).to_string(),
            ),
            _ => (self.source.to_string(), self.destination.to_string()),
        }
    }
}

fn kind(number: IpNumber, payload: &[u8]) -> Kind {
    const GUE: usize = 4;
    let other = Kind::Other(number.0);
    let ports = |protocol, flags| match payload {
        [a, b, c, d, ..] => {
            let ports = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            Kind::Ports { protocol, ports, flags }
        }
        _ => Kind::Other(number.0),
    };
    let tunnel = |name, at: usize| {
        let inner = payload.get(at..).and_then(Packet::read).map(Box::new);
        Kind::Tunnel { name, inner }
    };
    match number {
        IpNumber::TCP => ports("TCP", payload.get(13).map_or(String::new(), |bits| flags(*bits))),
        IpNumber::UDP => {
            // A GUE header of version 0 without options, and an IP packet behind it.
            let gue = payload.len() > 8 + GUE
                && payload[8] == 0
                && matches!(payload[9], 4 | 41)
                && Packet::read(&payload[8 + GUE..]).is_some();
            if gue { tunnel("GUE", 8 + GUE) } else { ports("UDP", String::new()) }
        }
        IpNumber::SCTP => ports("SCTP", payload.get(12).map_or(String::new(), chunk)),
        IpNumber::ICMP | IpNumber::IPV6_ICMP => match payload {
            [kind, code, ..] => Kind::Icmp { kind: *kind, code: *code },
            _ => other,
        },
        IpNumber::IPV4 | IpNumber::IPV6 => tunnel("IP in IP", 0),
        IpNumber::GRE => {
            tunnel("GRE", if payload.first().is_some_and(|f| f & 0x80 != 0) { 8 } else { 4 })
        }
        _ => other,
    }
}

fn flags(bits: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = names.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
    set.map(|(_, name)| format!(" {name}")).collect()
}

fn chunk(kind: &u8) -> String {
    match kind {
        0 => " DATA".to_owned(),
        1 => " INIT".to_owned(),
        6 => " ABORT".to_owned(),
        kind => format!(" chunk {kind}"),
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.packet {
            Some(packet) => write!(f, "{packet}, TTL {}, {} octets", packet.ttl, packet.len),
            None => write!(f, "a frame of {} octets that is no IP packet", self.octets),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = self.ends();
        match &self.kind {
            Kind::Ports { protocol, flags, .. } => {
                write!(f, "{protocol}{flags} {source} -> {destination}")?;
            }
            Kind::Icmp { kind, code } => {
                write!(f, "ICMP type {kind} code {code} {source} -> {destination}")?;
            }
            Kind::Tunnel { name, inner: Some(inner) } => {
                write!(f, "{name} {source} -> {destination} of {inner}")?;
            }
            Kind::Tunnel { name, inner: None } => write!(f, "{name} {source} -> {destination}")?,
            Kind::Other(number) => write!(f, "protocol {number} {source} -> {destination}")?,
        }
        self.fragment.as_ref().map_or(Ok(()), |fragment| write!(f, ", {fragment}"))
    }
}
