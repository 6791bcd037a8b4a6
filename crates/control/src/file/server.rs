//! Real servers: the entries of `servers:` and of pools.

use std::net::IpAddr;

use dataplane::{
    forward::{Forward, Tunnel},
    topology::Mac,
};

use super::{
    check::Named,
    cursor::{Cursor, Put, Spot},
    health, scalar,
};
use crate::{fault::Fault, model::AdminState};

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
    /// `tunnel`.
    pub tunnel: Option<Put<Tunnel>>,
    /// `max_connections`; 0 unless given: any number.
    pub max_connections: u32,
    /// `resume_connections`; 0 unless given: three quarters.
    pub resume_connections: u32,
    /// `tier`; 0 unless given: the first one.
    pub tier: u32,
    /// `state`; ready unless given.
    pub state: AdminState,
    /// `checks`: instead of the service's.
    pub checks: Option<Vec<Named>>,
}

pub(super) const FORWARDS: [(&str, Forward); 4] = [
    (Forward::Nat.name(), Forward::Nat),
    (Forward::FullNat.name(), Forward::FullNat),
    (Forward::Dr.name(), Forward::Dr),
    (Forward::Tun.name(), Forward::Tun),
];

/// Thresholds are a 32-bit number in LVS.
const THRESHOLD_MOST: u32 = u32::MAX;

pub(super) fn servers(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Vec<Server> {
    let items = at.items(faults);
    items.iter().filter_map(|item| server(item, faults)).collect()
}

pub(super) fn server(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Server> {
    let mut keys = at.keys(faults)?;
    let address = keys.need("address", faults, "write address: 10.0.2.11:80");
    let spot = address.as_ref().map_or_else(|| at.spot(), Cursor::spot);
    let address = address.and_then(|at| at.read(faults, scalar::server)).map(|put| put.value);
    let name = keys.take("name").and_then(|at| at.read(faults, scalar::name));
    // ipvsadm's range.
    let weight = keys.take("weight").and_then(|at| at.number(faults, 0, 65_535));
    let mac = keys.take("mac").and_then(|at| at.read(faults, scalar::mac));
    let forward = keys.take("forward").and_then(|at| at.word(faults, &FORWARDS));
    let tunnel = keys.take("tunnel").and_then(|at| self::tunnel(&at, faults));
    let mut threshold = |key| {
        let put = keys.take(key).and_then(|at| at.number(faults, 0, THRESHOLD_MOST));
        put.filter(|put| put.value > 0)
    };
    let upper = threshold("max_connections");
    let lower = threshold("resume_connections");
    let tier = keys.take("tier").and_then(|at| at.number(faults, 0, 15));
    let state = keys.take("state").and_then(|at| at.word(faults, &AdminState::WORDS));
    let checks = keys.take("checks").map(|at| health::checks(&at, faults));
    keys.finish(faults, |_| false);
    thresholds(upper.as_ref(), lower.as_ref(), faults);
    Some(Server {
        spot,
        address,
        name: name.map(|put| put.value),
        weight: weight.map_or(1, |put| put.value),
        mac: mac.map(|put| put.value),
        forward,
        tunnel,
        max_connections: upper.map_or(0, |put| put.value),
        resume_connections: lower.map_or(0, |put| put.value),
        tier: tier.map_or(0, |put| put.value),
        state: state.map(|put| put.value).unwrap_or_default(),
        checks,
    })
}

/// The kernel refuses a lower threshold above the upper one, too.
fn thresholds(upper: Option<&Put<u32>>, lower: Option<&Put<u32>>, faults: &mut Vec<Fault>) {
    let Some(lower) = lower else { return };
    match upper {
        None => faults.push(lower.spot.fault(
            "resume_connections without max_connections would do nothing",
            "add max_connections, or remove it",
        )),
        Some(upper) if lower.value > upper.value => faults.push(lower.spot.fault(
            format!("{} is more than max_connections, {}", lower.value, upper.value),
            format!("write at most {}", upper.value),
        )),
        Some(_) => {}
    }
}

/// `ipip`, `gre`, or a mapping with `type`.
pub(super) fn tunnel(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Put<Tunnel>> {
    let types = [("ipip", "ipip"), ("gre", "gre"), ("gue", "gue")];
    let spot = at.spot();
    if !at.is_map() {
        let value = match at.word(faults, &types)?.value {
            "gre" => Tunnel::Gre { checksum: false },
            "gue" => {
                let remedy = "write {type: gue, port: 6080}";
                faults.push(spot.fault("gue without a port", remedy));
                return None;
            }
            _ => Tunnel::Ipip,
        };
        return Some(Put { value, spot });
    }
    let mut keys = at.keys(faults)?;
    let kind = keys.need("type", faults, "write type: ipip, gre or gue");
    let kind = kind.and_then(|at| at.word(faults, &types))?.value;
    let mut port = None;
    if kind == "gue" {
        let at = keys.need("port", faults, "write port: 6080, or where the servers listen");
        port = at.and_then(|at| at.number(faults, 1, 65_535)).map(|put| put.value as u16);
    } else {
        let sentence = format!("{kind} has no port, only gue has");
        keys.refuse("port", &sentence, "remove it", faults);
    }
    let mut checksum = false;
    if kind == "ipip" {
        keys.refuse("checksum", "ipip has no checksum, gre and gue have", "remove it", faults);
    } else {
        checksum = keys.take("checksum").and_then(|at| at.truth(faults)).unwrap_or(false);
    }
    keys.finish(faults, |_| false);
    let value = match kind {
        "gue" => Tunnel::Gue { port: port?, checksum },
        "gre" => Tunnel::Gre { checksum },
        _ => Tunnel::Ipip,
    };
    Some(Put { value, spot })
}
