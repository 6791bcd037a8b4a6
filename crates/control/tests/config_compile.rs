//! From the model to the datapath's services: ids, order, and what the XDP maps must hold.

use std::path::Path;

use control::{
    compile::{Ids, ServerKey, compile},
    load::read,
    matches::match_entries,
    model::Model,
};
use dataplane::{
    forward::{Forward, Protocol},
    snapshot::Services,
};

fn model(services: &str) -> Model {
    let text = format!("version: 1\ninterfaces: [eth0]\n{services}");
    read(Path::new("x.yaml"), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
}

/// `a` on port 80 and `b` on ports 81 and 82, each with the servers of these last octets.
fn two(head: &str, a: &[u8], b: &[u8]) -> Model {
    let servers = |list: &[u8]| {
        list.iter().map(|n| format!("{{address: 10.0.2.{n}}}")).collect::<Vec<_>>().join(", ")
    };
    model(&format!(
        "{head}services:\n  - {{name: a, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: rr, servers: [{}]}}\n  - {{name: b, listen: [203.0.113.10:81/tcp, 203.0.113.10:82/udp], forward: nat, scheduler: wrr, servers: [{}]}}\n",
        servers(a),
        servers(b)
    ))
}

/// Last octets of a service's candidates, in scheduling order.
fn candidates(services: &Services, port: u16) -> Vec<u8> {
    let (_, id) = services.by_key.iter().find(|(key, _)| key.port() == port).expect("there");
    let service = services.services[*id as usize].as_ref().expect("there");
    let octet = |id: &u32| {
        let server = services.servers[*id as usize].as_ref().expect("there");
        assert!(!server.removed && server.up && !server.drained);
        server.address.to_string().rsplit('.').next().and_then(|o| o.parse().ok()).expect("IPv4")
    };
    service.servers.iter().map(octet).collect()
}

#[test]
fn ids_follow_the_file() {
    let services = compile(&two("", &[11, 12], &[13]), &mut Ids::default());
    let shown: Vec<_> = services
        .services
        .iter()
        .flatten()
        .map(|s| (s.name.as_str(), s.key.to_string(), s.servers.clone()))
        .collect();
    assert_eq!(
        shown,
        [
            ("a", "203.0.113.10:80/tcp".to_owned(), vec![0, 1]),
            ("b", "203.0.113.10:81/tcp".to_owned(), vec![2]),
            ("b", "203.0.113.10:82/udp".to_owned(), vec![3]),
        ]
    );
    let server = services.servers[3].as_ref().expect("there");
    assert_eq!((server.service, server.port, server.weight), (2, 82, 1));
    assert!(!services.settings.compat_lvs);
}

#[test]
fn compat_lvs_schedules_the_newest_first() {
    let services = compile(&two("compat: lvs\n", &[11, 12, 13], &[]), &mut Ids::default());
    assert!(services.settings.compat_lvs);
    assert_eq!(candidates(&services, 80), [13, 12, 11]);
    assert_eq!(services.servers[0].as_ref().expect("there").address.to_string(), "10.0.2.11");
}

#[test]
fn ids_outlive_a_reload() {
    let mut ids = Ids::default();
    compile(&two("", &[11, 12], &[13]), &mut ids);
    // 11 leaves, 14 comes, the order turns.
    let services = compile(&two("", &[14, 12], &[13]), &mut ids);
    assert_eq!(candidates(&services, 80), [14, 12]);
    let gone = services.servers[0].as_ref().expect("kept for its connections");
    assert!(gone.removed);
    let endpoints = match_entries(&services).endpoints;
    assert!(endpoints.keys().any(|k| k.address == gone.address && k.port == 80));
    // Its last connection ends: entry and record go, and the next new server gets its id.
    assert!(ids.release(0));
    assert!(!ids.release(0), "released once");
    assert!(!ids.release(1), "12 is in the file");
    assert!(!ids.release(99), "nobody");
    let services = compile(&two("", &[14, 12], &[13]), &mut ids);
    assert!(services.servers[0].is_none());
    let services = compile(&two("", &[14, 12, 15], &[13]), &mut ids);
    assert_eq!(candidates(&services, 80), [14, 12, 15]);
    assert_eq!(services.servers[0].as_ref().expect("reused").address.to_string(), "10.0.2.15");
}

#[test]
fn a_removed_service_matches_until_its_last_connection() {
    let mut ids = Ids::default();
    let first = compile(&two("", &[11], &[12]), &mut ids);
    let key = first.services[0].as_ref().expect("a").key;
    let empty = model("services: []\n");
    let services = compile(&empty, &mut ids);
    assert!(services.by_key.is_empty(), "nothing new is admitted");
    assert!(services.services.iter().flatten().all(|s| s.servers.is_empty()));
    assert!(match_entries(&services).endpoints[key.endpoint().unwrap()].service);
    // It comes back with its server: the ids too.
    let services = compile(&two("", &[11], &[12]), &mut ids);
    assert_eq!(services.by_key[&key], 0);
    assert_eq!(services.services[0].as_ref().expect("a").servers, [0]);
    // It goes for good.
    compile(&empty, &mut ids);
    let of_a = ServerKey { service: key, address: "10.0.2.11".parse().expect("valid"), port: 80 };
    assert_eq!(ids.server_id(&of_a), Some(0));
    assert!(ids.release(0));
    assert_eq!(ids.server_id(&of_a), None);
    let services = compile(&empty, &mut ids);
    assert!(services.services[0].is_none());
    assert!(!match_entries(&services).endpoints.contains_key(key.endpoint().unwrap()));
    // A service without servers has no connections to wait for.
    let mut ids = Ids::default();
    compile(&two("", &[], &[]), &mut ids);
    assert!(compile(&empty, &mut ids).services.iter().all(Option::is_none));
}

#[test]
fn match_entries_of_every_method() {
    let services = compile(
        &model(
            "local_addresses: {l: {addresses: [10.0.9.1, 10.0.9.2, \"fd00:9::1\"], ports: 10000-20000}}
services:
  - {name: n, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: rr, servers: [{address: \"10.0.2.11:8080\"}]}
  - {name: f, listen: 203.0.113.10:81/tcp, forward: fullnat, local_addresses: l, scheduler: rr, servers: [{address: 10.0.2.12}]}
  - {name: d, listen: 203.0.113.10:82/tcp, forward: dr, scheduler: rr, servers: [{address: 10.0.2.13}]}
  - {name: t, listen: 203.0.113.10:83/udp, forward: tun, scheduler: rr, servers: [{address: \"fd00:4::14\"}, {address: \"10.0.2.11:53\", forward: nat}]}
",
        ),
        &mut Ids::default(),
    );
    let entries = match_entries(&services);
    let endpoints: Vec<_> =
        entries.endpoints.iter().map(|(k, r)| (k.to_string(), r.service, r.server)).collect();
    assert_eq!(
        endpoints,
        [
            ("10.0.2.11:8080/tcp".to_owned(), false, true),
            ("203.0.113.10:80/tcp".to_owned(), true, false),
            ("203.0.113.10:81/tcp".to_owned(), true, false),
            ("203.0.113.10:82/tcp".to_owned(), true, false),
            ("10.0.2.11:53/udp".to_owned(), false, true),
            ("203.0.113.10:83/udp".to_owned(), true, false),
        ]
    );
    let addresses: Vec<_> = entries
        .addresses
        .iter()
        .map(|(a, r)| (a.to_string(), r.vip, r.local.clone(), r.nat_server, r.tunnel_server))
        .collect();
    assert_eq!(
        addresses,
        [
            ("10.0.2.11".to_owned(), false, None, true, false),
            ("10.0.9.1".to_owned(), false, Some(10_000..=20_000), false, false),
            ("10.0.9.2".to_owned(), false, Some(10_000..=20_000), false, false),
            ("203.0.113.10".to_owned(), true, None, false, false),
            ("fd00:4::14".to_owned(), false, None, false, true),
        ]
    );
}

#[test]
fn the_model_of_a_file() {
    let model = model(
        "limits: {connections: 4000, half_open: 7}
stop_grace: 1500ms
services:
  - {name: x, listen: 203.0.113.10:80/tcp, forward: tun, scheduler: wrr, timeouts: {tcp_synack: 3s, udp: 1h}, servers: [{address: 10.0.2.11, weight: 0, mac: \"52:54:00:12:34:56\", name: one, forward: nat}]}
",
    );
    assert_eq!((model.limits.connections, model.limits.connections_ipv6), (4000, 1000));
    assert_eq!(model.limits.half_open, 7);
    assert_eq!(model.stop_grace.as_millis(), 1500);
    assert_eq!(model.largest_mtu(), 1726);
    let service = &model.services[0];
    // The states by the kernel's numbers; only SYNACK was set.
    assert_eq!(service.policy.timeouts.tcp, [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 3]);
    assert_eq!(service.policy.timeouts.udp, 3600);
    assert_eq!(service.key.endpoint().unwrap().protocol, Protocol::Tcp);
    let server = &service.servers[0];
    assert_eq!((server.weight, server.port, server.forward), (0, 80, Forward::Nat));
    assert_eq!(server.name.as_deref(), Some("one"));
    assert_eq!(server.mac.expect("given").to_string(), "52:54:00:12:34:56");
}
