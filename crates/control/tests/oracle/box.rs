//! `oracle::ground` as xlvs sees it: the mirrored topology of the director.

use std::net::IpAddr;

use dataplane::topology::{
    Hop, Interface, Mac, NextHop, PortId, Route, RouteKind, Routes, Topology,
};
use oracle::ground::{self, CLIENTS, LOCAL, Port, VIPS6};

/// The director's interfaces, routes and neighbours; `mtu` by port.
pub(crate) fn topology(mtu: [u16; 2], generation: u32) -> Topology {
    let interfaces = Port::ALL.map(|port| Interface {
        name: port.interface().to_owned(),
        index: port.number() as u32 + 1,
        mac: Mac(port.mac()),
        mtu: mtu[port.number()],
        up: true,
    });
    let mut topology = Topology { route_generation: generation, ..Topology::default() };
    for neighbour in ground::neighbours() {
        let port = neighbour.port.number();
        for address in [IpAddr::V4(neighbour.address4), IpAddr::V6(neighbour.address6)] {
            let id = topology.hops.len() as u16;
            topology.hop_of.insert((port as PortId, address), id);
            topology.hops.push(Hop {
                port: port as PortId,
                mac: Some(Mac(neighbour.mac)),
                source: Mac(neighbour.port.mac()),
                mtu: mtu[port],
            });
        }
    }
    topology.interfaces = interfaces.to_vec();
    topology.local = local_addresses();
    let (v6, v4): (Vec<_>, Vec<_>) = routes().into_iter().partition(|(net, ..)| net.is_ipv6());
    topology.routes_v4 = Routes::new(v4);
    topology.routes_v6 = Routes::new(v6);
    topology
}

fn local_addresses<C: FromIterator<IpAddr>>() -> C {
    let own = Port::ALL
        .into_iter()
        .flat_map(|port| [IpAddr::V4(port.address4()), IpAddr::V6(port.address6())]);
    own.chain(vips6()).collect()
}

fn vips6() -> impl Iterator<Item = IpAddr> {
    (1..=VIPS6).map(|n| IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 0, n]))
}

fn routes() -> Vec<(IpAddr, u8, Route)> {
    let mut routes = Vec::new();
    let via = |port: Port, gateway: Option<IpAddr>, source: IpAddr| Route {
        kind: RouteKind::Via(vec![NextHop {
            port: Some(port.number() as PortId),
            gateway,
            weight: 1,
        }]),
        source: Some(source),
        mtu: None,
    };
    for port in Port::ALL {
        let (v4, v6) = (IpAddr::V4(port.address4()), IpAddr::V6(port.address6()));
        routes.push((v4, 24, via(port, None, v4)));
        routes.push((v6, 64, via(port, None, v6)));
    }
    let gateway = ground::neighbours().into_iter().find(|n| n.name == "gw").expect("a gateway");
    for prefix in CLIENTS {
        let (network, length) = prefix.split_once('/').expect("a prefix");
        let network: IpAddr = network.parse().expect("an address");
        let (gateway, source) = if network.is_ipv4() {
            (IpAddr::V4(gateway.address4), IpAddr::V4(Port::Front.address4()))
        } else {
            (IpAddr::V6(gateway.address6), IpAddr::V6(Port::Front.address6()))
        };
        let route = via(Port::Front, Some(gateway), source);
        routes.push((network, length.parse().expect("a length"), route));
    }
    let local = || Route { kind: RouteKind::Local, source: None, mtu: None };
    let prefixes = LOCAL.into_iter().map(|(net, length)| (IpAddr::V4(net), length, local()));
    routes.extend(prefixes);
    routes.extend(vips6().map(|vip| (vip, 128, local())));
    for port in Port::ALL {
        routes.push((port.address4().into(), 32, local()));
        routes.push((port.address6().into(), 128, local()));
    }
    routes
}
