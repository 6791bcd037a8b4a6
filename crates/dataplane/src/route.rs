//! From a destination to a hop: longest-prefix match, multipath by the flow's hash, neighbour.

use std::net::IpAddr;

use crate::{
    breath::Breath,
    director::{Director, Family, ResolveRequest},
    forward::Protocol,
    state::State,
    table::{Found, Way},
    topology::{Hop, HopId, NO_HOP, NextHop, PortId, Route, RouteKind, Topology},
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
    match resolved(topology, port, address) {
        Some(id) => Ok((id, route.mtu)),
        None => {
            director.request_resolve(ResolveRequest { port, address });
            Err(Obstacle::Unresolved)
        }
    }
}

/// The hop that [`find_hop`] finds for every flow to `destination`, where there is one that says
/// everything: one next hop only, and no MTU of the route's own.
pub(crate) fn sole_hop(topology: &Topology, destination: IpAddr) -> Option<HopId> {
    let route = topology.route(destination)?;
    let RouteKind::Via(hops) = &route.kind else { return None };
    let [next] = hops.as_slice() else { return None };
    let id = resolved(topology, next.port?, next.gateway.unwrap_or(destination))?;
    let narrow = route.mtu.is_some_and(|mtu| mtu < topology.hops[usize::from(id)].mtu);
    (!narrow).then_some(id)
}

/// The hop to a neighbour whose MAC is known.
fn resolved(topology: &Topology, port: PortId, address: IpAddr) -> Option<HopId> {
    let id = *topology.hop_of.get(&(port, address))?;
    topology.hops[usize::from(id)].mac.is_some().then_some(id)
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

impl<'a> Breath<'a> {
    /// The connection's hop in this packet's direction, from the entry while routes stand still,
    /// and the MTU of the way.
    #[inline(always)]
    pub(crate) fn hop<A: Family>(&self, found: &Found<A>) -> Result<(&'a Hop, u16), Obstacle> {
        let topology = &self.snapshot.topology;
        let fresh = self.settled(found);
        let cached = match found.direction {
            Way::Forward => found.hops.hop_in(),
            Way::Reverse => found.hops.hop_out(),
        };
        // NO_HOP is no index. Nor is, for a moment, the id of a new neighbour that a worker with
        // a newer snapshot has put there: new ids do not raise the generation. A neighbour
        // without a MAC is looked up, so that the kernel is asked for it.
        if fresh
            && let Some(hop) = topology.hops.get(usize::from(cached))
            && hop.mac.is_some()
        {
            return Ok((hop, hop.mtu));
        }
        self.look_up_hop(*found, fresh)
    }

    #[inline(never)]
    fn look_up_hop<A: Family>(
        &self,
        found: Found<A>,
        fresh: bool,
    ) -> Result<(&'a Hop, u16), Obstacle> {
        let c = &found.connection;
        let topology = &self.snapshot.topology;
        let table = A::table(self.director);
        let destination = match found.direction {
            Way::Forward => self.server_address(&found),
            Way::Reverse => {
                // The server's first datagram comes here: its client is a real one. Handshakes
                // tell by themselves.
                if c.protocol == Protocol::Udp {
                    A::templates(self.director).assure(c.template);
                }
                c.client.ip()
            }
        };
        let hash = table.hash(&c.forward_key());
        let (id, route_mtu) = find_hop(topology, self.director, destination, hash)?;
        let hop = &topology.hops[usize::from(id)];
        // The entry has no room for a route's own MTU: where there is one, each packet looks.
        let mtu = route_mtu.filter(|mtu| *mtu < hop.mtu);
        let known = if mtu.is_some() { NO_HOP } else { id };
        let (hop_in, hop_out) = match found.direction {
            Way::Forward => (known, if fresh { found.hops.hop_out() } else { NO_HOP }),
            Way::Reverse => (if fresh { found.hops.hop_in() } else { NO_HOP }, known),
        };
        // What is not cached is looked at again: see [`crate::gone`].
        let passes = !self.gone(&found) && !only_reported(&found);
        if passes && (hop_in, hop_out, fresh) != (found.hops.hop_in(), found.hops.hop_out(), true) {
            table.set_hops(&found, self.snapshot.hop_generation, hop_in, hop_out);
        }
        Ok((hop, mtu.unwrap_or(hop.mtu)))
    }

    /// Where packets to the connection's server go: in TUN the tunnel's end.
    pub(crate) fn server_address<A: Family>(&self, found: &Found<A>) -> IpAddr {
        let servers = &self.snapshot.services.servers;
        match servers.get(found.connection.server_id as usize) {
            Some(Some(server)) => server.address,
            _ => found.connection.server.ip(),
        }
    }

    /// The MTU of the way in the other direction.
    pub(crate) fn way_back_mtu<A: Family>(&self, found: &Found<A>) -> Option<u16> {
        let direction = match found.direction {
            Way::Forward => Way::Reverse,
            Way::Reverse => Way::Forward,
        };
        let (_, mtu) = self.hop(&Found { direction, ..*found }).ok()?;
        (mtu > 0).then_some(mtu)
    }
}

/// True for a connection of which nothing passed yet: an ICMP error opened it
/// (`schedule_icmp`).
fn only_reported<A>(found: &Found<A>) -> bool {
    State::from_number(found.meta.state()).is_some_and(State::is_reported)
}
