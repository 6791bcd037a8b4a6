//! From the kernel's state to the topology of the workers.

use std::net::IpAddr;

use dataplane::topology::{Hop, Interface, Mac, PortId, RouteKind, Routes, Topology};
use hashbrown::HashMap;

use super::{
    hops::{HopIds, Place},
    routes::{Line, lines},
    state::{Keeper, Kernel},
};

/// Builds the topology for the interfaces named `served`, in that order. Pure but for
/// `ids`, which keeps ids and the generation from one topology to the next.
pub fn build(kernel: &Kernel, ids: &mut HopIds, served: &[String]) -> Topology {
    let interfaces: Vec<Interface> = served.iter().map(|name| interface(kernel, name)).collect();
    let ports = ports(&interfaces);
    let lines = lines(kernel, &ports);
    let places = places(kernel, &lines, &ports);
    ids.note(&interfaces, lines);
    ids.assign(&places);

    let mut hops = vec![Hop { port: 0, mac: None, source: Mac::default(), mtu: 0 }; ids.used()];
    for ((port, ip), id) in ids.ids() {
        hops[usize::from(*id)] = hop(kernel, &interfaces, *port, *ip);
    }
    let of_family =
        |v4: bool| Routes::new(ids.lines().iter().filter(|line| line.0.is_ipv4() == v4).cloned());
    Topology {
        hops,
        hop_of: ids.ids().clone(),
        routes_v4: of_family(true),
        routes_v6: of_family(false),
        local: kernel.addresses.iter().map(|address| address.ip).collect(),
        route_generation: ids.generation(),
        interfaces,
    }
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
