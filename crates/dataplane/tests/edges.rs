//! What only shows at an edge: between two snapshots, on a route with an MTU of its own, with a
//! source that the kernel would not believe.

use std::{net::Ipv4Addr, sync::Arc};

use arc_swap::ArcSwap;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    forward::{Endpoint, Forward, Protocol},
    memory::{MemoryFrame, MemoryIo},
    policy::Policy,
    snapshot::{Server, Service, Services, Snapshot},
    stats::Stats,
    topology::{Hop, Interface, Mac, NextHop, Route, RouteKind, Routes, Topology},
    verdict::{Answer, Drop},
    worker::Worker,
};
use etherparse::{IpNumber, Ipv4Header, PacketBuilder};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 11);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 10];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 11];

/// A UDP service in DR with one server.
fn services() -> Services {
    let key = Endpoint { protocol: Protocol::Udp, address: VIP.into(), port: 53 };
    let service = Service { servers: vec![0], ..Service::new("dns", key, Policy::default()) };
    let server = Server::new(0, SERVER.into(), 53, Forward::Dr);
    let mut services = Services {
        services: vec![Some(service)],
        servers: vec![Some(server)],
        by_key: [(key.into(), 0)].into_iter().collect(),
        ..Services::default()
    };
    services.derive();
    services
}

/// One port with an MTU of 1500, everybody on its link; the first `known` of client and server
/// are resolved.
fn topology(known: usize, server_route_mtu: Option<u16>) -> Topology {
    let neighbours = [(CLIENT, CLIENT_MAC), (SERVER, SERVER_MAC)];
    let hop = |mac| Hop { port: 0, mac: Some(Mac(mac)), source: Mac(OUR_MAC), mtu: 1500 };
    let link = |mtu| Route {
        kind: RouteKind::Via(vec![NextHop { port: Some(0), gateway: None, weight: 1 }]),
        source: Some(VIP.into()),
        mtu,
    };
    let local = Route { kind: RouteKind::Local, source: None, mtu: None };
    let broadcast = Ipv4Addr::new(192, 0, 2, 255);
    let name = "eth0".to_owned();
    Topology {
        interfaces: vec![Interface { name, index: 1, mac: Mac(OUR_MAC), mtu: 1500, up: true }],
        hops: neighbours[..known].iter().map(|(_, mac)| hop(*mac)).collect(),
        hop_of: (0..)
            .zip(neighbours)
            .take(known)
            .map(|(id, (ip, _))| ((0, ip.into()), id))
            .collect(),
        routes_v4: Routes::new([
            (VIP.into(), 32, local.clone()),
            (broadcast.into(), 32, local),
            (CLIENT.into(), 24, link(None)),
            (SERVER.into(), 24, link(server_route_mtu)),
        ]),
        local: [VIP.into()].into_iter().collect(),
        route_generation: 7,
        ..Topology::default()
    }
}

fn director(services: &Services) -> Arc<Director> {
    let (resolve, _) = crossbeam_channel::bounded(16);
    let limits = Limits { connections_v4: 64, connections_v6: 1, servers: 1, ..Limits::default() };
    let director = Director::new(limits, resolve).expect("memory");
    director.prepare(services);
    Arc::new(director)
}

/// A worker with its ports, and the snapshot that it reads.
struct Station {
    worker: Worker<MemoryFrame>,
    io: MemoryIo,
    published: Arc<ArcSwap<Snapshot>>,
    stats: Arc<Stats>,
}

impl Station {
    fn new(director: &Arc<Director>, snapshot: Snapshot) -> Self {
        let published = Arc::new(ArcSwap::from_pointee(snapshot));
        let stats = Arc::new(Stats::new(1));
        let (director, pointer) = (Arc::clone(director), Arc::clone(&published));
        let worker = Worker::new((0, 1), director, pointer, Arc::clone(&stats));
        Self { worker, io: MemoryIo::new(1, 16), published, stats }
    }

    fn breathe(&mut self) -> Option<Vec<u8>> {
        self.worker.breathe(&mut self.io, Now::at_seconds(1));
        self.io.take_sent().map(|(_, frame)| frame)
    }

    fn serve(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        assert!(self.io.arrive(0, frame));
        self.breathe()
    }
}

/// A datagram of `len` octets of IP to the VIP, with DF.
fn datagram(src: Ipv4Addr, len: u16) -> Vec<u8> {
    let mut header = Ipv4Header::new(len - 20, 64, IpNumber::UDP, src.octets(), VIP.octets())
        .expect("a length that fits");
    header.dont_fragment = true;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC)
        .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        .udp(4000, 53)
        .write(&mut frame, &vec![7; usize::from(len) - 28])
        .expect("writing to memory");
    frame
}

/// A neighbour that was resolved gets an id, and the route generation stays. A worker that is
/// still in a breath of the older snapshot finds that id in the connection.
#[test]
fn a_hop_of_a_newer_snapshot_is_no_index_into_the_older_one() {
    let services = Arc::new(services());
    let director = director(&services);
    let snapshot = |generation, known| {
        Snapshot::new(generation, Arc::clone(&services), Arc::new(topology(known, None)))
    };
    let mut ahead = Station::new(&director, snapshot(2, 2));
    let mut behind = Station::new(&director, snapshot(1, 1));
    let packet = datagram(CLIENT, 100);
    assert_eq!(ahead.serve(&packet).expect("forwarded")[..6], SERVER_MAC);
    assert_eq!(behind.serve(&packet), None);
    assert_eq!(behind.worker.held(), 1, "it waits for the neighbour");
    behind.published.store(Arc::new(snapshot(2, 2)));
    assert_eq!(behind.breathe().expect("forwarded")[..6], SERVER_MAC);
}

/// `ip route ... mtu 1000`: `ip_dst_mtu_maybe_forward` and IPVS's `dst_mtu` go by it.
#[test]
fn the_mtu_of_a_route_holds_for_every_packet() {
    let services = Arc::new(services());
    let director = director(&services);
    let topology = Arc::new(topology(2, Some(1000)));
    let mut station = Station::new(&director, Snapshot::new(1, services, topology));
    for (len, told) in [(1001, Some(1000)), (1000, None), (1400, Some(1000)), (900, None)] {
        let frame = station.serve(&datagram(CLIENT, len)).expect("forwarded or answered");
        let Some(mtu) = told else {
            assert_eq!(
                (frame[..6].to_vec(), frame.len()),
                (SERVER_MAC.to_vec(), 14 + usize::from(len))
            );
            continue;
        };
        assert_eq!(frame[..6], CLIENT_MAC);
        // RFC 1191 section 4: type 3, code 4; the MTU in the last two octets of the header.
        assert_eq!(frame[34..36], [3, 4]);
        assert_eq!(u16::from_be_bytes([frame[40], frame[41]]), mtu);
    }
    assert_eq!(station.stats.answers[Answer::PacketTooBig as usize].value(), 2);
}

#[test]
fn a_source_that_is_no_single_other_host_opens_nothing() {
    let services = Arc::new(services());
    let director = director(&services);
    let topology = topology(2, None);
    let mut with_own = topology.clone();
    let own = Ipv4Addr::new(203, 0, 113, 11);
    let local = Route { kind: RouteKind::Local, source: None, mtu: None };
    with_own.routes_v4 = Routes::new([
        (own.into(), 32, local.clone()),
        (Ipv4Addr::new(192, 0, 2, 255).into(), 32, local),
    ]);
    let mut station = Station::new(&director, Snapshot::new(1, services, Arc::new(with_own)));
    for source in [own, Ipv4Addr::new(192, 0, 2, 255)] {
        assert_eq!(station.serve(&datagram(source, 100)), None);
    }
    assert_eq!(station.stats.drops[Drop::BadSource as usize].value(), 2);
    assert!(director.v4.is_empty());
}
