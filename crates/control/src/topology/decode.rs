//! From netlink messages to events; whatever does not concern forwarding gives `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::topology::Mac;
use netlink_packet_core::{NLM_F_REPLACE, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
        RouteNextHopFlags, RouteType as NetlinkType, RouteVia,
    },
};

use super::state::{
    Address, Event, Keeper, Link, Neighbour, OUR_PROTOCOL, Route, RouteHop, RouteKey, RouteType,
    Table,
};

/// What a message says about forwarding.
pub(super) fn event(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    let NetlinkPayload::InnerMessage(inner) = &message.payload else { return None };
    match inner {
        RouteNetlinkMessage::NewLink(m) => link(m).map(|l| Event::Link(m.header.index, l)),
        RouteNetlinkMessage::DelLink(m) => ours(m).then_some(Event::LinkGone(m.header.index)),
        RouteNetlinkMessage::NewAddress(m) => address(m).map(Event::Address),
        RouteNetlinkMessage::DelAddress(m) => address(m).map(Event::AddressGone),
        RouteNetlinkMessage::NewRoute(m) => {
            let replace = message.header.flags & NLM_F_REPLACE != 0;
            route(m).map(|(key, route)| Event::Route { key, route, replace })
        }
        RouteNetlinkMessage::DelRoute(m) => route(m).map(|(key, r)| Event::RouteGone(key, r)),
        RouteNetlinkMessage::NewNeighbour(m) => {
            neighbour(m).map(|(ip, n)| Event::Neighbour(m.header.ifindex, ip, n))
        }
        RouteNetlinkMessage::DelNeighbour(m) => {
            neighbour(m).map(|(ip, _)| Event::NeighbourGone(m.header.ifindex, ip))
        }
        _ => None,
    }
}

/// Bridges speak of their ports in link messages of their own family.
fn ours(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Option<Link> {
    if !ours(message) {
        return None;
    }
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let mut link = Link { name: String::new(), mac: Mac::default(), mtu: 0, up };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes).unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    Some(link)
}

fn address(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let (mut own, mut peer, mut protocol) = (None, None, 0);
    let mut flags = AddressFlags::from_bits_retain(u32::from(header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point interface IFA_ADDRESS is the peer.
            AddressAttribute::Local(ip) => own = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(who) => protocol = u8::from(*who),
            _ => {}
        }
    }
    let ip = own.or(peer)?;
    Some(Address {
        index: header.index,
        ip,
        length: header.prefix_len,
        scope: header.scope.into(),
        // In IPv6 this bit means "temporary" (RFC 8981).
        secondary: ip.is_ipv4() && flags.contains(AddressFlags::Secondary),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        deprecated: flags.contains(AddressFlags::Deprecated),
        protocol,
    })
}

fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Neighbour)> {
    let header = &message.header;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let (mut ip, mut lladdr, mut protocol, mut managed) = (None, None, 0, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
            NeighbourAttribute::Protocol(who) => protocol = u8::from(*who),
            NeighbourAttribute::ExtFlags(flags) => {
                managed = flags.contains(NeighbourExtFlags::Managed);
            }
            _ => {}
        }
    }
    let usable = matches!(
        header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let fixed = matches!(header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    let keeper = match managed {
        true if protocol == OUR_PROTOCOL => Keeper::Us,
        true => Keeper::Others,
        false if fixed || header.flags.contains(NeighbourFlags::ExtLearned) => Keeper::Others,
        false => Keeper::Ageing,
    };
    let mac = lladdr.filter(|mac| usable && unicast(*mac));
    let ip: IpAddr = ip?;
    // The kernel lists the groups that it joined, too.
    (!ip.is_multicast()).then_some((ip, Neighbour { mac, keeper }))
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// A MAC that a frame to one host can carry.
fn unicast(mac: Mac) -> bool {
    mac != Mac::default() && mac.0[0] & 1 == 0
}

/// `RT_TABLE_LOCAL`, `RT_TABLE_MAIN`.
const TABLES: [(u32, Table); 2] = [(255, Table::Local), (254, Table::Main)];

/// A route of the two tables that count; not those for one TOS or one source.
fn route(message: &RouteMessage) -> Option<(RouteKey, Route)> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if header.tos != 0
        || header.source_prefix_length != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let kind = route_type(header.kind)?;
    let mut found = Attributes { network: any, table: header.table.into(), ..Attributes::new(any) };
    for attribute in &message.attributes {
        found.read(attribute);
    }
    let table = TABLES.iter().find(|(number, _)| *number == found.table)?.1;
    let dead = header.flags.contains(RouteFlags::Dead);
    let linkdown = header.flags.contains(RouteFlags::Linkdown);
    let mut hops = found.multipath;
    if hops.is_empty()
        && let Some(index) = found.index
    {
        let (gateway, encapsulates) = (found.gateway, found.encapsulates);
        hops.push(RouteHop { index, gateway, weight: 1, dead, linkdown, encapsulates });
    }
    if kind != RouteType::Unicast {
        hops.clear();
    }
    let object = found.object.filter(|_| kind == RouteType::Unicast && hops.is_empty());
    let scope = u8::from(header.scope);
    let (source, mtu) = (found.source, found.mtu);
    let key = RouteKey {
        network: found.network,
        length: header.destination_prefix_length,
        table,
        metric: found.metric,
    };
    Some((key, Route { kind, hops, source, mtu, scope, object }))
}

fn route_type(kind: NetlinkType) -> Option<RouteType> {
    Some(match kind {
        NetlinkType::Unicast => RouteType::Unicast,
        NetlinkType::Local
        | NetlinkType::Broadcast
        | NetlinkType::Anycast
        | NetlinkType::Multicast => RouteType::Local,
        NetlinkType::BlackHole => RouteType::Blackhole,
        NetlinkType::Unreachable | NetlinkType::Throw => RouteType::Unreachable,
        NetlinkType::Prohibit => RouteType::Prohibit,
        _ => return None,
    })
}

/// The attributes of a route message that matter here.
struct Attributes {
    network: IpAddr,
    table: u32,
    metric: u32,
    index: Option<u32>,
    gateway: Option<IpAddr>,
    encapsulates: bool,
    source: Option<IpAddr>,
    mtu: Option<u16>,
    object: Option<u32>,
    multipath: Vec<RouteHop>,
}

impl Attributes {
    fn new(network: IpAddr) -> Self {
        Self {
            network,
            table: 0,
            metric: 0,
            index: None,
            gateway: None,
            encapsulates: false,
            source: None,
            mtu: None,
            object: None,
            multipath: Vec::new(),
        }
    }

    fn read(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(to) => self.network = ip(to).unwrap_or(self.network),
            RouteAttribute::Table(number) => self.table = *number,
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Oif(index) => self.index = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                self.gateway = gateway(attribute)
            }
            RouteAttribute::EncapType(_) => self.encapsulates = true,
            RouteAttribute::PrefSource(from) => self.source = ip(from),
            RouteAttribute::NhId(id) => self.object = Some(*id),
            RouteAttribute::MultiPath(hops) => self.multipath = hops.iter().map(hop).collect(),
            RouteAttribute::Metrics(metrics) => {
                self.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => {
                        Some(u16::try_from(*mtu).unwrap_or(u16::MAX))
                    }
                    _ => None,
                });
            }
            _ => {}
        }
    }
}

fn hop(hop: &RouteNextHop) -> RouteHop {
    RouteHop {
        index: hop.interface_index,
        gateway: hop.attributes.iter().find_map(gateway),
        weight: u16::from(hop.hops) + 1,
        dead: hop.flags.contains(RouteNextHopFlags::Dead),
        linkdown: hop.flags.contains(RouteNextHopFlags::Linkdown),
        encapsulates: hop.attributes.iter().any(|a| matches!(a, RouteAttribute::EncapType(_))),
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
