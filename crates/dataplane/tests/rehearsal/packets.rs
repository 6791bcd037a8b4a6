//! Random packets: new ones, those of connections that are there, from both ends, fragments in
//! any order, ICMP errors, and garbage.

use std::net::IpAddr;

use dataplane::{
    director::Director,
    forward::{Address, Forward, Protocol, ServiceKey},
    snapshot::Services,
    table::{Connection, Found, Table},
    topology::{Mac, PortId},
};

use crate::{
    ground::{CLIENTS, LISTENING, LOCAL, Net, OUR_MAC, PROBE, PROBES, SERVERS, VIPS, at},
    random::Random,
    wire::{self, ACK, FIN, ICMP, ICMPV6, Ip, RST, SYN, Segment, TCP, UDP},
};

type End = (IpAddr, u16);

const SCTP: u8 = 132;

/// Some frames with the ports where they arrive: one packet, or a datagram in parts.
pub(crate) fn packets(
    random: &mut Random,
    director: &Director,
    services: &Services,
) -> Vec<(PortId, Vec<u8>)> {
    let known = connection(random, director, services);
    let (port, ip) = match (random.below(10), known) {
        (0..=3, Some(known)) => of_connection(random, known),
        (4, Some(known)) => error_about(random, known),
        (5, _) => from_a_server(random),
        (6, _) => from_a_probe(random, director),
        _ => new(random, services),
    };
    let mut parts = match random.chance(7) {
        true => ip.cut(random.pick(&[100, 600, 1300])),
        false => vec![ip],
    };
    if parts.len() > 1 {
        for at in (1..parts.len()).rev() {
            parts.swap(at, random.below(at + 1));
        }
        if random.chance(20) {
            parts.remove(random.below(parts.len()));
        }
    }
    let frame = |part: &Ip| (port, wire::frame(OUR_MAC, Mac([2, 0, 0, 1, 9, 9]), part));
    let mut frames: Vec<_> =
        parts.iter().map(frame).filter(|(_, frame)| frame.len() <= 1792).collect();
    if random.chance(6) {
        for (_, frame) in &mut frames {
            damage(random, frame);
        }
    }
    frames
}

fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    match random.below(4) {
        0 => frame.truncate(random.below(frame.len() + 1).max(14)),
        1 => frame.push(0),
        _ => {
            let at = random.below(frame.len());
            frame[at] ^= 1 << random.below(8);
        }
    }
}

fn client(random: &mut Random, v6: bool) -> End {
    (at(v6, Net::Clients, random.pick(&CLIENTS)), 1000 + random.below(8) as u16)
}

/// To something that may be a service.
fn new(random: &mut Random, services: &Services) -> (PortId, Ip) {
    let mut v6 = random.chance(40);
    let mut protocol = random.pick(&[TCP, TCP, UDP, SCTP]);
    let keys: Vec<&ServiceKey> = services.services.iter().flatten().map(|s| &s.key).collect();
    let at_service = (!keys.is_empty() && random.chance(80)).then(|| random.pick(&keys));
    let endpoint = at_service.and_then(ServiceKey::endpoint);
    if let Some(key) = at_service {
        v6 = key.is_ipv6();
        protocol = key.endpoint().map_or(protocol, |endpoint| number(endpoint.protocol));
    }
    let from = match random.below(40) {
        0 => (at(v6, Net::Own, 1), 5),
        1 => (at(v6, Net::Elsewhere, 1), 5),
        2 => (at(v6, Net::Clients, 50), 20),
        _ => client(random, v6),
    };
    let port = match random.below(10) {
        0 => random.below(1 << 16) as u16,
        1 => 20,
        2 => 85,
        _ => random.pick(&LISTENING),
    };
    let net = if random.chance(95) { Net::Vips } else { Net::Own };
    let flags = random.pick(&[SYN, SYN, SYN, SYN, ACK, RST, SYN | ACK, FIN | ACK, SYN | RST]);
    let vip = at(v6, net, random.pick(&VIPS));
    let to = match endpoint {
        Some(endpoint) if endpoint.port != 0 => (endpoint.address, endpoint.port),
        Some(endpoint) => (endpoint.address, port),
        None => (vip, port),
    };
    let ip = packet(random, (from, to), protocol, flags);
    (if random.chance(90) { 0 } else { 1 }, ip)
}

fn from_a_server(random: &mut Random) -> (PortId, Ip) {
    let v6 = random.chance(40);
    let protocol = random.pick(&[TCP, UDP, SCTP]);
    let from = (at(v6, Net::Servers, random.pick(&SERVERS)), random.pick(&LISTENING));
    let to = if random.chance(50) {
        client(random, v6)
    } else {
        (at(v6, Net::Own, LOCAL), 10_000 + random.below(4) as u16)
    };
    let flags = random.pick(&[SYN | ACK, ACK, RST, SYN]);
    (1, packet(random, (from, to), protocol, flags))
}

fn from_a_probe(random: &mut Random, director: &Director) -> (PortId, Ip) {
    let v6 = random.chance(40);
    let pinned = (20_000..20_010).find(|port| director.pins.server(*port).is_some());
    let port = if random.chance(80) { pinned.unwrap_or(20_000) } else { 30_000 };
    let to = (at(v6, Net::Vips, random.pick(&VIPS)), random.pick(&LISTENING));
    let protocol = random.pick(&[TCP, UDP]);
    let flags = random.pick(&[SYN, SYN, ACK]);
    (PROBES, packet(random, ((at(v6, Net::Own, PROBE), port), to), protocol, flags))
}

/// A connection that is there.
#[derive(Clone, Copy)]
struct Known {
    client: End,
    vip: End,
    local: End,
    server: End,
    protocol: u8,
    forward: Forward,
    /// The server itself, where the connection does not tell.
    tunnel: IpAddr,
}

fn connection(random: &mut Random, director: &Director, services: &Services) -> Option<Known> {
    fn all<A: Address>(table: &Table<A>, services: &Services, list: &mut Vec<Known>) {
        table.for_each(&mut |Found { connection, .. }: Found<A>| {
            let server = services.server(connection.server_id);
            let tunnel = server.map_or(connection.server.ip(), |server| server.address);
            list.push(known(&connection, tunnel));
        });
    }
    let mut list = Vec::new();
    all(&director.v4, services, &mut list);
    all(&director.v6, services, &mut list);
    (!list.is_empty()).then(|| random.pick(&list))
}

fn known<A: Address>(c: &Connection<A>, tunnel: IpAddr) -> Known {
    Known {
        client: (c.client.ip(), c.cport),
        vip: (c.vip.ip(), c.vport),
        local: (c.local.ip(), c.lport),
        server: (c.server.ip(), c.rport),
        protocol: number(c.protocol),
        forward: c.forward,
        tunnel,
    }
}

const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Sctp => SCTP,
    }
}

fn of_connection(random: &mut Random, known: Known) -> (PortId, Ip) {
    let flags = random.pick(&[ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK]);
    if known.forward.two_way() && random.chance(50) {
        (1, packet(random, (known.server, known.local), known.protocol, flags))
    } else {
        (0, packet(random, (known.client, known.vip), known.protocol, flags))
    }
}

/// About a packet to the client, from a router there, or about one to the server.
fn error_about(random: &mut Random, known: Known) -> (PortId, Ip) {
    let to_client = random.chance(50) || !known.forward.two_way();
    let (quoted, port) = match to_client {
        true if known.forward == Forward::Tun => (in_tunnel(random, known), 1),
        true => (packet(random, (known.vip, known.client), known.protocol, ACK), 0),
        false => (packet(random, (known.local, known.server), known.protocol, ACK), 1),
    };
    let v6 = quoted.src.is_ipv6();
    let kinds: [(u8, u8); 3] =
        if v6 { [(1, 4), (2, 0), (3, 0)] } else { [(3, 3), (3, 4), (11, 0)] };
    let (kind, code) = random.pick(&kinds);
    let mut message = vec![kind, code, 0, 0, 0, 0, 4, 210];
    let octets = quoted.octets();
    message.extend(&octets[..octets.len().min(500)]);
    let protocol = if v6 { ICMPV6 } else { ICMP };
    let router = (at(v6, Net::Clients, 254), quoted.src);
    let checksum = match v6 {
        true => wire::transport_checksum(router.0, router.1, ICMPV6, &message),
        false => wire::checksum(&[&message]),
    };
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    (port, Ip::new(router.0, router.1, protocol, message))
}

/// What a router on the way to a server quotes of IP in IP (RFC 2003, RFC 2473).
fn in_tunnel(random: &mut Random, known: Known) -> Ip {
    let inner = packet(random, (known.client, known.vip), known.protocol, ACK);
    let (v6, protocol) = (known.tunnel.is_ipv6(), if inner.src.is_ipv6() { 41 } else { 4 });
    Ip::new(at(v6, Net::Own, 1), known.tunnel, protocol, inner.octets())
}

fn packet(random: &mut Random, (from, to): (End, End), protocol: u8, flags: u8) -> Ip {
    let data = vec![7; random.pick(&[0, 1, 40, 40, 700, 1300, 1460, 1600])];
    let payload = if protocol == SCTP {
        sctp(random, from.1, to.1, &data)
    } else {
        let unchecked = random.chance(5);
        let segment = Segment { protocol, sport: from.1, dport: to.1, flags, data, unchecked };
        segment.octets(from.0, to.0)
    };
    let ttl = if random.chance(3) { 1 } else { 64 };
    let df = from.0.is_ipv6() || random.chance(50);
    let id = random.below(40) as u32;
    Ip { ttl, df, id, ..Ip::new(from.0, to.0, protocol, payload) }
}

/// A packet of one chunk (RFC 9260 section 3); its checksum is not looked at.
fn sctp(random: &mut Random, sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let kind = random.pick(&[1, 1, 1, 0, 2, 6, 7, 10, 11]);
    let mut octets = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    octets.extend([0, 0, 0, 1, 0, 0, 0, 0, kind, 0]);
    octets.extend((data.len() as u16 + 4).to_be_bytes());
    octets.extend(data);
    octets
}
