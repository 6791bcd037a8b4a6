//! What the XDP program is told of services that are not one port, of marks and tunnels.

use std::{net::IpAddr, ops::RangeInclusive};

use control::matches::{MatchEntries, mark_slots, match_entries, merged};
use dataplane::{
    forward::{Endpoint, Forward, Protocol, ServiceKey, Tunnel},
    mark::MarkRule,
    policy::{Persistence, Policy},
    prefix::Prefix,
    snapshot::{Server, Service, Services},
    topology::{Interface, Mac, Topology},
};

const VIP: &str = "203.0.113.10";
const SERVER: &str = "10.0.0.11";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn endpoint(protocol: Protocol, port: u16) -> ServiceKey {
    Endpoint { protocol, address: ip(VIP), port }.into()
}

const MARK: ServiceKey = ServiceKey::Mark { mark: 10, ipv6: false };

fn persistent() -> Policy {
    Policy { persistence: Some(Persistence { timeout: 360, prefix: 32 }), ..Policy::default() }
}

/// The entries of one service with one server.
fn entries(key: ServiceKey, policy: Policy, server: Server) -> MatchEntries {
    let mut services = Services {
        services: vec![Some(Service::new("web", key, policy))],
        servers: vec![Some(server)],
        ..Services::default()
    };
    services.derive();
    match_entries(&services)
}

/// The endpoints from which, and the protocols in which on any port, the server answers.
fn answers(entries: &MatchEntries) -> (Vec<String>, Vec<Protocol>) {
    let servers = entries.endpoints.iter().filter(|(_, roles)| roles.server);
    let every = entries.addresses.get(&ip(SERVER)).map(|roles| &roles.from_every_port);
    (
        servers.map(|(endpoint, _)| endpoint.to_string()).collect(),
        every.into_iter().flatten().copied().collect(),
    )
}

#[test]
fn answers_of_nat_servers() {
    let nat = |port| Server::new(0, ip(SERVER), port, Forward::Nat);
    let tcp = |port| endpoint(Protocol::Tcp, port);
    let one_port: &[&str] = &["10.0.0.11:8080/tcp"];
    let all_ports: &[&str] = &["10.0.0.11:8080/tcp", "10.0.0.11:8080/udp", "10.0.0.11:8080/sctp"];
    let (plain, sticky) = (Policy::default, persistent);
    // (what it is, service, policy, server's port, endpoints that answer, protocols on any port)
    type Row<'a> = (&'a str, ServiceKey, Policy, u16, &'a [&'a str], &'a [Protocol]);
    let rows: [Row<'_>; 8] = [
        ("one port", tcp(80), plain(), 8080, one_port, &[]),
        ("one port, persistent", tcp(80), sticky(), 8080, one_port, &[]),
        ("port 0", tcp(0), sticky(), 0, &[], &[Protocol::Tcp]),
        ("port 0, the server's is not used", tcp(0), sticky(), 8080, one_port, &[Protocol::Tcp]),
        ("a mark", MARK, plain(), 8080, all_ports, &[]),
        ("a mark, persistent", MARK, sticky(), 8080, all_ports, &Protocol::ALL),
        ("a mark, the client's port", MARK, plain(), 0, &[], &Protocol::ALL),
        ("FTP", tcp(21), sticky(), 8080, one_port, &[Protocol::Tcp]),
    ];
    for (name, key, policy, port, endpoints, every) in rows {
        let (found, found_every) = answers(&entries(key, policy, nat(port)));
        assert_eq!(found, endpoints, "{name}");
        assert_eq!(found_every, every, "{name}");
    }
}

#[test]
fn what_services_take() {
    let dr = || Server::new(0, ip(SERVER), 0, Forward::Dr);
    let of = |key, policy| entries(key, policy, dr());
    let ftp = |key, policy| of(key, policy).addresses[&ip(VIP)].ftp;
    assert!(ftp(endpoint(Protocol::Tcp, 21), persistent()));
    assert!(!ftp(endpoint(Protocol::Tcp, 21), Policy::default()), "only if persistent");
    assert!(!ftp(endpoint(Protocol::Udp, 21), persistent()), "only TCP");
    assert!(!ftp(endpoint(Protocol::Tcp, 2121), persistent()));

    let except_ports = vec![179..=179, 22..=22, 23..=25];
    let found = of(endpoint(Protocol::Tcp, 0), Policy { except_ports, ..persistent() });
    assert!(found.endpoints.is_empty());
    let roles = &found.addresses[&ip(VIP)];
    assert!(roles.vip && roles.every_port.iter().eq(&[Protocol::Tcp]));
    let exceptions = &found.exceptions[&(Protocol::Tcp, ip(VIP))];
    assert_eq!(*exceptions, [22..=25, 179..=179]);

    let found = of(MARK, Policy::default());
    assert!(found.marks.iter().eq(&[(10, false)]));
    assert!(found.addresses.is_empty() && found.endpoints.is_empty());
}

/// Answers to probes by way of services come to these addresses and ports, from whomever.
#[test]
fn where_probes_come_from() {
    let sources = ["192.0.2.2", "2001:db8::2"].map(ip);
    let services = Services { probe_sources: sources.to_vec(), ..Services::default() };
    let entries = match_entries(&services);
    let ranges: Vec<_> =
        entries.addresses.iter().map(|(ip, roles)| (*ip, roles.local.clone())).collect();
    assert_eq!(ranges, sources.map(|source| (source, Some(20_000..=32_767))));
}

#[test]
fn tunnels() {
    let tunnel = |tunnel| Server { tunnel, ..Server::new(0, ip(SERVER), 80, Forward::Tun) };
    let gue = Tunnel::Gue { port: 6080, checksum: false };
    let rows = [
        (Tunnel::Ipip, vec![]),
        (Tunnel::Gre { checksum: true }, vec![]),
        (gue, vec!["10.0.0.11:6080/udp".to_owned()]),
    ];
    for (kind, expected) in rows {
        let found = entries(endpoint(Protocol::Tcp, 80), Policy::default(), tunnel(kind));
        assert!(found.addresses[&ip(SERVER)].tunnel_server);
        let gue = found.endpoints.iter().filter(|(_, roles)| roles.gue);
        assert_eq!(gue.map(|(key, _)| key.to_string()).collect::<Vec<_>>(), expected);
    }
}

fn rule(destination: &str, length: u8) -> MarkRule {
    MarkRule {
        mark: 10,
        mask: u32::MAX,
        destination: Prefix::new(ip(destination), length).unwrap(),
        source: None,
        protocol: None,
        ports: Vec::new(),
        interface: None,
    }
}

#[test]
fn rules_become_slots() {
    let interface = |name: &str, index| Interface {
        name: name.to_owned(),
        index,
        mac: Mac::default(),
        mtu: 1500,
        up: true,
    };
    let interfaces = vec![interface("eth0", 7), interface("gone", 0)];
    let topology = Topology { interfaces, ..Topology::default() };
    let slots = |keys: &[ServiceKey], rules: &[MarkRule]| {
        let service = |key: &ServiceKey| Some(Service::new("web", *key, Policy::default()));
        let services = keys.iter().map(service).collect();
        let services = Services { services, marks: rules.to_vec(), ..Services::default() };
        mark_slots(&services, &topology)
    };
    let by = |interface| MarkRule { interface: Some(interface), ..rule(VIP, 32) };
    let ports = MarkRule { ports: vec![80..=80, 8000..=8099, 81..=81], ..rule(VIP, 32) };
    let all = MarkRule { protocol: Some(Protocol::Sctp), ..rule("0.0.0.0", 0) };

    assert!(slots(&[], &[rule(VIP, 32)]).is_empty(), "no mark service");
    assert!(slots(&[MARK], &[rule("2001:db8::1", 128)]).is_empty(), "none of the family");
    let two = slots(&[MARK], &[ports]);
    let ranges: Vec<Option<RangeInclusive<u16>>> = two.into_iter().map(|s| s.ports).collect();
    assert_eq!(ranges, [Some(80..=81), Some(8000..=8099)]);
    let index = |rule| slots(&[MARK], &[rule]).iter().map(|s| s.interface).collect::<Vec<_>>();
    assert_eq!(index(by(0)), [Some(7)]);
    assert_eq!(index(by(1)), [], "an interface that is not there");
    assert_eq!(index(by(9)), [], "no interface at all");
    let slot = &slots(&[MARK], &[all])[0];
    assert_eq!((slot.destination, slot.protocol), ((ip("0.0.0.0"), 0), Some(132)));
}

#[test]
fn ranges_are_joined() {
    type Ranges = Vec<RangeInclusive<u16>>;
    let rows: [(Ranges, Ranges); 5] = [
        (vec![], vec![]),
        (vec![5..=5, 1..=3], vec![1..=3, 5..=5]),
        (vec![4..=9, 1..=3, 2..=5], vec![1..=9]),
        (vec![60_000..=65_535, 65_535..=65_535, 0..=0], vec![0..=0, 60_000..=65_535]),
        (vec![1..=9, 2..=3], vec![1..=9]),
    ];
    for (ranges, expected) in rows {
        assert_eq!(merged(&ranges), expected);
    }
}
