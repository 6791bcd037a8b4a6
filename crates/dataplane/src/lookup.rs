//! Which service a packet without a connection is for (`ip_vs_service_find`).

use hashbrown::HashMap;

use crate::{
    breath::Breath,
    forward::{Address, Endpoint, Protocol, ServiceKey},
    mark::{Marked, mark},
    packet::Packet,
    snapshot::{Service, ServiceId, Services},
};

/// The port of FTP's control connections.
pub(crate) const FTP: u16 = 21;
/// The port from which FTP servers open data connections.
pub(crate) const FTP_DATA: u16 = 20;
/// Ports from here on are for everybody: those of passive FTP are among them.
const UNPRIVILEGED: u16 = 1024;

/// Which of the rarer rules a configuration needs at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// There are marks, and services of marks.
    marks: bool,
    /// There are services on the FTP port.
    ftp: bool,
    /// There are services on port 0.
    any_port: bool,
}

impl Rules {
    /// The rules of a configuration.
    pub fn new(services: &Services) -> Self {
        let any = |of: fn(&ServiceKey) -> bool| services.by_key.keys().any(of);
        Self {
            marks: !services.marks.is_empty() && any(|key| key.mark().is_some()),
            ftp: any(|key| key.endpoint().is_some_and(is_ftp)),
            any_port: any(|key| key.endpoint().is_some_and(|endpoint| endpoint.port == 0)),
        }
    }
}

fn is_ftp(endpoint: &Endpoint) -> bool {
    endpoint.port == FTP && endpoint.protocol == Protocol::Tcp
}

/// The service that a packet is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) id: ServiceId,
    pub(crate) service: &'a Service,
    /// By LVS's FTP rule: the packet is not to the service's own port.
    pub(crate) ftp_data: bool,
}

impl<'a> Breath<'a> {
    /// The service that a packet is for: that of its mark, or of its destination, or the FTP
    /// service of its VIP, or the one on port 0.
    pub(crate) fn target<A: Address>(&self, packet: &Packet<A>) -> Option<Target<'a>> {
        let services: &'a Services = &self.snapshot.services;
        let rules = services.rules;
        if rules.marks
            && let Some(id) = self.marked(packet)
        {
            return target(services, id, false);
        }
        let exact = Endpoint {
            protocol: packet.tuple.protocol,
            address: packet.tuple.dst.ip(),
            port: packet.tuple.dport,
        };
        if let Some(id) = find(&services.by_key, exact) {
            return target(services, id, false);
        }
        let may_be_ftp = exact.port == FTP_DATA || exact.port >= UNPRIVILEGED;
        if rules.ftp
            && exact.protocol == Protocol::Tcp
            && may_be_ftp
            && let Some(id) = find(&services.by_key, Endpoint { port: FTP, ..exact })
        {
            return target(services, id, true);
        }
        if !rules.any_port {
            return None;
        }
        let id = find(&services.by_key, Endpoint { port: 0, ..exact })?;
        let kept = |target: &Target<'_>| {
            let mut kernels = target.service.policy.except_ports.iter();
            !kernels.any(|ports| ports.contains(&exact.port))
        };
        target(services, id, false).filter(kept)
    }

    fn marked<A: Address>(&self, packet: &Packet<A>) -> Option<ServiceId> {
        let services = &self.snapshot.services;
        let looks = Marked {
            source: packet.tuple.src.ip(),
            destination: packet.tuple.dst.ip(),
            protocol: packet.tuple.protocol,
            port: packet.tuple.dport,
            interface: self.arrived,
        };
        match mark(&services.marks, &looks) {
            0 => None,
            mark => services.by_key.get(&ServiceKey::Mark { mark, ipv6: A::IPV6 }).copied(),
        }
    }
}

fn find(by_key: &HashMap<ServiceKey, ServiceId>, endpoint: Endpoint) -> Option<ServiceId> {
    by_key.get(&ServiceKey::from(endpoint)).copied()
}

fn target(services: &Services, id: ServiceId, ftp_data: bool) -> Option<Target<'_>> {
    let service = services.services.get(id as usize)?.as_ref()?;
    Some(Target { id, service, ftp_data })
}
