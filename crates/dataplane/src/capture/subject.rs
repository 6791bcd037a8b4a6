//! What a packet is about: its ends, its connection, its service.

use std::net::IpAddr;

use crate::{
    breath::Breath,
    clock::Now,
    director::{Director, Family},
    forward::{Address, Protocol, Tuple, V4, V6},
    fragment::{Datagram, Decision, datagram},
    link::Link,
    packet::{Fragment, IcmpError, Packet, Parsed},
    quote::parse_quoted,
    snapshot::{ServiceId, Services},
    table::{ConnectionRef, Found, Way},
    wire::{ethernet, ipv4, ipv6, u16_at},
};

/// Octets of an ICMP header.
const ICMP: usize = 8;

/// What is asked about connections.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) director: &'a Director,
    pub(super) services: &'a Services,
    pub(super) now: Now,
}

impl<'a> From<&Breath<'a>> for Scene<'a> {
    fn from(breath: &Breath<'a>) -> Self {
        Self { director: breath.director, services: &breath.snapshot.services, now: breath.now }
    }
}

/// By what a packet's connection is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Nothing,
    V4(Tuple<V4>),
    V6(Tuple<V6>),
    /// A later fragment.
    Part(Datagram),
}

impl About {
    pub(super) fn new(parsed: &Parsed, frame: &[u8]) -> Self {
        match parsed {
            Parsed::V4(packet) if packet.fragment == Fragment::Later => {
                Self::Part(datagram(packet))
            }
            Parsed::V6(packet) if packet.fragment == Fragment::Later => {
                Self::Part(datagram(packet))
            }
            Parsed::V4(packet) => Self::V4(packet.tuple),
            Parsed::V6(packet) => Self::V6(packet.tuple),
            Parsed::Error4(error) => quoted(error, frame).map_or(Self::Nothing, Self::V4),
            Parsed::Error6(error) => quoted(error, frame).map_or(Self::Nothing, Self::V6),
            Parsed::Punt(_) | Parsed::Drop(_) => Self::Nothing,
        }
    }

    /// The connection, if there is one now.
    pub(super) fn link(&self, scene: Scene<'_>) -> Option<Link> {
        match self {
            Self::Nothing => None,
            Self::V4(tuple) => Some(link(scene, &scene.director.v4.find(tuple)?)),
            Self::V6(tuple) => Some(link(scene, &scene.director.v6.find(tuple)?)),
            Self::Part(datagram) if datagram.src.is_ipv4() => part::<V4>(scene, datagram),
            Self::Part(datagram) => part::<V6>(scene, datagram),
        }
    }

    /// As [`About::link`], of a packet that goes the other way.
    pub(super) fn link_back(&self, scene: Scene<'_>) -> Option<Link> {
        let about = match *self {
            Self::V4(tuple) => Self::V4(tuple.reversed()),
            Self::V6(tuple) => Self::V6(tuple.reversed()),
            other => other,
        };
        let link = about.link(scene)?;
        let way = match link.way {
            Way::Forward => Way::Reverse,
            Way::Reverse => Way::Forward,
        };
        Some(Link { way, ..link })
    }
}

/// What an ICMP error quotes, seen from the one whom it is for.
fn quoted<A: Family>(error: &IcmpError<A>, frame: &[u8]) -> Option<Tuple<A>> {
    let quote = frame.get(usize::from(error.l4) + ICMP..usize::from(error.end))?;
    parse_quoted::<A>(quote)?.tuple.map(Tuple::reversed)
}

fn part<A: Family>(scene: Scene<'_>, datagram: &Datagram) -> Option<Link> {
    let decision = scene.director.fragments.find(datagram, scene.now)?;
    let Decision::Connection { id, generation, reverse } = decision else { return None };
    let found = A::table(scene.director).get(ConnectionRef { id, generation })?;
    let direction = if reverse { Way::Reverse } else { Way::Forward };
    Some(link(scene, &Found { direction, ..found }))
}

pub(super) fn link<A: Address>(scene: Scene<'_>, found: &Found<A>) -> Link {
    Link::new(scene.services, &found.connection, found.direction)
}

/// Who talks to whom, as the packet says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    pub(super) from: (IpAddr, u16),
    pub(super) to: (IpAddr, u16),
    pub(super) protocol: Option<Protocol>,
}

impl Talk {
    pub(super) fn of(parsed: &Parsed, frame: &[u8]) -> Option<Self> {
        match parsed {
            Parsed::V4(packet) => Some(Self::tuple(&packet.tuple)),
            Parsed::V6(packet) => Some(Self::tuple(&packet.tuple)),
            Parsed::Error4(error) => Some(Self::hosts(error.src, error.dst)),
            Parsed::Error6(error) => Some(Self::hosts(error.src, error.dst)),
            Parsed::Punt(_) | Parsed::Drop(_) => Self::raw(frame),
        }
    }

    fn tuple<A: Address>(tuple: &Tuple<A>) -> Self {
        Self {
            from: (tuple.src.ip(), tuple.sport),
            to: (tuple.dst.ip(), tuple.dport),
            protocol: Some(tuple.protocol),
        }
    }

    fn hosts<A: Address>(from: A, to: A) -> Self {
        Self { from: (from.ip(), 0), to: (to.ip(), 0), protocol: None }
    }

    /// What is broken has addresses too, if it is long enough.
    fn raw(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ethernet::LEN..)?;
        match u16_at(frame, ethernet::TYPE.start) {
            ethernet::IPV4 if packet.len() >= ipv4::LEN => {
                let [from, to] =
                    [ipv4::SOURCE, ipv4::DESTINATION].map(|at| V4::from_wire(&packet[at..]));
                Some(Self::hosts(from, to))
            }
            ethernet::IPV6 if packet.len() >= ipv6::LEN => {
                let [from, to] =
                    [ipv6::SOURCE, ipv6::DESTINATION].map(|at| V6::from_wire(&packet[at..]));
                Some(Self::hosts(from, to))
            }
            _ => None,
        }
    }
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) talk: Option<Talk>,
    pub(super) link: Option<Link>,
    pub(super) service: Option<ServiceId>,
}

impl Subject {
    /// Takes what is known of the connection by now; what was known before stays.
    pub(super) fn relink(&mut self, scene: Scene<'_>, link: Option<Link>) {
        self.link = link.or(self.link);
        if let Some(link) = self.link
            && let Some(server) = scene.services.server(link.server_id)
        {
            self.service = Some(server.service);
        }
    }
}

/// The service that a packet without a connection is for.
pub(super) fn service_of(breath: &Breath<'_>, parsed: &Parsed) -> Option<ServiceId> {
    fn asked<A: Address>(breath: &Breath<'_>, packet: &Packet<A>) -> Option<ServiceId> {
        breath.target(packet).map(|target| target.id)
    }
    match parsed {
        Parsed::V4(packet) => asked(breath, packet),
        Parsed::V6(packet) => asked(breath, packet),
        _ => None,
    }
}
