//! What passed since each service came, or was set to zero, and how fast it goes: for listings. The
//! counters of `/metrics` never go back.

use std::net::SocketAddr;

use crate::api::schema::Place;
use ipvsadm::{Counters, Listing};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Model;

/// Counts and rates of all services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// In the order of the configuration.
    pub services: Vec<ServiceStats>,
}

/// One LVS service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStats {
    /// The operator's name for it.
    pub name: String,
    /// What clients connect to, such as `203.0.113.10:80/tcp`, or `mark 10`.
    pub place: String,
    /// Since it came, or was set to zero; servers that left are in it.
    pub totals: Passed,
    /// A second, by LVS's estimator (over some 8 seconds).
    pub rates: Passed,
    /// Its servers.
    pub servers: Vec<ServerStats>,
}

/// One real server of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerStats {
    /// Address and port.
    #[schema(value_type = Place)]
    pub server: SocketAddr,
    /// Since it came, or was set to zero.
    pub totals: Passed,
    /// A second.
    pub rates: Passed,
}

/// What passed. Octets are those of IP packets; what goes out is only seen in NAT and FullNAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Passed {
    /// Connections made.
    pub connections: u64,
    /// Packets towards servers.
    pub in_packets: u64,
    /// Packets from servers.
    pub out_packets: u64,
    /// Octets towards servers.
    pub in_bytes: u64,
    /// Octets from servers.
    pub out_bytes: u64,
}

impl Passed {
    const fn of(counters: &Counters) -> Self {
        let Counters { connections, in_packets, out_packets, in_bytes, out_bytes } = *counters;
        Self { connections, in_packets, out_packets, in_bytes, out_bytes }
    }
}

impl Stats {
    /// Those of a listing, which is in the model's order.
    pub fn of(model: &Model, listing: &Listing) -> Self {
        let rows = model.services.iter().zip(&listing.services);
        let services = rows.map(|(service, listed)| ServiceStats {
            name: service.name.clone(),
            place: service.key.to_string(),
            totals: Passed::of(&listed.stats),
            rates: Passed::of(&listed.rates),
            servers: listed
                .servers
                .iter()
                .map(|server| ServerStats {
                    server: SocketAddr::new(server.spec.address, server.spec.port),
                    totals: Passed::of(&server.stats),
                    rates: Passed::of(&server.rates),
                })
                .collect(),
        });
        Self { services: services.collect() }
    }
}
