//! Services on port 0 beside what listens on this box: they would take its packets. The file
//! can keep ports out (`except_ports`), a command line cannot.

use dataplane::forward::Endpoint;
use hashbrown::HashMap;
use ipvsadm::{Command, Denial};

use super::key;
use crate::{model::Model, sockets::Sockets};

/// The first command by which a service on port 0 of a VIP takes what a socket of the box gets
/// there, on a port that no other service has: it adds the one on port 0, or removes the other.
/// Its number, from 0, and a refusal that names the ports. `sockets` is called if there is such
/// a command at all.
pub fn swallows<E>(
    model: &Model,
    commands: &[Command],
    sockets: impl FnOnce() -> Result<Sockets, E>,
) -> Result<Option<(usize, Denial)>, E> {
    let after = After::of(model, commands);
    let suspects = after.suspects(model);
    if suspects.is_empty() {
        return Ok(None);
    }
    let sockets = sockets()?;
    Ok(suspects.iter().find_map(|suspect| {
        let ports = sockets.losing(suspect.wild.address, |socket| {
            let same = Endpoint { port: socket.port, ..suspect.wild };
            socket.protocol == suspect.wild.protocol
                && suspect.port.is_none_or(|port| port == socket.port)
                && !after.services.contains_key(&same)
        });
        (!ports.is_empty()).then(|| (suspect.at, Denial::Other(suspect.text(&ports))))
    }))
}

/// What there is after some commands.
struct After {
    /// The services, each with the number of the command that added it, if one did.
    services: HashMap<Endpoint, Option<usize>>,
    /// What a command removed, and which.
    removed: Vec<(usize, Endpoint)>,
}

impl After {
    fn of(model: &Model, commands: &[Command]) -> Self {
        let before = model.services.iter().filter_map(|service| service.key.endpoint());
        let mut services: HashMap<Endpoint, Option<usize>> =
            before.map(|endpoint| (*endpoint, None)).collect();
        let mut removed = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            match command {
                Command::AddService(spec) => {
                    if let Some(endpoint) = key(&spec.service).endpoint() {
                        services.entry(*endpoint).or_insert(Some(at));
                    }
                }
                Command::DeleteService(service) => {
                    let key = key(service);
                    let endpoint = key.endpoint().filter(|it| services.remove(*it).is_some());
                    removed.extend(endpoint.map(|endpoint| (at, *endpoint)));
                }
                Command::Flush => services.clear(),
                _ => {}
            }
        }
        Self { services, removed }
    }

    /// In the order of commands.
    fn suspects(&self, model: &Model) -> Vec<Suspect> {
        let added = self.services.iter().filter_map(|(wild, at)| {
            let at = at.filter(|_| wild.port == 0)?;
            Some(Suspect { at, wild: *wild, port: None })
        });
        let bared = self.removed.iter().filter_map(|(at, exact)| {
            let wild = Endpoint { port: 0, ..*exact };
            let stood = self.services.get(&wild)?.is_none();
            let of_file = |known: &&crate::model::Service| known.key.endpoint() == Some(&wild);
            let except = &model.services.iter().find(of_file)?.policy.except_ports;
            let kept = except.iter().any(|ports| ports.contains(&exact.port));
            (stood && !kept).then_some(Suspect { at: *at, wild, port: Some(exact.port) })
        });
        let mut suspects: Vec<Suspect> = added.chain(bared).collect();
        suspects.sort_by_key(|suspect| suspect.at);
        suspects
    }
}

/// A command after which a service on port 0 may take too much.
struct Suspect {
    /// Its number.
    at: usize,
    /// The service on port 0.
    wild: Endpoint,
    /// It removed a service from this port; otherwise it added the one on port 0.
    port: Option<u16>,
}

impl Suspect {
    fn text(&self, ports: &[u16]) -> String {
        let (protocol, address) = (self.wild.protocol.name(), self.wild.address);
        if let Some(port) = self.port {
            return format!(
                "without this service the one on port 0 of {address} would take what this box's \
                 own sockets get on {protocol} port {port}; delete that one first, or write it in \
                 the configuration file with except_ports: [{port}]"
            );
        }
        let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        format!(
            "a service on port 0 of {address} would take what this box's own sockets get on \
             {protocol} port {list}; write it in the configuration file with except_ports: [{list}]"
        )
    }
}
