//! The entries of `services:`.

use std::ops::RangeInclusive;

use dataplane::{
    forward::{Endpoint, Forward, Tunnel},
    policy::{Access, MssClamp, OnJoin},
};

use super::{
    access,
    cursor::{Cursor, Keys, Put, Spot},
    health::{self, Health},
    hook::{self, Hook},
    lvs::{self, Lifecycle},
    mark,
    persistence::{self, Persistence},
    scalar,
    scheduler::{self, Scheduler},
    server::{self, FORWARDS, Server},
    timeouts::{self, Timeouts},
};
use crate::fault::Fault;

/// One entry of `services:`.
#[derive(Clone, Debug)]
pub struct Service {
    /// Where it stands.
    pub spot: Spot,
    /// `name`.
    pub name: Option<Put<String>>,
    /// `listen` or `mark`.
    pub takes: Takes,
    /// `except_ports`.
    pub except_ports: Option<Put<Vec<RangeInclusive<u16>>>>,
    /// `forward`.
    pub forward: Option<Put<Forward>>,
    /// `tunnel`: that of servers that say nothing.
    pub tunnel: Option<Put<Tunnel>>,
    /// `scheduler`.
    pub scheduler: Scheduler,
    /// `persistence`.
    pub persistence: Option<Persistence>,
    /// `one_packet`, if true.
    pub one_packet: Option<Spot>,
    /// `on_join`.
    pub on_join: Option<Put<OnJoin>>,
    /// `access`.
    pub access: Access,
    /// `local_addresses`: the name of a group.
    pub local_addresses: Option<Put<String>>,
    /// `mss_clamp`.
    pub mss_clamp: Option<Put<MssClamp>>,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `lvs`, `on_gone` and `on_idle`.
    pub lifecycle: Lifecycle,
    /// `checks` and what belongs to them.
    pub health: Health,
    /// `hooks`.
    pub hooks: Vec<Hook>,
    /// `servers` or `pool`.
    pub servers: Servers,
}

/// Which packets are a service's.
#[derive(Clone, Debug)]
pub enum Takes {
    /// `listen`; empty if a fault was reported.
    Listen(Vec<Put<Endpoint>>),
    /// `mark` and `family`.
    Mark {
        /// `mark`, not 0.
        mark: Put<u32>,
        /// `family: ipv6`.
        ipv6: bool,
    },
}

/// Where a service's servers are written.
#[derive(Clone, Debug)]
pub enum Servers {
    /// In the service.
    Here(Vec<Server>),
    /// In the pool of this name.
    Pool(Put<String>),
}

/// Slow start without a time.
const SLOW_START: u32 = 30;

pub(super) fn service(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Service> {
    let mut keys = at.keys(faults)?;
    let name = keys.need("name", faults, "write name: and a word for listings and logs");
    let name = name.and_then(|at| at.read(faults, scalar::name));
    let marked = keys.has("mark");
    let takes = takes(&mut keys, faults);
    let forward = keys.need("forward", faults, "write forward: nat, fullnat, dr or tun");
    let service = Service {
        spot: at.spot(),
        name,
        takes,
        except_ports: keys.take("except_ports").map(|at| {
            let value = mark::ports(&at, faults);
            Put { value, spot: at.spot() }
        }),
        forward: forward.and_then(|at| at.word(faults, &FORWARDS)),
        tunnel: keys.take("tunnel").and_then(|at| server::tunnel(&at, faults)),
        scheduler: part(&mut keys, "scheduler", faults, scheduler::scheduler).unwrap_or_default(),
        persistence: part(&mut keys, "persistence", faults, persistence::persistence),
        one_packet: part(&mut keys, "one_packet", faults, one_packet),
        on_join: part(&mut keys, "on_join", faults, on_join),
        access: keys.take("access").map(|at| access::access(&at, faults)).unwrap_or_default(),
        local_addresses: part(&mut keys, "local_addresses", faults, |at, faults| {
            at.read(faults, scalar::name)
        }),
        mss_clamp: part(&mut keys, "mss_clamp", faults, |at, faults| {
            at.read(faults, scalar::mss_clamp)
        }),
        timeouts: keys
            .take("timeouts")
            .map(|at| timeouts::timeouts(&at, faults))
            .unwrap_or_default(),
        lifecycle: lvs::of_service(&mut keys, marked, faults),
        health: health::health(&mut keys, faults),
        hooks: super::list(keys.take("hooks"), faults, hook::hook),
        servers: either_servers(&mut keys, faults),
    };
    keys.finish(faults, |_| false);
    Some(service)
}

/// What stands under a key, if it is there and right.
fn part<T>(
    keys: &mut Keys<'_>,
    key: &'static str,
    faults: &mut Vec<Fault>,
    read: impl FnOnce(&Cursor<'_>, &mut Vec<Fault>) -> Option<T>,
) -> Option<T> {
    keys.take(key).and_then(|at| read(&at, faults))
}

/// Exactly one of `listen` and `mark`.
fn takes(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Takes {
    let nothing = Takes::Listen(Vec::new());
    let families = [("ipv4", false), ("ipv6", true)];
    let Some(at) = keys.take("mark") else {
        let sentence = "family without mark: what the service listens on has one";
        keys.refuse("family", sentence, "remove it", faults);
        return Takes::Listen(listen(keys, faults));
    };
    let ipv6 = part(keys, "family", faults, |at, faults| at.word(faults, &families));
    if let Some(listen) = keys.take("listen") {
        let sentence = "listen and mark in one service";
        faults.push(listen.fault(sentence, "keep one of the two, or write two services"));
        return nothing;
    }
    match at.read(faults, scalar::mark) {
        Some(mark) if mark.value > 0 => {
            Takes::Mark { mark, ipv6: ipv6.is_some_and(|family| family.value) }
        }
        Some(mark) => {
            let sentence = "mark 0 is that of packets without a mark";
            faults.push(mark.spot.fault(sentence, "write a number from 1 to 4294967295"));
            nothing
        }
        None => nothing,
    }
}

fn listen(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Vec<Put<Endpoint>> {
    let remedy = "write listen: ADDRESS:PORT/tcp, or a list of them; or mark:";
    let Some(at) = keys.need("listen", faults, remedy) else { return Vec::new() };
    let before = faults.len();
    let items = at.one_or_more(faults);
    if items.is_empty() && faults.len() == before {
        faults.push(at.fault("an empty list", "write ADDRESS:PORT/tcp, or remove the service"));
    }
    items.iter().filter_map(|item| item.read(faults, scalar::listen)).collect()
}

fn one_packet(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Spot> {
    at.truth(faults)?.then(|| at.spot())
}

/// A word, or `{slow_start: TIME}`.
pub(super) fn on_join(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Put<OnJoin>> {
    if !at.is_map() {
        let words = [
            ("nothing", OnJoin::Nothing),
            ("reset_counts", OnJoin::ResetCounts),
            ("slow_start", OnJoin::SlowStart(SLOW_START)),
        ];
        return at.word(faults, &words);
    }
    let mut keys = at.keys(faults)?;
    let time = keys.need("slow_start", faults, "write slow_start: 30s");
    let time = time.and_then(|at| at.read(faults, |text| scalar::seconds(text, 3600)));
    keys.finish(faults, |_| false);
    Some(Put { value: OnJoin::SlowStart(time?.value), spot: at.spot() })
}

fn either_servers(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Servers {
    let here = keys.take("servers");
    match (here, keys.take("pool")) {
        (Some(_), Some(pool)) => {
            faults.push(pool.fault("servers and pool in one service", "keep one of the two"));
            Servers::Here(Vec::new())
        }
        (Some(here), None) => Servers::Here(server::servers(&here, faults)),
        (None, Some(pool)) => match pool.read(faults, scalar::name) {
            Some(name) => Servers::Pool(name),
            None => Servers::Here(Vec::new()),
        },
        // A service without servers answers "port unreachable": that is valid.
        (None, None) => Servers::Here(Vec::new()),
    }
}
