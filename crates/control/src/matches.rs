//! What the XDP program must recognise, as plain data: the entries that belong in its match
//! maps besides the addresses of the box itself, which the topology knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
};

use dataplane::{
    forward::{Endpoint, Protocol, ServiceKey, Tunnel},
    mark::MarkRule,
    probe,
    snapshot::{Server, Service, Services},
    topology::Topology,
};
use xsk::MarkSlot;

/// What an endpoint (protocol, address, port) is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointRoles {
    /// Packets to it are for a service.
    pub service: bool,
    /// Packets from it may be answers of a NAT server.
    pub server: bool,
    /// A TUN server takes our GUE packets there: ICMP errors about them name it.
    pub gue: bool,
}

/// What an address is to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRoles {
    /// A service listens on it.
    pub vip: bool,
    /// FullNAT or health probes take source ports from it, these.
    pub local: Option<RangeInclusive<u16>>,
    /// A NAT server has it: its fragments without ports may be answers.
    pub nat_server: bool,
    /// A TUN server has it: ICMP errors about our outer headers name it.
    pub tunnel_server: bool,
    /// Services on port 0 take every port of it in these protocols, less the exceptions.
    pub every_port: BTreeSet<Protocol>,
    /// A NAT server that may answer from any port in these protocols, as it keeps the client's.
    pub from_every_port: BTreeSet<Protocol>,
    /// A persistent service on TCP port 21 takes FTP's data connections too.
    pub ftp: bool,
}

/// The entries, sorted, so that two sets compare and differ entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchEntries {
    /// By protocol, address and port.
    pub endpoints: BTreeMap<Endpoint, EndpointRoles>,
    /// By address.
    pub addresses: BTreeMap<IpAddr, AddressRoles>,
    /// Ports that services on port 0 leave to the kernel, sorted, apart from each other.
    pub exceptions: BTreeMap<(Protocol, IpAddr), Vec<RangeInclusive<u16>>>,
    /// Marks that have a service; true for IPv6.
    pub marks: BTreeSet<(u32, bool)>,
}

/// Lists what the match maps must hold for these services; removed ones that still have
/// connections are among them, and what servers need that once had another method. FullNAT servers need no entry (their answers come to a local
/// address), nor do DR servers (their answers do not come).
pub fn match_entries(services: &Services) -> MatchEntries {
    let mut entries = MatchEntries::default();
    for service in services.services.iter().flatten() {
        match &service.key {
            ServiceKey::Endpoint(endpoint) => entries.add_endpoint(endpoint, service),
            ServiceKey::Mark { mark, ipv6 } => drop(entries.marks.insert((*mark, *ipv6))),
        }
    }
    for (address, ports) in &services.local_ports {
        entries.addresses.entry(*address).or_default().local = Some(ports.clone());
    }
    for source in &services.probe_sources {
        entries.addresses.entry(*source).or_default().local = Some(probe::PORTS);
    }
    for server in services.servers.iter().flatten() {
        let Some(Some(service)) = services.services.get(server.service as usize) else { continue };
        if server.answers_by_nat() {
            entries.add_nat_server(server, service);
        }
        if let Some(tunnel) = server.tunnel() {
            entries.add_tunnel_server(server.address, tunnel);
        }
    }
    entries
}

impl MatchEntries {
    fn add_endpoint(&mut self, endpoint: &Endpoint, service: &Service) {
        let address = self.addresses.entry(endpoint.address).or_default();
        address.vip = true;
        if endpoint.port != 0 {
            address.ftp |= takes_ftp_data(service);
            self.endpoints.entry(*endpoint).or_default().service = true;
            return;
        }
        address.every_port.insert(endpoint.protocol);
        let exceptions = merged(&service.policy.except_ports);
        if !exceptions.is_empty() {
            self.exceptions.insert((endpoint.protocol, endpoint.address), exceptions);
        }
    }

    fn add_nat_server(&mut self, server: &Server, service: &Service) {
        let address = self.addresses.entry(server.address).or_default();
        address.nat_server = true;
        let protocols = match &service.key {
            ServiceKey::Endpoint(endpoint) => vec![endpoint.protocol],
            ServiceKey::Mark { .. } => Protocol::ALL.to_vec(),
        };
        // A persistent service on port 0, or by mark, keeps the client's port whatever port the
        // server has (`ip_vs_sched_persist`).
        let persistent = service.policy.persistence.is_some();
        let keeps_ports = service.key.port() == 0 && (server.port == 0 || persistent);
        if keeps_ports || takes_ftp_data(service) {
            address.from_every_port.extend(&protocols);
        }
        if server.port != 0 {
            for protocol in protocols {
                let key = Endpoint { protocol, address: server.address, port: server.port };
                self.endpoints.entry(key).or_default().server = true;
            }
        }
    }

    fn add_tunnel_server(&mut self, address: IpAddr, tunnel: Tunnel) {
        self.addresses.entry(address).or_default().tunnel_server = true;
        if let Tunnel::Gue { port, .. } = tunnel {
            let key = Endpoint { protocol: Protocol::Udp, address, port };
            self.endpoints.entry(key).or_default().gue = true;
        }
    }
}

/// `ip_vs_service_find` gives data connections of FTP to the service on port 21, and only a
/// persistent one takes them (`ip_vs_schedule`).
fn takes_ftp_data(service: &Service) -> bool {
    let endpoint = service.key.endpoint();
    endpoint.is_some_and(|endpoint| endpoint.protocol == Protocol::Tcp && endpoint.port == 21)
        && service.policy.persistence.is_some()
}

/// The mark rules as the program walks them: those of families that have a mark service, a
/// slot for each range of ports. A rule for an interface that is not there matches nothing.
pub fn mark_slots(services: &Services, topology: &Topology) -> Vec<MarkSlot> {
    let index = |rule: &MarkRule| match rule.interface {
        None => Some(None),
        Some(port) => {
            let interface = topology.interfaces.get(usize::from(port))?;
            (interface.index != 0).then_some(Some(interface.index))
        }
    };
    let serve = |ipv6| services.services.iter().flatten().any(|s| of_mark(&s.key, ipv6));
    let serves = [serve(false), serve(true)];
    let of_use = |rule: &&MarkRule| serves[usize::from(rule.destination.address().is_ipv6())];
    let rules = services.marks.iter().filter(of_use);
    rules.filter_map(|rule| Some(slots(rule, index(rule)?))).flatten().collect()
}

fn of_mark(key: &ServiceKey, of_ipv6: bool) -> bool {
    matches!(key, ServiceKey::Mark { ipv6, .. } if *ipv6 == of_ipv6)
}

fn slots(rule: &MarkRule, interface: Option<u32>) -> Vec<MarkSlot> {
    let slot = |ports: Option<RangeInclusive<u16>>| MarkSlot {
        mark: rule.mark,
        mask: rule.mask,
        destination: (rule.destination.address(), rule.destination.length()),
        source: rule.source.map(|source| (source.address(), source.length())),
        protocol: rule.protocol.map(|protocol| protocol as u8),
        ports,
        interface,
    };
    if rule.ports.is_empty() {
        return vec![slot(None)];
    }
    merged(&rule.ports).into_iter().map(|range| slot(Some(range))).collect()
}

/// The same ports in as few ranges as possible, sorted.
pub fn merged(ranges: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}
