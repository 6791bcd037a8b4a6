//! Services on port 0 beside what listens on this box: they would take its packets. The file
//! can keep ports out (`except_ports`), a command line cannot.

use std::ops::RangeInclusive;

use dataplane::forward::{Endpoint, Protocol};
use ipvsadm::{Command, Denial};

use super::key;
use crate::{model::Model, resolve::Surroundings};

/// The sockets of this box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// Those that listen, or are bound.
    pub bound: Vec<Endpoint>,
    /// The ports that the kernel gives to its own connections
    /// (`/proc/sys/net/ipv4/ip_local_port_range`).
    pub ephemeral: RangeInclusive<u16>,
}

/// The first command that adds a service on port 0 of a VIP, while a socket of the box gets
/// packets to a port of that VIP which no other service has: its number, from 0, and a refusal
/// that names the ports. `sockets` is called if there is such a command at all.
pub fn swallows<E>(
    model: &Model,
    commands: &[Command],
    sockets: impl FnOnce() -> Result<Sockets, E>,
) -> Result<Option<(usize, Denial)>, E> {
    let added = commands.iter().enumerate().filter_map(|(at, command)| match command {
        Command::AddService(spec) => Some((at, *key(&spec.service).endpoint()?)),
        _ => None,
    });
    let added: Vec<(usize, Endpoint)> = added.collect();
    if added.iter().all(|(_, endpoint)| endpoint.port != 0) {
        return Ok(None);
    }
    let sockets = sockets()?;
    let file = model.services.iter().filter_map(|service| service.key.endpoint());
    let exact: Vec<&Endpoint> = file.chain(added.iter().map(|(_, endpoint)| endpoint)).collect();
    Ok(added.iter().filter(|(_, endpoint)| endpoint.port == 0).find_map(|(at, wild)| {
        let ports = sockets.taken_by(wild, &exact);
        (!ports.is_empty()).then(|| (*at, Denial::Other(text(wild, &ports))))
    }))
}

impl Sockets {
    /// The ports, in order, at which sockets would get nothing any more.
    fn taken_by(&self, wild: &Endpoint, exact: &[&Endpoint]) -> Vec<u16> {
        let taken = |socket: &&Endpoint| {
            // A UDP socket on a port of that range asks, from an address that the kernel chose:
            // it expects nothing at a VIP.
            let asks = socket.protocol == Protocol::Udp && self.ephemeral.contains(&socket.port);
            let elsewhere =
                exact.iter().any(|known| **known == Endpoint { port: socket.port, ..*wild });
            socket.protocol == wild.protocol
                && !asks
                && Surroundings::covers(socket, wild.address)
                && !elsewhere
        };
        let mut ports: Vec<u16> =
            self.bound.iter().filter(taken).map(|socket| socket.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

fn text(wild: &Endpoint, ports: &[u16]) -> String {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let (protocol, address) = (wild.protocol.name(), wild.address);
    format!(
        "a service on port 0 of {address} would take what this box's own sockets get on {protocol} \
         port {list}; write it in the configuration file with except_ports: [{list}]"
    )
}
