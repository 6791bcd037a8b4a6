//! `metrics:`.

use std::net::SocketAddr;

use super::cursor::{Cursor, Keys, Put};
use crate::{fault::Fault, file::scalar::Wrong};

/// Where and what Prometheus may scrape, beside the API's socket.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// `listen`.
    pub listen: Vec<Put<SocketAddr>>,
    /// `node_ipvs`.
    pub node_ipvs: bool,
}

pub(super) fn metrics(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Metrics {
    let keys = keys.take("metrics").and_then(|at| at.keys(faults));
    let Some(mut keys) = keys else { return Metrics::default() };
    let listen = keys.take("listen").map(|at| at.one_or_more(faults)).unwrap_or_default();
    let read = |at: &Cursor<'_>| at.read(faults, address_and_port);
    let listen = listen.iter().filter_map(read).collect();
    let node_ipvs = keys.take("node_ipvs").and_then(|at| at.truth(faults)).unwrap_or(false);
    keys.finish(faults, |_| false);
    Metrics { listen, node_ipvs }
}

/// An address of the box with a port.
pub(super) fn address_and_port(text: &str) -> Result<SocketAddr, Wrong> {
    let remedy = "write it like 127.0.0.1:9799 or \"[::1]:9799\"";
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(Wrong::new("no port", remedy)),
        Ok(address) => Ok(address),
        Err(_) => Err(Wrong::new("not an address with a port", remedy)),
    }
}
