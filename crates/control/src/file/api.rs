//! `api:`.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    cursor::{Cursor, Keys, Put},
    metrics::address_and_port,
    scalar,
};
use crate::fault::Fault;

/// Who may ask the daemon, and where, beside root on its socket.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// `group`.
    pub group: Option<Put<String>>,
    /// `listen`.
    pub listen: Vec<Put<SocketAddr>>,
    /// `tls`.
    pub tls: Option<Tls>,
    /// `tokens`.
    pub tokens: Option<Put<PathBuf>>,
}

/// `tls:`, files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `certificate`, with those that lead to its root.
    pub certificate: PathBuf,
    /// `key`.
    pub key: PathBuf,
}

pub(super) fn api(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Api {
    let keys = keys.take("api").and_then(|at| at.keys(faults));
    let Some(mut keys) = keys else { return Api::default() };
    let group = keys.take("group").and_then(|at| at.read(faults, scalar::name));
    let listen = keys.take("listen").map(|at| at.one_or_more(faults)).unwrap_or_default();
    let read = |at: &Cursor<'_>| at.read(faults, address_and_port);
    let listen = listen.iter().filter_map(read).collect();
    let tls = keys.take("tls").and_then(|at| tls(&at, faults));
    let tokens = keys.take("tokens").and_then(|at| at.read(faults, scalar::whole_path));
    keys.finish(faults, |_| false);
    Api { group, listen, tls, tokens }
}

fn tls(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Tls> {
    let mut keys = at.keys(faults)?;
    let mut file = |key, remedy| {
        let at = keys.need(key, faults, remedy)?;
        at.read(faults, scalar::whole_path).map(|put| put.value)
    };
    let certificate = file("certificate", "write certificate: /etc/xlvs/api.crt");
    let key = file("key", "write key: /etc/xlvs/api.key");
    keys.finish(faults, |_| false);
    Some(Tls { certificate: certificate?, key: key? })
}
