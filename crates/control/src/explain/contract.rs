//! Which rule of the match contract a frame meets first: whether it would reach xlvs at all. The
//! XDP program decides that (`crates/xsk/bpf/match.bpf.c`); here the same entries are read to
//! name the rule, and a test compares both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::{
    forward::{Endpoint, Protocol},
    topology::{Mac, Topology},
};
use xsk::MarkSlot;

use crate::matches::{AddressRoles, MatchEntries};

/// What the XDP program does with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// xlvs gets it; else the kernel.
    pub taken: bool,
    /// By which rule; of none that is left to the kernel because no rule takes it.
    pub rule: Option<u8>,
    /// In words.
    pub why: String,
}

/// What the rules look at.
pub struct Contract<'a> {
    /// What the maps hold.
    pub entries: &'a MatchEntries,
    /// The mark rules.
    pub marks: &'a [MarkSlot],
    /// The addresses of the box.
    pub topology: &'a Topology,
    /// The MAC of the interface where the frame arrives.
    pub mac: Mac,
    /// The index of that interface.
    pub interface: u32,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Whole,
    First,
    Later,
}

/// What is read of a packet.
struct Seen<'a> {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    protocol: u8,
    piece: Piece,
    payload: &'a [u8],
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FTP_DATA: u16 = 20;
const UNPRIVILEGED: u16 = 1024;

impl Contract<'_> {
    /// What the program does with a frame.
    pub fn meet(&self, frame: &[u8]) -> Met {
        let kept = |why: &str| Met { taken: false, rule: None, why: why.to_owned() };
        let Some((header, packet)) = frame.split_first_chunk::<14>() else {
            return kept("no whole Ethernet header");
        };
        if header[..6] != self.mac.0 {
            return kept("the frame is not addressed to the interface's MAC");
        }
        let seen = match u16::from_be_bytes([header[12], header[13]]) {
            0x0800 => ipv4(packet),
            0x86dd => ipv6(packet),
            0x8100 | 0x88a8 => return kept("it has a VLAN tag"),
            _ => return kept("neither IPv4 nor IPv6"),
        };
        let Some(mut seen) = seen else { return kept("no whole IP header") };
        if matches!(
            (seen.protocol, seen.destination.0),
            (ICMP, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_))
        ) {
            return match seen.piece {
                Piece::Whole => self.icmp(&seen),
                _ => kept("a fragment of an ICMP message"),
            };
        }
        let Some(protocol) = Protocol::from_number(seen.protocol) else {
            return kept("neither TCP, UDP nor SCTP");
        };
        if seen.piece == Piece::Later {
            return self.later(&seen, protocol);
        }
        if !ports(&mut seen) {
            return kept("no ports to be seen");
        }
        self.rules(&seen, protocol, self.interface)
    }

    fn is_box(&self, address: IpAddr) -> bool {
        self.topology.local.contains(&address)
    }

    fn roles(&self, address: IpAddr) -> Option<&AddressRoles> {
        self.entries.addresses.get(&address)
    }

    /// Rules 1 to 4.
    fn rules(&self, seen: &Seen<'_>, protocol: Protocol, interface: u32) -> Met {
        let (address, port) = seen.destination;
        let taken = |rule, why: String| Met { taken: true, rule: Some(rule), why };
        if let Some(why) = self.to_service(seen, protocol, interface) {
            return taken(1, why);
        }
        let local = self.roles(address).and_then(|roles| roles.local.as_ref());
        if local.is_some_and(|ports| ports.contains(&port)) {
            return taken(2, format!("{address} port {port} is FullNAT's or a probe's"));
        }
        if self.is_box(address) {
            let why =
                format!("{address} is an address of this box, and no service has port {port}");
            return Met { taken: false, rule: Some(3), why };
        }
        let (source, sport) = seen.source;
        if self.answers_from(seen.source, protocol) {
            return taken(4, format!("a NAT server answers from {source} port {sport}"));
        }
        let why =
            format!("no rule takes a packet from {source} port {sport} to {address} port {port}");
        Met { taken: false, rule: None, why }
    }

    /// Rule 1.
    fn to_service(&self, seen: &Seen<'_>, protocol: Protocol, interface: u32) -> Option<String> {
        let (address, port) = seen.destination;
        let endpoint = Endpoint { protocol, address, port };
        if self.entries.endpoints.get(&endpoint).is_some_and(|roles| roles.service) {
            return Some(format!("{endpoint} is a service"));
        }
        let roles = self.roles(address);
        let ftp = roles.is_some_and(|roles| roles.ftp) && protocol == Protocol::Tcp;
        if ftp && (port == FTP_DATA || port >= UNPRIVILEGED) {
            return Some(format!("{address} has an FTP service, which takes port {port} too"));
        }
        if roles.is_some_and(|roles| roles.every_port.contains(&protocol)) {
            let excepted = self.entries.exceptions.get(&(protocol, address));
            if !excepted.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&port))) {
                return Some(format!("a service takes every port of {address}"));
            }
        }
        let mark = self.mark(seen, seen.source.0, seen.destination, interface)?;
        Some(format!("the marks rules give it mark {mark}, which has a service"))
    }

    fn answers_from(&self, (address, port): (IpAddr, u16), protocol: Protocol) -> bool {
        let endpoint = Endpoint { protocol, address, port };
        self.entries.endpoints.get(&endpoint).is_some_and(|roles| roles.server)
            || self.roles(address).is_some_and(|roles| roles.from_every_port.contains(&protocol))
    }

    /// The mark with a service; without a port to be seen any that may be given, as 0.
    fn mark(
        &self,
        seen: &Seen<'_>,
        source: IpAddr,
        (destination, port): (IpAddr, u16),
        interface: u32,
    ) -> Option<u32> {
        let transit = !self.is_box(destination);
        let later = seen.piece == Piece::Later;
        let (mut mark, mut named, mut touched) = (0u32, 0u32, false);
        for slot in self.marks {
            let (network, length) = slot.destination;
            let fits = within(destination, network, length)
                && slot.source.is_none_or(|(network, length)| within(source, network, length))
                && slot.protocol.is_none_or(|protocol| protocol == seen.protocol)
                && (later || slot.ports.as_ref().is_none_or(|ports| ports.contains(&port)))
                && (interface == 0 || slot.interface.is_none_or(|index| index == interface));
            if !fits {
                continue;
            }
            let single = length == if network.is_ipv4() { 32 } else { 128 };
            let names = if single { slot.mask } else { 0 };
            mark = mark & !slot.mask | slot.mark & slot.mask;
            named = named & !slot.mask | names;
            touched |= names != 0 || transit;
        }
        if later {
            return touched.then_some(0);
        }
        let has = mark != 0 && (named != 0 || transit);
        (has && self.entries.marks.contains(&(mark, destination.is_ipv6()))).then_some(mark)
    }

    /// Rule 5.
    fn later(&self, seen: &Seen<'_>, _: Protocol) -> Met {
        let (source, destination) = (seen.source.0, seen.destination.0);
        let taken = |why: String| Met {
            taken: true,
            rule: Some(5),
            why: format!("a fragment without ports, {why}; unless the kernel got its first one"),
        };
        let roles = self.roles(destination);
        if roles.is_some_and(|roles| roles.vip || roles.local.is_some()) {
            return taken(format!("to {destination}, which has services or FullNAT ports"));
        }
        if self.mark(seen, source, (destination, 0), self.interface).is_some() {
            return taken(format!("to {destination}, which marks rules name"));
        }
        let box_s = self.is_box(destination);
        if !box_s && self.roles(source).is_some_and(|roles| roles.nat_server) {
            return taken(format!("from {source}, a NAT server"));
        }
        let why = format!("a fragment without ports, from {source} to {destination}: none of ours");
        Met { taken: false, rule: box_s.then_some(3), why }
    }

    /// Rule 6.
    fn icmp(&self, seen: &Seen<'_>) -> Met {
        let kept = |why: &str| Met { taken: false, rule: None, why: why.to_owned() };
        let v6 = seen.destination.0.is_ipv6();
        let Some((header, quoted)) = seen.payload.split_first_chunk::<8>() else {
            return kept("no whole ICMP header");
        };
        let error =
            if v6 { (1..=4).contains(&header[0]) } else { matches!(header[0], 3 | 4 | 11 | 12) };
        if !error {
            return kept("an ICMP message that is no error");
        }
        let Some(mut quoted) = (if v6 { ipv6(quoted) } else { ipv4(quoted) }) else {
            return kept("an ICMP error without a whole IP header in it");
        };
        let taken = |why: String| Met {
            taken: true,
            rule: Some(6),
            why: format!("an ICMP error about a packet of ours: {why}"),
        };
        if let Some(why) = self.quoted_tunnel(&mut quoted) {
            return taken(why);
        }
        let Some(protocol) = Protocol::from_number(quoted.protocol) else {
            return kept("an ICMP error about another protocol");
        };
        let (from, to) = (quoted.source.0, quoted.destination.0);
        if quoted.piece == Piece::Later {
            let ours = self.roles(from).is_some_and(|roles| roles.vip || roles.local.is_some())
                || self.mark(&quoted, to, (from, 0), 0).is_some()
                || self.roles(to).is_some_and(|roles| roles.nat_server);
            return match ours {
                true => taken("a fragment".to_owned()),
                false => kept("an ICMP error about a fragment that is none of ours"),
            };
        }
        if !ports(&mut quoted) {
            return kept("an ICMP error without ports in it");
        }
        // The packet that would be the answer: source and destination the other way round.
        let (source, destination) = (quoted.destination, quoted.source);
        let reversed = Seen { source, destination, ..quoted };
        match self.rules(&reversed, protocol, 0) {
            Met { taken: true, rule, why } => {
                taken(format!("reversed, rule {} takes it: {why}", rule.unwrap_or(0)))
            }
            _ => kept("an ICMP error about a packet that is none of ours"),
        }
    }

    /// Rule 6, an outer header of ours.
    fn quoted_tunnel(&self, quoted: &mut Seen<'_>) -> Option<String> {
        const IPIP: u8 = 4;
        const IPV6: u8 = 41;
        const GRE: u8 = 47;
        const UDP: u8 = 17;
        let (from, to) = (quoted.source.0, quoted.destination.0);
        if !self.is_box(from) || !self.roles(to)?.tunnel_server {
            return None;
        }
        let why = format!("a tunnel to {to}");
        match quoted.protocol {
            IPIP | IPV6 | GRE => Some(why),
            UDP if quoted.piece != Piece::Later => {
                if !ports(quoted) {
                    return None;
                }
                let (address, port) = quoted.destination;
                let endpoint = Endpoint { protocol: Protocol::Udp, address, port };
                self.entries.endpoints.get(&endpoint)?.gue.then_some(why)
            }
            _ => None,
        }
    }
}

fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    dataplane::prefix::Prefix::new(network, length).is_some_and(|prefix| prefix.contains(address))
}

/// The first four octets of TCP, UDP and SCTP.
fn ports(seen: &mut Seen<'_>) -> bool {
    let Some([a, b, c, d]) = seen.payload.first_chunk::<4>() else { return false };
    seen.source.1 = u16::from_be_bytes([*a, *b]);
    seen.destination.1 = u16::from_be_bytes([*c, *d]);
    true
}

/// As `parse_ipv4` of the program, which is more lenient than what the datapath then accepts.
fn ipv4(packet: &[u8]) -> Option<Seen<'_>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let length = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return None;
    }
    let address = |at: usize| -> IpAddr {
        Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into()
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    Some(Seen {
        source: (address(12), 0),
        destination: (address(16), 0),
        protocol: header[9],
        piece: piece(fragment & 0x1fff != 0, fragment & 0x2000 != 0),
        payload: packet.get(length..).unwrap_or_default(),
    })
}

/// As `parse_ipv6` of the program.
fn ipv6(packet: &[u8]) -> Option<Seen<'_>> {
    const EXTENSIONS: usize = 6;
    let header: &[u8; 40] = packet.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 16] = std::array::from_fn(|i| header[at + i]);
        Ipv6Addr::from(octets).into()
    };
    let (mut next, mut at, mut found) = (header[6], 40, Piece::Whole);
    for _ in 0..EXTENSIONS {
        let rest = packet.get(at..).unwrap_or_default();
        match next {
            44 => {
                let fragment: &[u8; 8] = rest.first_chunk()?;
                let flags = u16::from_be_bytes([fragment[2], fragment[3]]);
                found = piece(flags & 0xfff8 != 0, flags & 1 != 0);
                next = fragment[0];
                at += 8;
                if found == Piece::Later {
                    break;
                }
            }
            0 | 43 | 60 => {
                let [following, length] = *rest.first_chunk::<2>()?;
                next = following;
                at += (usize::from(length) + 1) * 8;
            }
            _ => break,
        }
    }
    Some(Seen {
        source: (address(8), 0),
        destination: (address(24), 0),
        protocol: next,
        piece: found,
        payload: packet.get(at..).unwrap_or_default(),
    })
}

const fn piece(later: bool, more: bool) -> Piece {
    match (later, more) {
        (true, _) => Piece::Later,
        (false, true) => Piece::First,
        (false, false) => Piece::Whole,
    }
}
