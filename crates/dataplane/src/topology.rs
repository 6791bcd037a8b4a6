//! The kernel's routes, neighbours, addresses and MTUs as the workers see them.
//!
//! `control` mirrors netlink into this shape; the datapath only reads it. Hop ids
//! are stable while a hop lives: a neighbour that changes its MAC keeps its id (live
//! connections see the new MAC at the next burst), a changed route raises
//! `route_generation` (live connections look their route up once more).

use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Index of an interface in the `interfaces:` list, and of the worker's port on it.
pub type PortId = u16;

/// Index into [`Topology::hops`].
pub type HopId = u16;

/// "No hop": nothing was looked up, or nothing was found.
pub const NO_HOP: HopId = HopId::MAX;

/// One interface that xlvs serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as in the file.
    pub name: String,
    /// The kernel's index; 0 while the interface does not exist.
    pub index: u32,
    /// Its MAC address, the source of what leaves there.
    pub mac: Mac,
    /// Its MTU in octets, without the Ethernet header.
    pub mtu: u16,
    /// Administratively up, with carrier.
    pub up: bool,
}

/// A neighbour to which frames can be addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The port through which it is reached.
    pub port: PortId,
    /// Its MAC; `None` while the kernel has not resolved it.
    pub mac: Option<Mac>,
    /// Our MAC on that port.
    pub source: Mac,
    /// The port's MTU in octets; 0 while the port is down.
    pub mtu: u16,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The port to leave by; `None` if the interface is not one that xlvs serves.
    pub port: Option<PortId>,
    /// The gateway; `None` if destinations are on the link.
    pub gateway: Option<IpAddr>,
    /// The weight among the next hops of a multipath route, at least 1.
    pub weight: u16,
}

/// What the kernel does with a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// It is an address of this box, or a broadcast or multicast one.
    Local,
    /// Sent to one of these, chosen by the flow's hash.
    Via(Vec<NextHop>),
    /// Dropped silently.
    Blackhole,
    /// Dropped, with ICMP host unreachable.
    Unreachable,
    /// Dropped, with ICMP administratively prohibited.
    Prohibit,
}

/// One entry of the main routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What happens.
    pub kind: RouteKind,
    /// The address that the kernel would use as source on this route: its `src`, or the
    /// primary address of the interface.
    pub source: Option<IpAddr>,
    /// The route's own `mtu` metric, if it has one.
    pub mtu: Option<u16>,
}

/// Longest-prefix match by binary search: the prefixes cut the addresses into ranges, and each
/// range knows its most specific route (Lampson, Srinivasan and Varghese, "IP Lookups using
/// Multiway and Multicolumn Search", INFOCOM 1998).
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The first addresses of the ranges, ascending.
    starts: Vec<u128>,
    /// By range: its route; [`NOWHERE`] if it has none.
    leads: Vec<u32>,
    routes: Vec<Route>,
}

/// The number of no route.
const NOWHERE: u32 = u32::MAX;

impl Routes {
    /// Builds the table from `(network, prefix length, route)`; addresses of one family only.
    /// IPv4 prefixes are given as such; of two equal prefixes the first one counts.
    pub fn new(routes: impl IntoIterator<Item = (IpAddr, u8, Route)>) -> Self {
        let mut given: Vec<(Range, Route)> = routes
            .into_iter()
            .map(|(network, length, route)| (Range::new(network, length), route))
            .collect();
        // What is wider comes before what is within it.
        given.sort_by_key(|(range, _)| (range.first, std::cmp::Reverse(range.last)));
        given.dedup_by_key(|(range, _)| *range);
        let mut table = Self::default();
        let mut around: Vec<(Range, u32)> = Vec::new();
        for (number, (range, route)) in given.into_iter().enumerate() {
            table.leave(&mut around, |outer| outer.last < range.first);
            table.begin(range.first, number as u32);
            around.push((range, number as u32));
            table.routes.push(route);
        }
        table.leave(&mut around, |_| true);
        table
    }

    /// Behind the ranges that are over, what is around them goes on.
    fn leave(&mut self, around: &mut Vec<(Range, u32)>, over: impl Fn(&Range) -> bool) {
        while let Some((range, _)) = around.pop_if(|(range, _)| over(range)) {
            if let Some(behind) = range.last.checked_add(1) {
                self.begin(behind, around.last().map_or(NOWHERE, |(_, number)| *number));
            }
        }
    }

    fn begin(&mut self, start: u128, number: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.leads.pop();
        }
        self.starts.push(start);
        self.leads.push(number);
    }

    /// The most specific route to `address`.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<&Route> {
        let value = value(address);
        let behind = self.starts.partition_point(|start| *start <= value);
        let number = self.leads[behind.checked_sub(1)?];
        self.routes.get(number as usize)
    }

    /// The number of routes.
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    /// True if there is no route at all.
    pub const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// The addresses of a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u128,
    last: u128,
}

impl Range {
    fn new(network: IpAddr, length: u8) -> Self {
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let hosts = u128::MAX.checked_shr(128 - u32::from(bits - length.min(bits))).unwrap_or(0);
        let first = value(network) & !hosts;
        Self { first, last: first | hosts }
    }
}

/// The address as a number of its family.
#[inline]
fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The mirror of the kernel's forwarding state.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The served interfaces, in file order; index is [`PortId`].
    pub interfaces: Vec<Interface>,
    /// Neighbours; index is [`HopId`]. A retired hop keeps its place with `mac: None`.
    pub hops: Vec<Hop>,
    /// Which hop leads to a neighbour address on a port.
    pub hop_of: HashMap<(PortId, IpAddr), HopId>,
    /// The IPv4 routes.
    pub routes_v4: Routes,
    /// The IPv6 routes.
    pub routes_v6: Routes,
    /// All addresses of this box, on any interface.
    pub local: HashSet<IpAddr>,
    /// The port behind which the sockets of health probes are, if there are any: see
    /// [`crate::probe`]. Their addresses are routed to it.
    pub probes: Option<PortId>,
    /// Raised whenever a route, a port or the meaning of a hop id changed; fits 24 bits.
    pub route_generation: u32,
}

impl Topology {
    /// What is sent to `address` is this box's own: an address on an interface, or within a local
    /// route (`ip route add local`), which VIPs may be too.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.local.contains(&address)
            || self.route(address).is_some_and(|route| matches!(route.kind, RouteKind::Local))
    }

    /// Packets from `address` cannot come from the network: it is one of this box
    /// (`fib_validate_source` of the kernel), or probes are sent from it.
    pub fn never_arrives_from(&self, address: IpAddr) -> bool {
        match self.route(address).map(|route| &route.kind) {
            Some(RouteKind::Local) => true,
            Some(RouteKind::Via(hops)) => {
                self.probes.is_some() && hops.iter().any(|hop| hop.port == self.probes)
            }
            _ => false,
        }
    }

    /// The most specific route to `address`, of its family.
    pub fn route(&self, address: IpAddr) -> Option<&Route> {
        match address {
            IpAddr::V4(_) => self.routes_v4.lookup(address),
            IpAddr::V6(_) => self.routes_v6.lookup(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Prefix;

    /// Routes are told apart by their MTU here.
    fn route(mtu: u16) -> Route {
        Route { kind: RouteKind::Local, source: None, mtu: Some(mtu) }
    }

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *state >> 33
    }

    /// A few addresses next to the edges of prefixes, both ends of the family among them.
    fn address(state: &mut u64, v6: bool) -> IpAddr {
        let places = [0, 1, 0x0a00_0000, 0x0a00_00ff, 0x0a00_0100, 0x7fff_ffff, 0xffff_ffff];
        let bits = places[random(state) as usize % places.len()] ^ random(state) as u32 & 3;
        if v6 {
            let low = if bits & 1 == 0 { 0 } else { u128::from(u64::MAX) };
            IpAddr::from((u128::from(bits) << 96 | low).to_be_bytes())
        } else {
            IpAddr::from(bits.to_be_bytes())
        }
    }

    #[test]
    fn the_longest_prefix_counts_and_of_two_equal_ones_the_first() {
        let mut state = 5;
        for round in 0..2000u16 {
            let v6 = round % 2 == 0;
            let bits = if v6 { 129 } else { 33 };
            let given: Vec<(IpAddr, u8, Route)> = (0..round % 12)
                .map(|n| (address(&mut state, v6), (random(&mut state) % bits) as u8, route(n)))
                .collect();
            let routes = Routes::new(given.clone());
            assert_eq!(routes.is_empty(), given.is_empty());
            for _ in 0..50 {
                let to = address(&mut state, v6);
                let within = |(network, length, _): &&(IpAddr, u8, Route)| {
                    Prefix::new(*network, *length).unwrap().contains(to)
                };
                // The first of the longest: `max_by_key` gives the last of several.
                let expected =
                    given.iter().rev().filter(within).max_by_key(|(_, length, _)| *length);
                assert_eq!(
                    routes.lookup(to),
                    expected.map(|(_, _, route)| route),
                    "{to} {given:?}"
                );
            }
        }
    }
}
