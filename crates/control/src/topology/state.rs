//! What the kernel said, as plain values, and how one event changes it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
};

use dataplane::topology::Mac;
use hashbrown::HashMap;

/// A network interface, served or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its MAC address; zero if it has none.
    pub mac: Mac,
    /// Its MTU in octets.
    pub mtu: u32,
    /// Administratively up, with carrier.
    pub up: bool,
}

/// `RT_SCOPE_LINK`: an address or route that is only meant for the link.
pub const SCOPE_LINK: u8 = 253;

/// An address of this box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's index.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The prefix length.
    pub length: u8,
    /// `RT_SCOPE_*`: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// IPv4: another address of the same subnet came first.
    pub secondary: bool,
    /// IPv6: duplicate address detection is not over, or found a duplicate.
    pub tentative: bool,
    /// IPv6: its preferred lifetime is over.
    pub deprecated: bool,
    /// `IFA_PROTO`: who added it; 0 unknown.
    pub protocol: u8,
}

/// The table that a route stands in. `local` counts before `main` for equal prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// 255: the kernel's own addresses, broadcasts and multicasts.
    Local,
    /// 254: what the operator and routing daemons write.
    Main,
}

/// What tells routes apart; in order of preference for one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The destination network.
    pub network: IpAddr,
    /// Its prefix length.
    pub length: u8,
    /// The table.
    pub table: Table,
    /// The metric; the lowest wins.
    pub metric: u32,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteType {
    /// Delivers to this box: local, broadcast, anycast and multicast routes.
    Local,
    /// Forwards.
    Unicast,
    /// Drops silently.
    Blackhole,
    /// Drops with ICMP host unreachable; also `throw`, as no other table follows.
    Unreachable,
    /// Drops with ICMP administratively prohibited.
    Prohibit,
}

/// One way of a unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteHop {
    /// The interface's index.
    pub index: u32,
    /// The gateway; `None` on the link.
    pub gateway: Option<IpAddr>,
    /// The weight, at least 1.
    pub weight: u16,
    /// `RTNH_F_DEAD`: its interface is gone or down.
    pub dead: bool,
    /// `RTNH_F_LINKDOWN`: its interface has no carrier.
    pub linkdown: bool,
    /// It encapsulates (MPLS, SEG6, ...), which only the kernel can.
    pub encapsulates: bool,
}

/// One route as the kernel told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it does.
    pub kind: RouteType,
    /// Where to, for a unicast route.
    pub hops: Vec<RouteHop>,
    /// Its `src`.
    pub source: Option<IpAddr>,
    /// Its `mtu` metric.
    pub mtu: Option<u16>,
    /// `RT_SCOPE_*`, for choosing a source address.
    pub scope: u8,
    /// `RTA_NH_ID`, where the kernel did not tell what the object contains.
    pub object: Option<u32>,
}

/// Who keeps a neighbour entry fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The kernel's ordinary ageing.
    Ageing,
    /// The kernel on our behalf: `NTF_EXT_MANAGED`, marked with [`OUR_PROTOCOL`].
    Us,
    /// Somebody else: permanent, noarp, externally learned, or managed by another program.
    Others,
}

/// The mark (`NDA_PROTOCOL`, `IFA_PROTO`) on what xlvs adds to the kernel: `X`.
pub const OUR_PROTOCOL: u8 = 0x58;

/// A neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The MAC, if the entry's state allows its use.
    pub mac: Option<Mac>,
    /// Who keeps it fresh.
    pub keeper: Keeper,
}

/// One thing that the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link is there, or changed.
    Link(u32, Link),
    /// A link is gone.
    LinkGone(u32),
    /// An address is there, or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is there; `replace`: instead of the one with the same key.
    Route {
        /// Which.
        key: RouteKey,
        /// What it says.
        route: Route,
        /// Instead of the present one.
        replace: bool,
    },
    /// A route is gone.
    RouteGone(RouteKey, Route),
    /// A neighbour entry is there, or changed.
    Neighbour(u32, IpAddr, Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone(u32, IpAddr),
    /// Nexthop objects changed.
    NexthopObjects,
}

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing new.
    Nothing,
    /// The state changed.
    Changed,
    /// The state changed, and routes may have changed without a word: IPv4 routes go
    /// silently when their interface goes down (`fib_flush`), and of several routes with
    /// one key the event does not tell the order. Read the routes again.
    RoutesUncertain,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// By interface index.
    pub links: HashMap<u32, Link>,
    /// In the kernel's order, by which it chooses source addresses.
    pub addresses: Vec<Address>,
    /// In order of preference; several of one key in the kernel's order.
    pub routes: BTreeMap<RouteKey, Vec<Route>>,
    /// By interface index and address.
    pub neighbours: HashMap<(u32, IpAddr), Neighbour>,
    /// The most routes of the main table that are kept.
    pub route_limit: usize,
    /// Routes of the main table that are kept.
    main_routes: usize,
    /// Routes that the limit refused since the routes were last read as a whole.
    pub refused_routes: u64,
}

impl Kernel {
    /// Nothing known yet; at most `route_limit` routes of the main table.
    pub fn new(route_limit: usize) -> Self {
        Self { route_limit, ..Self::default() }
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: Event) -> Effect {
        match event {
            Event::Link(index, link) => self.link(index, link),
            Event::LinkGone(index) => self.link_gone(index),
            Event::Address(address) => self.address(address),
            Event::AddressGone(address) => self.address_gone(&address),
            Event::Route { key, route, replace } => self.route(key, route, replace),
            Event::RouteGone(key, route) => self.route_gone(key, &route),
            Event::Neighbour(index, ip, neighbour) => {
                changed(self.neighbours.insert((index, ip), neighbour) != Some(neighbour))
            }
            Event::NeighbourGone(index, ip) => {
                changed(self.neighbours.remove(&(index, ip)).is_some())
            }
            Event::NexthopObjects => Effect::RoutesUncertain,
        }
    }

    /// Exchanges all routes for those that a dump gave; in the kernel's order.
    /// True if anything is different from before.
    pub fn replace_routes(&mut self, dumped: impl IntoIterator<Item = (RouteKey, Route)>) -> bool {
        let before = std::mem::take(&mut self.routes);
        self.main_routes = 0;
        self.refused_routes = 0;
        for (key, route) in dumped {
            self.keep(key, route);
        }
        self.routes != before
    }

    /// The index of the interface with this name.
    pub fn index_of(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, _)| *index)
    }

    fn link(&mut self, index: u32, link: Link) -> Effect {
        let up = link.up;
        match self.links.insert(index, link) {
            Some(old) if old == self.links[&index] => Effect::Nothing,
            Some(old) if old.up == up => Effect::Changed,
            _ => Effect::RoutesUncertain,
        }
    }

    fn link_gone(&mut self, index: u32) -> Effect {
        self.addresses.retain(|address| address.index != index);
        self.neighbours.retain(|(at, _), _| *at != index);
        match self.links.remove(&index) {
            Some(_) => Effect::RoutesUncertain,
            None => Effect::Nothing,
        }
    }

    fn address(&mut self, address: Address) -> Effect {
        if let Some(known) = self.addresses.iter_mut().find(|known| same(known, &address)) {
            let news = *known != address;
            *known = address;
            return changed(news);
        }
        // The kernel appends IPv4 addresses (inet_insert_ifa) and puts IPv6 ones before
        // the older of their scope (ipv6_link_dev_addr).
        match address.ip {
            IpAddr::V4(_) => self.addresses.push(address),
            IpAddr::V6(_) => self.addresses.insert(0, address),
        }
        Effect::Changed
    }

    fn address_gone(&mut self, address: &Address) -> Effect {
        let before = self.addresses.len();
        self.addresses.retain(|known| !same(known, address));
        if self.addresses.len() == before { Effect::Nothing } else { Effect::RoutesUncertain }
    }

    fn route(&mut self, key: RouteKey, route: Route, replace: bool) -> Effect {
        match self.routes.get_mut(&key).map(Vec::as_mut_slice) {
            None => changed(self.keep(key, route)),
            Some([known]) if *known == route => Effect::Nothing,
            Some([known]) if replace => {
                *known = route;
                Effect::Changed
            }
            Some(_) => Effect::RoutesUncertain,
        }
    }

    fn route_gone(&mut self, key: RouteKey, route: &Route) -> Effect {
        // Beyond the limit, room for one of the refused was just made.
        let refused = self.refused_routes > 0 && key.table == Table::Main;
        let Entry::Occupied(known) = self.routes.entry(key) else { return Effect::Nothing };
        if known.get().as_slice() != std::slice::from_ref(route) || refused {
            return Effect::RoutesUncertain;
        }
        known.remove();
        self.main_routes -= usize::from(key.table == Table::Main);
        Effect::Changed
    }

    /// Adds a route behind those of the same key, unless the table is full.
    fn keep(&mut self, key: RouteKey, route: Route) -> bool {
        if key.table == Table::Main {
            if self.main_routes >= self.route_limit {
                self.refused_routes += 1;
                return false;
            }
            self.main_routes += 1;
        }
        self.routes.entry(key).or_default().push(route);
        true
    }
}

fn changed(yes: bool) -> Effect {
    if yes { Effect::Changed } else { Effect::Nothing }
}

fn same(a: &Address, b: &Address) -> bool {
    (a.index, a.ip, a.length) == (b.index, b.ip, b.length)
}
