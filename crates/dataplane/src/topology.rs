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

/// Longest-prefix match: one exact map for each prefix length in use, longest first.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    by_length: Vec<(u8, HashMap<u128, Route>)>,
}

impl Routes {
    /// Builds the table from `(network, prefix length, route)`; addresses of one family only.
    /// IPv4 prefixes are given as such; of two equal prefixes the first one counts.
    pub fn new(routes: impl IntoIterator<Item = (IpAddr, u8, Route)>) -> Self {
        let mut by_length: Vec<(u8, HashMap<u128, Route>)> = Vec::new();
        for (network, length, route) in routes {
            let key = prefix(network, length);
            let map = match by_length.iter_mut().position(|(l, _)| *l == length) {
                Some(at) => &mut by_length[at].1,
                None => {
                    by_length.push((length, HashMap::new()));
                    &mut by_length.last_mut().expect("just pushed").1
                }
            };
            map.entry(key).or_insert(route);
        }
        by_length.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { by_length }
    }

    /// The most specific route to `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<&Route> {
        self.by_length.iter().find_map(|(length, map)| map.get(&prefix(address, *length)))
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.by_length.iter().map(|(_, map)| map.len()).sum()
    }

    /// True if there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.by_length.is_empty()
    }
}

/// The first `length` bits of `address`, in the low bits of a word.
fn prefix(address: IpAddr, length: u8) -> u128 {
    let (value, bits) = match address {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    value.checked_shr(u32::from(bits - length.min(bits))).unwrap_or(0)
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
