//! Random boxes: services of every mode and scheduler with whatever an operator may set, and the
//! topology that they stand on.

use std::{net::IpAddr, sync::Arc};

use dataplane::{
    director::Limits,
    forward::{Endpoint, Forward, Protocol, ServiceKey, Tunnel},
    mark::MarkRule,
    policy::{
        Access, Defence, Gone, Lifecycle, LocalAddress, MssClamp, OnJoin, Persistence, Policy,
        Timeouts,
    },
    prefix::Prefix,
    snapshot::{Server, Service, Services, Snapshot},
    topology::{Hop, Interface, Mac, NextHop, Route, RouteKind, Routes, Topology},
};

use crate::random::Random;

pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The port of probes, behind those of the two interfaces.
pub(crate) const PROBES: u16 = 2;

/// The networks of the ground; each has the same hosts in both families.
#[derive(Clone, Copy)]
pub(crate) enum Net {
    Clients = 1,
    Servers = 2,
    Vips = 3,
    Own = 4,
    Elsewhere = 5,
}

pub(crate) fn at(v6: bool, net: Net, host: u8) -> IpAddr {
    if v6 {
        IpAddr::from([0x2001, 0xdb8, net as u16, 0, 0, 0, 0, u16::from(host)])
    } else {
        IpAddr::from([198, 51, net as u8, host])
    }
}

pub(crate) const VIPS: [u8; 2] = [10, 20];
pub(crate) const SERVERS: [u8; 4] = [11, 12, 13, 14];
pub(crate) const CLIENTS: [u8; 6] = [50, 51, 52, 53, 54, 55];
pub(crate) const LOCAL: u8 = 9;
pub(crate) const PROBE: u8 = 99;
pub(crate) const LISTENING: [u16; 4] = [80, 53, 21, 8080];

/// Small ones, so that all of them are met.
pub(crate) fn limits(random: &mut Random) -> Limits {
    Limits {
        connections_v4: random.pick(&[3, 20, 200]),
        connections_v6: random.pick(&[3, 20, 200]),
        templates_v4: random.pick(&[2, 64]),
        templates_v6: random.pick(&[2, 64]),
        sources: 16,
        half_open: random.pick(&[2, u32::MAX, u32::MAX]),
        fragments: random.pick(&[8, 256]),
        held_frames: random.pick(&[1, 16, 64]),
        icmp_rate: random.pick(&[1, 1000, u32::MAX]),
        services: 16,
        servers: 64,
    }
}

pub(crate) fn services(random: &mut Random) -> Services {
    let mut all = Services::default();
    all.settings.compat_lvs = random.chance(30);
    all.settings.access = access(random, 10);
    all.settings.defence = Defence {
        drop_packet: random.pick(&[0, 0, 1, 3]),
        drop_entry: random.pick(&[0, 0, 1, 3]),
        secure_tcp: random.pick(&[0, 0, 1, 3]),
        am_droprate: 1 + random.below(5) as u32,
        amemthresh: random.pick(&[1, 8, 1024]),
    };
    if random.chance(40) {
        all.probe_sources = vec![at(false, Net::Own, PROBE), at(true, Net::Own, PROBE)];
    }
    for _ in 0..2 + random.below(6) {
        add(&mut all, random);
    }
    all.derive();
    all
}

fn add(all: &mut Services, random: &mut Random) {
    let v6 = random.chance(40);
    let protocol = random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let vip = at(v6, Net::Vips, random.pick(&VIPS));
    let id = all.services.len() as u32;
    let key = if random.chance(15) {
        let mark = 10 + id;
        all.marks.push(MarkRule {
            mark,
            mask: u32::MAX,
            destination: Prefix::new(vip, if v6 { 64 } else { 24 }).expect("within"),
            source: None,
            protocol: random.chance(50).then_some(protocol),
            ports: if random.chance(50) { vec![80..=90] } else { vec![] },
            interface: random.chance(20).then_some(1),
        });
        ServiceKey::Mark { mark, ipv6: v6 }
    } else {
        let port = if random.chance(15) { 0 } else { random.pick(&LISTENING) };
        Endpoint { protocol, address: vip, port }.into()
    };
    if all.by_key.contains_key(&key) {
        return;
    }
    let forward = random.pick(&[Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun]);
    let servers = (0..random.pick(&[0, 1, 2, 3, 4, 4]))
        .map(|_| server(all, id, (v6, key.port(), forward), random))
        .collect();
    let policy = policy(random, v6, protocol, key.port());
    all.services.push(Some(Service { servers, ..Service::new(format!("s{id}"), key, policy) }));
    all.by_key.insert(key, id);
}

fn server(
    all: &mut Services,
    service: u32,
    (v6, port, forward): (bool, u16, Forward),
    random: &mut Random,
) -> u32 {
    let tunnel = random.pick(&[
        Tunnel::Ipip,
        Tunnel::Gue { port: 6080, checksum: false },
        Tunnel::Gue { port: 6080, checksum: true },
        Tunnel::Gre { checksum: false },
    ]);
    let forward = if random.chance(80) {
        forward
    } else {
        random.pick(&[Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun])
    };
    let mixed = forward == Forward::Tun && random.chance(20);
    let address = at(v6 != mixed, Net::Servers, random.pick(&SERVERS));
    let port = if forward.two_way() { random.pick(&[port, 8080, 0]) } else { port };
    let server = Server {
        weight: random.pick(&[0, 1, 1, 2, 5]),
        share: random.pick(&[256, 256, 256, 10, 128]),
        tunnel,
        upper: random.pick(&[0, 0, 0, 1, 3]),
        lower: random.pick(&[0, 0, 1]),
        up: random.chance(85),
        standby: random.chance(10),
        drained: random.chance(10),
        absent: random.chance(3),
        removed: random.chance(3),
        ..Server::new(service, address, port, forward)
    };
    all.servers.push(Some(server));
    all.servers.len() as u32 - 1
}

fn policy(random: &mut Random, v6: bool, protocol: Protocol, port: u16) -> Policy {
    let plan = sched::Plan {
        port: random.chance(30),
        fallback: random.chance(30),
        destinations: 8,
        slots: 251,
        ..sched::Plan::new(random.pick(&sched::Kind::ALL))
    };
    let prefix = random.pick(if v6 { &[128, 64] } else { &[32, 24] });
    let first = 10_000;
    let local = LocalAddress {
        address: at(v6, Net::Own, LOCAL),
        ports: first..=first + random.pick(&[0, 2, 40]),
    };
    let timeouts = Timeouts { udp: random.pick(&[3, 30, 300]), ..Timeouts::default() };
    Policy {
        scheduler: plan,
        persistence: random
            .chance(30)
            .then(|| Persistence { timeout: random.pick(&[2, 60, 300]), prefix }),
        one_packet: protocol == Protocol::Udp && random.chance(30),
        except_ports: if port == 0 && random.chance(50) { vec![22..=60] } else { vec![] },
        on_join: random.pick(&[OnJoin::Nothing, OnJoin::ResetCounts, OnJoin::SlowStart(10)]),
        access: access(random, 15),
        local_addresses: if random.chance(90) { vec![local] } else { vec![] },
        mss_clamp: random.pick(&[MssClamp::Off, MssClamp::Path, MssClamp::Octets(1000)]),
        timeouts,
        lifecycle: Lifecycle {
            gone: random.pick(&[Gone::Reset, Gone::Hold, Gone::Expire]),
            down: random.pick(&[None, Some(Gone::Hold), Some(Gone::Expire)]),
            reset_idle: random.chance(50),
            expire_quiescent_template: random.chance(50),
            conn_reuse_mode: random.below(4) as u8,
            sloppy_tcp: random.chance(20),
            sloppy_sctp: random.chance(20),
            schedule_icmp: random.chance(40),
            nat_icmp_send: random.chance(40),
            pmtu_disc: random.chance(70),
            cache_bypass: random.chance(30),
            one_packet_replies: random.chance(60),
        },
    }
}

fn access(random: &mut Random, percent: usize) -> Access {
    let list = |random: &mut Random| {
        let host = at(random.chance(50), Net::Clients, random.pick(&CLIENTS));
        if random.chance(percent) { vec![Prefix::host(host)] } else { vec![] }
    };
    Access {
        allow: if random.chance(20) { list(random) } else { vec![] },
        deny: list(random),
        new_connections: random.chance(percent).then(|| random.pick(&[1, 2, 2, 50])),
    }
}

/// What lies around the box: some of it in the way of packets.
pub(crate) fn topology(random: &mut Random, generation: u32, probes: bool) -> Topology {
    let interface = |random: &mut Random, port: u32| Interface {
        name: format!("eth{port}"),
        index: port + 2,
        mac: OUR_MAC,
        mtu: random.pick(&[1500, 1500, 1400, 600]),
        up: random.chance(97),
    };
    let interfaces = vec![interface(random, 0), interface(random, 1)];
    let mut topology = Topology {
        interfaces,
        route_generation: generation,
        probes: probes.then_some(PROBES),
        ..Topology::default()
    };
    let mut neighbours: Vec<(u16, IpAddr)> = Vec::new();
    for v6 in [false, true] {
        neighbours.extend(CLIENTS.iter().map(|host| (0, at(v6, Net::Clients, *host))));
        neighbours.extend(SERVERS.iter().map(|host| (1, at(v6, Net::Servers, *host))));
        neighbours.extend([253, 254].map(|host| (0, at(v6, Net::Clients, host))));
    }
    if probes {
        neighbours.extend([false, true].map(|v6| (PROBES, at(v6, Net::Own, PROBE))));
    }
    for (id, (port, address)) in neighbours.into_iter().enumerate() {
        let of = topology.interfaces.get(usize::from(port));
        let mtu = of.map_or(1500, |interface| if interface.up { interface.mtu } else { 0 });
        let mac = random.chance(93).then_some(Mac([2, 0, 0, 1, 0, id as u8]));
        topology.hops.push(Hop { port, mac, source: OUR_MAC, mtu });
        if random.chance(97) {
            topology.hop_of.insert((port, address), id as u16);
        }
    }
    let vips_are_ours = random.chance(70);
    topology.routes_v4 = Routes::new(routes(random, false, probes, vips_are_ours));
    topology.routes_v6 = Routes::new(routes(random, true, probes, vips_are_ours));
    topology
}

fn routes(
    random: &mut Random,
    v6: bool,
    probes: bool,
    vips_are_ours: bool,
) -> Vec<(IpAddr, u8, Route)> {
    let host = if v6 { 128 } else { 32 };
    let length = if v6 { 64 } else { 24 };
    let hop = |port, gateway: Option<u8>, weight| NextHop {
        port,
        gateway: gateway.map(|host| at(v6, Net::Clients, host)),
        weight,
    };
    let source = Some(at(v6, Net::Own, 1));
    let route = |kind, mtu| Route { kind, source, mtu };
    let to_clients = match random.below(20) {
        0 => RouteKind::Blackhole,
        1 => RouteKind::Via(vec![hop(None, None, 1)]),
        2..=6 => RouteKind::Via(vec![hop(Some(0), Some(253), 1), hop(Some(0), Some(254), 3)]),
        _ => RouteKind::Via(vec![hop(Some(0), None, 1)]),
    };
    let to_servers = match random.below(20) {
        0 => RouteKind::Unreachable,
        1 => RouteKind::Local,
        _ => RouteKind::Via(vec![hop(Some(1), None, 1)]),
    };
    let mtu = random.pick(&[None, None, None, Some(1300)]);
    let mut routes = vec![
        (at(v6, Net::Servers, 0), length, route(to_servers, mtu)),
        (at(v6, Net::Own, 1), host, route(RouteKind::Local, None)),
        (at(v6, Net::Own, LOCAL), host, route(RouteKind::Local, None)),
    ];
    if random.chance(96) {
        routes.push((at(v6, Net::Clients, 0), length, route(to_clients, None)));
    }
    if vips_are_ours {
        routes.push((at(v6, Net::Vips, 0), length, route(RouteKind::Local, None)));
    }
    if probes {
        let way = RouteKind::Via(vec![hop(Some(PROBES), None, 1)]);
        routes.push((at(v6, Net::Own, PROBE), host, route(way, None)));
    }
    routes
}

/// The same services after something happened to some of their servers.
pub(crate) fn changed(services: &Services, random: &mut Random) -> Services {
    let mut changed = services.clone();
    for server in changed.servers.iter_mut().flatten() {
        match random.below(12) {
            0 => server.up = !server.up,
            1 => server.drained = !server.drained,
            2 => server.weight = random.below(4) as u32,
            3 => server.upper = random.below(4) as u32,
            4 => server.removed = true,
            _ => {}
        }
    }
    changed.derive();
    changed.follow(services);
    changed
}

pub(crate) fn snapshot(generation: u64, services: &Services, topology: Topology) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(generation, Arc::new(services.clone()), Arc::new(topology)))
}
