//! Services and their servers: what fits together and what cannot.

use std::net::IpAddr;

use dataplane::{
    forward::{Endpoint, Forward, Tunnel},
    policy::{LocalAddress, MssClamp, Policy},
};
use hashbrown::HashMap;

use super::{Names, twice};
use crate::{
    fault::Fault,
    file::{self, File, Put, Servers, Spot},
    model::{Server, Service},
};

/// All services, one for each element of a `listen:` list.
pub(super) fn services(file: &File, names: &Names<'_>, faults: &mut Vec<Fault>) -> Vec<Service> {
    let (mut named, mut listened) = (HashMap::new(), HashMap::new());
    let mut services = Vec::new();
    for written in &file.services {
        if let Some(Put { value, spot }) = &written.name {
            twice(&mut named, value, &format!("the name {value}"), spot, faults);
        }
        let Some(forward) = &written.forward else { continue };
        mss_clamp(written, forward.value, faults);
        let servers = members(written, names, faults);
        for listen in &written.listen {
            let key = listen.value;
            twice(&mut listened, key, &key.to_string(), &listen.spot, faults);
            let servers = self::servers(servers, key, forward.value, names, faults);
            services.push(Service {
                name: written.name.as_ref().map(|put| put.value.clone()).unwrap_or_default(),
                key: key.into(),
                forward: forward.value,
                policy: Policy {
                    // Without one, a fault was reported.
                    scheduler: sched::Plan::new(written.scheduler.unwrap_or(sched::Kind::Rr)),
                    local_addresses: local_addresses(
                        written, forward, &servers, key, names, faults,
                    ),
                    mss_clamp: written.mss_clamp.as_ref().map(|put| put.value).unwrap_or_default(),
                    timeouts: written.timeouts.clone(),
                    ..Policy::default()
                },
                servers,
            });
        }
    }
    services
}

fn mss_clamp(service: &file::Service, forward: Forward, faults: &mut Vec<Fault>) {
    let Some(Put { value, spot }) = &service.mss_clamp else { return };
    if *value == MssClamp::Off {
        return;
    }
    if !forward.two_way() {
        faults.push(spot.fault(
            format!(
                "mss_clamp with forward: {}: the server's answers do not pass here",
                forward.name()
            ),
            "lower the MSS on the servers instead (ip route ... advmss)",
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

fn unknown<'a>(
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

fn servers(
    written: &[file::Server],
    key: Endpoint,
    forward: Forward,
    names: &Names<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<Server> {
    let mut seen = HashMap::new();
    let mut servers = Vec::new();
    for server in written {
        let Some((address, port)) = server.address else { continue };
        let forward = server.forward.as_ref().map_or(forward, |put| put.value);
        let spot = &server.spot;
        fits(address, port, key, forward, spot, faults);
        reachable(address, forward, names, spot, faults);
        let port = port.unwrap_or(key.port);
        let endpoint = std::net::SocketAddr::new(address, port);
        twice(&mut seen, endpoint, &format!("server {endpoint}"), spot, faults);
        servers.push(Server {
            name: server.name.clone(),
            address,
            port,
            weight: server.weight,
            forward,
            tunnel: Tunnel::Ipip,
            upper: 0,
            lower: 0,
            mac: server.mac,
        });
    }
    servers
}

/// The server's family and port against those of the service.
fn fits(
    address: IpAddr,
    port: Option<u16>,
    key: Endpoint,
    forward: Forward,
    spot: &Spot,
    faults: &mut Vec<Fault>,
) {
    let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    if forward != Forward::Tun && address.is_ipv4() != key.address.is_ipv4() {
        faults.push(spot.fault(
            format!("{address} is {} but the service listens on {key}", family(address)),
            format!(
                "write a server with {}, or one service for each family; only tun can mix them",
                family(key.address)
            ),
        ));
    }
    let Some(port) = port.filter(|port| !forward.two_way() && *port != key.port) else { return };
    faults.push(spot.fault(
        format!("port {port} with forward: {}, which keeps the port, {}", forward.name(), key.port),
        "leave the port out, or use nat or fullnat",
    ));
}

/// Whether packets sent to the server would come back to us.
fn reachable(
    address: IpAddr,
    forward: Forward,
    names: &Names<'_>,
    spot: &Spot,
    faults: &mut Vec<Fault>,
) {
    if names.vips.contains(&address) {
        faults.push(spot.fault(
            format!("{address} is a VIP: packets would come back to the director"),
            "write the server's own address",
        ));
    } else if forward != Forward::Dr && names.box_addresses.is_some_and(|b| b.contains(&address)) {
        faults.push(spot.fault(
            format!("{address} is an address of this box, with forward: {}", forward.name()),
            "add forward: dr to this server, the only method for a server on the director",
        ));
    }
}

/// The group's addresses of the service's family, if a server is FullNAT.
fn local_addresses(
    service: &file::Service,
    forward: &Put<Forward>,
    servers: &[Server],
    key: Endpoint,
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
                    "define some under local_addresses: and name them in the service",
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
    let fitting = fitting.filter(|address| address.is_ipv4() == key.address.is_ipv4());
    let found: Vec<LocalAddress> =
        fitting.map(|address| LocalAddress { address, ports: ports.value.clone() }).collect();
    if found.is_empty() {
        let family = if key.address.is_ipv4() { "IPv4" } else { "IPv6" };
        faults.push(name.spot.fault(
            format!("\"{}\" has no {family} address, and the service listens on {key}", name.value),
            format!("add an {family} address to local_addresses.{}", name.value),
        ));
    }
    found
}
