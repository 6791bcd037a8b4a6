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
/// 32 local addresses with 50,000 ports: enough for 10 M connections to ten servers.
const LOCAL_ADDRESSES: u64 = 32;
const LOCAL_PORTS: std::ops::RangeInclusive<u16> = 10_000..=59_999;

/// A director for `connections` connections of one family, and its only worker.
pub(crate) fn new<A: BenchFamily>(
    forward: Forward,
    connections: usize,
) -> std::io::Result<(Arc<Director>, Worker<ChunkFrame>)> {
    let (resolve, _) = crossbeam_channel::bounded(1);
    let (connections_v4, connections_v6) =
        if A::IPV6 { (1, connections) } else { (connections, 1) };
    let limits = Limits { connections_v4, connections_v6, servers: 64, ..Limits::default() };
    let director = Arc::new(Director::new(limits, resolve)?);
    let services = services::<A>(forward);
    director.prepare(&services);
    let snapshot = Snapshot::new(1, Arc::new(services), Arc::new(topology()));
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    let worker = Worker::new((0, 1), Arc::clone(&director), snapshot, Arc::new(Stats::new(64)));
    Ok((director, worker))
}

fn services<A: BenchFamily>(forward: Forward) -> Services {
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

fn topology() -> Topology {
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
    topology.routes_v4 = Routes::new([on_link(V4::INSIDE, 24)]);
    topology.routes_v6 = Routes::new([on_link(V6::INSIDE, 64)]);
    topology
}

/// The servers' network.
fn on_link<A: Address>(here: A, length: u8) -> (IpAddr, u8, Route) {
    let next = NextHop { port: Some(1), gateway: None, weight: 1 };
    let route = Route { kind: RouteKind::Via(vec![next]), source: Some(here.ip()), mtu: None };
    (here.ip(), length, route)
}
