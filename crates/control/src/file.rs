//! What an operator may write: the file's vocabulary, key by key, decoded from the marked
//! tree. Here each value is checked by itself; what values mean together is `resolve`'s.
//!
//! Decoding is written out instead of derived with serde: a derived reader stops at its first
//! fault, and an operator should see all of them in one run. An absent value is `None` or has
//! its default; one that is wrong has been reported and is absent too, so nothing that comes
//! later needs to tell the two apart.

mod access;
mod api;
mod check;
mod connection_log;
mod cursor;
mod health;
mod hook;
mod limits;
mod lvs;
mod mark;
mod metrics;
mod persistence;
mod program;
mod scalar;
mod scheduler;
mod server;
mod service;
mod timeouts;

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

pub use api::{Api, Tls};
pub use check::{Check, Named, Terms};
pub use connection_log::ConnectionLog;
use cursor::{Cursor, Keys};
pub use cursor::{Put, Spot};
use dataplane::{
    policy::{Access, OnJoin},
    prefix::Prefix,
};
pub use health::Health;
pub use hook::Hook;
pub use lvs::{Lifecycle, Lvs};
pub use mark::Mark;
pub use metrics::Metrics;
pub use persistence::Persistence;
pub use scalar::Mask;
pub use scheduler::Scheduler;
pub use server::Server;
pub use service::{Servers, Service, Takes};
pub use timeouts::Timeouts;

use crate::{
    fault::{Fault, Place},
    marked::Marked,
    model::{Compat, Idle, Limits, WhenDown, XdpMode, ZeroCopy},
};

/// Reads a duration as the file has it: a number with a unit, such as `500ms`.
///
/// # Errors
/// It is none, with the remedy.
pub fn duration(text: &str) -> Result<Duration, String> {
    scalar::duration(text).map_err(|wrong| format!("{}; {}", wrong.sentence, wrong.remedy))
}

/// Reads a network as the file has it: `192.0.2.0/24`.
///
/// # Errors
/// It is none, with the remedy.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    scalar::prefix(text).map_err(|wrong| format!("{}; {}", wrong.sentence, wrong.remedy))
}

/// Reads a server's address as the file has it, with or without a port.
///
/// # Errors
/// It is none, with the remedy.
pub fn server(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    scalar::server(text).map_err(|wrong| format!("{}; {}", wrong.sentence, wrong.remedy))
}

/// A word, or a list of them, at the top of the file.
pub fn words(value: &Marked, key: &str, faults: &mut Vec<Fault>) -> Vec<Put<String>> {
    let items = Cursor::below(value, key).one_or_more(faults);
    let word = |text: &str| Ok(text.to_owned());
    items.iter().filter_map(|item| item.read(faults, word)).collect()
}

/// The file.
#[derive(Clone, Debug)]
pub struct File {
    /// `interfaces`.
    pub interfaces: Vec<Interface>,
    /// `workers.cores`: where the list stands, and its numbers.
    pub cores: Option<Put<Vec<Put<usize>>>>,
    /// `workers.idle`.
    pub idle: Idle,
    /// `zero_copy`.
    pub zero_copy: ZeroCopy,
    /// `limits`, over the defaults.
    pub limits: Limits,
    /// `compat`.
    pub compat: Compat,
    /// `lvs`, `on_gone` and `on_idle`.
    pub lvs: Lvs,
    /// `on_join`: that of services that say nothing.
    pub on_join: OnJoin,
    /// `timeouts`: those of services that say nothing.
    pub timeouts: Timeouts,
    /// `access`.
    pub access: Access,
    /// `when_down`.
    pub when_down: WhenDown,
    /// `stop_grace`. Zero unless given: a stop is immediate, since waiting only helps where
    /// managed VIPs are withdrawn first, and for how long depends on the network around.
    pub stop_grace: Duration,
    /// `autoreload`.
    pub autoreload: bool,
    /// `chunk_size`.
    pub chunk_size: u32,
    /// `vips`.
    pub vips: Vec<Vip>,
    /// `local_addresses`.
    pub local_addresses: Vec<LocalGroup>,
    /// `probe_sources`.
    pub probe_sources: Vec<Put<IpAddr>>,
    /// `checks`, by their names.
    pub checks: Vec<(Put<String>, Check)>,
    /// `hooks`.
    pub hooks: Vec<Hook>,
    /// `connection_log`.
    pub connection_log: Option<ConnectionLog>,
    /// `api`.
    pub api: Api,
    /// `metrics`.
    pub metrics: Metrics,
    /// `pools`.
    pub pools: Vec<Pool>,
    /// `marks`.
    pub marks: Vec<Mark>,
    /// `services`.
    pub services: Vec<Service>,
}

/// One entry of `interfaces:`.
#[derive(Clone, Debug)]
pub struct Interface {
    /// `name`, or the entry itself.
    pub name: Put<String>,
    /// `mode`.
    pub mode: XdpMode,
}

/// One entry of `vips:`.
#[derive(Clone, Debug)]
pub struct Vip {
    /// `address`: address and prefix length.
    pub address: Put<(IpAddr, u8)>,
    /// `interface`.
    pub interface: Option<Put<String>>,
    /// `managed`.
    pub managed: bool,
    /// `withdraw`: any, not all.
    pub withdraw_any: bool,
}

/// One entry of `local_addresses:`.
#[derive(Clone, Debug)]
pub struct LocalGroup {
    /// Its key.
    pub name: Put<String>,
    /// `addresses`.
    pub addresses: Vec<Put<IpAddr>>,
    /// `ports`.
    pub ports: Option<Put<RangeInclusive<u16>>>,
}

/// One entry of `pools:`.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its key.
    pub name: Put<String>,
    /// Its servers.
    pub servers: Vec<Server>,
}

/// Decodes the tree. `None` if not even the top is a mapping; every fault is in `faults`.
pub fn decode(tree: Option<&Marked>, faults: &mut Vec<Fault>) -> Option<File> {
    let Some(tree) = tree.filter(|tree| !tree.is_null()) else {
        let spot = Spot { place: Place { file: 0, line: 1, column: 1 }, path: String::new() };
        faults.push(spot.fault("the file is empty", "write version: 1, interfaces: and services:"));
        return None;
    };
    let mut keys = Cursor::root(tree).keys(faults)?;
    if let Some(at) = keys.need("version", faults, "write version: 1") {
        at.number(faults, 1, 1);
    }
    let interfaces = interfaces(&mut keys, faults);
    let (cores, idle) = workers(&mut keys, faults);
    let file = File {
        interfaces,
        cores,
        idle,
        zero_copy: word(
            &mut keys,
            "zero_copy",
            &[("auto", ZeroCopy::Auto), ("require", ZeroCopy::Require), ("never", ZeroCopy::Never)],
            faults,
        ),
        limits: limits::limits(&mut keys, faults),
        compat: word(&mut keys, "compat", &[("none", Compat::None), ("lvs", Compat::Lvs)], faults),
        lvs: lvs::of_box(&mut keys, faults),
        on_join: keys
            .take("on_join")
            .and_then(|at| service::on_join(&at, faults))
            .map(|put| put.value)
            .unwrap_or_default(),
        timeouts: keys
            .take("timeouts")
            .map(|at| timeouts::timeouts(&at, faults))
            .unwrap_or_default(),
        access: keys.take("access").map(|at| access::access(&at, faults)).unwrap_or_default(),
        when_down: word(
            &mut keys,
            "when_down",
            &[("pass", WhenDown::Pass), ("drop", WhenDown::Drop)],
            faults,
        ),
        stop_grace: stop_grace(&mut keys, faults),
        autoreload: keys.take("autoreload").and_then(|at| at.truth(faults)).unwrap_or(false),
        chunk_size: chunk_size(&mut keys, faults),
        vips: list(keys.take("vips"), faults, vip),
        local_addresses: named(keys.take("local_addresses"), faults, local_group),
        probe_sources: list(keys.take("probe_sources"), faults, |at, faults| {
            at.read(faults, scalar::address)
        }),
        checks: named(keys.take("checks"), faults, |name, at, faults| {
            (name, check::check(at, faults))
        }),
        hooks: list(keys.take("hooks"), faults, hook::hook),
        connection_log: keys
            .take("connection_log")
            .and_then(|at| connection_log::connection_log(&at, faults)),
        api: api::api(&mut keys, faults),
        metrics: metrics::metrics(&mut keys, faults),
        pools: named(keys.take("pools"), faults, |name, at, faults| Pool {
            name,
            servers: server::servers(at, faults),
        }),
        marks: list(keys.take("marks"), faults, mark::mark),
        services: list(
            keys.need("services", faults, "write services: [] if there are none yet"),
            faults,
            service::service,
        ),
    };
    // Those are for `origin`, which has taken them; here they are known.
    for key in ["include", "boxes"] {
        keys.take(key);
    }
    keys.finish(faults, |key| key.starts_with("x-"));
    Some(file)
}

fn list<T>(
    at: Option<Cursor<'_>>,
    faults: &mut Vec<Fault>,
    read: impl Fn(&Cursor<'_>, &mut Vec<Fault>) -> Option<T>,
) -> Vec<T> {
    let items = at.map(|at| at.items(faults)).unwrap_or_default();
    items.iter().filter_map(|item| read(item, faults)).collect()
}

fn named<T>(
    at: Option<Cursor<'_>>,
    faults: &mut Vec<Fault>,
    read: impl Fn(Put<String>, &Cursor<'_>, &mut Vec<Fault>) -> T,
) -> Vec<T> {
    let mut entries = Vec::new();
    for (name, at) in at.map(|at| at.named(faults)).unwrap_or_default() {
        if name.value.trim().is_empty() {
            faults.push(name.spot.fault("an empty name", "write a name"));
        }
        entries.push(read(name, &at, faults));
    }
    entries
}

fn word<T: Copy + Default>(
    keys: &mut Keys<'_>,
    key: &'static str,
    words: &[(&str, T)],
    faults: &mut Vec<Fault>,
) -> T {
    keys.take(key).and_then(|at| at.word(faults, words)).map(|put| put.value).unwrap_or_default()
}

fn interfaces(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Vec<Interface> {
    let remedy = "write interfaces: [eth0] with the interfaces to serve";
    let Some(at) = keys.need("interfaces", faults, remedy) else { return Vec::new() };
    let before = faults.len();
    let items = at.items(faults);
    if items.is_empty() && faults.len() == before {
        faults.push(at.fault("an empty list", "write at least one interface"));
    }
    items.iter().filter_map(|item| interface(item, faults)).collect()
}

fn interface(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Interface> {
    if !at.is_map() {
        let name = at.read(faults, scalar::interface)?;
        return Some(Interface { name, mode: XdpMode::Auto });
    }
    let mut keys = at.keys(faults)?;
    let name = keys.need("name", faults, "write name: eth0");
    let name = name.and_then(|at| at.read(faults, scalar::interface));
    let modes =
        [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
    let mode = word(&mut keys, "mode", &modes, faults);
    keys.finish(faults, |_| false);
    Some(Interface { name: name?, mode })
}

fn workers(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> (Option<Put<Vec<Put<usize>>>>, Idle) {
    let keys = keys.take("workers").and_then(|at| at.keys(faults));
    let Some(mut keys) = keys else { return (None, Idle::default()) };
    let cores = keys.take("cores").map(|at| {
        let core = |item: &Cursor<'_>, faults: &mut Vec<Fault>| {
            let number = item.number(faults, 0, 4095)?;
            Some(Put { value: number.value as usize, spot: number.spot })
        };
        let before = faults.len();
        let spot = at.spot();
        let value = list(Some(at), faults, core);
        if value.is_empty() && faults.len() == before {
            let remedy = "write the cores to run on, or remove the key for one worker per queue";
            faults.push(spot.fault("no cores: no queue would have a worker", remedy));
        }
        Put { value, spot }
    });
    let idle = [("adaptive", Idle::Adaptive), ("poll", Idle::Poll)];
    let idle = word(&mut keys, "idle", &idle, faults);
    keys.finish(faults, |_| false);
    (cores, idle)
}

fn stop_grace(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Duration {
    let Some(at) = keys.take("stop_grace") else { return Duration::ZERO };
    let Some(put) = at.read(faults, scalar::duration) else { return Duration::ZERO };
    if put.value > Duration::from_secs(3600) {
        faults.push(put.spot.fault("longer than an hour", "write at most 1h"));
    }
    put.value
}

fn chunk_size(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> u32 {
    let sizes = [("2048", 2048), ("4096", 4096)];
    let put = keys.take("chunk_size").and_then(|at| at.word(faults, &sizes));
    put.map_or(2048, |put| put.value)
}

fn vip(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Vip> {
    let mut keys = at.keys(faults)?;
    let address = keys.need("address", faults, "write address: 203.0.113.10/32");
    let address = address.and_then(|at| at.read(faults, scalar::network));
    let interface = keys.take("interface").and_then(|at| at.read(faults, scalar::interface));
    let managed = keys.take("managed").and_then(|at| at.truth(faults)).unwrap_or(false);
    let withdraw = word(&mut keys, "withdraw", &[("all", false), ("any", true)], faults);
    keys.finish(faults, |_| false);
    Some(Vip { address: address?, interface, managed, withdraw_any: withdraw })
}

fn local_group(name: Put<String>, at: &Cursor<'_>, faults: &mut Vec<Fault>) -> LocalGroup {
    let Some(mut keys) = at.keys(faults) else {
        return LocalGroup { name, addresses: Vec::new(), ports: None };
    };
    let addresses = keys.need("addresses", faults, "write addresses: [10.0.9.10]");
    let addresses = addresses.map(|at| at.one_or_more(faults)).unwrap_or_default();
    let addresses =
        addresses.iter().filter_map(|item| item.read(faults, scalar::address)).collect();
    let ports = keys.need("ports", faults, "write ports: 10000-32767");
    let ports = ports.and_then(|at| at.read(faults, scalar::ports));
    keys.finish(faults, |_| false);
    LocalGroup { name, addresses, ports }
}
