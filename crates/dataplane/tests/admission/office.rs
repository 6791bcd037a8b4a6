//! Workers over one director, with services as a test wants them. Everybody is on the link of
//! one port or the other; a server's MAC tells its number.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    forward::{Endpoint, Forward, Protocol, ServiceKey},
    memory::{MemoryFrame, MemoryIo},
    policy::Policy,
    snapshot::{Server, ServerId, Service, ServiceId, Services, Snapshot},
    stats::{Counter, Stats},
    topology::{Hop, Interface, Mac, NextHop, PortId, Route, RouteKind, Routes, Topology},
    verdict::{Drop, Punt},
    worker::Worker,
};
use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};

pub(crate) const LIMITS: Limits = Limits {
    connections_v4: 1024,
    connections_v6: 1024,
    templates_v4: 256,
    templates_v6: 256,
    sources: 64,
    half_open: u32::MAX,
    fragments: 64,
    held_frames: 8,
    icmp_rate: 1000,
    services: 16,
    servers: 64,
};

/// The networks; each has the same hosts in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    Vips = 1,
    Servers = 2,
    Clients = 3,
    /// Neither ours nor a client's.
    Elsewhere = 4,
}

/// Host `host` of a network.
pub(crate) fn at(v6: bool, net: Net, host: u16) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, net as u16, host, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::from(0x0a00_0000 + ((net as u32) << 16) + u32::from(host)).into()
    }
}

pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN: u8 = 1;

const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) protocol: Protocol,
    pub(crate) from: (IpAddr, u16),
    pub(crate) to: (IpAddr, u16),
    pub(crate) flags: u8,
    pub(crate) port: PortId,
}

impl Send {
    /// A SYN or a datagram of a client.
    pub(crate) fn new(protocol: Protocol, client: (IpAddr, u16), vip: (IpAddr, u16)) -> Self {
        Self { protocol, from: client, to: vip, flags: SYN, port: 0 }
    }

    fn frame(self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(GATEWAY_MAC, OUR_MAC);
        let builder = match (self.from.0, self.to.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => builder.ipv4(src.octets(), dst.octets(), 64),
            (IpAddr::V6(src), IpAddr::V6(dst)) => builder.ipv6(src.octets(), dst.octets(), 64),
            _ => panic!("one family"),
        };
        let mut frame = Vec::new();
        if self.protocol == Protocol::Udp {
            let builder = builder.udp(self.from.1, self.to.1);
            builder.write(&mut frame, b"data").expect("memory");
        } else {
            let mut header = etherparse::TcpHeader::new(self.from.1, self.to.1, 1, 1000);
            (header.syn, header.ack) = (self.flags & SYN != 0, self.flags & ACK != 0);
            (header.rst, header.fin) = (self.flags & RST != 0, self.flags & FIN != 0);
            builder.tcp_header(header).write(&mut frame, &[]).expect("memory");
        }
        frame
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It went to a server, with these ends.
    Server {
        host: u16,
        from: (IpAddr, u16),
        to: (IpAddr, u16),
    },
    /// It went by the gateway.
    Out {
        from: (IpAddr, u16),
        to: (IpAddr, u16),
    },
    Punt(Punt),
    /// Dropped, perhaps with an answer to its sender.
    Drop(Drop),
    /// It is held.
    Held,
}

impl Outcome {
    /// The server that got it.
    pub(crate) fn host(self) -> Option<u16> {
        if let Self::Server { host, .. } = self { Some(host) } else { None }
    }
}

pub(crate) struct Station {
    worker: Worker<MemoryFrame>,
    io: MemoryIo,
    pub(crate) stats: Arc<Stats>,
    /// What its breaths allocated or freed since this was set to 0.
    pub(crate) allocated: u64,
}

impl Station {
    /// A packet arrives.
    pub(crate) fn serve(&mut self, send: Send, now: Now) -> Outcome {
        let values = |counters: &[Counter]| counters.iter().map(Counter::value).collect::<Vec<_>>();
        let before = (values(&self.stats.drops), values(&self.stats.punts));
        assert!(self.io.arrive(send.port, &send.frame()));
        self.breathe(now);
        let risen = |counters: &[Counter], before: &[u64]| {
            (0..before.len()).find(|at| counters[*at].value() > before[*at])
        };
        let dropped = risen(&self.stats.drops, &before.0).map(|at| Drop::ALL[at]);
        let punted = risen(&self.stats.punts, &before.1).map(|at| Punt::ALL[at]);
        let sent = self.io.take_sent().map(|(_, frame)| frame);
        match (dropped, punted, sent) {
            (Some(reason), None, _) => Outcome::Drop(reason),
            (None, Some(reason), None) => Outcome::Punt(reason),
            (None, None, Some(frame)) => read(&frame),
            (None, None, None) => Outcome::Held,
            other => panic!("more than one verdict: {other:?}"),
        }
    }

    pub(crate) fn breathe(&mut self, now: Now) {
        let (worker, io) = (&mut self.worker, &mut self.io);
        let info = allocation_counter::measure(|| {
            worker.breathe(io, now);
        });
        self.allocated += info.count_total + info.count_current.unsigned_abs();
    }
}

pub(crate) struct Office {
    pub(crate) services: Services,
    pub(crate) director: Arc<Director>,
    pub(crate) stations: Vec<Station>,
    pub(crate) now: Now,
    /// Servers that do not resolve.
    pub(crate) lost: Vec<u16>,
    published: Arc<ArcSwap<Snapshot>>,
    /// What was published, so that no worker frees it (control does the same).
    kept: Vec<Arc<Snapshot>>,
}

impl Office {
    pub(crate) fn new(services: Services, workers: usize) -> Self {
        Self::with_limits(services, workers, LIMITS)
    }

    pub(crate) fn with_limits(services: Services, workers: usize, limits: Limits) -> Self {
        let (resolve, _) = crossbeam_channel::bounded(64);
        let director = Arc::new(Director::new(limits, resolve).expect("memory"));
        director.prepare(&services);
        let published = Arc::new(ArcSwap::from_pointee(snapshot(1, &services, &[])));
        let station = |n| {
            let stats = Arc::new(Stats::new(director.limits().servers));
            let shared = (Arc::clone(&director), Arc::clone(&published));
            let worker = Worker::new((n, workers), shared.0, shared.1, Arc::clone(&stats));
            let mut io = MemoryIo::new(2, 32);
            io.keep_punts = false;
            Station { worker, io, stats, allocated: 0 }
        };
        let stations = (0..workers).map(station).collect();
        let now = Now { millis: 10_000 };
        Self {
            services,
            director,
            stations,
            now,
            lost: vec![],
            kept: vec![published.load_full()],
            published,
        }
    }

    /// Takes up what the test made of the services, as control does.
    pub(crate) fn changed(&mut self) {
        self.services.derive();
        self.director.retire(&self.services);
        let generation = self.kept.len() as u64 + 1;
        let next = Arc::new(snapshot(generation, &self.services, &self.lost));
        self.published.store(Arc::clone(&next));
        self.kept.push(next);
        self.director.enlist(&self.services);
    }

    pub(crate) fn server(&mut self, id: ServerId) -> &mut Server {
        self.services.servers[id as usize].as_mut().expect("there")
    }

    pub(crate) fn policy(&mut self, id: ServiceId) -> &mut Policy {
        &mut self.services.services[id as usize].as_mut().expect("there").policy
    }

    /// A packet arrives at a worker.
    pub(crate) fn at_worker(&mut self, worker: usize, send: Send) -> Outcome {
        self.stations[worker].serve(send, self.now)
    }

    pub(crate) fn send(&mut self, send: Send) -> Outcome {
        self.at_worker(0, send)
    }

    /// Time passes. In each second all workers breathe once, and sweep all of their share.
    pub(crate) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.millis += 1000;
            for station in &mut self.stations {
                station.breathe(self.now);
            }
        }
    }

    /// What was held and left in the last breaths.
    pub(crate) fn left(&mut self) -> Vec<Outcome> {
        let io = &mut self.stations[0].io;
        std::iter::from_fn(|| io.take_sent()).map(|(_, frame)| read(&frame)).collect()
    }

    pub(crate) fn breathe(&mut self) {
        for station in &mut self.stations {
            station.breathe(self.now);
        }
    }

    /// Active, inactive and persistent connections, and those ever opened.
    pub(crate) fn counts(&self, id: ServerId) -> (u32, u32, u32, u64) {
        let record = self.director.server(id);
        (record.active(), record.inactive(), record.persistent(), record.opened())
    }
}

fn read(frame: &[u8]) -> Outcome {
    let packet = PacketHeaders::from_ethernet_slice(frame).expect("a right packet");
    let (src, dst): (IpAddr, IpAddr) = match packet.net.expect("IP") {
        NetHeaders::Ipv4(ip, _) => (ip.source.into(), ip.destination.into()),
        NetHeaders::Ipv6(ip, _) => (ip.source.into(), ip.destination.into()),
        NetHeaders::Arp(_) => panic!("no ARP here"),
    };
    let (sport, dport) = match packet.transport.expect("a transport header") {
        TransportHeader::Udp(udp) => (udp.source_port, udp.destination_port),
        TransportHeader::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
        _ => panic!("neither TCP nor UDP"),
    };
    let (from, to) = ((src, sport), (dst, dport));
    match frame[5] {
        0 => Outcome::Out { from, to },
        host => Outcome::Server { host: host.into(), from, to },
    }
}

/// Servers 1 to 30 on port 1, all others behind a gateway on port 0; VIPs 1 to 9 are ours.
fn snapshot(generation: u64, services: &Services, lost: &[u16]) -> Snapshot {
    let (mut hops, mut hop_of) = (Vec::new(), Vec::new());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for ipv6 in [false, true] {
        let mut hop = |port: PortId, address: IpAddr, mac: [u8; 6], known: bool| {
            hop_of.push(((port, address), hops.len() as u16));
            let mac = known.then_some(Mac(mac));
            hops.push(Hop { port, mac, source: Mac(OUR_MAC), mtu: 1500 });
        };
        let gateway = at(ipv6, Net::Clients, 0);
        hop(0, gateway, GATEWAY_MAC, true);
        for host in 1..=30 {
            let mac = [2, 0, 0, 0, 1, host as u8];
            hop(1, at(ipv6, Net::Servers, host), mac, !lost.contains(&host));
        }
        let routes = if ipv6 { &mut v6 } else { &mut v4 };
        let via =
            |port, gateway| RouteKind::Via(vec![NextHop { port: Some(port), gateway, weight: 1 }]);
        let route = |kind| Route { kind, source: None, mtu: None };
        let (net, host) = if ipv6 { (48, 128) } else { (16, 32) };
        let any: IpAddr =
            if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        routes.push((any, 0, route(via(0, Some(gateway)))));
        routes.push((at(ipv6, Net::Servers, 0), net, route(via(1, None))));
        for vip in 1..=9 {
            routes.push((at(ipv6, Net::Vips, vip), host, route(RouteKind::Local)));
        }
    }
    let interface = |n: u32| Interface {
        name: format!("eth{n}"),
        index: n + 1,
        mac: Mac(OUR_MAC),
        mtu: 1500,
        up: true,
    };
    let topology = Topology {
        interfaces: vec![interface(0), interface(1)],
        hops,
        hop_of: hop_of.into_iter().collect(),
        routes_v4: Routes::new(v4),
        routes_v6: Routes::new(v6),
        local: [false, true].iter().flat_map(|v6| (1..=9).map(|n| at(*v6, Net::Vips, n))).collect(),
        probes: None,
        route_generation: 1,
    };
    Snapshot::new(generation, Arc::new(services.clone()), Arc::new(topology))
}

/// A service on a port of VIP 1.
pub(crate) fn vip(v6: bool, protocol: Protocol, port: u16) -> ServiceKey {
    Endpoint { protocol, address: at(v6, Net::Vips, 1), port }.into()
}

/// Adds a service with servers of weight 1, in scheduling order, that listen on `rport`.
pub(crate) fn add(
    all: &mut Services,
    key: ServiceKey,
    policy: Policy,
    forward: Forward,
    (hosts, rport): (&[u16], u16),
) -> ServiceId {
    let id = all.services.len() as ServiceId;
    let first = all.servers.len() as ServerId;
    for host in hosts {
        let address = at(key.is_ipv6(), Net::Servers, *host);
        all.servers.push(Some(Server::new(id, address, rport, forward)));
    }
    let servers = (first..first + hosts.len() as ServerId).collect();
    all.services.push(Some(Service { servers, ..Service::new(key.to_string(), key, policy) }));
    all.by_key.insert(key, id);
    all.derive();
    id
}

/// One service only.
pub(crate) fn one(
    key: ServiceKey,
    policy: Policy,
    forward: Forward,
    servers: (&[u16], u16),
) -> Services {
    let mut all = Services::default();
    add(&mut all, key, policy, forward, servers);
    all
}

/// A policy with that scheduler.
pub(crate) fn by(kind: sched::Kind) -> Policy {
    Policy { scheduler: sched::Plan::new(kind), ..Policy::default() }
}
