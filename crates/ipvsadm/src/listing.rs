//! What the director holds, and the text of `-L` in all its forms.

mod connections;
mod order;
mod table;

use std::fmt::Write;
use std::net::IpAddr;

use crate::schema::Address;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::command::{
    DaemonRole, ListSpec, Protocol, SchedulerFlag, ServerSpec, ServiceRef, ServiceSpec, SyncDaemon,
    Timeouts, View,
};
use crate::names::{self, NoNames, Resolver};
use crate::refusal::Denial;
pub use connections::{connection, connections_title};
use order::sorted;

/// The services of a director, in its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// The size of the connection table, shown in the first line.
    pub size: u32,
    /// Unsorted.
    pub services: Vec<ListedService>,
}

/// A service with its counters and servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedService {
    /// The service and its options.
    pub spec: ServiceSpec,
    /// Since the service was added or zeroed.
    pub stats: Counters,
    /// Now.
    pub rates: Counters,
    /// Unsorted.
    pub servers: Vec<ListedServer>,
}

/// A real server with its counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedServer {
    /// The server and its options.
    pub spec: ServerSpec,
    /// ActiveConn.
    pub active: u32,
    /// InActConn.
    pub inactive: u32,
    /// PersistConn: templates.
    pub persistent: u32,
    /// Since the server was added or zeroed.
    pub stats: Counters,
    /// Now.
    pub rates: Counters,
}

/// Counters of `--stats`, or of `--rate` for each second. Bytes are of IP packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets from servers.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes from servers.
    pub out_bytes: u64,
}

impl Counters {
    /// In the order of the columns.
    fn columns(&self) -> [u64; 5] {
        let Self { connections, in_packets, out_packets, in_bytes, out_bytes } = *self;
        [connections, in_packets, out_packets, in_bytes, out_bytes]
    }
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// The address.
    #[schema(value_type = Address)]
    pub address: IpAddr,
    /// In host order.
    pub port: u16,
}

/// A connection or a persistence template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// None is shown as `IP`: a template of a mark.
    pub protocol: Option<Protocol>,
    /// Seconds until it expires.
    pub expires: u32,
    /// The state's name, as `ESTABLISHED`.
    pub state: String,
    /// The client.
    pub source: Endpoint,
    /// The service; of a mark's template, the mark as an address.
    pub virtual_service: Endpoint,
    /// The real server.
    pub destination: Endpoint,
    /// The persistence engine's name and data.
    pub engine: Option<(String, String)>,
}

/// The table of services: of all with the first line, or of one without it.
///
/// # Errors
/// The service that is asked for is not there ([`crate::Refusal::unlisted`] has the exit code).
pub fn table(
    listing: &Listing,
    service: Option<ServiceRef>,
    view: View,
    spec: &ListSpec,
    names: &dyn Resolver,
) -> Result<String, Denial> {
    let table = table::Table { view, exact: spec.exact, names: resolver(spec.numeric, names) };
    let mut text = String::new();
    let chosen = match service {
        Some(service) => {
            let found = listing.services.iter().find(|listed| listed.spec.service == service);
            vec![found.ok_or(Denial::NoSuchService)?]
        }
        None => {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "IP Virtual Server version 1.2.1 (size={})", listing.size);
            if spec.sorted { sorted_services(listing) } else { listing.services.iter().collect() }
        }
    };
    text.push_str(&table.title());
    for service in chosen {
        text.push_str(&table.service(service));
        let servers =
            if spec.sorted { sorted_servers(service) } else { service.servers.iter().collect() };
        for server in servers {
            text.push_str(&table.server(service, server));
        }
    }
    Ok(text)
}

/// The line of `-L --timeout`.
pub fn timeouts(timeouts: &Timeouts) -> String {
    let Timeouts { tcp, tcpfin, udp } = timeouts;
    format!("Timeout (tcp tcpfin udp): {tcp} {tcpfin} {udp}\n")
}

/// The lines of `-L --daemon`, one for each daemon that runs.
pub fn daemons(daemons: &[SyncDaemon]) -> String {
    let mut text = String::new();
    for daemon in daemons {
        let role = match daemon.role {
            DaemonRole::Master => "master",
            DaemonRole::Backup => "backup",
        };
        let SyncDaemon { interface, sync_id, .. } = daemon;
        let _ = write!(text, "{role} sync daemon (mcast={interface}, syncid={sync_id}");
        if let Some(length) = daemon.max_length {
            let _ = write!(text, ", maxlen={length}");
        }
        if let Some(group) = daemon.group {
            let _ = write!(text, ", group={}", names::number(group));
        }
        if let Some(port) = daemon.port {
            let _ = write!(text, ", port={port}");
        }
        if let Some(ttl) = daemon.ttl {
            let _ = write!(text, ", ttl={ttl}");
        }
        text.push_str(")\n");
    }
    text
}

/// Services in the order of a sorted listing.
pub(crate) fn sorted_services(listing: &Listing) -> Vec<&ListedService> {
    sorted(listing.services.iter(), order::services)
}

/// Servers in the order of a sorted listing.
pub(crate) fn sorted_servers(service: &ListedService) -> Vec<&ListedServer> {
    sorted(service.servers.iter(), order::servers)
}

/// The resolver to use: with `-n`, one that knows no name.
pub(crate) fn resolver(numeric: bool, names: &dyn Resolver) -> &dyn Resolver {
    if numeric { &NoNames } else { names }
}

/// The mask to show, where it groups clients: dotted for IPv4, a length for IPv6.
pub(crate) fn mask(spec: &ServiceSpec) -> Option<String> {
    if spec.netmask >= spec.service.host_prefix() {
        return None;
    }
    if spec.service.is_ipv6() {
        return Some(spec.netmask.to_string());
    }
    let bits = u32::MAX.checked_shl(32 - u32::from(spec.netmask)).unwrap_or(0);
    Some(std::net::Ipv4Addr::from_bits(bits).to_string())
}

/// The flags of a service, each once, in the order in which they are listed.
pub(crate) fn flags(spec: &ServiceSpec) -> impl Iterator<Item = SchedulerFlag> {
    SchedulerFlag::of(&spec.scheduler).into_iter().filter(|flag| spec.flags.contains(flag))
}
