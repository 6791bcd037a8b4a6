//! Connections in pages. A page reads a part of the tables as workers do, without a lock, so a
//! listing of any length costs them nothing; what comes and goes meanwhile may be missing.

use std::net::IpAddr;

use dataplane::{
    director::Family,
    snapshot::Server,
    state::State,
    table::{Found, Table},
};
use ipvsadm::{Connection, Endpoint, ServiceRef};
use serde::{Deserialize, Serialize};

use super::{View, key, listing};

/// Which connections, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The first one to look at; the beginning, or what the last answer said.
    #[serde(default)]
    pub from: Cursor,
    /// Only those that fit.
    #[serde(default)]
    pub only: Filter,
}

/// A place in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which table.
    table: u8,
    /// Which entry of it.
    slot: u32,
}

/// What a connection must have; absent: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The address that the client talks to.
    pub vip: Option<IpAddr>,
    /// The real server's address.
    pub server: Option<IpAddr>,
    /// The service that scheduled it, also one that is removed by now.
    pub service: Option<ServiceRef>,
    /// The state's name.
    pub state: Option<String>,
}

/// Entries looked at for a page.
const STRIDE: u32 = 16_384;

/// The connections of a page, and where the next one begins.
pub(super) fn page(view: View<'_>, page: &Page) -> (Vec<Connection>, Option<Cursor>) {
    let Cursor { table, slot } = page.from;
    let mut rows = Vec::new();
    let director = view.director;
    let more = match table {
        0 => part(view, &director.v4, slot, &page.only, &mut rows),
        _ => part(view, &director.v6, slot, &page.only, &mut rows),
    };
    let next = match (more, table) {
        (true, _) => Some(Cursor { table, slot: slot.saturating_add(STRIDE) }),
        (false, 0) => Some(Cursor { table: table + 1, slot: 0 }),
        (false, _) => None,
    };
    (rows, next)
}

/// One stride through a table; false at its end.
fn part<A: Family>(
    view: View<'_>,
    table: &Table<A>,
    from: u32,
    only: &Filter,
    rows: &mut Vec<Connection>,
) -> bool {
    let end = table.capacity() as u32;
    let from = from.min(end);
    let to = from.saturating_add(STRIDE).min(end);
    let service = only.service.as_ref().map(key);
    table.for_each_in(from..to, &mut |found| {
        let record = view.services.servers.get(found.connection.server_id as usize);
        let record = record.and_then(Option::as_ref);
        let of = || {
            let service = record.map(|server| server.service as usize);
            service.and_then(|id| view.services.services.get(id)?.as_ref())
        };
        if service.is_some_and(|key| of().is_none_or(|service| service.key != key)) {
            return;
        }
        let row = row(view.now, record, &found);
        if only.fits(&row) {
            rows.push(row);
        }
    });
    to < end
}

fn row<A: Family>(now: u32, record: Option<&Server>, found: &Found<A>) -> Connection {
    let c = &found.connection;
    // In a tunnel the server's address is not in the entry: it may be of the other family.
    let server = record.map_or_else(|| c.server.ip(), |server| server.address);
    let end = found.stamp.saturating_add(found.meta.timeout().into());
    let place = |address, port| Endpoint { address, port };
    Connection {
        protocol: Some(listing::protocol(c.protocol)),
        expires: end.saturating_sub(now),
        state: state(found.meta.state()).to_owned(),
        source: place(c.client.ip(), c.cport),
        virtual_service: place(c.vip.ip(), c.vport),
        destination: place(server, c.rport),
        engine: None,
    }
}

fn state(number: u8) -> &'static str {
    State::from_number(number).map_or("NONE", State::name)
}

impl Filter {
    fn fits(&self, row: &Connection) -> bool {
        let same = |wanted: Option<IpAddr>, is: IpAddr| wanted.is_none_or(|wanted| wanted == is);
        same(self.client, row.source.address)
            && same(self.vip, row.virtual_service.address)
            && same(self.server, row.destination.address)
            && self.state.as_ref().is_none_or(|state| *state == row.state)
    }
}
