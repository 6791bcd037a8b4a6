//! From the kernel's state to the topology, as tables: no kernel is asked.

use std::net::IpAddr;

use control::topology::{
    Statics, build,
    hops::HopIds,
    source::{source_v4, source_v6},
    state::{
        Address, Effect, Event, Keeper, Kernel, Link, Neighbour, Route, RouteHop, RouteKey,
        RouteType, Table,
    },
};
use dataplane::topology::{Mac, RouteKind, Topology};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn link(name: &str, last: u8) -> Link {
    Link { name: name.into(), mac: mac(last), mtu: 1500, up: true }
}

/// `address/length`, of universe scope unless `words` say otherwise.
fn address(index: u32, cidr: &str, words: &str) -> Address {
    let (address, length) = cidr.split_once('/').expect("a prefix length");
    let scope = if words.contains("link") { 253 } else { 0 };
    Address {
        index,
        ip: ip(address),
        length: length.parse().expect("a number"),
        scope: if words.contains("host") { 254 } else { scope },
        secondary: words.contains("secondary"),
        tentative: words.contains("tentative"),
        deprecated: words.contains("deprecated"),
        protocol: 0,
    }
}

/// `INDEX [GATEWAY] [wN] [dead|linkdown|encap]`
fn hop(text: &str) -> RouteHop {
    let mut words = text.split_whitespace();
    let index = words.next().and_then(|word| word.parse().ok()).expect("an index");
    let words: Vec<&str> = words.collect();
    let weight = words.iter().find_map(|word| word.strip_prefix('w')?.parse().ok());
    RouteHop {
        index,
        gateway: words.iter().find_map(|word| word.parse().ok()),
        weight: weight.unwrap_or(1),
        dead: words.contains(&"dead"),
        linkdown: words.contains(&"linkdown"),
        encapsulates: words.contains(&"encap"),
    }
}

fn key(cidr: &str, table: Table, metric: u32) -> RouteKey {
    let (network, length) = cidr.split_once('/').expect("a prefix length");
    RouteKey { network: ip(network), length: length.parse().expect("a number"), table, metric }
}

fn unicast(hops: &[&str]) -> Route {
    let hops = hops.iter().map(|text| hop(text)).collect();
    let scope = 0;
    Route { kind: RouteType::Unicast, hops, source: None, mtu: None, scope, object: None }
}

/// eth0 is index 2, eth1 index 3, mgmt index 4; only the first two are served.
fn kernel() -> Kernel {
    let mut kernel = Kernel::new(100);
    for (index, name) in [(2, "eth0"), (3, "eth1"), (4, "mgmt")] {
        kernel.apply(Event::Link(index, link(name, index as u8)));
    }
    for (index, cidr) in [(2, "10.0.1.1/24"), (3, "10.0.2.1/24"), (4, "10.0.3.1/24")] {
        kernel.apply(Event::Address(address(index, cidr, "")));
    }
    kernel
}

fn served() -> [String; 2] {
    ["eth0".into(), "eth1".into()]
}

fn add(kernel: &mut Kernel, key: RouteKey, route: Route) -> Effect {
    kernel.apply(Event::Route { key, route, replace: false })
}

/// `port gateway weight` of each next hop, or the kind.
fn shown(topology: &Topology, to: &str) -> String {
    match topology.route(ip(to)).map(|route| &route.kind) {
        None => "none".into(),
        Some(RouteKind::Via(hops)) => {
            let show = |hop: &dataplane::topology::NextHop| {
                let port = hop.port.map_or("-".into(), |port| port.to_string());
                let gateway = hop.gateway.map_or("link".into(), |gateway| gateway.to_string());
                format!("{port} {gateway} w{}", hop.weight)
            };
            hops.iter().map(show).collect::<Vec<_>>().join(", ")
        }
        Some(kind) => format!("{kind:?}"),
    }
}

#[test]
fn the_route_that_the_kernel_takes() {
    use Table::{Local, Main};
    type Given<'a> = (&'a str, Table, u32, &'a [&'a str]);
    let table: &[(&str, &[Given], &str, &str)] = &[
        ("on the link", &[("10.0.1.0/24", Main, 0, &["2"])], "10.0.1.9", "0 link w1"),
        ("no route", &[("10.0.1.0/24", Main, 0, &["2"])], "10.0.2.9", "none"),
        (
            "the longest prefix",
            &[("0.0.0.0/0", Main, 0, &["2 10.0.1.2"]), ("10.7.0.0/16", Main, 9, &["3 10.0.2.2"])],
            "10.7.1.1",
            "1 10.0.2.2 w1",
        ),
        (
            "the lowest metric",
            &[("0.0.0.0/0", Main, 9, &["2 10.0.1.2"]), ("0.0.0.0/0", Main, 3, &["3 10.0.2.2"])],
            "10.7.1.1",
            "1 10.0.2.2 w1",
        ),
        (
            "a dead way is none",
            &[
                ("0.0.0.0/0", Main, 3, &["3 10.0.2.2 dead"]),
                ("0.0.0.0/0", Main, 9, &["2 10.0.1.2"]),
            ],
            "10.7.1.1",
            "0 10.0.1.2 w1",
        ),
        (
            "without carrier: another metric",
            &[
                ("0.0.0.0/0", Main, 3, &["3 10.0.2.2 linkdown"]),
                ("0.0.0.0/0", Main, 9, &["2 10.0.1.2"]),
            ],
            "10.7.1.1",
            "0 10.0.1.2 w1",
        ),
        (
            "without carrier: no shorter prefix",
            &[("0.0.0.0/0", Main, 3, &["2 10.0.1.2"]), ("10.0.2.0/24", Main, 0, &["3 linkdown"])],
            "10.0.2.9",
            "1 link w1",
        ),
        (
            "multipath with weights, the living ones",
            &[(
                "0.0.0.0/0",
                Main,
                0,
                &["2 10.0.1.2 w3", "3 10.0.2.2", "3 10.0.2.3 dead", "2 10.0.1.4 linkdown"],
            )],
            "10.7.1.1",
            "0 10.0.1.2 w3, 1 10.0.2.2 w1",
        ),
        ("not served", &[("0.0.0.0/0", Main, 0, &["4 10.0.3.2"])], "10.7.1.1", "- 10.0.3.2 w1"),
        (
            "encapsulated",
            &[("0.0.0.0/0", Main, 0, &["2 10.0.1.2 encap"])],
            "9.9.9.9",
            "- 10.0.1.2 w1",
        ),
        ("IPv4 by IPv6", &[("0.0.0.0/0", Main, 0, &["2 fe80::2"])], "10.7.1.1", "0 fe80::2 w1"),
        (
            "local before main",
            &[("10.0.1.1/32", Main, 0, &["3"]), ("10.0.1.1/32", Local, 0, &[])],
            "10.0.1.1",
            "Local",
        ),
        (
            "IPv6 routes of one metric share",
            &[("::/0", Main, 1024, &["2 fe80::2"]), ("::/0", Main, 1024, &["3 fe80::3"])],
            "2001:db8::1",
            "0 fe80::2 w1, 1 fe80::3 w1",
        ),
        (
            "IPv6 links of one metric do not",
            &[("fe80::/64", Main, 256, &["2"]), ("fe80::/64", Main, 256, &["3"])],
            "fe80::9",
            "0 link w1",
        ),
        (
            "IPv4 routes of one metric: the first",
            &[("0.0.0.0/0", Main, 0, &["2 10.0.1.2"]), ("0.0.0.0/0", Main, 0, &["3 10.0.2.2"])],
            "10.7.1.1",
            "0 10.0.1.2 w1",
        ),
    ];
    for (what, given, to, expected) in table {
        let mut kernel = kernel();
        kernel.replace_routes(given.iter().map(|(cidr, table, metric, hops)| {
            let mut route = unicast(hops);
            if *table == Local {
                route.kind = RouteType::Local;
            }
            (key(cidr, *table, *metric), route)
        }));
        let topology =
            build(&kernel, &mut HopIds::new(100), &served(), (&Statics::default(), None));
        assert_eq!(shown(&topology, to), *expected, "{what}");
    }
}

#[test]
fn the_source_that_the_kernel_takes() {
    let addresses = [
        address(1, "127.0.0.1/8", "host"),
        address(2, "169.254.1.1/16", "link"),
        address(2, "10.0.1.1/24", ""),
        address(2, "10.0.1.7/24", "secondary"),
        address(2, "10.0.5.1/24", ""),
        address(2, "203.0.113.10/32", ""),
        address(3, "10.0.2.1/24", ""),
        address(2, "fe80::1/64", "link"),
        address(2, "2001:db8:1::9/64", "tentative"),
        address(2, "2001:db8:1::8/64", "deprecated"),
        address(2, "2001:db8:1::1/64", ""),
        address(2, "2001:db8:2::1/64", ""),
        address(3, "2001:db8:3::1/64", ""),
    ];
    // Interface, gateway or target, scope; the expected source.
    let table = [
        (2, Some("10.0.1.2"), 0, "10.0.1.1"),
        (2, Some("10.0.5.2"), 0, "10.0.5.1"),
        (2, Some("203.0.113.10"), 253, "203.0.113.10"),
        (2, Some("169.254.9.9"), 0, "10.0.1.1"),
        (2, Some("169.254.9.9"), 253, "169.254.1.1"),
        (2, None, 0, "10.0.1.1"),
        (3, Some("10.9.9.9"), 0, "10.0.2.1"),
        (4, Some("10.9.9.9"), 0, "10.0.1.1"),
        (4, None, 253, "10.0.1.1"),
    ];
    for (index, target, scope, expected) in table {
        let to = target.map(|text| text.parse().expect("an address"));
        let source = source_v4(&addresses, index, to, scope).map(IpAddr::V4);
        assert_eq!(source, Some(ip(expected)), "{index} {target:?} {scope}");
    }
    let table = [
        (2, "::", "2001:db8:1::1"),
        (2, "2001:db8:1::", "2001:db8:1::1"),
        (2, "2001:db8:2::", "2001:db8:2::1"),
        (2, "2001:db8:3::", "2001:db8:2::1"),
        (3, "2001:db8:1::", "2001:db8:3::1"),
        (2, "fe80::", "fe80::1"),
    ];
    for (index, network, expected) in table {
        let source = source_v6(&addresses, index, network.parse().unwrap()).map(IpAddr::V6);
        assert_eq!(source, Some(ip(expected)), "{index} {network}");
    }
}

#[test]
fn hop_ids_live_on() {
    let mut kernel = kernel();
    let mut ids = HopIds::new(3);
    let at = |topology: &Topology, to: &str| {
        let id = topology.hop_of.get(&(0, ip(to))).copied();
        id.map(|id| (id, topology.hops[usize::from(id)].mac))
    };
    let set = |kernel: &mut Kernel, to: &str, last: u8| {
        let (mac, keeper) = (Some(mac(last)), Keeper::Ageing);
        kernel.apply(Event::Neighbour(2, ip(to), Neighbour { mac, keeper }));
    };
    add(&mut kernel, key("0.0.0.0/0", Table::Main, 0), unicast(&["2 10.0.1.254"]));
    let first = build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    assert_eq!(at(&first, "10.0.1.254"), Some((0, None)), "a gateway has an id before a MAC");
    set(&mut kernel, "10.0.1.8", 8);
    set(&mut kernel, "10.0.1.9", 9);
    let t = build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    assert_eq!(
        (at(&t, "10.0.1.8"), at(&t, "10.0.1.9")),
        (Some((1, Some(mac(8)))), Some((2, Some(mac(9)))))
    );
    assert_eq!(t.hops[1].source, mac(2));
    kernel.apply(Event::NeighbourGone(2, ip("10.0.1.8")));
    let t = build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    assert_eq!(at(&t, "10.0.1.8"), Some((1, None)), "it may come back");
    assert_eq!(t.route_generation, first.route_generation, "routes are as they were");

    set(&mut kernel, "10.0.1.7", 7);
    let t = build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    assert_eq!((at(&t, "10.0.1.8"), at(&t, "10.0.1.7")), (None, Some((1, Some(mac(7))))));
    assert_ne!(t.route_generation, first.route_generation, "an id means another neighbour");
    set(&mut kernel, "10.0.1.8", 8);
    let full = build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    assert_eq!((at(&full, "10.0.1.8"), ids.refused()), (None, 1), "the limit is 3");
    assert_eq!(at(&full, "10.0.1.254"), Some((0, None)), "gateways stay");

    let turned =
        build(&kernel, &mut ids, &["eth1".into(), "eth0".into()], (&Statics::default(), None));
    assert!(turned.hop_of.keys().all(|(port, _)| *port == 1), "ports have other numbers");
    assert_ne!(turned.route_generation, full.route_generation);
}

#[test]
fn events_change_the_state() {
    use Effect::{Changed, Nothing, RoutesUncertain};
    let to = key("10.7.0.0/16", Table::Main, 0);
    let (a, b) = (unicast(&["2 10.0.1.2"]), unicast(&["2 10.0.1.3"]));
    let route = |route: &Route, replace| Event::Route { key: to, route: route.clone(), replace };
    let down = Link { up: false, ..link("eth0", 2) };
    let wide = Link { mtu: 9000, ..link("eth0", 2) };
    let near = Neighbour { mac: Some(mac(1)), keeper: Keeper::Ageing };
    let steps = [
        (route(&a, false), Changed),
        (route(&a, false), Nothing),
        (route(&b, true), Changed),
        // Appended or prepended: the order is not in the event.
        (route(&a, false), RoutesUncertain),
        (Event::RouteGone(to, a.clone()), RoutesUncertain),
        (Event::RouteGone(to, b.clone()), Changed),
        (Event::RouteGone(to, b.clone()), Nothing),
        (Event::Link(2, link("eth0", 2)), Nothing),
        (Event::Link(2, wide), Changed),
        // IPv4 routes go with the link without a word.
        (Event::Link(2, down), RoutesUncertain),
        (Event::Address(address(2, "10.0.1.1/24", "")), Nothing),
        (Event::AddressGone(address(2, "10.0.1.1/24", "")), RoutesUncertain),
        (Event::AddressGone(address(2, "10.0.1.1/24", "")), Nothing),
        (Event::Neighbour(3, ip("10.0.2.2"), near), Changed),
        (Event::Neighbour(3, ip("10.0.2.2"), near), Nothing),
        (Event::LinkGone(3), RoutesUncertain),
        (Event::NeighbourGone(3, ip("10.0.2.2")), Nothing),
        (Event::NexthopObjects, RoutesUncertain),
    ];
    let mut kernel = kernel();
    for (step, (event, expected)) in steps.into_iter().enumerate() {
        assert_eq!(kernel.apply(event.clone()), expected, "step {step}: {event:?}");
    }
}

#[test]
fn the_route_limit_spares_local_routes() {
    let mut kernel = Kernel::new(2);
    for last in 1..=4 {
        let to = key(&format!("10.7.{last}.0/24"), Table::Main, 0);
        add(&mut kernel, to, unicast(&["2 10.0.1.2"]));
        add(&mut kernel, key(&format!("10.0.1.{last}/32"), Table::Local, 0), unicast(&[]));
    }
    assert_eq!((kernel.routes.len(), kernel.refused_routes), (6, 2));
    let gone = Event::RouteGone(key("10.7.1.0/24", Table::Main, 0), unicast(&["2 10.0.1.2"]));
    assert_eq!(kernel.apply(gone), Effect::RoutesUncertain, "there is room for a refused one");
}

#[test]
fn a_large_box_is_built_in_milliseconds() {
    let mut kernel = kernel();
    kernel.route_limit = 5000;
    for i in 0..5000_u32 {
        let to = format!("10.{}.{}.0/24", 100 + i / 250, i % 250);
        add(&mut kernel, key(&to, Table::Main, 0), unicast(&["2 10.0.1.2", "3 10.0.2.2"]));
    }
    for i in 0..1000_u32 {
        let at = ip(&format!("10.0.{}.{}", 1 + i / 250, 2 + i % 250));
        let near = Neighbour { mac: Some(mac(1)), keeper: Keeper::Ageing };
        kernel.apply(Event::Neighbour(2, at, near));
    }
    let mut ids = HopIds::new(4096);
    build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    let begun = std::time::Instant::now();
    let topology = build(&kernel, &mut ids, &served(), (&Statics::default(), None));
    let took = begun.elapsed();
    println!("5000 routes, 1000 neighbours: {took:?}");
    assert_eq!((topology.routes_v4.len(), topology.hop_of.len()), (5000, 1001));
    assert!(took.as_millis() < 200, "{took:?}, even unoptimised on a busy machine");
}
