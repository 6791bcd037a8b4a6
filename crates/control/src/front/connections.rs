//! Connections in pages. A page reads a part of the tables as workers do, without a lock, so a
//! listing of any length costs them nothing; what comes and goes meanwhile may be missing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::api::schema::Address;
use dataplane::{
    director::Family,
    forward::{V4, V6},
    kill::state_name,
    prefix::Prefix,
    snapshot::Server,
    state::State,
    table::{Found, Keys, Table},
    template,
};
use ipvsadm::{Connection, Endpoint, ServiceRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{View, key, listing};

/// Which connections, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page {
    /// The first one to look at; the beginning, or what the last answer said.
    #[serde(default)]
    pub from: Cursor,
    /// Only those that fit.
    #[serde(default)]
    pub only: Filter,
}

/// A place in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cursor {
    /// Which table.
    table: u8,
    /// Which entry of it.
    slot: u32,
}

/// What a connection must have; absent: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Filter {
    /// The client's address, or its network: `192.0.2.0/24`.
    #[serde(with = "network")]
    #[schema(value_type = Option<String>, default = json!(null))]
    pub client: Option<Prefix>,
    /// The address that the client talks to.
    #[schema(value_type = Option<Address>)]
    pub vip: Option<IpAddr>,
    /// The real server's address.
    #[schema(value_type = Option<Address>)]
    pub server: Option<IpAddr>,
    /// The service that scheduled it, also one that is removed by now.
    pub service: Option<ServiceRef>,
    /// The name of the service that scheduled it.
    pub name: Option<String>,
    /// Its protocol.
    pub protocol: Option<ipvsadm::Protocol>,
    /// The state's name, one of [`states`].
    pub state: Option<String>,
}

/// The names of all states, those of templates (`NONE`, `ASSURED`) among them; in order, each once.
pub fn states() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        (0..=u8::MAX).filter_map(State::from_number).map(State::name).collect();
    names.extend([0, 1].map(template::state_name));
    names.sort_unstable();
    names.dedup();
    names
}

/// Entries looked at for a page.
const STRIDE: u32 = 16_384;

/// The connections of a page, and where the next one begins.
pub(super) fn page(view: View<'_>, page: &Page) -> (Vec<Connection>, Option<Cursor>) {
    let Cursor { table, slot } = page.from;
    let mut rows = Vec::new();
    let director = view.director;
    let part = Part { view, slot, only: &page.only };
    let more = match table {
        0 => part.read(&director.v4, connection, &mut rows),
        1 => part.read(&director.v6, connection, &mut rows),
        2 => part.read(V4::templates(director).table(), template, &mut rows),
        _ => part.read(V6::templates(director).table(), template, &mut rows),
    };
    let next = match (more, table) {
        (true, _) => Some(Cursor { table, slot: slot.saturating_add(STRIDE) }),
        (false, 0..=2) => Some(Cursor { table: table + 1, slot: 0 }),
        (false, _) => None,
    };
    (rows, next)
}

/// One stride through a table.
struct Part<'a> {
    view: View<'a>,
    slot: u32,
    only: &'a Filter,
}

/// How an entry becomes a row, with the record of its server.
type Row<A> = fn(&Found<A>, Option<&Server>) -> Connection;

impl Part<'_> {
    /// False at the table's end.
    fn read<A: Family>(&self, table: &Table<A>, row: Row<A>, rows: &mut Vec<Connection>) -> bool {
        let end = table.capacity() as u32;
        let from = self.slot.min(end);
        let to = from.saturating_add(STRIDE).min(end);
        let service = self.only.service.as_ref().map(key);
        let services = self.view.services;
        table.for_each_in(from..to, &mut |found| {
            // What carries a single packet is no connection.
            if found.connection.keys != Keys::Both {
                return;
            }
            let record = services.servers.get(found.connection.server_id as usize);
            let record = record.and_then(Option::as_ref);
            let of = || {
                let service = record.map(|server| server.service as usize);
                service.and_then(|id| services.services.get(id)?.as_ref())
            };
            if service.is_some_and(|key| of().is_none_or(|service| service.key != key)) {
                return;
            }
            let name = self.only.name.as_ref();
            if name.is_some_and(|name| of().is_none_or(|service| service.name != *name)) {
                return;
            }
            let end = found.stamp.saturating_add(found.meta.timeout());
            let expires = end.saturating_sub(self.view.now);
            let mut row = Connection { expires, ..row(&found, record) };
            if found.connection.server_id == self.view.director.bypass() {
                row.destination = nowhere(row.destination.address);
            }
            if self.only.fits(&row) {
                rows.push(row);
            }
        });
        to < end
    }
}

fn connection<A: Family>(found: &Found<A>, record: Option<&Server>) -> Connection {
    let c = &found.connection;
    Connection {
        protocol: Some(listing::protocol(c.protocol)),
        expires: 0,
        state: state_name(c.protocol, found.meta).to_owned(),
        source: Endpoint { address: c.client.ip(), port: c.cport },
        virtual_service: Endpoint { address: c.vip.ip(), port: c.vport },
        destination: Endpoint { address: server(found, record), port: c.rport },
        engine: None,
    }
}

/// As the kernel shows templates: for all ports of the client.
fn template<A: Family>(found: &Found<A>, record: Option<&Server>) -> Connection {
    let (protocol, address, port) = template::virtual_service(&found.connection);
    Connection {
        protocol: protocol.map(listing::protocol),
        expires: 0,
        state: template::state_name(found.meta.state()).to_owned(),
        source: Endpoint { address: found.connection.client.ip(), port: 0 },
        virtual_service: Endpoint { address, port },
        destination: Endpoint { address: server(found, record), port: found.connection.rport },
        engine: None,
    }
}

/// In a tunnel the server's address is not in the entry: it may be of the other family.
fn server<A: Family>(found: &Found<A>, record: Option<&Server>) -> IpAddr {
    record.map_or_else(|| found.connection.server.ip(), |server| server.address)
}

/// As the kernel shows it for what goes past the servers (`cache_bypass`).
fn nowhere(address: IpAddr) -> Endpoint {
    let unspecified = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Endpoint { address: unspecified, port: 0 }
}

impl fmt::Display for Filter {
    /// `client 192.0.2.0/24, vip 203.0.113.10`, or `all`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |word: &str, value: Option<String>| value.map(|value| format!("{word} {value}"));
        let all = [
            text("client", self.client.map(|network| network.to_string())),
            text("vip", self.vip.map(|vip| vip.to_string())),
            text("server", self.server.map(|server| server.to_string())),
            text("service", self.service.map(|service| key(&service).to_string())),
            text("service", self.name.clone()),
            text("protocol", self.protocol.map(|protocol| format!("{protocol:?}").to_lowercase())),
            text("state", self.state.clone()),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        f.write_str(&if all.is_empty() { "all".to_owned() } else { all.join(", ") })
    }
}

/// Networks in JSON: as people write them, one host as its address.
mod network {
    use super::Prefix;
    use crate::registry::source;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(of: &Option<Prefix>, to: S) -> Result<S::Ok, S::Error> {
        match of {
            Some(host) if host.is_host() => to.collect_str(&host.address()),
            Some(network) => to.collect_str(network),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<Prefix>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| source(&text)).transpose().map_err(D::Error::custom)
    }
}

impl Cursor {
    /// What is listed from here are persistence templates.
    pub const fn is_of_templates(self) -> bool {
        self.table >= 2
    }
}

impl Filter {
    fn fits(&self, row: &Connection) -> bool {
        let same = |wanted: Option<IpAddr>, is: IpAddr| wanted.is_none_or(|wanted| wanted == is);
        self.client.is_none_or(|network| network.contains(row.source.address))
            && same(self.vip, row.virtual_service.address)
            && same(self.server, row.destination.address)
            && self.protocol.is_none_or(|wanted| row.protocol == Some(wanted))
            && self.state.as_ref().is_none_or(|state| *state == row.state)
    }
}
