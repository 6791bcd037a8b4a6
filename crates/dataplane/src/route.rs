//! From a destination to a hop: longest-prefix match, multipath by the flow's hash, neighbour.

use std::net::IpAddr;

use crate::{
    director::{Director, ResolveRequest},
    topology::{HopId, NextHop, Route, RouteKind, Topology},
    verdict::Drop,
};

/// Why there is no hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No way: the packet is dropped by this name.
    Drop(Drop),
    /// The destination is this box.
    Local,
    /// The kernel is asked for the neighbour's MAC: worth waiting for.
    Unresolved,
}

/// The hop towards `destination`, and the route's own MTU, if it has one. `hash` chooses among
/// the next hops of a multipath route, so that a flow stays on one.
///
/// # Errors
/// See [`Obstacle`]; for an unknown neighbour the request to resolve it has been made.
pub fn find_hop(
    topology: &Topology,
    director: &Director,
    destination: IpAddr,
    hash: u64,
) -> Result<(HopId, Option<u16>), Obstacle> {
    let route = topology.route(destination).ok_or(Obstacle::Drop(Drop::NoRoute))?;
    let next = choose(route, hash)?;
    let port = next.port.ok_or(Obstacle::Drop(Drop::PortNotServed))?;
    let address = next.gateway.unwrap_or(destination);
    let known = topology.hop_of.get(&(port, address)).copied();
    match known.filter(|id| topology.hops[usize::from(*id)].mac.is_some()) {
        Some(id) => Ok((id, route.mtu)),
        None => {
            director.request_resolve(ResolveRequest { port, address });
            Err(Obstacle::Unresolved)
        }
    }
}

/// The address that the kernel would send from towards `destination`.
pub fn source_towards(topology: &Topology, destination: IpAddr) -> Option<IpAddr> {
    topology.route(destination)?.source
}

fn choose(route: &Route, hash: u64) -> Result<&NextHop, Obstacle> {
    let hops = match &route.kind {
        RouteKind::Via(hops) => hops,
        RouteKind::Local => return Err(Obstacle::Local),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
            return Err(Obstacle::Drop(Drop::RouteRefuses));
        }
    };
    if let [only] = hops.as_slice() {
        return Ok(only);
    }
    let total: u64 = hops.iter().map(|hop| u64::from(hop.weight)).sum();
    let mut at = if total == 0 { 0 } else { hash % total };
    for hop in hops {
        match at.checked_sub(u64::from(hop.weight)) {
            None => return Ok(hop),
            Some(rest) => at = rest,
        }
    }
    hops.first().ok_or(Obstacle::Drop(Drop::NoRoute))
}
