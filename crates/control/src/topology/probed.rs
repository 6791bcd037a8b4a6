//! Where health probes by way of services come from: addresses that are routed to the workers'
//! own port, whatever the kernel does with them.

use std::net::IpAddr;

use dataplane::topology::{Hop, Mac, NextHop, PortId, Route, RouteKind};

use super::{hops::Place, routes::Line};

/// The probes' port and what is behind it.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The port behind those of the served interfaces.
    pub port: PortId,
    /// The hardware address of the TAP.
    pub mac: Mac,
    /// `probe_sources`.
    pub sources: Vec<IpAddr>,
}

/// The TAP's MTU in octets, the kernel's default.
const MTU: u16 = 1500;

impl Probed {
    /// Their routes, which count before the kernel's.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        let next = NextHop { port: Some(self.port), gateway: None, weight: 1 };
        let route = Route { kind: RouteKind::Via(vec![next]), source: None, mtu: None };
        let length = |source: &IpAddr| if source.is_ipv4() { 32 } else { 128 };
        self.sources.iter().map(move |source| (*source, length(source), route.clone()))
    }

    /// Their neighbours.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.sources.iter().map(|source| (self.port, *source))
    }

    /// The hop to all of them.
    pub(super) fn hop(&self) -> Hop {
        Hop { port: self.port, mac: Some(self.mac), source: self.mac, mtu: MTU }
    }
}
