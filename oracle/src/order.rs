//! A packet in words: `tcp 198.18.0.5:9001 > 10.9.0.1:80 S ttl=1`.
//!
//! ```text
//! tcp FROM:PORT > TO:PORT FLAGS [WORD…]       flags: letters of SAFRPU, or . for none
//! udp FROM:PORT > TO:PORT [WORD…] [of PACKET]   GUE: a header of four octets, then that packet
//! sctp FROM:PORT > TO:PORT CHUNK[+CHUNK…] [WORD…]
//! icmp TYPE/CODE FROM > TO [WORD…] [about PACKET]
//! ip PROTOCOL FROM > TO [WORD…] [of PACKET]   a tunnel's outer packet (47: with GRE's four octets; 4 and 41: one for each
//!                                             fragment), or anything else
//! ```
//! Words: `ttl=64 tos=0 id=1 len=0 seq=1000 ack=2000 mtu=0` with their defaults, `df`, `options` (an IPv4
//! router alert, or IPv6 hop-by-hop padding), `checksum=bad` or `zero`, `header=bad` (the IPv4 header checksum),
//! `fragments=MTU` (it arrives in pieces), `reversed` (the last piece first), `on=front|back` (the port, if
//! not the one of the source), `quote=528` (an error quotes no more octets). IPv6 addresses with a port stand in brackets.
use std::net::{IpAddr, SocketAddr};

use crate::ground::Port;
use crate::{Fault, fault};

/// A packet to build: [`crate::packet::frames`] gives its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source; its port is 0 where there are none.
    pub from: SocketAddr,
    /// Destination, of the same family.
    pub to: SocketAddr,
    /// What it carries.
    pub content: Content,
    /// The port on which it arrives.
    pub port: Port,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// IPv4 identification; of IPv6 fragments too.
    pub id: u16,
    /// Don't fragment (IPv4).
    pub dont_fragment: bool,
    /// An IPv4 router alert, or an IPv6 hop-by-hop header.
    pub options: bool,
    /// Octets of payload.
    pub length: usize,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number, if ACK is set.
    pub acknowledged: u32,
    /// The MTU in an ICMP error.
    pub mtu: u16,
    /// The transport's checksum.
    pub checksum: Checksum,
    /// Whether the IPv4 header checksum is wrong.
    pub bad_header: bool,
    /// How many octets of its packet an error quotes at most.
    pub quote: Option<usize>,
    /// The MTU to whose fragments it is cut.
    pub fragments: Option<usize>,
    /// Whether the last fragment comes first.
    pub reversed: bool,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A segment, with its flags as on the wire.
    Tcp(u8),
    /// A datagram.
    Udp,
    /// A packet in GUE (draft-ietf-intarea-gue), version 0, without flags.
    Gue(Box<Packet>),
    /// A packet with chunks, by their types.
    Sctp(Vec<u8>),
    /// A message; an error quotes a packet.
    Icmp {
        /// ICMP or ICMPv6 type.
        kind: u8,
        /// Its code.
        code: u8,
        /// The packet that it is about.
        about: Option<Box<Packet>>,
    },
    /// Another protocol, with a packet in it.
    Other(u8, Option<Box<Packet>>),
}

/// What the transport's checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Right.
    Right,
    /// Wrong by one.
    Bad,
    /// Zero: none, in UDP.
    Zero,
}

/// SCTP chunk names and types (RFC 9260, section 3.2).
const CHUNKS: [(&str, u8); 13] = [
    ("DATA", 0),
    ("INIT", 1),
    ("INIT-ACK", 2),
    ("SACK", 3),
    ("HEARTBEAT", 4),
    ("HEARTBEAT-ACK", 5),
    ("ABORT", 6),
    ("SHUTDOWN", 7),
    ("SHUTDOWN-ACK", 8),
    ("ERROR", 9),
    ("COOKIE-ECHO", 10),
    ("COOKIE-ACK", 11),
    ("SHUTDOWN-COMPLETE", 14),
];

impl Packet {
    /// A packet with every word at its default.
    pub fn new(from: SocketAddr, to: SocketAddr, content: Content) -> Self {
        Self {
            from,
            to,
            content,
            port: Port::of_source(from.ip()),
            ttl: 64,
            tos: 0,
            id: 1,
            dont_fragment: false,
            options: false,
            length: 0,
            sequence: 1000,
            acknowledged: 2000,
            mtu: 0,
            checksum: Checksum::Right,
            bad_header: false,
            quote: None,
            fragments: None,
            reversed: false,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none; the message says which word is wrong.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let inner = words.iter().position(|word| matches!(*word, "about" | "of"));
        let (head, inner) = match inner {
            Some(at) => (&words[..at], Some(Box::new(Self::parse(&words[at + 1..].join(" "))?))),
            None => (&words[..], None),
        };
        let Some((protocol, rest)) = head.split_first() else { return fault("no packet") };
        let (kind, rest) = match (*protocol, rest.split_first()) {
            ("icmp" | "ip", Some((kind, rest))) => (*kind, rest),
            _ => ("", rest),
        };
        let [from, ">", to, rest @ ..] = rest else {
            return fault(format!("not FROM > TO: {text}"));
        };
        let (content, rest) = match (*protocol, rest) {
            ("tcp", [flags, rest @ ..]) => (Content::Tcp(tcp_flags(flags)?), rest),
            ("udp", rest) => (inner.map_or(Content::Udp, Content::Gue), rest),
            ("sctp", [chunks, rest @ ..]) => (Content::Sctp(sctp_chunks(chunks)?), rest),
            ("icmp", rest) => (icmp(kind, inner)?, rest),
            ("ip", rest) => (Content::Other(number(kind)?, inner), rest),
            _ => return fault(format!("no packet begins with {protocol}, or it lacks words")),
        };
        let mut packet = Self::new(endpoint(from)?, endpoint(to)?, content);
        if packet.from.is_ipv4() != packet.to.is_ipv4() {
            return fault(format!("two families: {text}"));
        }
        for word in rest {
            packet.set(word)?;
        }
        Ok(packet)
    }

    fn set(&mut self, word: &str) -> Result<(), Fault> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match (key, value) {
            ("ttl", _) => self.ttl = number(value)?,
            ("tos", _) => self.tos = number(value)?,
            ("id", _) => self.id = number(value)?,
            ("len", _) => self.length = number(value)?,
            ("seq", _) => self.sequence = number(value)?,
            ("ack", _) => self.acknowledged = number(value)?,
            ("mtu", _) => self.mtu = number(value)?,
            ("df", "") => self.dont_fragment = true,
            ("options", "") => self.options = true,
            ("checksum", "bad") => self.checksum = Checksum::Bad,
            ("checksum", "zero") => self.checksum = Checksum::Zero,
            ("header", "bad") => self.bad_header = true,
            ("quote", _) => self.quote = Some(number(value)?),
            ("fragments", _) => self.fragments = Some(number(value)?),
            ("reversed", "") => self.reversed = true,
            ("on", "front") => self.port = Port::Front,
            ("on", "back") => self.port = Port::Back,
            _ => return fault(format!("a packet has no {word}")),
        }
        Ok(())
    }
}

/// An address with or without a port.
pub(crate) fn endpoint(text: &str) -> Result<SocketAddr, Fault> {
    match (text.parse(), text.parse::<IpAddr>()) {
        (Ok(address), _) => Ok(address),
        (_, Ok(address)) => Ok(SocketAddr::new(address, 0)),
        _ => fault(format!("no address: {text}")),
    }
}

/// A number in decimal, or hexadecimal with 0x.
pub(crate) fn number<T: TryFrom<u64>>(text: &str) -> Result<T, Fault> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed.ok().and_then(|number| T::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => fault(format!("no number that fits: {text}")),
    }
}

fn tcp_flags(letters: &str) -> Result<u8, Fault> {
    let bit = |letter| match letter {
        'F' => Ok(1),
        'S' => Ok(2),
        'R' => Ok(4),
        'P' => Ok(8),
        'A' => Ok(16),
        'U' => Ok(32),
        '.' => Ok(0),
        _ => fault(format!("no TCP flags: {letters}")),
    };
    letters.chars().try_fold(0, |flags, letter| Ok(flags | bit(letter)?))
}

fn sctp_chunks(names: &str) -> Result<Vec<u8>, Fault> {
    let chunk = |name: &str| match CHUNKS.iter().find(|(known, _)| *known == name) {
        Some((_, kind)) => Ok(*kind),
        None => number(name),
    };
    names.split('+').map(chunk).collect()
}

fn icmp(kind: &str, about: Option<Box<Packet>>) -> Result<Content, Fault> {
    let Some((kind, code)) = kind.split_once('/') else {
        return fault(format!("not TYPE/CODE: {kind}"));
    };
    Ok(Content::Icmp { kind: number(kind)?, code: number(code)?, about })
}

#[cfg(test)]
mod tests {
    use super::{Content, Packet};
    use crate::ground::Port;

    #[test]
    fn packets_are_read() {
        let packet = Packet::parse("tcp 10.2.0.11:80 > 198.18.0.5:9001 SA ttl=3 df").unwrap();
        assert_eq!((packet.ttl, packet.dont_fragment, packet.port), (3, true, Port::Back));
        assert_eq!(packet.content, Content::Tcp(0x12));
        let error = "icmp 3/4 192.0.2.1 > 10.9.0.1 mtu=1400 about tcp 10.9.0.1:80 > 198.18.0.5:9 A";
        let Content::Icmp { kind: 3, code: 4, about: Some(about) } =
            Packet::parse(error).unwrap().content
        else {
            panic!("not the error")
        };
        assert_eq!(about.to.port(), 9);
    }

    #[test]
    fn what_is_no_packet_is_named() {
        for (text, complaint) in [
            ("", "no packet"),
            ("tcp 1.2.3.4:5 10.9.0.1:80 S", "not FROM > TO: tcp 1.2.3.4:5 10.9.0.1:80 S"),
            ("tcp 1.2.3.4:5 > 10.9.0.1:80 X", "no TCP flags: X"),
            ("udp 1.2.3.4:5 > [fd09::1]:80", "two families: udp 1.2.3.4:5 > [fd09::1]:80"),
            ("udp 1.2.3.4:5 > 10.9.0.1:80 tll=3", "a packet has no tll=3"),
            ("udp 1.2.3.4:5 > 10.9.0.1:80 ttl=300", "no number that fits: 300"),
        ] {
            assert_eq!(Packet::parse(text).unwrap_err().0, complaint);
        }
    }
}
