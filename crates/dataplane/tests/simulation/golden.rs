//! The box of the golden tables and the frames that arrive in them.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use dataplane::{
    forward::{Endpoint, Forward, Protocol},
    policy::{LocalAddress, MssClamp, Policy},
    snapshot::{Server, Service, Services, Snapshot},
    topology::{Hop, Interface, Mac, NextHop, PortId, Route, RouteKind, Routes, Topology},
};
use serde_json::Value;

/// A table or the topology.
fn read(path: PathBuf) -> Value {
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Every frame that arrives in any table.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for entry in std::fs::read_dir(directory()).expect("the golden tables") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // The topology is no list of cases.
        let table = read(path);
        let cases = table.as_array().into_iter().flatten();
        let steps = cases.filter_map(|case| case["steps"].as_array()).flatten();
        frames.extend(steps.filter_map(|step| step["in"].as_str()).map(octets));
    }
    frames.sort();
    frames.dedup();
    frames
}

fn octets(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// The box with the four services in one mode, the way to the servers with this MTU.
pub(crate) fn snapshot(generation: u64, forward: Forward, mixed: bool, mtu: u16) -> Arc<Snapshot> {
    let topology = topology(generation as u32, mtu);
    Arc::new(Snapshot::new(generation, Arc::new(services(forward, mixed)), Arc::new(topology)))
}

fn topology(generation: u32, mtu: u16) -> Topology {
    let json = read(directory().join("topology.json"));
    let list = |name: &str| json[name].as_array().expect("a list").clone();
    let interface = |json: &Value| Interface {
        name: text(&json["name"]).to_owned(),
        index: 2,
        mac: mac(&json["mac"]),
        mtu,
        up: true,
    };
    let interfaces: Vec<Interface> = list("interfaces").iter().map(interface).collect();
    let neighbours = list("neighbours");
    let hops = neighbours.iter().map(|n| {
        let port = port(&n["port"]);
        let source = interfaces[usize::from(port)].mac;
        Hop { port, mac: Some(mac(&n["mac"])), source, mtu }
    });
    let hop_of = neighbours
        .iter()
        .enumerate()
        .map(|(id, n)| ((port(&n["port"]), address(&n["address"])), id as u16));
    let routes: Vec<_> = list("routes").iter().map(route).collect();
    let of_family = |v4| Routes::new(routes.iter().filter(|r| r.0.is_ipv4() == v4).cloned());
    Topology {
        hops: hops.collect(),
        hop_of: hop_of.collect(),
        routes_v4: of_family(true),
        routes_v6: of_family(false),
        local: list("local").iter().map(address).collect(),
        route_generation: generation,
        probes: None,
        interfaces,
    }
}

fn route(json: &Value) -> (IpAddr, u8, Route) {
    let (network, length) = text(&json["to"]).split_once('/').expect("a prefix");
    let next = NextHop {
        port: Some(port(&json["port"])),
        gateway: json["via"].as_str().map(|via| via.parse().expect("an address")),
        weight: 1,
    };
    let source = Some(address(&json["source"]));
    let route = Route { kind: RouteKind::Via(vec![next]), source, mtu: None };
    (network.parse().expect("an address"), length.parse().expect("a length"), route)
}

/// Web and DNS for both families, as in `configs/`.
fn services(forward: Forward, mixed: bool) -> Services {
    let mut all = Services::default();
    for v6 in [false, true] {
        for (protocol, port, rport) in [(Protocol::Tcp, 80, 8080), (Protocol::Udp, 53, 5353)] {
            let vip = if v6 { "2001:db8:f::10" } else { "203.0.113.10" };
            let id = all.services.len() as u32;
            let key = Endpoint { protocol, address: vip.parse().expect("an address"), port };
            let server = match (forward, v6 != mixed) {
                (Forward::Tun, false) => "10.0.4.11",
                (Forward::Tun, true) => "fd00:4::11",
                (_, false) => "10.0.2.11",
                (_, true) => "fd00:2::11",
            };
            let local = if v6 { "fd00:2::1" } else { "10.0.2.1" };
            let local = LocalAddress {
                address: local.parse().expect("an address"),
                ports: 10_000..=10_063,
            };
            all.servers.push(Some(Server::new(
                id,
                server.parse().expect("an address"),
                if forward.two_way() { rport } else { port },
                forward,
            )));
            let policy = Policy {
                scheduler: sched::Plan::new(sched::Kind::Rr),
                local_addresses: if forward == Forward::FullNat { vec![local] } else { vec![] },
                mss_clamp: MssClamp::Path,
                ..Policy::default()
            };
            let service = Service::new(key.to_string(), key, policy);
            all.services.push(Some(Service { servers: vec![id], ..service }));
            all.by_key.insert(key.into(), id);
        }
    }
    all.derive();
    all
}

fn text(json: &Value) -> &str {
    json.as_str().expect("text")
}

fn address(json: &Value) -> IpAddr {
    text(json).parse().expect("an address")
}

fn port(json: &Value) -> PortId {
    json.as_u64().expect("a number") as PortId
}

fn mac(json: &Value) -> Mac {
    let mut octets = text(json).split(':').map(|o| u8::from_str_radix(o, 16).expect("hex"));
    Mac(std::array::from_fn(|_| octets.next().expect("six octets")))
}
