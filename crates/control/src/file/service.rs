//! The parts of the file that say what is balanced to where: services, pools, servers.

use std::net::IpAddr;

use dataplane::{
    forward::{Endpoint, Forward},
    snapshot::{MssClamp, Timeouts},
    topology::Mac,
};
use sched::Kind;

use super::{
    cursor::{Cursor, Keys, Put, Spot},
    scalar::{self, Wrong},
};
use crate::fault::Fault;

/// One entry of `services:`.
#[derive(Clone, Debug)]
pub struct Service {
    /// Where it stands.
    pub spot: Spot,
    /// `name`.
    pub name: Option<Put<String>>,
    /// `listen`.
    pub listen: Vec<Put<Endpoint>>,
    /// `forward`.
    pub forward: Option<Put<Forward>>,
    /// `scheduler`.
    pub scheduler: Option<Kind>,
    /// `local_addresses`: the name of a group.
    pub local_addresses: Option<Put<String>>,
    /// `mss_clamp`.
    pub mss_clamp: Option<Put<MssClamp>>,
    /// `timeouts`, over the defaults.
    pub timeouts: Timeouts,
    /// `servers` or `pool`.
    pub servers: Servers,
}

/// Where a service's servers are written.
#[derive(Clone, Debug)]
pub enum Servers {
    /// In the service.
    Here(Vec<Server>),
    /// In the pool of this name.
    Pool(Put<String>),
}

/// One real server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where its address stands, or itself if it has none that could be read.
    pub spot: Spot,
    /// `address`: the address, and the port if it has one.
    pub address: Option<(IpAddr, Option<u16>)>,
    /// `name`.
    pub name: Option<String>,
    /// `weight`; 1 unless given.
    pub weight: u32,
    /// `mac`.
    pub mac: Option<Mac>,
    /// `forward`.
    pub forward: Option<Put<Forward>>,
}

const FORWARDS: [(&str, Forward); 4] = [
    (Forward::Nat.name(), Forward::Nat),
    (Forward::FullNat.name(), Forward::FullNat),
    (Forward::Dr.name(), Forward::Dr),
    (Forward::Tun.name(), Forward::Tun),
];

/// The keys of `timeouts:` and the TCP states of the datapath that they set, in the kernel's
/// numbering (`enum ip_vs_tcp_states`; NONE is 0 and has no key).
const TCP_TIMEOUTS: [(&str, usize); 10] = [
    ("tcp_established", 1),
    ("tcp_syn_sent", 2),
    ("tcp_syn_recv", 3),
    ("tcp_fin_wait", 4),
    ("tcp_time_wait", 5),
    ("tcp_close", 6),
    ("tcp_close_wait", 7),
    ("tcp_last_ack", 8),
    ("tcp_listen", 9),
    ("tcp_synack", 10),
];

/// Schedulers of LVS, DPVS and ours that do not exist yet.
const LATER_SCHEDULERS: [&str; 15] = [
    "lc", "wlc", "sed", "nq", "sh", "dh", "mh", "lblc", "lblcr", "fo", "ovf", "twos", "maglev",
    "conhash", "wlch",
];

pub(super) fn service(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Service> {
    let mut keys = at.keys(faults)?;
    let name = keys.need("name", faults, "write name: and a word for listings and logs");
    let name = name.and_then(|at| at.read(faults, scalar::name));
    let marked = keys.later("mark", faults);
    let listen = listen(&mut keys, marked, faults);
    let forward = keys.need("forward", faults, "write forward: nat, fullnat, dr or tun");
    let forward = forward.and_then(|at| at.word(faults, &FORWARDS));
    let scheduler = keys.need(
        "scheduler",
        faults,
        "write scheduler: rr or wrr; the default, wlc, comes with a later release",
    );
    let scheduler = scheduler.and_then(|at| self::scheduler(&at, faults));
    let local_addresses = keys.take("local_addresses").and_then(|at| at.read(faults, scalar::name));
    let mss_clamp = keys.take("mss_clamp").and_then(|at| at.read(faults, scalar::mss_clamp));
    let timeouts = keys.take("timeouts").map(|at| timeouts(&at, faults)).unwrap_or_default();
    let servers = either_servers(&mut keys, faults);
    for key in ["family", "persistence", "checks", "sorry", "one_packet"] {
        keys.later(key, faults);
    }
    keys.finish(faults, |_| false);
    let spot = at.spot();
    Some(Service {
        spot,
        name,
        listen,
        forward,
        scheduler,
        local_addresses,
        mss_clamp,
        timeouts,
        servers,
    })
}

fn listen(keys: &mut Keys<'_>, marked: bool, faults: &mut Vec<Fault>) -> Vec<Put<Endpoint>> {
    let at = if marked {
        keys.take("listen")
    } else {
        keys.need("listen", faults, "write listen: ADDRESS:PORT/tcp, or a list of them")
    };
    let Some(at) = at else { return Vec::new() };
    let before = faults.len();
    let items = at.one_or_more(faults);
    if items.is_empty() && faults.len() == before {
        faults.push(at.fault("an empty list", "write ADDRESS:PORT/tcp, or remove the service"));
    }
    items.iter().filter_map(|item| item.read(faults, scalar::listen)).collect()
}

/// A name, or `{name: ...}` with the options that later schedulers have.
fn scheduler(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Kind> {
    if !at.is_map() {
        return at.read(faults, kind).map(|put| put.value);
    }
    let mut keys = at.keys(faults)?;
    let name = keys.need("name", faults, "write name: rr or wrr");
    let kind = name.and_then(|at| at.read(faults, kind));
    for option in ["port", "fallback"] {
        keys.later(option, faults);
    }
    keys.finish(faults, |_| false);
    kind.map(|put| put.value)
}

fn kind(text: &str) -> Result<Kind, Wrong> {
    match text {
        "rr" => Ok(Kind::Rr),
        "wrr" => Ok(Kind::Wrr),
        later if LATER_SCHEDULERS.contains(&later) => {
            Err(Wrong::new(format!("{later} comes with a later release"), "write rr or wrr"))
        }
        _ => Err(Wrong::new("not a scheduler", "write rr or wrr")),
    }
}

fn timeouts(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut keys) = at.keys(faults) else { return timeouts };
    let mut set = |at: Option<Cursor<'_>>, place: &mut u16| {
        if let Some(put) = at.and_then(|at| at.read(faults, scalar::idle_time)) {
            *place = put.value;
        }
    };
    for (key, state) in TCP_TIMEOUTS {
        set(keys.take(key), &mut timeouts.tcp[state]);
    }
    set(keys.take("udp"), &mut timeouts.udp);
    keys.finish(faults, |_| false);
    timeouts
}

fn either_servers(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Servers {
    let here = keys.take("servers");
    match (here, keys.take("pool")) {
        (Some(_), Some(pool)) => {
            faults.push(pool.fault("servers and pool in one service", "keep one of the two"));
            Servers::Here(Vec::new())
        }
        (Some(here), None) => Servers::Here(self::servers(&here, faults)),
        (None, Some(pool)) => match pool.read(faults, scalar::name) {
            Some(name) => Servers::Pool(name),
            None => Servers::Here(Vec::new()),
        },
        // A service without servers answers "port unreachable": that is valid.
        (None, None) => Servers::Here(Vec::new()),
    }
}

pub(super) fn servers(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Vec<Server> {
    let items = at.items(faults);
    items.iter().filter_map(|item| server(item, faults)).collect()
}

fn server(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Server> {
    let mut keys = at.keys(faults)?;
    let address = keys.need("address", faults, "write address: 10.0.2.11:80");
    let spot = address.as_ref().map_or_else(|| at.spot(), Cursor::spot);
    let address = address.and_then(|at| at.read(faults, scalar::server)).map(|put| put.value);
    let name = keys.take("name").and_then(|at| at.read(faults, scalar::name));
    // ipvsadm's range.
    let weight = keys.take("weight").and_then(|at| at.number(faults, 0, 65_535));
    let mac = keys.take("mac").and_then(|at| at.read(faults, scalar::mac));
    let forward = keys.take("forward").and_then(|at| at.word(faults, &FORWARDS));
    for key in ["max_connections", "resume_connections"] {
        keys.later(key, faults);
    }
    keys.finish(faults, |_| false);
    Some(Server {
        spot,
        address,
        name: name.map(|put| put.value),
        weight: weight.map_or(1, |put| put.value),
        mac: mac.map(|put| put.value),
        forward,
    })
}
