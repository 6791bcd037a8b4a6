//! A box with two servers behind one VIP, and packets for it, made with etherparse by the RFCs.

use std::{net::Ipv4Addr, sync::Arc};

use arc_swap::ArcSwap;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    forward::{Endpoint, Forward, Protocol},
    kill::Kill,
    memory::{MemoryFrame, MemoryIo},
    policy::{LocalAddress, Policy},
    snapshot::{Server, Service, Services, Snapshot},
    stats::Stats,
    tcp::State,
    topology::{Hop, Interface, Mac, NextHop, Route, RouteKind, Routes, Topology},
    verdict::{Answer, Drop, Punt},
    worker::Worker,
};
use etherparse::{IpHeaders, IpNumber, Ipv4Header, PacketBuilder, TcpHeader};

pub(crate) type End = (Ipv4Addr, u16);

pub(crate) const VIP: End = (Ipv4Addr::new(203, 0, 113, 10), 80);
pub(crate) const CLIENT: End = (Ipv4Addr::new(192, 0, 2, 10), 40_000);
pub(crate) const ONE: End = (Ipv4Addr::new(10, 0, 2, 11), 80);
pub(crate) const TWO: End = (Ipv4Addr::new(10, 0, 2, 12), 80);
/// FullNAT: the only port of ours.
pub(crate) const LOCAL: End = (Ipv4Addr::new(10, 0, 2, 1), 10_000);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where health probes come from; their sockets are behind port 1.
pub(crate) const PROBE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const NEIGHBOURS: [(Ipv4Addr, u8); 4] = [(CLIENT.0, 10), (ONE.0, 11), (TWO.0, 12), (PROBE, 99)];

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// One service in one mode with two servers, rr.
pub(crate) fn services(protocol: Protocol, forward: Forward, mut policy: Policy) -> Services {
    policy.scheduler = sched::Plan::new(sched::Kind::Rr);
    if forward == Forward::FullNat {
        policy.local_addresses =
            vec![LocalAddress { address: LOCAL.0.into(), ports: LOCAL.1..=LOCAL.1 }];
    }
    let key = Endpoint { protocol, address: VIP.0.into(), port: VIP.1 };
    let server = |end: End| Some(Server::new(0, end.0.into(), end.1, forward));
    let mut services = Services {
        services: vec![Some(Service { servers: vec![0, 1], ..Service::new("web", key, policy) })],
        servers: vec![server(ONE), server(TWO)],
        by_key: [(key.into(), 0)].into_iter().collect(),
        ..Services::default()
    };
    services.derive();
    services
}

fn topology(vip_is_local: bool) -> Topology {
    let hop = |mac| Hop {
        port: u16::from(mac == 99),
        mac: Some(Mac([2, 0, 0, 0, 0, mac])),
        source: Mac(OUR_MAC),
        mtu: 1500,
    };
    let link = |port| Route {
        kind: RouteKind::Via(vec![NextHop { port: Some(port), gateway: None, weight: 1 }]),
        source: Some(LOCAL.0.into()),
        mtu: None,
    };
    let routes =
        [(PROBE.into(), 32, link(1)), (CLIENT.0.into(), 24, link(0)), (ONE.0.into(), 24, link(0))];
    let name = "eth0".to_owned();
    let own = if vip_is_local { vec![VIP.0, LOCAL.0] } else { vec![LOCAL.0] };
    Topology {
        interfaces: vec![Interface { name, index: 1, mac: Mac(OUR_MAC), mtu: 1500, up: true }],
        hops: NEIGHBOURS.iter().map(|(_, mac)| hop(*mac)).collect(),
        hop_of: (0..)
            .zip(NEIGHBOURS)
            .map(|(id, (ip, mac))| ((u16::from(mac == 99), ip.into()), id))
            .collect(),
        routes_v4: Routes::new(routes),
        probes: Some(1),
        local: own.into_iter().map(Into::into).collect(),
        route_generation: 7,
        ..Topology::default()
    }
}

/// What became of the packets of one breath.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) punted: Vec<Punt>,
}

/// The box with one worker.
pub(crate) struct Bench {
    pub(crate) services: Services,
    pub(crate) director: Arc<Director>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) io: MemoryIo,
    pub(crate) vip_is_local: bool,
    worker: Worker<MemoryFrame>,
    published: Arc<ArcSwap<Snapshot>>,
    generation: u64,
    pub(crate) now: Now,
}

impl Bench {
    pub(crate) fn new(protocol: Protocol, forward: Forward, policy: Policy) -> Self {
        let services = services(protocol, forward, policy);
        let (resolve, _) = crossbeam_channel::bounded(16);
        let limits =
            Limits { connections_v4: 64, connections_v6: 64, servers: 2, ..Limits::default() };
        let director = Director::new(limits, resolve).expect("memory");
        director.prepare(&services);
        let director = Arc::new(director);
        let snapshot = Snapshot::new(1, Arc::new(services.clone()), Arc::new(topology(true)));
        let published = Arc::new(ArcSwap::from_pointee(snapshot));
        let stats = Arc::new(Stats::new(2));
        let worker =
            Worker::new((0, 1), Arc::clone(&director), Arc::clone(&published), Arc::clone(&stats));
        let io = MemoryIo::new(2, 16);
        let now = Now::at_seconds(10);
        let vip_is_local = true;
        Self { services, director, stats, io, vip_is_local, worker, published, generation: 1, now }
    }

    /// What control does when something changed.
    pub(crate) fn publish(&mut self, change: impl FnOnce(&mut Services)) {
        let before = self.services.clone();
        change(&mut self.services);
        self.services.derive();
        self.services.follow(&before);
        self.director.prepare(&self.services);
        self.generation += 1;
        let (services, topology) = (self.services.clone(), topology(self.vip_is_local));
        let next = Snapshot::new(self.generation, Arc::new(services), Arc::new(topology));
        self.published.store(Arc::new(next));
    }

    pub(crate) fn server(&mut self, id: usize, change: impl FnOnce(&mut Server)) {
        self.publish(|services| change(services.servers[id].as_mut().expect("there")));
    }

    /// Time passes, with a breath in each quarter of a second as an idle worker has.
    pub(crate) fn wait(&mut self, seconds: u64) -> Outcome {
        let mut outcome = Outcome::default();
        for _ in 0..4 * seconds {
            self.now.millis += 250;
            let Outcome { sent, punted } = self.breathe();
            outcome.sent.extend(sent);
            outcome.punted.extend(punted);
        }
        outcome
    }

    /// Some milliseconds pass, with a breath after them.
    pub(crate) fn wait_ms(&mut self, milliseconds: u64) -> Outcome {
        self.now.millis += milliseconds;
        self.breathe()
    }

    /// What control orders.
    pub(crate) fn kill(&mut self, kill: Arc<Kill>) {
        self.worker.kill(kill);
    }

    fn breathe(&mut self) -> Outcome {
        self.worker.breathe(&mut self.io, self.now);
        let sent = std::iter::from_fn(|| self.io.take_sent().map(|(_, frame)| frame)).collect();
        let punted = std::iter::from_fn(|| self.io.take_punted().map(|(.., why)| why)).collect();
        assert_eq!(self.io.outstanding(), 0, "frames without a home");
        Outcome { sent, punted }
    }

    pub(crate) fn serve(&mut self, frame: &[u8]) -> Outcome {
        assert!(self.io.arrive(0, frame));
        self.breathe()
    }

    /// A health probe's socket sends a packet.
    pub(crate) fn probe(&mut self, frame: &[u8]) -> Outcome {
        assert!(self.io.arrive(1, frame));
        self.breathe()
    }

    /// Serves a packet that leaves as one frame; the last octet of the MAC that it goes to.
    pub(crate) fn goes_to(&mut self, frame: &[u8]) -> u8 {
        let outcome = self.serve(frame);
        assert_eq!((outcome.sent.len(), &outcome.punted[..]), (1, &[][..]));
        outcome.sent[0][5]
    }

    /// Opens a TCP connection from the client's side alone: the first server has it.
    pub(crate) fn establish(&mut self) {
        assert_eq!(self.goes_to(&segment(CLIENT, VIP, (SYN, 999, 0), &[])), 11);
        assert_eq!(self.goes_to(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[])), 11);
        assert_eq!(self.state(), Some(State::Established as u8));
    }

    /// The state of the only connection.
    pub(crate) fn state(&self) -> Option<u8> {
        let mut states = Vec::new();
        self.director.v4.for_each(&mut |found| states.push(found.meta.state()));
        assert!(states.len() < 2);
        states.pop()
    }

    pub(crate) fn drops(&self, reason: Drop) -> u64 {
        self.stats.drops[reason as usize].value()
    }

    pub(crate) fn answers(&self, kind: Answer) -> u64 {
        self.stats.answers[kind as usize].value()
    }
}

fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let known = NEIGHBOURS.iter().find(|(ip, _)| *ip == address);
    known.map_or(OUR_MAC, |(_, last)| [2, 0, 0, 0, 0, *last])
}

/// A segment with flags, sequence and acknowledgment number, as hosts send it to the box.
pub(crate) fn segment(from: End, to: End, numbers: (u8, u32, u32), data: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, from.0.octets(), to.0.octets())
        .expect("a length that fits");
    header.dont_fragment = true;
    tcp(header, mac_of(from.0), OUR_MAC, (from.1, to.1), numbers, (2000, data))
}

/// What the box says by itself: RFC 9293 section 3.10.7.1, no data, no window.
pub(crate) fn spoken(from: End, to: End, numbers: (u8, u32, u32)) -> Vec<u8> {
    let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, from.0.octets(), to.0.octets())
        .expect("a length that fits");
    header.dont_fragment = true;
    tcp(header, OUR_MAC, mac_of(to.0), (from.1, to.1), numbers, (0, &[]))
}

fn tcp(
    header: Ipv4Header,
    from: [u8; 6],
    to: [u8; 6],
    (sport, dport): (u16, u16),
    (flags, sequence, acknowledgment): (u8, u32, u32),
    (window, data): (u16, &[u8]),
) -> Vec<u8> {
    let mut segment = TcpHeader::new(sport, dport, sequence, window);
    segment.acknowledgment_number = acknowledgment;
    segment.fin = flags & FIN != 0;
    segment.syn = flags & SYN != 0;
    segment.rst = flags & RST != 0;
    segment.ack = flags & ACK != 0;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from, to)
        .ip(IpHeaders::Ipv4(header, Default::default()))
        .tcp_header(segment)
        .write(&mut frame, data)
        .expect("writing to memory");
    frame
}

/// A datagram that may not be fragmented.
pub(crate) fn datagram(from: End, to: End, len: usize) -> Vec<u8> {
    let mut header = Ipv4Header::new(0, 64, IpNumber::UDP, from.0.octets(), to.0.octets())
        .expect("a length that fits");
    header.dont_fragment = true;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac_of(from.0), OUR_MAC)
        .ip(IpHeaders::Ipv4(header, Default::default()))
        .udp(from.1, to.1)
        .write(&mut frame, &vec![7; len])
        .expect("writing to memory");
    frame
}

/// An ICMP error of this kind by `from` to `to` about a packet.
pub(crate) fn error(from: Ipv4Addr, to: Ipv4Addr, (kind, code): (u8, u8), about: &[u8]) -> Vec<u8> {
    let quote = &about[14..about.len().min(14 + 28)];
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac_of(from), OUR_MAC)
        .ipv4(from.octets(), to.octets(), 64)
        .icmpv4_raw(kind, code, [0; 4])
        .write(&mut frame, quote)
        .expect("writing to memory");
    frame
}
