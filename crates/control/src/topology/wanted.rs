//! The neighbours that the kernel shall keep fresh, and those that it cannot resolve alone.

use std::{collections::BTreeSet, net::IpAddr};

use dataplane::topology::{RouteKind, Topology};

use super::{
    routes::Line,
    source::source_v4,
    state::{Kernel, SCOPE_LINK},
};

/// An interface's index and a neighbour on it.
pub(super) type Neighbour = (u32, IpAddr);

/// The gateways of routes through served interfaces that are up, and `servers` on the link.
pub(super) fn wanted(
    topology: &Topology,
    lines: &[Line],
    servers: &[IpAddr],
) -> BTreeSet<Neighbour> {
    let mut wanted = BTreeSet::new();
    for (_, _, route) in lines {
        add(topology, &route.kind, None, &mut wanted);
    }
    for server in servers.iter().filter(|server| !topology.local.contains(*server)) {
        if let Some(route) = topology.route(*server) {
            add(topology, &route.kind, Some(*server), &mut wanted);
        }
    }
    wanted
}

/// Adds the route's gateways, and the destination where a next hop has none.
fn add(
    topology: &Topology,
    kind: &RouteKind,
    destination: Option<IpAddr>,
    wanted: &mut BTreeSet<Neighbour>,
) {
    let RouteKind::Via(hops) = kind else { return };
    for hop in hops {
        // Probes' sockets are behind a port without an interface.
        let interface = hop.port.and_then(|port| topology.interfaces.get(usize::from(port)));
        if let Some(interface) = interface.filter(|interface| interface.up)
            && let Some(ip) = hop.gateway.or(destination)
        {
            wanted.insert((interface.index, ip));
        }
    }
}

/// True if the kernel's ARP request for this neighbour would carry one of `vips` as sender,
/// which a real server that has the VIP too does not answer, or would find no sender. Then
/// [`frames::probe`](crate::kernel::frames::probe) must ask. Neighbour discovery is not
/// concerned: it asks from the link-local address.
pub(super) fn probe_needed(kernel: &Kernel, neighbour: Neighbour, vips: &[IpAddr]) -> bool {
    let (index, IpAddr::V4(target)) = neighbour else { return false };
    match source_v4(&kernel.addresses, index, Some(target), SCOPE_LINK) {
        Some(source) => vips.contains(&source.into()),
        None => true,
    }
}
