//! A director for a bench: one VIP with a TCP and a UDP service, ten real servers on the link
//! behind the second port, rr.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use dataplane::{
    director::{Director, Limits},
    forward::{Address, Endpoint, Forward, Protocol, V4, V6},
    policy::Policy,
    snapshot::{LocalAddress, Server, ServerId, Service, ServiceId, Services, Snapshot},
    stats::Stats,
    topology::{Hop, Interface, Mac, NextHop, Route, RouteKind, Routes, Topology},
    worker::Worker,
};

use crate::{
    carousel::ChunkFrame,
    flows::{self, BenchFamily},
};

const SERVERS: u64 = 10;
/// 32 local addresses with 50,000 ports each.
const LOCAL_ADDRESSES: u64 = 32;
const LOCAL_PORTS: std::ops::RangeInclusive<u16> = 10_000..=59_999;

/// A director for `connections` connections of one family, and its only worker.
pub(crate) fn new<A: BenchFamily>(
    forward: Forward,
    connections: usize,
) -> std::io::Result<(Arc<Director>, Worker<ChunkFrame>)> {
    let (director, mut workers) = with_workers::<A>(forward, connections, 1)?;
    Ok((director, workers.remove(0)))
}

/// The same with several workers.
pub(crate) fn with_workers<A: BenchFamily>(
    forward: Forward,
    connections: usize,
    workers: usize,
) -> std::io::Result<(Arc<Director>, Vec<Worker<ChunkFrame>>)> {
    let services = services::<A>(forward);
    let ground = Ground::new::<A>(services, connections, u32::MAX)?;
    let worker = |number| ground.worker((number, workers)).0;
    let workers = (0..workers).map(worker).collect();
    Ok((ground.director, workers))
}

/// What a worker stands on.
pub(crate) struct Ground {
    pub(crate) director: Arc<Director>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
}

impl Ground {
    /// For so many connections of one family, of which so many may be half-open.
    pub(crate) fn new<A: BenchFamily>(
        services: Services,
        connections: usize,
        half_open: u32,
    ) -> std::io::Result<Self> {
        let (resolve, _) = crossbeam_channel::bounded(1);
        let (connections_v4, connections_v6) =
            if A::IPV6 { (1, connections) } else { (connections, 1) };
        let limits =
            Limits { connections_v4, connections_v6, half_open, servers: 64, ..Limits::default() };
        let director = Arc::new(Director::new(limits, resolve)?);
        director.prepare(&services);
        let snapshot = Snapshot::new(1, Arc::new(services), Arc::new(topology()));
        Ok(Self { director, published: Arc::new(ArcSwap::from_pointee(snapshot)) })
    }

    pub(crate) fn worker(&self, place: (usize, usize)) -> (Worker<ChunkFrame>, Arc<Stats>) {
        let (director, snapshot) = (Arc::clone(&self.director), Arc::clone(&self.published));
        let stats = Arc::new(Stats::new(64));
        (Worker::new(place, director, snapshot, Arc::clone(&stats)), stats)
    }
}

/// A TCP and a UDP service with servers of their own.
pub(crate) fn services<A: BenchFamily>(forward: Forward) -> Services {
    let mut services = Services::default();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let id = services.services.len() as ServiceId;
        let first = services.servers.len() as ServerId;
        services.servers.extend((0..SERVERS).map(|n| Some(server::<A>(id, forward, n))));
        let key = Endpoint { protocol, address: A::VIP.ip(), port: flows::PORT };
        services.by_key.insert(key.into(), id);
        let policy = Policy {
            scheduler: sched::Plan::new(sched::Kind::Rr),
            local_addresses: local_addresses::<A>(forward),
            ..Policy::default()
        };
        let servers = (first..first + SERVERS as ServerId).collect();
        let service = Service::new(protocol.name(), key, policy);
        services.services.push(Some(Service { servers, ..service }));
    }
    services.derive();
    services
}

fn server<A: BenchFamily>(service: ServiceId, forward: Forward, n: u64) -> Server {
    let port = if forward.two_way() { 8080 } else { flows::PORT };
    Server::new(service, flows::nth(A::SERVER, n).ip(), port, forward)
}

fn local_addresses<A: BenchFamily>(forward: Forward) -> Vec<LocalAddress> {
    let count = if forward == Forward::FullNat { LOCAL_ADDRESSES } else { 0 };
    let local = |n| LocalAddress { address: flows::nth(A::LOCAL, n).ip(), ports: LOCAL_PORTS };
    (0..count).map(local).collect()
}

pub(crate) fn topology() -> Topology {
    let mac = |last: u8| Mac([2, 0, 0, 0, 0, last]);
    let interface =
        |name: &str, index, mac| Interface { name: name.into(), index, mac, mtu: 1500, up: true };
    let mut topology = Topology {
        interfaces: vec![interface("outside", 1, Mac(flows::HERE)), interface("inside", 2, mac(3))],
        route_generation: 1,
        ..Topology::default()
    };
    for n in 0..SERVERS {
        for address in [flows::nth(V4::SERVER, n).ip(), flows::nth(V6::SERVER, n).ip()] {
            let id = topology.hops.len() as u16;
            topology.hop_of.insert((1, address), id);
            let hop = Hop { port: 1, mac: Some(mac(16 + n as u8)), source: mac(3), mtu: 1500 };
            topology.hops.push(hop);
        }
    }
    let gateways = [outside(V4::CLIENT, 0), outside(V6::CLIENT, 0)];
    for (_, _, gateway) in &gateways {
        topology.hop_of.insert((0, *gateway), topology.hops.len() as u16);
        let source = Mac(flows::HERE);
        topology.hops.push(Hop { port: 0, mac: Some(mac(9)), source, mtu: 1500 });
    }
    let [v4, v6] = gateways.map(|(route, length, gateway)| {
        let next = NextHop { port: Some(0), gateway: Some(gateway), weight: 1 };
        (route, length, Route { kind: RouteKind::Via(vec![next]), source: None, mtu: None })
    });
    topology.routes_v4 = Routes::new([on_link(V4::INSIDE, 24), v4]);
    topology.routes_v6 = Routes::new([on_link(V6::INSIDE, 64), v6]);
    topology
}

/// The way to all clients: destination, length, gateway.
fn outside<A: Address>(client: A, length: u8) -> (IpAddr, u8, IpAddr) {
    let any = A::from_words([0, 0]).ip();
    (any, length, flows::nth(client, 1).ip())
}

/// The servers' network.
fn on_link<A: Address>(here: A, length: u8) -> (IpAddr, u8, Route) {
    let next = NextHop { port: Some(1), gateway: None, weight: 1 };
    let route = Route { kind: RouteKind::Via(vec![next]), source: Some(here.ip()), mtu: None };
    (here.ip(), length, route)
}
