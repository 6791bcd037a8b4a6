//! What the XDP program must recognise, as plain data: the entries that belong in its match
//! maps besides the addresses of the box itself, which the topology knows.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use dataplane::{
    forward::{Endpoint, Forward},
    snapshot::Services,
};

/// What an endpoint (protocol, address, port) is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointRoles {
    /// Packets to it are for a service.
    pub service: bool,
    /// Packets from it may be answers of a NAT server.
    pub server: bool,
}

/// What an address is to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRoles {
    /// A service listens on it.
    pub vip: bool,
    /// FullNAT takes source ports from it, these.
    pub local: Option<RangeInclusive<u16>>,
    /// A NAT server has it: its fragments without ports may be answers.
    pub nat_server: bool,
    /// A TUN server has it: ICMP errors about our outer headers name it.
    pub tunnel_server: bool,
}

/// The entries, sorted, so that two sets compare and differ entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchEntries {
    /// By protocol, address and port.
    pub endpoints: BTreeMap<Endpoint, EndpointRoles>,
    /// By address.
    pub addresses: BTreeMap<IpAddr, AddressRoles>,
}

/// Lists what the match maps must hold for these services; removed ones that still have
/// connections are among them. FullNAT servers need no entry (their answers come to a local
/// address), nor do DR servers (their answers do not come).
pub fn match_entries(services: &Services) -> MatchEntries {
    let mut entries = MatchEntries::default();
    for service in services.services.iter().flatten() {
        let Some(endpoint) = service.key.endpoint() else { continue };
        entries.endpoints.entry(*endpoint).or_default().service = true;
        entries.addresses.entry(endpoint.address).or_default().vip = true;
    }
    for (address, ports) in &services.local_ports {
        entries.addresses.entry(*address).or_default().local = Some(ports.clone());
    }
    for server in services.servers.iter().flatten() {
        let Some(Some(service)) = services.services.get(server.service as usize) else { continue };
        match server.forward {
            Forward::Nat => {
                let Some(endpoint) = service.key.endpoint() else { continue };
                let key = Endpoint {
                    protocol: endpoint.protocol,
                    address: server.address,
                    port: server.port,
                };
                entries.endpoints.entry(key).or_default().server = true;
                entries.addresses.entry(server.address).or_default().nat_server = true;
            }
            Forward::Tun => {
                entries.addresses.entry(server.address).or_default().tunnel_server = true;
            }
            Forward::FullNat | Forward::Dr => {}
        }
    }
    entries
}
