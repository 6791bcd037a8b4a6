//! From what the operator wrote to what is true: names become what they stand for, and
//! everything that cannot be true together becomes a fault.

mod api;
mod check;
mod connection_log;
mod health;
mod hook;
mod local;
mod mark;
mod policy;
mod probe_sources;
mod server;
mod service;
mod sockets;
mod surroundings;

use std::net::IpAddr;

use dataplane::policy::{Lifecycle, Timeouts};
use hashbrown::{HashMap, HashSet};
use sched::{Kind, Plan};
pub use surroundings::{Link, Surroundings};

use crate::{
    fault::Fault,
    file::{File, Pool, Put, Spot, Takes},
    model::{Compat, Interface, Limits, Metrics, Model, Vip, Workers},
};

/// Resolves a decoded file. The model counts only if `faults` stays empty; `around` adds the
/// checks against the box that we run on.
pub fn resolve(file: &File, around: Option<&Surroundings>, faults: &mut Vec<Fault>) -> Model {
    let model = Model {
        interfaces: interfaces(file, faults),
        workers: workers(file, faults),
        zero_copy: file.zero_copy,
        limits: file.limits.clone(),
        compat: file.compat,
        when_down: file.when_down,
        stop_grace: file.stop_grace,
        autoreload: file.autoreload,
        chunk_size: file.chunk_size,
        access: file.access.clone(),
        defence: file.lvs.defence,
        lifecycle: file.lvs.lifecycle.over(match file.compat {
            Compat::None => Lifecycle::default(),
            Compat::Lvs => Lifecycle::lvs(),
        }),
        timeouts: file.timeouts.over(&Timeouts::default()),
        on_join: file.on_join,
        lblc_expiration: file.lvs.lblc_expiration.unwrap_or(Plan::new(Kind::Lblc).expiration),
        lblcr_expiration: file.lvs.lblcr_expiration.unwrap_or(Plan::new(Kind::Lblcr).expiration),
        local_addresses: local::all(file),
        local_groups: file.local_addresses.iter().map(local::group).collect(),
        vips: vips(file, faults),
        marks: mark::rules(file, faults),
        hooks: hook::all(file, faults),
        connection_log: connection_log::of(file, faults),
        api: api::of(file, faults),
        metrics: metrics(file, faults),
        probe_sources: file.probe_sources.iter().map(|put| put.value).collect(),
        services: Vec::new(),
    };
    let mut names = Names::of(file, faults);
    names.box_addresses = around.map(|around| &around.addresses);
    local::check(file, &names, around, faults);
    probe_sources::check(file, &names, faults);
    if let Some(around) = around {
        surroundings::check(file, &model, around, faults);
        sockets::check(file, around, faults);
    }
    let services = service::services(file, &names, &model, faults);
    counts(&services, &file.limits, file, faults);
    Model { services, ..model }
}

fn metrics(file: &File, faults: &mut Vec<Fault>) -> Metrics {
    let mut listen = Vec::new();
    for put in &file.metrics.listen {
        if listen.contains(&put.value) {
            faults.push(put.spot.fault("listed twice", "remove one of them"));
        }
        listen.push(put.value);
    }
    Metrics { listen, node_ipvs: file.metrics.node_ipvs }
}

/// What the names of the file stand for.
struct Names<'a> {
    /// Every address that a service listens on, that `vips:` lists, or that alone a mark rule
    /// names.
    vips: HashSet<IpAddr>,
    groups: HashMap<&'a str, &'a crate::file::LocalGroup>,
    pools: HashMap<&'a str, &'a Pool>,
    box_addresses: Option<&'a HashSet<IpAddr>>,
    checks: check::Checks<'a>,
}

impl<'a> Names<'a> {
    fn of(file: &'a File, faults: &mut Vec<Fault>) -> Self {
        let listed = file.vips.iter().map(|vip| vip.address.value.0);
        let listened = file.services.iter().filter_map(|service| match &service.takes {
            Takes::Listen(listen) => Some(listen),
            Takes::Mark { .. } => None,
        });
        let listened = listened.flatten().map(|put| put.value.address);
        let marked = file.marks.iter().map(|mark| mark.destination);
        let marked = marked.filter(|to| to.is_host()).map(|to| to.address());
        Self {
            vips: listed.chain(listened).chain(marked).collect(),
            groups: file.local_addresses.iter().map(|g| (g.name.value.as_str(), g)).collect(),
            pools: file.pools.iter().map(|p| (p.name.value.as_str(), p)).collect(),
            box_addresses: None,
            checks: check::Checks::of(file, faults),
        }
    }
}

/// Reports a value that was there before, and where.
fn twice<T: Eq + std::hash::Hash>(
    seen: &mut HashMap<T, usize>,
    value: T,
    shown: &str,
    spot: &Spot,
    faults: &mut Vec<Fault>,
) -> bool {
    if let Some(line) = seen.get(&value) {
        let sentence = format!("{shown} is there twice, first on line {line}");
        faults.push(spot.fault(sentence, "keep one of the two"));
        return true;
    }
    seen.insert(value, spot.place.line);
    false
}

fn interfaces(file: &File, faults: &mut Vec<Fault>) -> Vec<Interface> {
    let mut seen = HashMap::new();
    for interface in &file.interfaces {
        let Put { value, spot } = &interface.name;
        twice(&mut seen, value, value, spot, faults);
    }
    let entry = |i: &crate::file::Interface| Interface { name: i.name.value.clone(), mode: i.mode };
    file.interfaces.iter().map(entry).collect()
}

fn workers(file: &File, faults: &mut Vec<Fault>) -> Workers {
    let mut seen = HashMap::new();
    for core in file.cores.iter().flat_map(|cores| &cores.value) {
        twice(&mut seen, core.value, &format!("core {}", core.value), &core.spot, faults);
    }
    let numbers = |cores: &Put<Vec<Put<usize>>>| cores.value.iter().map(|c| c.value).collect();
    Workers { cores: file.cores.as_ref().map(numbers), idle: file.idle }
}

fn vips(file: &File, faults: &mut Vec<Fault>) -> Vec<Vip> {
    let mut seen = HashMap::new();
    let mut vips = Vec::new();
    for vip in &file.vips {
        let (address, prefix) = vip.address.value;
        twice(&mut seen, address, &address.to_string(), &vip.address.spot, faults);
        if vip.managed && vip.interface.is_none() {
            let sentence = "a managed VIP without an interface";
            faults.push(vip.address.spot.fault(sentence, "add interface: eth0"));
        }
        let interface = vip.interface.as_ref().map(|put| put.value.clone());
        vips.push(Vip {
            address,
            prefix,
            interface,
            managed: vip.managed,
            withdraw_any: vip.withdraw_any,
        });
    }
    vips
}

fn counts(
    services: &[crate::model::Service],
    limits: &Limits,
    file: &File,
    faults: &mut Vec<Fault>,
) {
    let Some(last) = file.services.last() else { return };
    let servers: usize = services.iter().map(|service| service.servers.len()).sum();
    let checks =
        [("services", services.len(), limits.services), ("servers", servers, limits.servers)];
    for (what, count, limit) in checks {
        if count > limit as usize {
            faults.push(last.spot.fault(
                format!("the file has {count} {what}, more than limits.{what} ({limit})"),
                format!("write limits: {{{what}: {count}}} or more"),
            ));
        }
    }
}
