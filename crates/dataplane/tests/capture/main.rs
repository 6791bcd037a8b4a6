//! What a capture holds: which packets its filter takes, both sides of each, its limits.
//! (What it holds of every mode's packets is compared in `control/tests/golden.rs`.)

#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/desk.rs"]
mod desk;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/ground.rs"]
mod ground;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/wire.rs"]
mod wire;

use std::net::IpAddr;

use dataplane::{
    capture::{Ends, Fate, Filter, Note, SHARE, Side, Well, tap},
    clock::Now,
    forward::{Address, Forward, Protocol},
    memory::ROOM,
    prefix::Prefix,
    table::Connection,
    topology::PortId,
    verdict::{Answer, Drop, Punt},
};
use desk::{Desk, LIMITS};
use ground::{BACK, FRONT, Net, at};
use wire::{ACK, Ip, SYN, Segment, TCP, UDP};

/// A desk whose worker captures.
struct Camera {
    desk: Desk,
    well: Well,
    millis: u64,
}

/// Copies that may be under way.
const LENGTH: usize = 256;

impl Camera {
    fn new(filter: Filter) -> Self {
        Self::sized(filter, LENGTH, ROOM)
    }

    fn sized(filter: Filter, length: usize, snap: usize) -> Self {
        let mut desk = Desk::new(LIMITS);
        let (tap, well) = tap(0, filter, length, snap);
        assert!(desk.worker.capture(Some(Box::new(tap))).is_none());
        Self { desk, well, millis: 5_000 }
    }

    fn breathe(&mut self) {
        self.millis += 1;
        self.desk.worker.breathe(&mut self.desk.io, Now { millis: self.millis });
        self.desk.io.discard_sent();
    }

    /// One packet, in a breath of its own.
    fn arrive(&mut self, port: PortId, ip: &Ip) {
        self.desk.arrive(port, ip);
        self.breathe();
    }

    fn copies(&self) -> Vec<(Note, Vec<u8>)> {
        let mut copies = Vec::new();
        while self.well.take(|note, octets| copies.push((*note, octets.to_vec()))) {}
        copies
    }
}

const CLIENT: u8 = 2;
const CPORT: u16 = 40_000;

/// From the client to a service's port of the first VIP.
fn to_vip(v6: bool, protocol: u8, dport: u16, flags: u8) -> Ip {
    let (src, dst) = (at(v6, Net::Clients, CLIENT), at(v6, Net::Vips, 10));
    between((src, CPORT), (dst, dport), protocol, flags)
}

fn between(from: (IpAddr, u16), to: (IpAddr, u16), protocol: u8, flags: u8) -> Ip {
    let segment = Segment {
        protocol,
        sport: from.1,
        dport: to.1,
        flags,
        data: vec![7; 30],
        unchecked: false,
    };
    Ip { id: 9, ..Ip::new(from.0, to.0, protocol, segment.octets(from.0, to.0)) }
}

/// What a packet of the traffic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Opens a connection.
    Opens,
    /// The server's answer to it.
    Answers,
    /// Another one, from a neighbouring client.
    Other,
    /// Runs out of hops.
    Expires,
    /// For a port without a service.
    Alien,
    /// Of another protocol.
    Strange,
    /// About the server's answer.
    Error,
}

/// A packet of the traffic: its family, its VIP's port, what it is.
type Label = (bool, u16, Kind);

/// In NAT, FullNAT, DR and TUN, in both families: which packets were captured.
fn captured(filter: Filter) -> Vec<Label> {
    let mut camera = Camera::new(filter);
    let mut labels = Vec::new();
    let mut show = |camera: &mut Camera, label, port, ip: &Ip| {
        camera.arrive(port, ip);
        let copies = camera.copies();
        let numbers = copies.iter().map(|(note, _)| note.packet).collect::<Vec<_>>();
        assert!(numbers.iter().all(|number| *number == numbers[0]), "one packet: {copies:?}");
        if !copies.is_empty() {
            labels.push(label);
        }
    };
    for v6 in [false, true] {
        for port in [80, 81, 82, 83] {
            show(&mut camera, (v6, port, Kind::Opens), FRONT, &to_vip(v6, TCP, port, SYN));
            if let Some((server, local)) = camera.servers_view(v6, port) {
                let answer = between(server, local, TCP, SYN | ACK);
                show(&mut camera, (v6, port, Kind::Answers), BACK, &answer);
                let told = between((at(v6, Net::Vips, 10), port), client(v6), TCP, SYN | ACK);
                show(&mut camera, (v6, port, Kind::Error), FRONT, &error_about(&told));
            }
            let near =
                Ip { src: at(v6, Net::Front, ground::NEAR_CLIENT), ..to_vip(v6, UDP, port, 0) };
            let near = between((near.src, CPORT), (near.dst, port), UDP, 0);
            show(&mut camera, (v6, port, Kind::Other), FRONT, &near);
        }
        let expires = Ip { ttl: 1, ..to_vip(v6, TCP, 80, ACK) };
        show(&mut camera, (v6, 80, Kind::Expires), FRONT, &expires);
        show(&mut camera, (v6, 99, Kind::Alien), FRONT, &to_vip(v6, TCP, 99, SYN));
        let strange = Ip { protocol: 50, ..to_vip(v6, UDP, 0, 0) };
        show(&mut camera, (v6, 0, Kind::Strange), FRONT, &strange);
    }
    labels
}

fn client(v6: bool) -> (IpAddr, u16) {
    (at(v6, Net::Clients, CLIENT), CPORT)
}

/// "Port unreachable" from the receiver of `ip`.
fn error_about(ip: &Ip) -> Ip {
    let v6 = ip.src.is_ipv6();
    let mut icmp = if v6 { vec![1, 4, 0, 0, 0, 0, 0, 0] } else { vec![3, 3, 0, 0, 0, 0, 0, 0] };
    icmp.extend(ip.octets());
    let number = if v6 { wire::ICMPV6 } else { wire::ICMP };
    let sum = match v6 {
        true => wire::transport_checksum(ip.dst, ip.src, number, &icmp),
        false => wire::checksum(&[&icmp]),
    };
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(ip.dst, ip.src, number, icmp)
}

impl Camera {
    /// The server of the connection to the VIP's port, and whom it answers to, where it does so
    /// through the director.
    fn servers_view(&self, v6: bool, port: u16) -> Option<((IpAddr, u16), (IpAddr, u16))> {
        fn ends<A: Address>(c: &Connection<A>) -> ((IpAddr, u16), (IpAddr, u16)) {
            ((c.server.ip(), c.rport), (c.local.ip(), c.lport))
        }
        let mut found = None;
        let director = &self.desk.director;
        let wanted = |vport: u16, forward: Forward, protocol| {
            vport == port && forward.two_way() && protocol == Protocol::Tcp
        };
        if v6 {
            director.v6.for_each(&mut |one| {
                let c = &one.connection;
                found = wanted(c.vport, c.forward, c.protocol).then(|| ends(c)).or(found);
            });
        } else {
            director.v4.for_each(&mut |one| {
                let c = &one.connection;
                found = wanted(c.vport, c.forward, c.protocol).then(|| ends(c)).or(found);
            });
        }
        found
    }
}

fn ends(with: impl FnOnce(&mut Ends)) -> Option<Ends> {
    let mut ends = Ends::default();
    with(&mut ends);
    Some(ends)
}

#[test]
fn filters_take_what_they_name() {
    let none = Filter::default;
    let host = |address: IpAddr| Some(Prefix::host(address).into());
    let [client4, client6] = [false, true].map(|v6| at(v6, Net::Clients, CLIENT));
    let [vip4, vip6] = [false, true].map(|v6| at(v6, Net::Vips, 10));
    let server4 = at(false, Net::Back, 11);
    let clients4 = Prefix::new(at(false, Net::Clients, 0), 24).unwrap();
    type Row = (&'static str, Filter, fn(Label) -> bool);
    use Kind::{Alien, Answers, Error, Expires, Opens, Other, Strange};
    let rows: [Row; 21] = [
        ("all", none(), |_| true),
        ("client", Filter { client: host(client4), ..none() }, |(v6, _, kind)| {
            !v6 && kind != Other
        }),
        ("client, IPv6", Filter { client: host(client6), ..none() }, |(v6, _, kind)| {
            v6 && kind != Other
        }),
        ("network", Filter { client: Some(clients4.into()), ..none() }, |(v6, _, kind)| {
            !v6 && kind != Other
        }),
        ("nobody", Filter { client: host([9, 9, 9, 9].into()), ..none() }, |_| false),
        ("vip", Filter { vip: Some(vip4), ..none() }, |(v6, ..)| !v6),
        ("vip, IPv6", Filter { vip: Some(vip6), ..none() }, |(v6, ..)| v6),
        ("no vip", Filter { vip: Some([9, 9, 9, 9].into()), ..none() }, |_| false),
        // rr: the first connection of each service goes to the first server.
        ("server", Filter { server: Some((server4, None)), ..none() }, |(v6, port, kind)| {
            !v6 && port < 83 && !matches!(kind, Alien | Strange)
        }),
        ("server, port", Filter { server: Some((server4, Some(8081))), ..none() }, |label| {
            label.1 == 81 && !label.0
        }),
        ("service", Filter { services: Some([2].into()), ..none() }, |(v6, port, kind)| {
            !v6 && port == 81 && kind != Other
        }),
        ("port", Filter { port: Some(8080), ..none() }, |(_, port, _)| port == 80),
        ("port of the VIP", Filter { port: Some(82), ..none() }, |(_, port, _)| port == 82),
        ("protocol", Filter { protocol: Some(Protocol::Udp), ..none() }, |label| label.2 == Other),
        ("interface", Filter { interface: Some(BACK), ..none() }, |label| label.2 == Answers),
        ("forwarded", Filter { ends: ends(|e| e.forwarded = true), ..none() }, |label| {
            matches!(label.2, Opens | Answers | Other | Error)
        }),
        ("answered", Filter { ends: ends(|e| e.answered = true), ..none() }, |label| {
            label.2 == Expires
        }),
        ("dropped", Filter { ends: ends(|e| e.drop(Drop::TtlExceeded)), ..none() }, |label| {
            label.2 == Expires
        }),
        ("dropped otherwise", Filter { ends: ends(|e| e.drop(Drop::Land)), ..none() }, |_| false),
        ("punted", Filter { ends: ends(|e| e.punt(Punt::Alien)), ..none() }, |label| {
            label.2 == Alien
        }),
        (
            "all of it must hold",
            Filter {
                vip: Some(vip4),
                port: Some(80),
                ends: ends(|e| e.forwarded = true),
                ..none()
            },
            |(v6, port, kind)| !v6 && port == 80 && kind != Expires,
        ),
    ];
    let all = captured(Filter::default());
    assert_eq!(all.len(), 2 * (4 * 2 + 2 * 2 + 3));
    for (what, filter, holds) in rows {
        let expected: Vec<Label> = all.iter().copied().filter(|label| holds(*label)).collect();
        assert_eq!(captured(filter), expected, "{what}");
    }
}

/// Both sides have one number, and what is said of them.
#[test]
fn a_packet_and_what_is_answered_are_one() {
    let mut camera = Camera::new(Filter::default());
    let expires = Ip { ttl: 1, ..to_vip(false, TCP, 80, SYN) };
    camera.arrive(FRONT, &expires);
    let copies = camera.copies();
    let told: Vec<_> = copies.iter().map(|(note, _)| (note.side, note.port, note.packet)).collect();
    assert_eq!(told, [(Side::In, FRONT, 1), (Side::Out, FRONT, 1)]);
    let fate = Fate::Answered(Drop::TtlExceeded, Answer::TimeExceeded);
    assert!(copies.iter().all(|(note, _)| note.fate == fate));
    assert_eq!(&copies[0].1[14..], expires.octets());
    assert_eq!(copies[1].1[14 + 20], 11, "ICMP time exceeded");
}

/// A packet whose neighbour is not known is captured when it leaves or is given up, once.
#[test]
fn what_waits_is_captured_when_it_ends() {
    for known in [true, false] {
        let mut camera = Camera::new(Filter::default());
        camera.desk.ground.neighbours.iter_mut().for_each(|neighbour| neighbour.known = false);
        camera.desk.publish();
        camera.arrive(FRONT, &to_vip(false, TCP, 80, SYN));
        assert!(camera.copies().is_empty());
        camera.desk.ground.neighbours.iter_mut().for_each(|neighbour| neighbour.known = known);
        camera.desk.publish();
        camera.millis += if known { 20 } else { 2_000 };
        camera.breathe();
        let copies = camera.copies();
        let fates: Vec<_> = copies.iter().map(|(note, _)| (note.side, note.fate)).collect();
        let expected = match known {
            true => vec![(Side::In, Fate::Forwarded), (Side::Out, Fate::Forwarded)],
            false => vec![(Side::In, Fate::Dropped(Drop::NeighbourUnresolved))],
        };
        assert_eq!(fates, expected);
        assert!(copies.iter().all(|(note, _)| note.waited_ms >= 20), "{copies:?}");
    }
}

#[test]
fn copies_are_cut_to_the_snap_length() {
    let mut camera = Camera::sized(Filter::default(), LENGTH, 60);
    let ip = to_vip(false, TCP, 80, SYN);
    camera.arrive(FRONT, &ip);
    for (note, octets) in camera.copies() {
        assert_eq!((note.octets as usize, octets.len()), (14 + ip.len(), 60));
    }
    // Of what an end is waited for, the rest comes when it is known.
    let punted = Filter { ends: ends(|ends| ends.punt(Punt::Alien)), ..Filter::default() };
    let mut camera = Camera::new(punted);
    let mut long = to_vip(false, TCP, 99, SYN);
    long.payload.resize(1200, 7);
    camera.arrive(FRONT, &long);
    let copies = camera.copies();
    assert_eq!(copies.len(), 1);
    assert_eq!(&copies[0].1[14..], long.octets());
}

/// Nobody waits: what finds no buffer, or comes beyond the breath's share, is counted.
#[test]
fn what_is_missed_is_counted() {
    let missed = |well: &Well| (well.counts().full.value(), well.counts().share.value());
    let mut camera = Camera::sized(Filter::default(), 5, ROOM);
    for _ in 0..4 {
        camera.arrive(FRONT, &to_vip(false, TCP, 80, SYN));
    }
    // Both sides of two packets, one of the third, none of the fourth.
    assert_eq!(missed(&camera.well), (2, 0));
    assert_eq!(camera.copies().len(), 5);
    camera.arrive(FRONT, &to_vip(false, TCP, 80, SYN));
    assert_eq!((camera.copies().len(), missed(&camera.well)), (2, (2, 0)));

    let mut camera = Camera::new(Filter::default());
    for _ in 0..2 {
        for _ in 0..40 {
            camera.desk.arrive(FRONT, &to_vip(false, TCP, 80, SYN));
        }
        camera.breathe();
    }
    assert_eq!(missed(&camera.well), (0, 2 * (40 - u64::from(SHARE))));
    assert_eq!(camera.copies().len(), 2 * 2 * SHARE as usize);
}

/// The worker hands its tap back, and copies nothing any more.
#[test]
fn a_capture_ends() {
    let mut camera = Camera::new(Filter::default());
    camera.arrive(FRONT, &to_vip(false, TCP, 80, SYN));
    assert!(camera.desk.worker.capture(None).is_some());
    camera.arrive(FRONT, &to_vip(false, TCP, 80, ACK));
    assert_eq!(camera.copies().len(), 2);
    assert!(camera.desk.worker.capture(None).is_none());
}
