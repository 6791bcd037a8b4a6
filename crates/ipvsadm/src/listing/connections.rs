//! The rows of `-L -c`, one by one: a million of them is printed page by page.

use super::{Connection, Endpoint};
use crate::command::Protocol;
use crate::names::{self, Resolver};

/// The two lines above the connections; `engine` is `--persistent-conn`.
pub fn connections_title(engine: bool) -> &'static str {
    if engine {
        concat!(
            "IPVS connection entries\npro expire state       source             ",
            "virtual            destination        pe name          pe_data\n"
        )
    } else {
        concat!(
            "IPVS connection entries\npro expire state       source             ",
            "virtual            destination\n"
        )
    }
}

/// A connection's line, in the order in which the director gives them: nothing is sorted.
pub fn connection(
    connection: &Connection,
    numeric: bool,
    engine: bool,
    names: &dyn Resolver,
) -> String {
    let names = super::resolver(numeric, names);
    let name = |endpoint: &Endpoint| {
        names::endpoint(endpoint.address, endpoint.port, connection.protocol, names)
    };
    let protocol = connection.protocol.map_or("IP", Protocol::name);
    let expires = format!("{:02}:{:02}", connection.expires / 60, connection.expires % 60);
    let row = format!(
        "{protocol:<3} {expires:<6} {:<11} {:<18} {:<18}",
        connection.state,
        name(&connection.source),
        name(&connection.virtual_service),
    );
    let destination = name(&connection.destination);
    match &connection.engine {
        // Two columns narrower than their titles, as ipvsadm has them.
        Some((engine_name, data)) if engine => {
            format!("{row} {destination:<16} {engine_name:<18} {data}\n")
        }
        _ => format!("{row} {destination}\n"),
    }
}
