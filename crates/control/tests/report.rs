//! The report of a director made by hand: every number comes from where it belongs.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use control::{
    compile::{Ids, compile},
    load::read,
    report::{
        Counts, Facts, Fill, InterfaceFacts, Ledger, Report, Ring, ServerState, Share, Table,
        XdpMode, build,
    },
};
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    forward::{Address, Forward, Protocol, V4},
    snapshot::{Server, ServerId, Services, Snapshot},
    stats::Stats,
    table::{Connection, Keys, TemplateRef},
    tcp::{State, UDP_STATE},
    topology::{Interface, Mac, Topology},
    verdict::{Answer, Drop, Punt},
};

const FILE: &str = r#"
version: 1
interfaces: [eth0, eth1]
services:
  - name: web
    listen: ["[2001:db8::10]:80/tcp", "203.0.113.10:80/tcp"]
    forward: tun
    scheduler: wrr
    servers: [{address: "fd00::11", weight: 3}, {address: "10.0.0.12"}]
  - name: dns
    listen: "203.0.113.10:53/udp"
    forward: nat
    scheduler: rr
    servers: [{address: "10.0.0.13:5353"}]
"#;

/// The file's services; what the operator, health and an earlier file made of them is put in
/// by hand.
fn services() -> Services {
    let model = read("test.yaml".as_ref(), FILE, None).unwrap_or_else(|faults| panic!("{faults}"));
    compile(&model, &mut Ids::default())
}

fn server_id(services: &Services, key: &str, address: &str) -> ServerId {
    let (_, service) =
        services.by_key.iter().find(|(k, _)| k.to_string() == key).expect("a service");
    let at = |server: &Option<Server>| {
        server.as_ref().is_some_and(|server| {
            server.service == *service && server.address.to_string() == address
        })
    };
    services.servers.iter().position(at).expect("a server") as ServerId
}

fn director() -> Director {
    let (resolve, _) = crossbeam_channel::bounded(1);
    let limits = Limits {
        connections_v4: 1000,
        connections_v6: 500,
        half_open: 300,
        fragments: 16,
        services: 16,
        servers: 16,
        ..Limits::default()
    };
    Director::new(limits, resolve).expect("memory")
}

fn topology() -> Topology {
    let interface = |name: &str, index, up| Interface {
        name: name.to_owned(),
        index,
        mac: Mac([2, 0, 0, 0, 0, index as u8]),
        mtu: 1500,
        up,
    };
    Topology {
        interfaces: vec![interface("eth0", 7, true), interface("eth1", 0, false)],
        ..Topology::default()
    }
}

fn facts() -> Facts {
    let eth0 = InterfaceFacts {
        queues: 2,
        xdp_mode: Some(XdpMode::Generic),
        zero_copy: false,
        fallback: Some("no native XDP".to_owned()),
        ..InterfaceFacts::default()
    };
    let statistics = xsk::PortStats { rx_ring_full: 5, ..xsk::PortStats::default() };
    Facts {
        alive: vec![true, false],
        health: Arc::default(),
        outlook: Arc::default(),
        hooks: Default::default(),
        connection_log: None,
        started: Instant::now(),
        started_at: UNIX_EPOCH + Duration::from_millis(1_500),
        now: Now::default(),
        events: Default::default(),
        odometer: Arc::default(),
        interfaces: vec![eth0],
        cores: vec![Some(3)],
        rings: vec![Ring::new("eth0", 1, 0, &statistics)],
    }
}

/// Connections and traffic: 2 active, 1 half-open, 1 closing at the first; 1 UDP at the last.
fn filled() -> (Director, Services, Vec<Arc<Stats>>) {
    let director = director();
    let mut services = services();
    let web6 = server_id(&services, "[2001:db8::10]:80/tcp", "fd00::11");
    let web4 = server_id(&services, "203.0.113.10:80/tcp", "10.0.0.12");
    let dns = server_id(&services, "203.0.113.10:53/udp", "10.0.0.13");
    for state in [State::Established, State::Established, State::SynRecv, State::FinWait] {
        director.opened(web6, state as u8);
    }
    director.opened(dns, UDP_STATE);
    director.opened(dns, UDP_STATE);
    director.ended(&connection(dns), UDP_STATE);
    for server in [web6, web4, dns] {
        services.servers[server as usize].as_mut().unwrap().up = server != web6;
    }
    services.servers[web4 as usize].as_mut().unwrap().drained = true;

    let stats = [(); 2].map(|()| Arc::new(Stats::new(16)));
    for (worker, stats) in (1..).zip(&stats) {
        let traffic = stats.server(web6);
        traffic.in_packets.add(10 * worker);
        traffic.in_bytes.add(1000 * worker);
        stats.server(dns).out_packets.add(worker);
        stats.server(dns).out_bytes.add(100 * worker);
        stats.rx_packets.add(worker);
        stats.tx_packets.add(2 * worker);
        stats.drops[Drop::TableFull as usize].add(1);
        stats.punt(Punt::Alien);
        for (place, count) in stats.ledger.iter().zip([100, 60, 30, 8, 2]) {
            place.set(count * worker);
        }
    }
    stats[1].answer(Answer::PacketTooBig);
    stats[1].moved_ports.add(4);
    stats[1].opened.add(6);
    stats[0].dropped_entries.add(5);
    stats[1].stateless.add(7);
    let bypass = director.bypass();
    director.opened(bypass, UDP_STATE);
    stats[1].server(bypass).in_packets.add(7);
    stats[1].server(bypass).in_bytes.add(700);
    (director, services, stats.to_vec())
}

/// The listed connection, of that server.
fn connection(server_id: u32) -> Connection<V4> {
    let address = |text: &str| V4::from_ip(text.parse().unwrap()).unwrap();
    Connection {
        client: address("192.0.2.9"),
        cport: 4000,
        vip: address("203.0.113.10"),
        vport: 53,
        server: address("10.0.0.13"),
        rport: 5353,
        local: address("192.0.2.9"),
        lport: 4000,
        protocol: Protocol::Udp,
        forward: Forward::Nat,
        server_id,
        flags: 0,
        keys: Keys::Both,
        template: TemplateRef::NONE,
    }
}

fn report() -> Report {
    let (director, services, stats) = filled();
    director.v4.insert(&connection(4), UDP_STATE, 300, 1).expect("room");
    let snapshot = Snapshot::new(9, Arc::new(services), Arc::new(topology()));
    build(&director, &snapshot, &stats, &facts())
}

#[test]
fn services_come_by_protocol_address_and_port() {
    let report = report();
    let rows: Vec<String> = report
        .services
        .iter()
        .map(|s| format!("{} {} {} {}", s.protocol, s.place(), s.scheduler, s.name))
        .collect();
    let expected = [
        "tcp 203.0.113.10:80 wrr web",
        "tcp [2001:db8::10]:80 wrr web",
        "udp 203.0.113.10:53 rr dns",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn servers_have_their_states_and_counts() {
    let report = report();
    let web6 = &report.services[1];
    let [first, second] = &web6.servers[..] else { panic!("{:?}", web6.servers) };
    assert_eq!((first.endpoint().to_string().as_str(), first.weight), ("[fd00::11]:80", 3));
    assert_eq!((first.forward.as_str(), first.state), ("tun", ServerState::Down));
    let expected = Counts {
        active: 3,
        inactive: 1,
        connections: 4,
        in_packets: 30,
        in_bytes: 3000,
        out_packets: 0,
        out_bytes: 0,
    };
    assert_eq!(first.counts, expected);
    assert_eq!((second.state, second.counts), (ServerState::Up, Counts::default()));
    assert_eq!(web6.counts, expected);

    assert_eq!(report.services[0].servers[1].state, ServerState::Drained);
    let dns = &report.services[2].servers[0];
    assert_eq!((dns.port, dns.forward.as_str()), (5353, "nat"));
    assert_eq!((dns.counts.active, dns.counts.inactive, dns.counts.connections), (0, 1, 2));
    assert_eq!((dns.counts.out_packets, dns.counts.out_bytes), (3, 300));
}

#[test]
fn a_removed_service_is_listed_while_it_has_connections() {
    let director = director();
    let model = read("test.yaml".as_ref(), FILE, None).unwrap();
    let mut ids = Ids::default();
    let before = compile(&model, &mut ids);
    let dns = server_id(&before, "203.0.113.10:53/udp", "10.0.0.13");
    let mut less = model.clone();
    less.services.retain(|service| service.name != "dns");
    let snapshot = Snapshot::new(2, Arc::new(compile(&less, &mut ids)), Arc::default());
    let stats = [Arc::new(Stats::new(16))];
    let names = |director: &Director| -> Vec<(String, usize)> {
        let report = build(director, &snapshot, &stats, &facts());
        report.services.iter().map(|s| (s.name.clone(), s.servers.len())).collect()
    };
    let web = || ("web".to_owned(), 2);
    assert_eq!(names(&director), [web(), web()]);
    director.opened(dns, UDP_STATE);
    assert_eq!(names(&director), [web(), web(), ("dns".to_owned(), 1)]);
    let report = build(&director, &snapshot, &stats, &facts());
    assert_eq!(report.services[2].servers[0].state, ServerState::Removed);
    assert_eq!(report.status().servers.total, 4);
}

#[test]
fn the_box_is_summed_over_its_workers() {
    let report = report();
    assert_eq!((report.generation, report.version.as_str()), (9, env!("CARGO_PKG_VERSION")));
    let totals = &report.totals;
    assert_eq!((totals.drops["table_full"], totals.drops["no_route"]), (2, 0));
    assert_eq!(totals.drops.len(), Drop::COUNT);
    assert_eq!((totals.punts["alien"], totals.answers["packet_too_big"]), (2, 1));
    assert_eq!((totals.moved_ports, totals.opened, totals.dropped_entries), (4, 6, 5));
    assert_eq!(totals.stateless, 7);
    let bypassed =
        Counts { inactive: 1, connections: 1, in_packets: 7, in_bytes: 700, ..Counts::default() };
    assert_eq!(totals.bypassed, bypassed);
    let tables = report.tables;
    assert_eq!(tables.ipv4, Table { connections: 1, capacity: 1000 });
    assert_eq!(tables.ipv6, Table { connections: 0, capacity: 500 });
    assert_eq!(tables.half_open, Fill { now: 1, limit: 300 });
    assert_eq!((report.rings[0].queue, report.rings[0].rx_ring_full), (1, 5));
}

#[test]
fn workers_and_interfaces_join_counters_with_facts() {
    let report = report();
    let [first, second] = &report.workers[..] else { panic!("{:?}", report.workers) };
    assert_eq!((first.worker, first.core, first.rx_packets, first.tx_packets), (0, Some(3), 1, 2));
    assert_eq!((second.worker, second.core, second.rx_packets), (1, None, 2));
    let ledger = Ledger { total: 200, pool: 120, rx_lent: 60, tx_lent: 16, held: 4 };
    assert_eq!(second.ledger, ledger);

    let [eth0, eth1] = &report.interfaces[..] else { panic!("{:?}", report.interfaces) };
    assert_eq!((eth0.index, eth0.mac.as_str(), eth0.queues), (7, "02:00:00:00:00:07", 2));
    assert_eq!((eth0.xdp_mode, eth0.fallback.is_some()), (Some(XdpMode::Generic), true));
    assert_eq!((eth1.up, eth1.queues, eth1.xdp_mode), (false, 0, None));
}

#[test]
fn the_status_tells_what_is_well() {
    let status = report().status();
    assert_eq!(status.interfaces, Share { total: 2, up: 1 });
    // The first web service keeps a server of two; so does the second.
    assert_eq!(status.services, Share { total: 3, up: 3 });
    // Down is one, drained another.
    assert_eq!(status.servers, Share { total: 5, up: 3 });
    assert_eq!(status.connections, 1);
    assert_eq!((status.workers, status.silent_workers), (Share { total: 2, up: 1 }, vec![1]));
    let faults: Vec<_> = status.ports.iter().map(|port| port.fault.as_deref()).collect();
    assert_eq!(faults, [None, Some("is gone")]);
}

/// What scripts and the lab read: names are part of the interface.
#[test]
fn json_has_the_names_that_scripts_read() {
    let report = report();
    let json = serde_json::to_value(&report).unwrap();
    let numbers = [
        ("/workers/1/rx_packets", 2),
        ("/workers/1/ledger/total", 200),
        ("/workers/1/ledger/pool", 120),
        ("/workers/1/ledger/rx_lent", 60),
        ("/workers/1/ledger/tx_lent", 16),
        ("/workers/1/ledger/held", 4),
        ("/services/1/active", 3),
        ("/services/1/servers/0/in_packets", 30),
        ("/tables/ipv4/connections", 1),
        ("/totals/drops/table_full", 2),
        ("/rings/0/rx_ring_full", 5),
    ];
    for (path, number) in numbers {
        assert_eq!(json.pointer(path).and_then(|value| value.as_u64()), Some(number), "{path}");
    }
    assert_eq!(json["services"][1]["servers"][0]["state"], "down");
    assert_eq!(json["interfaces"][0]["xdp_mode"], "generic");
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}
