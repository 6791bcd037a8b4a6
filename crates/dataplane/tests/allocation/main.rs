//! Law 6: after warm-up nothing is allocated on the packet path, whatever the packets are,
//! and nothing is freed.

#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/desk.rs"]
mod desk;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/ground.rs"]
mod ground;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/wire.rs"]
mod wire;

use std::{net::IpAddr, sync::Arc};

use dataplane::{
    capture::{Ends, Filter, Well, tap},
    clock::Now,
    director::{Family, Limits},
    forward::{Endpoint, Protocol, Tunnel, Tuple},
    memory::ROOM,
    snapshot::{Services, Snapshot},
    stats::Counter,
    table::Table,
    topology::PortId,
    verdict::{Answer, Drop, Punt},
};
use desk::{Desk, LIMITS};
use ground::{BACK, FRONT, Net, at};
use wire::{ACK, FIN, ICMP, ICMPV6, Ip, SYN, Segment, checksum, transport_checksum};

/// One service's packets, made before anything is measured.
struct Story {
    client: IpAddr,
    vip: IpAddr,
    vport: u16,
    protocol: Protocol,
}

/// An address with a port.
type End = (IpAddr, u16);

const CPORT: u16 = 40_000;

impl Story {
    fn packet(&self, cport: u16, flags: u8, len: usize) -> Ip {
        let (from, to) = ((self.client, cport), (self.vip, self.vport));
        self.segment(from, to, flags, len)
    }

    fn segment(&self, from: End, to: End, flags: u8, len: usize) -> Ip {
        let protocol = self.protocol as u8;
        if self.protocol == Protocol::Sctp {
            let octets = association(from.1, to.1, flags & SYN != 0, len);
            return Ip { id: 77, ..Ip::new(from.0, to.0, protocol, octets) };
        }
        let segment = Segment {
            protocol,
            sport: from.1,
            dport: to.1,
            flags: if self.protocol == Protocol::Tcp { flags } else { 0 },
            data: vec![7; len],
            unchecked: false,
        };
        let octets = segment.octets(from.0, to.0);
        Ip { id: 77, ..Ip::new(from.0, to.0, protocol, octets) }
    }

    /// Everything that a client may send: new connections, data, fragments in the wrong
    /// order, what is too large, what must be answered, dropped or punted.
    fn client_packets(&self) -> Vec<Ip> {
        let mut packets = vec![
            self.packet(CPORT, SYN, 40),
            self.packet(CPORT, ACK, 40),
            self.packet(CPORT, ACK, 1400),
            self.packet(CPORT + 1, ACK, 40),
            Ip { ttl: 1, ..self.packet(CPORT, ACK, 40) },
            Ip { df: true, ..self.packet(CPORT, ACK, 1400) },
            // Its source is a multicast address.
            Ip { src: multicast(self.client), ..self.packet(CPORT, ACK, 40) },
            error_about(&self.segment((self.vip, self.vport), (self.client, CPORT), ACK, 40)),
            Ip { protocol: 50, ..self.packet(CPORT, ACK, 40) },
        ];
        let mut parts = self.packet(CPORT, ACK, 3000).cut(1300);
        parts.reverse();
        packets.extend(parts);
        // Fragments whose first one never comes.
        let orphan = Ip { id: 78, ..self.packet(CPORT, ACK, 3000) };
        packets.extend(orphan.cut(1300).into_iter().skip(1));
        packets
    }

    /// The server's end and the one that it talks to, if its answers pass the director.
    fn servers_view<A: Family>(&self, table: &Table<A>) -> Option<(End, End)> {
        let found = table.find(&Tuple {
            src: A::from_ip(self.client)?,
            dst: A::from_ip(self.vip)?,
            sport: CPORT,
            dport: self.vport,
            protocol: self.protocol,
        })?;
        let c = found.connection;
        let ends = ((c.server.ip(), c.rport), (c.local.ip(), c.lport));
        c.forward.two_way().then_some(ends)
    }

    /// Answers and errors of the server, which sees the client as `local`.
    fn server_packets(&self, server: End, local: End) -> Vec<Ip> {
        let answer = |flags, len| self.segment(server, local, flags, len);
        let mut packets = vec![
            answer(SYN | ACK, 40),
            answer(ACK, 1400),
            Ip { ttl: 1, ..answer(ACK, 40) },
            error_about(&self.segment(local, server, ACK, 40)),
            answer(FIN | ACK, 40),
        ];
        packets.extend(answer(ACK, 3000).cut(1300));
        packets
    }
}

/// An SCTP packet with one chunk, INIT or DATA; nobody here looks at its checksum.
fn association(sport: u16, dport: u16, opens: bool, len: usize) -> Vec<u8> {
    let mut octets = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    octets.extend([0; 8]);
    octets.extend([u8::from(opens), 0]);
    octets.extend((len as u16 + 4).to_be_bytes());
    octets.resize(octets.len() + len, 7);
    octets
}

/// Some services become SCTP's, and tunnels get every kind of outer header.
fn vary(services: &mut Services) {
    for (id, service) in services.services.iter_mut().flatten().enumerate() {
        let endpoint = service.key.endpoint().expect("no marks here");
        if endpoint.protocol == Protocol::Udp && endpoint.port != 82 {
            let key = Endpoint { protocol: Protocol::Sctp, ..*endpoint }.into();
            services.by_key.remove(&service.key);
            services.by_key.insert(key, id as u32);
            service.key = key;
        }
    }
    let checksum = true;
    let kinds = [Tunnel::Ipip, Tunnel::Gue { port: 6080, checksum }, Tunnel::Gre { checksum }];
    for (server, kind) in services.servers.iter_mut().flatten().zip(kinds.into_iter().cycle()) {
        server.tunnel = kind;
    }
}

fn multicast(like: IpAddr) -> IpAddr {
    if like.is_ipv4() {
        IpAddr::from([224, 0, 0, 1])
    } else {
        IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1])
    }
}

/// "Port unreachable" from the receiver of `ip`.
fn error_about(ip: &Ip) -> Ip {
    let v6 = ip.src.is_ipv6();
    let mut icmp = if v6 { vec![1, 4, 0, 0, 0, 0, 0, 0] } else { vec![3, 3, 0, 0, 0, 0, 0, 0] };
    icmp.extend(ip.octets());
    let sum =
        if v6 { transport_checksum(ip.dst, ip.src, ICMPV6, &icmp) } else { checksum(&[&icmp]) };
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(ip.dst, ip.src, if v6 { ICMPV6 } else { ICMP }, icmp)
}

/// The stories of all services: four modes, three protocols, two families.
fn stories(desk: &Desk) -> Vec<Story> {
    let services = desk.ground.services.services.iter().flatten();
    let story = |service: &dataplane::snapshot::Service| {
        let key = *service.key.endpoint().expect("no marks here");
        Story {
            client: at(key.address.is_ipv6(), Net::Clients, 2),
            vip: key.address,
            vport: key.port,
            protocol: key.protocol,
        }
    };
    services.map(story).collect()
}

/// Breathes and counts.
struct Meter {
    desk: Desk,
    millis: u64,
    breaths: u64,
    /// What was published, so that no worker frees it (control does the same).
    kept: Vec<Arc<Snapshot>>,
    measuring: bool,
    /// Where copies are taken out, if there is a capture.
    well: Option<Well>,
    copies: u64,
}

impl Meter {
    fn breathe(&mut self, what: &str) {
        self.millis += 1;
        let now = Now { millis: self.millis };
        let desk = &mut self.desk;
        let mut sent = 0;
        let info = allocation_counter::measure(|| {
            desk.worker.breathe(&mut desk.io, now);
            sent = desk.io.discard_sent();
        });
        if self.measuring {
            assert_eq!((info.count_total, info.count_current), (0, 0), "allocated: {what}");
            self.breaths += 1;
        }
        while self.well.as_ref().is_some_and(|well| well.take(|_, _| ())) {
            self.copies += 1;
        }
    }

    fn arrive(&mut self, port: PortId, packets: &[Ip], what: &str) {
        for ip in packets {
            self.desk.arrive(port, ip);
            self.breathe(what);
        }
    }

    fn publish(&mut self) {
        self.desk.publish();
        self.kept.push(self.desk.published.load_full());
        self.breathe("another snapshot");
    }

    /// Everything once.
    fn tour(&mut self, stories: &[Story]) {
        for story in stories {
            for mtu in [1500, 1280] {
                for port in &mut self.desk.ground.ports {
                    port.mtu = mtu;
                }
                self.desk.ground.route_generation += 1;
                self.publish();
                self.arrive(FRONT, &story.client_packets(), "from a client");
                let director = &self.desk.director;
                let view = story.servers_view(&director.v4);
                if let Some((server, local)) = view.or_else(|| story.servers_view(&director.v6)) {
                    self.arrive(BACK, &story.server_packets(server, local), "from a server");
                }
            }
            self.lost_neighbours(story);
        }
        // Everything expires, held frames and connections.
        self.millis += 2_000_000;
        // A breath ends a bounded part of them.
        for _ in 0..40 {
            self.breathe("expiry");
        }
        assert!(self.desk.director.v4.is_empty() && self.desk.director.v6.is_empty());
    }

    /// Packets wait for a neighbour; some get away, some give up.
    fn lost_neighbours(&mut self, story: &Story) {
        for known in [false, true] {
            self.desk.ground.neighbours.iter_mut().for_each(|n| n.known = known);
            self.publish();
            let packets: Vec<Ip> = (2..12).map(|i| story.packet(CPORT + i, SYN, 40)).collect();
            self.arrive(FRONT, &packets, "a lost neighbour");
        }
        self.millis += 1_500;
        self.breathe("giving up");
    }
}

fn values(counters: &[Counter]) -> Vec<u64> {
    counters.iter().map(Counter::value).collect()
}

#[test]
fn nothing_is_allocated_on_the_packet_path() {
    assert_eq!(nothing_is_allocated(None), 0);
}

/// Captures that copy every packet, those with some end, those beyond what the queue holds.
#[test]
fn nothing_is_allocated_while_packets_are_captured() {
    let mut ends = Ends::default();
    ends.drop(Drop::TtlExceeded);
    let dropped = Filter { ends: Some(ends), ..Filter::default() };
    let all = nothing_is_allocated(Some((Filter::default(), 256)));
    let few = nothing_is_allocated(Some((Filter::default(), 1)));
    let late = nothing_is_allocated(Some((dropped, 256)));
    assert!(all > 2_000 && few < all && (100..all).contains(&late), "{all}, {few}, {late} copies");
}

/// In a tour of everything; returns how many copies a capture made.
fn nothing_is_allocated(capture: Option<(Filter, usize)>) -> u64 {
    let control = allocation_counter::measure(|| std::mem::drop(std::hint::black_box(vec![7])));
    assert_eq!(control.count_total, 1, "the counter counts");
    let limits = Limits { connections_v4: 512, connections_v6: 512, half_open: u32::MAX, ..LIMITS };
    let mut desk = Desk::new(limits);
    desk.io.keep_punts = false;
    vary(Arc::make_mut(&mut desk.ground.services));
    let stories = stories(&desk);
    let well = capture.map(|(filter, length)| {
        let (tap, well) = tap(0, filter, length, ROOM);
        assert!(desk.worker.capture(Some(Box::new(tap))).is_none());
        well
    });
    let mut meter =
        Meter { desk, millis: 1_000, breaths: 0, kept: vec![], measuring: false, well, copies: 0 };
    meter.kept.push(meter.desk.published.load_full());
    meter.tour(&stories);
    meter.measuring = true;
    let stats = Arc::clone(&meter.desk.stats);
    let before = [&stats.drops[..], &stats.punts[..], &stats.answers[..]].map(values);
    let opened = stats.opened.value();
    let parts = meter.desk.io.parts().sent;
    meter.tour(&stories);
    assert!(meter.breaths > 1_000, "{} breaths", meter.breaths);
    let after = [&stats.drops[..], &stats.punts[..], &stats.answers[..]].map(values);
    let rose = |kind: usize, reason: usize| after[kind][reason] > before[kind][reason];
    let drops =
        [Drop::BadSource, Drop::TtlExceeded, Drop::TooBig, Drop::WaitingFull, Drop::SctpFragment];
    for drop in drops {
        assert!(rose(0, drop as usize), "never: {}", drop.name());
    }
    for punt in [Punt::NoConnection, Punt::Fragment, Punt::Unhandled] {
        assert!(rose(1, punt as usize), "never: {}", punt.name());
    }
    for answer in [Answer::TimeExceeded, Answer::PacketTooBig] {
        assert!(rose(2, answer as usize), "never: {}", answer.name());
    }
    let out = stats.servers.iter().filter(|server| server.out_packets.value() > 6).count();
    assert!(out >= 32, "answers of {out} servers only");
    assert!(stats.opened.value() >= opened + stories.len() as u64);
    assert!(meter.desk.io.parts().sent > parts, "nothing was fragmented");
    meter.copies
}
