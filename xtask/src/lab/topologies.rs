//! The five networks in which the director is shown.
//!
//! What they share: a client in 192.0.2.0/24; a `visitor` in another network, behind a hop
//! with an MTU of 1400; VIPs 203.0.113.10 and 2001:db8:f::10 (DR with one NIC: addresses of
//! the client's own subnet); a director whose eth0 faces the clients and whose eth1, where
//! there is one, faces the servers.
use super::topology::{Link, Preparation, Route, Topology, end, link, narrow_link, port, route};

/// All of them, in the order in which the demo shows them.
pub const ALL: &[Topology] = &[NAT, FULLNAT, DR, DR_ROUTED, TUN];

/// Two-armed NAT: the servers' gateway is the director.
const NAT: Topology = Topology {
    name: "nat",
    forward: "nat",
    vips: ROUTED_VIPS,
    local: ["10.0.2.1", "fd00:2::1"],
    interfaces: &["eth0", "eth1"],
    servers: NEAR_SERVERS,
    preparation: Preparation::None,
    links: &[CLIENT_LEG, VISITOR_LEGS, FRONT, BACK_ON_SWITCH, NEAR_SERVER_LEGS],
    routes: &[
        OUTSIDE_ROUTES,
        VIPS_BY_DIRECTOR,
        DIRECTOR_DEFAULT,
        &[
            route("router", "10.0.2.0/24", "198.51.100.1"),
            route("router", "fd00:2::/64", "2001:db8:2::1"),
        ],
        &SERVERS_BY_DIRECTOR,
    ],
    routers: &["router", "narrow", "director"],
};

/// FullNAT: the servers are in another network, behind a router of their own, and know no
/// way to the clients that avoids the director's local address.
const FULLNAT: Topology = Topology {
    name: "fullnat",
    forward: "fullnat",
    vips: ROUTED_VIPS,
    local: ["10.0.2.1", "fd00:2::1"],
    interfaces: &["eth0", "eth1"],
    servers: [
        ["10.0.5.11", "fd00:5::11"],
        ["10.0.5.12", "fd00:5::12"],
        ["10.0.5.13", "fd00:5::13"],
    ],
    preparation: Preparation::None,
    links: &[
        CLIENT_LEG,
        VISITOR_LEGS,
        FRONT,
        BACK_TO_ROUTER2,
        &[
            link(end("router2", "far", &["10.0.5.1/24", "fd00:5::1/64"]), port("p-router2")),
            link(end("server1", "eth0", &["10.0.5.11/24", "fd00:5::11/64"]), port("p-server1")),
            link(end("server2", "eth0", &["10.0.5.12/24", "fd00:5::12/64"]), port("p-server2")),
            link(end("server3", "eth0", &["10.0.5.13/24", "fd00:5::13/64"]), port("p-server3")),
        ],
    ],
    routes: &[
        OUTSIDE_ROUTES,
        VIPS_BY_DIRECTOR,
        DIRECTOR_DEFAULT,
        &[
            route("router", "10.0.5.0/24", "198.51.100.1"),
            route("router", "fd00:5::/64", "2001:db8:2::1"),
            route("director", "10.0.5.0/24", "10.0.2.254"),
            route("director", "fd00:5::/64", "fd00:2::fe"),
            route("router2", "default", "10.0.2.1"),
            route("router2", "default", "fd00:2::1"),
            route("server1", "default", "10.0.5.1"),
            route("server2", "default", "10.0.5.1"),
            route("server3", "default", "10.0.5.1"),
            route("server1", "default", "fd00:5::1"),
            route("server2", "default", "fd00:5::1"),
            route("server3", "default", "fd00:5::1"),
        ],
    ],
    routers: &["router", "narrow", "director", "router2"],
};

/// DR with one NIC: client, director, servers and router in one subnet.
const DR: Topology = Topology {
    name: "dr",
    forward: "dr",
    vips: ["192.0.2.100", "2001:db8:1::100"],
    local: ["192.0.2.2", "2001:db8:1::2"],
    interfaces: &["eth0"],
    servers: [
        ["192.0.2.11", "2001:db8:1::11"],
        ["192.0.2.12", "2001:db8:1::12"],
        ["192.0.2.13", "2001:db8:1::13"],
    ],
    preparation: Preparation::VipOnLo,
    links: &[
        VISITOR_LEGS,
        &[
            link(end("client", "eth0", &["192.0.2.10/24", "2001:db8:1::10/64"]), port("p-client")),
            link(end("router", "lan", &["192.0.2.1/24", "2001:db8:1::1/64"]), port("p-router")),
            link(
                end("director", "eth0", &["192.0.2.2/24", "2001:db8:1::2/64"]),
                port("p-director"),
            ),
            link(
                end("server1", "eth0", &["192.0.2.11/24", "2001:db8:1::11/64"]),
                port("p-server1"),
            ),
            link(
                end("server2", "eth0", &["192.0.2.12/24", "2001:db8:1::12/64"]),
                port("p-server2"),
            ),
            link(
                end("server3", "eth0", &["192.0.2.13/24", "2001:db8:1::13/64"]),
                port("p-server3"),
            ),
        ],
    ],
    routes: &[
        OUTSIDE_ROUTES,
        &[
            route("director", "default", "192.0.2.1"),
            route("director", "default", "2001:db8:1::1"),
            route("server1", "default", "192.0.2.1"),
            route("server2", "default", "192.0.2.1"),
            route("server3", "default", "192.0.2.1"),
            route("server1", "default", "2001:db8:1::1"),
            route("server2", "default", "2001:db8:1::1"),
            route("server3", "default", "2001:db8:1::1"),
        ],
    ],
    routers: &["router", "narrow"],
};

/// DR with the VIP routed to the director, and private servers that answer by the
/// router's second leg.
const DR_ROUTED: Topology = Topology {
    name: "dr-routed",
    forward: "dr",
    vips: ROUTED_VIPS,
    local: ["10.0.2.1", "fd00:2::1"],
    interfaces: &["eth0", "eth1"],
    servers: NEAR_SERVERS,
    preparation: Preparation::VipOnLo,
    links: &[
        CLIENT_LEG,
        VISITOR_LEGS,
        FRONT,
        BACK_ON_SWITCH,
        &[link(end("router", "back", &["10.0.2.253/24", "fd00:2::fd/64"]), port("p-router"))],
        NEAR_SERVER_LEGS,
    ],
    routes: &[
        OUTSIDE_ROUTES,
        VIPS_BY_DIRECTOR,
        DIRECTOR_DEFAULT,
        &[
            route("server1", "default", "10.0.2.253"),
            route("server2", "default", "10.0.2.253"),
            route("server3", "default", "10.0.2.253"),
            route("server1", "default", "fd00:2::fd"),
            route("server2", "default", "fd00:2::fd"),
            route("server3", "default", "fd00:2::fd"),
        ],
    ],
    routers: &["router", "narrow"],
};

/// TUN to servers behind another router, in a network with an MTU of 1400; the answers go
/// from that router straight to the clients' one.
const TUN: Topology = Topology {
    name: "tun",
    forward: "tun",
    vips: ROUTED_VIPS,
    local: ["10.0.2.1", "fd00:2::1"],
    interfaces: &["eth0", "eth1"],
    servers: [
        ["10.0.4.11", "fd00:4::11"],
        ["10.0.4.12", "fd00:4::12"],
        ["10.0.4.13", "fd00:4::13"],
    ],
    preparation: Preparation::VipOnLoAndDecapsulation,
    links: &[
        CLIENT_LEG,
        VISITOR_LEGS,
        FRONT,
        BACK_TO_ROUTER2,
        &[
            link(
                end("router2", "out", &["198.18.2.2/24", "2001:db8:22::2/64"]),
                end("router", "back", &["198.18.2.1/24", "2001:db8:22::1/64"]),
            ),
            narrow_link(
                end("router2", "far", &["10.0.4.1/24", "fd00:4::1/64"]),
                port("p-router2"),
                1400,
            ),
            narrow_link(
                end("server1", "eth0", &["10.0.4.11/24", "fd00:4::11/64"]),
                port("p-server1"),
                1400,
            ),
            narrow_link(
                end("server2", "eth0", &["10.0.4.12/24", "fd00:4::12/64"]),
                port("p-server2"),
                1400,
            ),
            narrow_link(
                end("server3", "eth0", &["10.0.4.13/24", "fd00:4::13/64"]),
                port("p-server3"),
                1400,
            ),
        ],
    ],
    routes: &[
        OUTSIDE_ROUTES,
        VIPS_BY_DIRECTOR,
        DIRECTOR_DEFAULT,
        &[
            route("director", "10.0.4.0/24", "10.0.2.254"),
            route("director", "fd00:4::/64", "fd00:2::fe"),
            route("router", "10.0.4.0/24", "198.18.2.2"),
            route("router", "fd00:4::/64", "2001:db8:22::2"),
            route("router2", "default", "198.18.2.1"),
            route("router2", "default", "2001:db8:22::1"),
            route("server1", "default", "10.0.4.1"),
            route("server2", "default", "10.0.4.1"),
            route("server3", "default", "10.0.4.1"),
            route("server1", "default", "fd00:4::1"),
            route("server2", "default", "fd00:4::1"),
            route("server3", "default", "fd00:4::1"),
        ],
    ],
    routers: &["router", "narrow", "router2"],
};

const ROUTED_VIPS: [&str; 2] = ["203.0.113.10", "2001:db8:f::10"];

const NEAR_SERVERS: [[&str; 2]; 3] =
    [["10.0.2.11", "fd00:2::11"], ["10.0.2.12", "fd00:2::12"], ["10.0.2.13", "fd00:2::13"]];

const CLIENT_LEG: &[Link] = &[link(
    end("client", "eth0", &["192.0.2.10/24", "2001:db8:1::10/64"]),
    end("router", "lan", &["192.0.2.1/24", "2001:db8:1::1/64"]),
)];

const VISITOR_LEGS: &[Link] = &[
    link(
        end("visitor", "eth0", &["198.18.0.10/24", "2001:db8:20::10/64"]),
        end("narrow", "near", &["198.18.0.1/24", "2001:db8:20::1/64"]),
    ),
    narrow_link(
        end("narrow", "far", &["198.18.1.2/24", "2001:db8:21::2/64"]),
        end("router", "wan", &["198.18.1.1/24", "2001:db8:21::1/64"]),
        1400,
    ),
];

const FRONT: &[Link] = &[link(
    end("router", "front", &["198.51.100.254/24", "2001:db8:2::fe/64"]),
    end("director", "eth0", &["198.51.100.1/24", "2001:db8:2::1/64"]),
)];

const BACK_ON_SWITCH: &[Link] =
    &[link(end("director", "eth1", &["10.0.2.1/24", "fd00:2::1/64"]), port("p-director"))];

const BACK_TO_ROUTER2: &[Link] = &[link(
    end("director", "eth1", &["10.0.2.1/24", "fd00:2::1/64"]),
    end("router2", "near", &["10.0.2.254/24", "fd00:2::fe/64"]),
)];

const NEAR_SERVER_LEGS: &[Link] = &[
    link(end("server1", "eth0", &["10.0.2.11/24", "fd00:2::11/64"]), port("p-server1")),
    link(end("server2", "eth0", &["10.0.2.12/24", "fd00:2::12/64"]), port("p-server2")),
    link(end("server3", "eth0", &["10.0.2.13/24", "fd00:2::13/64"]), port("p-server3")),
];

const OUTSIDE_ROUTES: &[Route] = &[
    route("client", "default", "192.0.2.1"),
    route("client", "default", "2001:db8:1::1"),
    route("visitor", "default", "198.18.0.1"),
    route("visitor", "default", "2001:db8:20::1"),
    route("narrow", "default", "198.18.1.1"),
    route("narrow", "default", "2001:db8:21::1"),
    route("router", "198.18.0.0/24", "198.18.1.2"),
    route("router", "2001:db8:20::/64", "2001:db8:21::2"),
];

const VIPS_BY_DIRECTOR: &[Route] = &[
    route("router", "203.0.113.0/24", "198.51.100.1"),
    route("router", "2001:db8:f::/64", "2001:db8:2::1"),
];

const DIRECTOR_DEFAULT: &[Route] = &[
    route("director", "default", "198.51.100.254"),
    route("director", "default", "2001:db8:2::fe"),
];

const SERVERS_BY_DIRECTOR: [Route; 6] = [
    route("server1", "default", "10.0.2.1"),
    route("server2", "default", "10.0.2.1"),
    route("server3", "default", "10.0.2.1"),
    route("server1", "default", "fd00:2::1"),
    route("server2", "default", "fd00:2::1"),
    route("server3", "default", "fd00:2::1"),
];
