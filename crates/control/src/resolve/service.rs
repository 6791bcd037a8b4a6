//! Services: which packets are theirs, and what fits together in one.

use dataplane::{
    forward::{Forward, ServiceKey},
    policy::LocalAddress,
};
use hashbrown::HashMap;

use super::{Names, health, mark, policy, server, twice};
use crate::{
    fault::Fault,
    file::{self, File, Put, Servers, Spot, Takes},
    model::{Model, Server, Service},
};

/// All services, one for each element of a `listen:` list and for each `mark:`; `model` is
/// what is known already, the box's own settings.
pub(super) fn services(
    file: &File,
    names: &Names<'_>,
    model: &Model,
    faults: &mut Vec<Fault>,
) -> Vec<Service> {
    let (mut named, mut taken) = (HashMap::new(), HashMap::new());
    let mut services = Vec::new();
    for written in &file.services {
        if let Some(Put { value, spot }) = &written.name {
            twice(&mut named, value, &format!("the name {value}"), spot, faults);
        }
        let keys = keys(written);
        for key in &keys {
            twice(&mut taken, key.value, &key.value.to_string(), &key.spot, faults);
        }
        mark::without_rule(&model.marks, written, faults);
        every_port(written, &keys, faults);
        let Some(forward) = &written.forward else { continue };
        let policy = policy::of(written, forward.value, &keys, model, faults);
        let members = members(written, names, faults);
        server::tunnel(written, forward.value, members, faults);
        health::names(written, members, names, faults);
        for Put { value: key, .. } in keys {
            let servers = server::servers(members, key, written, forward.value, names, faults);
            let mut policy = policy.clone();
            policy.persistence = policy::persistence(written, key, faults);
            policy.local_addresses =
                local_addresses(written, forward, &servers, key, names, faults);
            if !every(key) {
                policy.except_ports.clear();
            }
            let health = health::of(written, key, forward.value, names, &servers, faults);
            services.push(Service {
                health,
                name: written.name.as_ref().map(|put| put.value.clone()).unwrap_or_default(),
                key,
                forward: forward.value,
                policy,
                on_join: written.on_join.as_ref().map(|put| put.value),
                timeouts: written.timeouts.clone(),
                servers,
            });
        }
    }
    services
}

/// The keys of the LVS services that one entry stands for.
fn keys(service: &file::Service) -> Vec<Put<ServiceKey>> {
    let put = |value, spot: &Spot| Put { value, spot: spot.clone() };
    match &service.takes {
        Takes::Listen(listen) => {
            listen.iter().map(|listen| put(listen.value.into(), &listen.spot)).collect()
        }
        Takes::Mark { mark, ipv6 } => {
            vec![put(ServiceKey::Mark { mark: mark.value, ipv6: *ipv6 }, &mark.spot)]
        }
    }
}

/// It takes every port of its VIP.
fn every(key: ServiceKey) -> bool {
    key.endpoint().is_some_and(|endpoint| endpoint.port == 0)
}

/// Port 0 is for clients that come by several ports and must meet one server.
fn every_port(service: &file::Service, keys: &[Put<ServiceKey>], faults: &mut Vec<Fault>) {
    let mut wild = keys.iter().filter(|key| every(key.value)).peekable();
    if let Some(except) = service.except_ports.as_ref().filter(|_| wild.peek().is_none()) {
        faults.push(except.spot.fault(
            "except_ports does nothing where no element of listen has port 0",
            "remove it, or write a port 0",
        ));
    }
    if service.persistence.is_some() {
        return;
    }
    for key in wild {
        faults.push(key.spot.fault(
            format!("{}: port 0, every port, needs persistence", key.value),
            "add persistence: 6m, or write one element for each port",
        ));
    }
}

/// The servers as written, in the service or in its pool.
fn members<'a>(
    service: &'a file::Service,
    names: &Names<'a>,
    faults: &mut Vec<Fault>,
) -> &'a [file::Server] {
    match &service.servers {
        Servers::Here(servers) => servers,
        Servers::Pool(name) => match names.pools.get(name.value.as_str()) {
            Some(pool) => &pool.servers,
            None => {
                faults.push(unknown(name, "pool", "pools", names.pools.keys().copied()));
                &[]
            }
        },
    }
}

pub(super) fn unknown<'a>(
    name: &Put<String>,
    what: &str,
    key: &str,
    known: impl Iterator<Item = &'a str>,
) -> Fault {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let remedy = if known.is_empty() {
        format!("define it under {key}:")
    } else {
        format!("{key}: has {}", known.join(", "))
    };
    name.spot.fault(format!("\"{}\": no such {what}", name.value), remedy)
}

/// The group's addresses of the service's family, if a server is FullNAT.
fn local_addresses(
    service: &file::Service,
    forward: &Put<Forward>,
    servers: &[Server],
    key: ServiceKey,
    names: &Names<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<LocalAddress> {
    let full = forward.value == Forward::FullNat
        || servers.iter().any(|server| server.forward == Forward::FullNat);
    let name = match &service.local_addresses {
        Some(name) if full => name,
        Some(name) => {
            let sentence = "local_addresses without forward: fullnat would do nothing";
            faults.push(name.spot.fault(sentence, "remove it, or write forward: fullnat"));
            return Vec::new();
        }
        None => {
            if full {
                faults.push(forward.spot.fault(
                    "fullnat without local addresses",
                    "define some under local_addresses:, such as back: {addresses: [10.0.2.1], ports: \
                     10000-32767} with an address of this box, and name them in the service: \
                     local_addresses: back",
                ));
            }
            return Vec::new();
        }
    };
    let Some(group) = names.groups.get(name.value.as_str()) else {
        let known = names.groups.keys().copied();
        faults.push(unknown(name, "group of local addresses", "local_addresses", known));
        return Vec::new();
    };
    let Some(ports) = &group.ports else { return Vec::new() };
    let fitting = group.addresses.iter().map(|put| put.value);
    let fitting = fitting.filter(|address| address.is_ipv6() == key.is_ipv6());
    let found: Vec<LocalAddress> =
        fitting.map(|address| LocalAddress { address, ports: ports.value.clone() }).collect();
    if found.is_empty() {
        let family = if key.is_ipv6() { "IPv6" } else { "IPv4" };
        faults.push(name.spot.fault(
            format!("\"{}\" has no {family} address, and the service takes {key}", name.value),
            format!("add an {family} address to local_addresses.{}", name.value),
        ));
    }
    found
}
