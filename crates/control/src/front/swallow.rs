//! Services on port 0 beside what listens on this box: they would take its packets. The file
//! can keep ports out (`except_ports`), a command line cannot.

use dataplane::forward::Endpoint;
use ipvsadm::{Command, Denial};

use super::key;
use crate::{model::Model, sockets::Sockets};

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
        let ports = sockets.losing(wild.address, |socket| {
            let same = Endpoint { port: socket.port, ..*wild };
            socket.protocol == wild.protocol && !exact.contains(&&same)
        });
        (!ports.is_empty()).then(|| (*at, Denial::Other(text(wild, &ports))))
    }))
}

fn text(wild: &Endpoint, ports: &[u16]) -> String {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let (protocol, address) = (wild.protocol.name(), wild.address);
    format!(
        "a service on port 0 of {address} would take what this box's own sockets get on {protocol} \
         port {list}; write it in the configuration file with except_ports: [{list}]"
    )
}
