//! The short answer to "is it well?", for people and for keepalived's `track_script`.

use std::{fmt, net::IpAddr};

use crate::api::schema::Address;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Interface, Report, Server, ServerState, Service, Standing};

/// How the director is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Which publication is in force.
    pub generation: u64,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// It was told to stop, and forwards for its grace only.
    pub stopping: bool,
    /// Workers, and those of them that answer.
    pub workers: Share,
    /// Served interfaces, and those of them that forward.
    pub interfaces: Share,
    /// Services, and those of them with a server that takes new connections.
    pub services: Share,
    /// Servers in the file, and those of them that are up.
    pub servers: Share,
    /// Connections now.
    pub connections: u64,
    /// Managed VIPs that are taken away for want of servers.
    #[schema(value_type = Vec<Address>)]
    pub withdrawn: Vec<IpAddr>,
    /// The numbers of the workers that do not answer.
    pub silent_workers: Vec<usize>,
    /// The served interfaces.
    pub ports: Vec<Port>,
    /// How the services stand to their quorums.
    pub quorums: Vec<Quorum>,
}

/// A served interface in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Why it does not forward, if so.
    pub fault: Option<String>,
}

/// A service in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quorum {
    /// Its name.
    pub name: String,
    /// What clients connect to, such as `203.0.113.10:80/tcp`, or `mark 10`.
    pub place: String,
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { quorum, waiting, weight, needed, sorry } = self.standing;
        let state = match (quorum, waiting) {
            (true, _) => "has its quorum",
            (false, true) => "waits for its servers' first answers",
            (false, false) => "is below its quorum",
        };
        let sorry = if sorry { "; its sorry server takes new connections" } else { "" };
        write!(f, "{} {}: {state}, weight {weight} of {needed}{sorry}", self.name, self.place)
    }
}

/// How many there are, and how many of them are well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    /// All.
    pub total: usize,
    /// Those that are well.
    pub up: usize,
}

impl Share {
    fn of(well: impl Iterator<Item = bool>) -> Self {
        well.fold(Self::default(), |share, well| Self {
            total: share.total + 1,
            up: share.up + usize::from(well),
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.up, self.total)
    }
}

/// What is asked of a director before it is called well, beside that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The interfaces that must forward; of none: all served ones.
    pub interfaces: Vec<String>,
    /// The services that must have their quorum; of no names: all.
    pub quorums: Option<Vec<String>>,
}

/// Why it is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ill {
    /// Of which kind.
    pub kind: IllKind,
    /// In words.
    pub text: String,
}

/// Kinds of ills, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IllKind {
    /// It was told to stop.
    Stopping,
    /// A worker does not answer.
    Worker,
    /// An interface does not forward.
    Interface,
    /// A service has not its quorum.
    Quorum,
    /// What was asked about is not there.
    Unknown,
}

impl Status {
    /// Why it is not well, the worst first; nothing if it is.
    pub fn ills(&self, wanted: &Wanted) -> Vec<Ill> {
        let mut ills = Vec::new();
        let mut ill = |kind, text| ills.push(Ill { kind, text });
        if self.stopping {
            ill(IllKind::Stopping, "it stops: it forwards for its grace only".to_owned());
        }
        for number in &self.silent_workers {
            ill(IllKind::Worker, format!("worker {number} does not answer"));
        }
        let asked = |name: &String, names: &[String]| names.is_empty() || names.contains(name);
        for port in self.ports.iter().filter(|port| asked(&port.name, &wanted.interfaces)) {
            if let Some(fault) = &port.fault {
                ill(IllKind::Interface, format!("{} {fault}", port.name));
            }
        }
        let names = wanted.quorums.as_deref();
        for quorum in self.quorums.iter().filter(|quorum| !quorum.standing.quorum) {
            if names.is_some_and(|names| asked(&quorum.name, names)) {
                ill(IllKind::Quorum, quorum.to_string());
            }
        }
        for name in names.into_iter().flatten().filter(|name| !self.has_service(name)) {
            ill(IllKind::Unknown, format!("there is no service named {name}"));
        }
        for name in wanted.interfaces.iter().filter(|name| !self.serves(name)) {
            ill(IllKind::Unknown, format!("{name} is not a served interface"));
        }
        ills
    }

    fn has_service(&self, name: &str) -> bool {
        self.quorums.iter().any(|quorum| quorum.name == name)
    }

    fn serves(&self, name: &str) -> bool {
        self.ports.iter().any(|port| port.name == name)
    }
}

impl Report {
    /// The short form.
    pub fn status(&self) -> Status {
        let takes = |server: &Server| server.state == ServerState::Up && server.weight > 0;
        let servers = self.services.iter().flat_map(|service| &service.servers);
        let servers = servers.filter(|server| server.state != ServerState::Removed);
        let silent = self.workers.iter().filter(|worker| !worker.alive);
        let ports: Vec<Port> = self.interfaces.iter().map(Port::of).collect();
        Status {
            version: self.version.clone(),
            generation: self.generation,
            uptime_s: self.uptime_s,
            stopping: self.stopping,
            workers: Share::of(self.workers.iter().map(|worker| worker.alive)),
            interfaces: Share::of(ports.iter().map(|port| port.fault.is_none())),
            services: Share::of(self.services.iter().map(|s| s.servers.iter().any(takes))),
            servers: Share::of(servers.map(|server| server.state == ServerState::Up)),
            connections: self.tables.ipv4.connections + self.tables.ipv6.connections,
            withdrawn: self.withdrawn.clone(),
            silent_workers: silent.map(|worker| worker.worker).collect(),
            ports,
            quorums: self.services.iter().filter_map(Quorum::of).collect(),
        }
    }
}

impl Port {
    fn of(interface: &Interface) -> Self {
        let fault = match interface {
            Interface { index: 0, .. } => Some("is gone"),
            Interface { up: false, .. } => Some("is down"),
            Interface { xdp_mode: None, .. } => Some("has no XDP program"),
            _ => None,
        };
        Self { name: interface.name.clone(), fault: fault.map(ToOwned::to_owned) }
    }
}

impl Quorum {
    /// None of a service that left the file.
    fn of(service: &Service) -> Option<Self> {
        let place = match service.mark {
            Some(mark) => format!("mark {mark}"),
            None => format!("{}/{}", service.place(), service.protocol),
        };
        Some(Self { name: service.name.clone(), place, standing: service.standing? })
    }
}
