//! From the kernel's routes to the table that the workers look destinations up in.

use std::net::{IpAddr, Ipv6Addr};

use dataplane::topology::{NextHop, PortId, Route as Target, RouteKind};
use hashbrown::HashMap;

use super::{
    source::{source_v4, source_v6},
    state::{Address, Kernel, Route, RouteHop, RouteKey, RouteType},
};

/// One line of the table.
pub(super) type Line = (IpAddr, u8, Target);

/// The best route for each prefix, in order of prefix. `ports` gives the port of a served
/// interface by its index.
///
/// Dead next hops do not count. Those without carrier count only where nothing else
/// leads to the prefix, so that its traffic is dropped as "port down" and does not leave
/// by a less specific route, as in the kernel (`ignore_routes_with_linkdown` 0).
pub(super) fn lines(kernel: &Kernel, ports: &HashMap<u32, PortId>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(kernel.routes.len());
    let mut last_resort: Option<Line> = None;
    for (key, routes) in &kernel.routes {
        let known = |line: &Line| (line.0, line.1) == (key.network, key.length);
        if lines.last().is_some_and(known) {
            continue;
        }
        if !last_resort.as_ref().is_some_and(known) {
            lines.extend(last_resort.take());
        }
        let route = joined(key, routes);
        let Some((carrier, target)) = target(kernel, key, &route, ports) else { continue };
        let line = (key.network, key.length, target);
        if carrier {
            last_resort = None;
            lines.push(line);
        } else {
            last_resort.get_or_insert(line);
        }
    }
    lines.extend(last_resort);
    lines
}

/// IPv6 gateways of one prefix and metric share the traffic; else the first route counts.
fn joined(key: &RouteKey, routes: &[Route]) -> Route {
    let mut route = routes[0].clone();
    let gatewayed = |route: &Route| {
        route.kind == RouteType::Unicast
            && !route.hops.is_empty()
            && route.hops.iter().all(|hop| hop.gateway.is_some())
    };
    if key.network.is_ipv6() && gatewayed(&route) {
        for other in routes[1..].iter().filter(|other| gatewayed(other)) {
            route.hops.extend(other.hops.iter().cloned());
        }
    }
    route
}

/// What the route means for a worker, and whether any of its ways has carrier; `None` if
/// no way is alive.
fn target(
    kernel: &Kernel,
    key: &RouteKey,
    route: &Route,
    ports: &HashMap<u32, PortId>,
) -> Option<(bool, Target)> {
    let fixed = |kind| Some((true, Target { kind, source: None, mtu: None }));
    match route.kind {
        RouteType::Local => return fixed(RouteKind::Local),
        RouteType::Blackhole => return fixed(RouteKind::Blackhole),
        RouteType::Unreachable => return fixed(RouteKind::Unreachable),
        RouteType::Prohibit => return fixed(RouteKind::Prohibit),
        RouteType::Unicast => {}
    }
    if route.object.is_some() {
        // Only the kernel knows the way: to a worker it is a port it does not serve, rather
        // than a less specific route.
        let unknown = NextHop { port: None, gateway: None, weight: 1 };
        return fixed(RouteKind::Via(vec![unknown]));
    }
    let alive: Vec<&RouteHop> = route.hops.iter().filter(|hop| !hop.dead).collect();
    let carrier = alive.iter().any(|hop| !hop.linkdown);
    let usable: Vec<&RouteHop> =
        alive.into_iter().filter(|hop| !carrier || !hop.linkdown).collect();
    let first = usable.first()?;
    let source = route.source.or_else(|| source(&kernel.addresses, key, route.scope, first));
    let hops = usable.iter().map(|hop| next_hop(hop, ports)).collect();
    Some((carrier, Target { kind: RouteKind::Via(hops), source, mtu: route.mtu }))
}

fn next_hop(hop: &RouteHop, ports: &HashMap<u32, PortId>) -> NextHop {
    // An encapsulating way needs the kernel: to a worker it is a port it does not serve.
    let port = ports.get(&hop.index).copied().filter(|_| !hop.encapsulates);
    NextHop { port, gateway: hop.gateway, weight: hop.weight }
}

fn source(addresses: &[Address], key: &RouteKey, scope: u8, hop: &RouteHop) -> Option<IpAddr> {
    match key.network {
        IpAddr::V4(_) => {
            let target = match hop.gateway {
                Some(IpAddr::V4(gateway)) => Some(gateway),
                _ => None,
            };
            source_v4(addresses, hop.index, target, scope).map(IpAddr::V4)
        }
        // For a default route every address is as near as any other.
        IpAddr::V6(network) => {
            let towards = if key.length == 0 { Ipv6Addr::UNSPECIFIED } else { network };
            source_v6(addresses, hop.index, towards).map(IpAddr::V6)
        }
    }
}
