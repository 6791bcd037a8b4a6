//! From the kernel's state to the topology of the workers.

use std::net::IpAddr;

use dataplane::topology::{Hop, Interface, Mac, PortId, RouteKind, Routes, Topology};
use hashbrown::HashMap;

use super::{
    hops::{HopIds, Place},
    probed::Probed,
    routes::{Line, lines},
    state::{Keeper, Kernel},
};

/// Addresses with a fixed MAC (`mac:` of a real server): nobody need resolve them.
pub type Statics = HashMap<IpAddr, Mac>;

/// Builds the topology for the interfaces named `served`, in that order. Pure but for
/// `ids`, which keeps ids and the generation from one topology to the next.
pub fn build(
    kernel: &Kernel,
    ids: &mut HopIds,
    served: &[String],
    (statics, probed): (&Statics, Option<&Probed>),
) -> Topology {
    let interfaces: Vec<Interface> = served.iter().map(|name| interface(kernel, name)).collect();
    let ports = ports(&interfaces);
    let mut lines = lines(kernel, &ports);
    lines.splice(0..0, probed.into_iter().flat_map(Probed::lines));
    let of_family =
        |v4: bool| Routes::new(lines.iter().filter(|line| line.0.is_ipv4() == v4).cloned());
    let (routes_v4, routes_v6) = (of_family(true), of_family(false));
    let mut places = places(kernel, &lines, &ports);
    let fixed = static_places(&routes_v4, &routes_v6, statics);
    places.retain(|place| fixed.binary_search(place).is_err());
    places.extend(fixed);
    places.splice(0..0, probed.into_iter().flat_map(Probed::places));
    ids.note(&interfaces, lines);
    ids.assign(&places);

    let mut hops = vec![Hop { port: 0, mac: None, source: Mac::default(), mtu: 0 }; ids.used()];
    for ((port, ip), id) in ids.ids() {
        let probed = probed.filter(|probed| probed.port == *port).map(Probed::hop);
        hops[usize::from(*id)] = probed.unwrap_or_else(|| {
            let hop = hop(kernel, &interfaces, *port, *ip);
            Hop { mac: statics.get(ip).copied().or(hop.mac), ..hop }
        });
    }
    Topology {
        hops,
        hop_of: ids.ids().clone(),
        routes_v4,
        routes_v6,
        probes: probed.map(|probed| probed.port),
        local: kernel.addresses.iter().map(|address| address.ip).collect(),
        route_generation: ids.generation(),
        interfaces,
    }
}

/// Where the fixed addresses are: on the link that their route names.
fn static_places(v4: &Routes, v6: &Routes, statics: &Statics) -> Vec<Place> {
    let place = |ip: &IpAddr| {
        let routes = if ip.is_ipv4() { v4 } else { v6 };
        let RouteKind::Via(hops) = &routes.lookup(*ip)?.kind else { return None };
        let on_link = hops.iter().find(|hop| hop.gateway.is_none())?;
        Some((on_link.port?, *ip))
    };
    let mut places: Vec<Place> = statics.keys().filter_map(place).collect();
    places.sort_unstable();
    places
}

fn interface(kernel: &Kernel, name: &str) -> Interface {
    let index = kernel.index_of(name).unwrap_or(0);
    let link = kernel.links.get(&index);
    Interface {
        name: name.to_owned(),
        index,
        mac: link.map(|link| link.mac).unwrap_or_default(),
        mtu: link.map_or(0, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX)),
        up: link.is_some_and(|link| link.up),
    }
}

/// The port of each served interface that exists, by index.
pub(super) fn ports(interfaces: &[Interface]) -> HashMap<u32, PortId> {
    let numbered = (0..).zip(interfaces).filter(|(_, interface)| interface.index != 0);
    numbered.map(|(port, interface)| (interface.index, port)).collect()
}

/// The neighbours that need an id, the most important first, for the case that there are
/// more than ids: gateways, those that somebody keeps fresh, all that are resolved. Sorted,
/// so that one state always gives one result.
fn places(kernel: &Kernel, lines: &[Line], ports: &HashMap<u32, PortId>) -> Vec<Place> {
    let mut gateways: Vec<Place> = Vec::new();
    for (_, _, route) in lines {
        let RouteKind::Via(hops) = &route.kind else { continue };
        gateways.extend(hops.iter().filter_map(|hop| Some((hop.port?, hop.gateway?))));
    }
    gateways.sort_unstable();
    gateways.dedup();
    let (mut kept, mut resolved) = (Vec::new(), Vec::new());
    for ((index, ip), neighbour) in &kernel.neighbours {
        let Some(port) = ports.get(index) else { continue };
        match neighbour.keeper {
            Keeper::Us | Keeper::Others => kept.push((*port, *ip)),
            Keeper::Ageing if neighbour.mac.is_some() => resolved.push((*port, *ip)),
            Keeper::Ageing => {}
        }
    }
    kept.retain(|place| gateways.binary_search(place).is_err());
    resolved.retain(|place| gateways.binary_search(place).is_err());
    kept.sort_unstable();
    resolved.sort_unstable();
    gateways.into_iter().chain(kept).chain(resolved).collect()
}

fn hop(kernel: &Kernel, interfaces: &[Interface], port: PortId, ip: IpAddr) -> Hop {
    let interface = &interfaces[usize::from(port)];
    let mac = kernel.neighbours.get(&(interface.index, ip)).and_then(|neighbour| neighbour.mac);
    let mtu = if interface.up { interface.mtu } else { 0 };
    Hop { port, mac, source: interface.mac, mtu }
}
