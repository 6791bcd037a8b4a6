//! Real servers: whether they fit their service, and whether they can be reached.

use std::net::{IpAddr, SocketAddr};

use dataplane::forward::{Forward, ServiceKey};
use hashbrown::HashMap;

use super::{Names, check::Asked, twice};
use crate::{
    fault::Fault,
    file::{self, Spot},
    model::Server,
};

/// The real servers of one service, from those that are written.
pub(super) fn servers(
    written: &[file::Server],
    key: ServiceKey,
    service: &file::Service,
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
        let port = port.unwrap_or(key.port());
        let endpoint = SocketAddr::new(address, port);
        twice(&mut seen, endpoint, &format!("server {}", shown(endpoint)), spot, faults);
        let tunnel = server.tunnel.as_ref().or(service.tunnel.as_ref());
        servers.push(Server {
            name: server.name.clone(),
            address,
            port,
            weight: server.weight,
            forward,
            tunnel: tunnel.map(|put| put.value).unwrap_or_default(),
            remote_checksum: false,
            upper: server.max_connections,
            lower: server.resume_connections,
            mac: server.mac,
            edition: 0,
            tier: server.tier,
            state: server.state,
            checks: names.checks.resolve(
                server.checks.as_deref().unwrap_or(&service.health.checks),
                &Asked { address, port, service: key, forward },
                faults,
            ),
        });
    }
    servers
}

/// A server that keeps the client's port has none to show.
fn shown(endpoint: SocketAddr) -> String {
    if endpoint.port() == 0 { endpoint.ip().to_string() } else { endpoint.to_string() }
}

/// The server's family and port against those of the service.
fn fits(
    address: IpAddr,
    port: Option<u16>,
    key: ServiceKey,
    forward: Forward,
    spot: &Spot,
    faults: &mut Vec<Fault>,
) {
    let family = |ipv6: bool| if ipv6 { "IPv6" } else { "IPv4" };
    if forward != Forward::Tun && address.is_ipv6() != key.is_ipv6() {
        faults.push(spot.fault(
            format!("{address} is {} but the service takes {key}", family(address.is_ipv6())),
            format!(
                "write a server with {}, or one service for each family; only tun can mix them",
                family(key.is_ipv6())
            ),
        ));
    }
    let Some(port) = port.filter(|port| !forward.two_way() && *port != key.port()) else { return };
    let kept = match key.port() {
        0 => "the client's".to_owned(),
        port => port.to_string(),
    };
    faults.push(spot.fault(
        format!("port {port} with forward: {}, which keeps the port, {kept}", forward.name()),
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

/// A `tunnel` that no packet would ever go through.
pub(super) fn tunnel(
    service: &file::Service,
    forward: Forward,
    servers: &[file::Server],
    faults: &mut Vec<Fault>,
) {
    let method = |server: &file::Server| server.forward.as_ref().map_or(forward, |put| put.value);
    let remedy = "remove it, or write forward: tun";
    let unused = "tunnel without forward: tun would do nothing";
    if let Some(tunnel) = &service.tunnel {
        let used = |server| method(server) == Forward::Tun;
        if forward != Forward::Tun && !servers.iter().any(used) {
            faults.push(tunnel.spot.fault(unused, remedy));
        }
    }
    for server in servers.iter().filter(|server| method(server) != Forward::Tun) {
        if let Some(tunnel) = &server.tunnel {
            faults.push(tunnel.spot.fault(unused, remedy));
        }
    }
}
