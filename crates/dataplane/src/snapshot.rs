//! Services, real servers and next hops as the workers see them: flat, integer ids,
//! immutable. `control` compiles one from the model and publishes it through a single
//! pointer; counts, scheduler state and connections live outside, keyed by id.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;

pub use crate::policy::{LocalAddress, MssClamp, Timeouts};
use crate::{
    access::Gates,
    forward::{Endpoint, Forward, Protocol, ServiceKey, Tunnel},
    lookup::Rules,
    mark::MarkRule,
    policy::{Access, Defence, Gone, Lifecycle, Policy},
    prefix::Prefix,
    route::{sole_hop, source_towards},
    topology::{HopId, Mac, NO_HOP, Topology},
    tunnel::{Ends, Path},
};

/// Index into [`Services::services`] and of the box-wide service record.
pub type ServiceId = u32;

/// Index into [`Services::servers`] and of the box-wide server record: one for each
/// (service, real server) pair, an LVS "destination". Never reused while it has connections.
pub type ServerId = u32;

/// Everything that a worker reads during one burst, behind one pointer.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Rises with each publication.
    pub generation: u64,
    /// What the operator configured, and health.
    pub services: Arc<Services>,
    /// What the kernel knows.
    pub topology: Arc<Topology>,
    /// What a connection's cached hops are compared with, within 24 bits and never 0: another
    /// one whenever routes changed, or [`Services::liveness`] did.
    pub hop_generation: u32,
    /// By server id.
    tunnels: Vec<Option<Path>>,
    /// By server id; [`NO_HOP`] where more than the server decides, or it is gone.
    hops: Vec<HopId>,
}

impl Snapshot {
    /// Joins the two halves; works out the source address of each tunnel.
    pub fn new(generation: u64, services: Arc<Services>, topology: Arc<Topology>) -> Self {
        let tunnels = services
            .servers
            .iter()
            .zip(0..)
            .map(|(server, id)| {
                let server = server.as_ref()?;
                let tunnel = server.tunnel()?;
                let ends = Ends::new(source_towards(&topology, server.address)?, server.address)?;
                Some(Path::new(ends, tunnel, services.lifecycle(id).pmtu_disc))
            })
            .collect();
        let hop = |server: &Option<Server>| {
            let server = server.as_ref().filter(|server| !server.gone())?;
            sole_hop(&topology, server.address)
        };
        let hops = services.servers.iter().map(|server| hop(server).unwrap_or(NO_HOP)).collect();
        let risen = topology.route_generation.wrapping_add(services.liveness);
        // 0 is what an entry has whose hops were never looked up.
        let hop_generation = 1 + risen % 0x00ff_ffff;
        Self { generation, services, topology, hop_generation, tunnels, hops }
    }

    /// The hop to a server that is there, if it is known and the same for all connections.
    #[inline]
    pub(crate) fn hop_to(&self, server: ServerId) -> Option<HopId> {
        self.hops.get(server as usize).copied().filter(|hop| *hop != NO_HOP)
    }

    /// The tunnel to a server, if there is a route to it.
    #[inline]
    pub fn tunnel(&self, server: ServerId) -> Option<&Path> {
        self.tunnels.get(server as usize)?.as_ref()
    }
}

/// The compiled configuration.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// By id; `None` once removed.
    pub services: Vec<Option<Service>>,
    /// By id; a removed server stays until its last connection ended.
    pub servers: Vec<Option<Server>>,
    /// Which packets get which mark, in the order in which they apply.
    pub marks: Vec<MarkRule>,
    /// Which service a destination or a mark belongs to.
    pub by_key: HashMap<ServiceKey, ServiceId>,
    /// All addresses of services with one.
    pub vips: hashbrown::HashSet<IpAddr>,
    /// Which servers a tunnel address belongs to.
    pub tunnel_servers: HashMap<IpAddr, Vec<ServerId>>,
    /// The ranges that FullNAT takes source ports from, by address.
    pub local_ports: HashMap<IpAddr, std::ops::RangeInclusive<u16>>,
    /// Where health probes by way of services come from: see [`crate::probe`].
    pub probe_sources: Vec<IpAddr>,
    /// Endpoints of NAT servers that are told when they send without a connection
    /// (`nat_icmp_send`).
    pub told_servers: hashbrown::HashSet<Endpoint>,
    /// Raised whenever live connections must look at their server and service again: see
    /// [`Services::follow`].
    pub liveness: u32,
    /// The box-wide settings.
    pub settings: Settings,
    /// Which rules a lookup has to try.
    pub rules: Rules,
    /// Sources that the operator denies for a while.
    pub denied: Vec<Denial>,
    /// Who may open connections.
    pub gates: Gates,
}

/// A source that may open no connection, whatever `access:` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which.
    pub source: Prefix,
    /// To which service; `None`: to none at all.
    pub service: Option<ServiceId>,
}

/// Box-wide settings of the datapath.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `compat: lvs`: the kernel's choices where ours differ.
    pub compat_lvs: bool,
    /// Who may open connections to any service.
    pub access: Access,
    /// What is done against floods.
    pub defence: Defence,
    /// Where there is a connection log: only of services with these names; `None`: of all.
    pub logged: Option<Vec<String>>,
}

/// One service: one element of a `listen:` list.
#[derive(Clone, Debug)]
pub struct Service {
    /// The operator's name for it.
    pub name: String,
    /// What clients connect to.
    pub key: ServiceKey,
    /// Its servers in scheduling order.
    pub servers: Vec<ServerId>,
    /// What the operator decided about it.
    pub policy: Policy,
}

impl Service {
    /// A service without servers.
    pub fn new(name: impl Into<String>, key: impl Into<ServiceKey>, policy: Policy) -> Self {
        Self { name: name.into(), key: key.into(), servers: Vec::new(), policy }
    }
}

impl Services {
    /// Works out what follows from services and servers. Call it after every change of them,
    /// before publication.
    pub fn derive(&mut self) {
        self.vips.clear();
        self.local_ports.clear();
        self.tunnel_servers.clear();
        self.rules = Rules::new(self);
        self.gates = Gates::new(self);
        self.told_servers.clear();
        for service in self.services.iter().flatten() {
            self.vips.extend(service.key.endpoint().map(|endpoint| endpoint.address));
            for local in &service.policy.local_addresses {
                self.local_ports.insert(local.address, local.ports.clone());
            }
        }
        for (id, server) in self.servers.iter().enumerate() {
            if let Some(server) = server.as_ref().filter(|s| s.tunnel().is_some()) {
                self.tunnel_servers.entry(server.address).or_default().push(id as ServerId);
            }
        }
        for server in self.servers.iter().flatten() {
            let service = self.services.get(server.service as usize).and_then(Option::as_ref);
            let Some(service) = service.filter(|s| s.policy.lifecycle.nat_icmp_send) else {
                continue;
            };
            let protocols = match service.key.endpoint() {
                Some(endpoint) => vec![endpoint.protocol],
                None => Protocol::ALL.to_vec(),
            };
            if server.forward == Forward::Nat && !server.removed {
                let Server { address, port, .. } = *server;
                let endpoint = |protocol| Endpoint { protocol, address, port };
                self.told_servers.extend(protocols.into_iter().map(endpoint));
            }
        }
    }

    /// Takes the place of `before`: raises [`Services::liveness`] above its own if a server went
    /// or came back, or what governs live connections changed. Each connection then looks once,
    /// with its next packet; established packets pay for nothing else. Call it before
    /// publication.
    pub fn follow(&mut self, before: &Self) {
        let changed = (0..self.servers.len().max(before.servers.len()) as ServerId)
            .any(|id| self.governs(id) != before.governs(id));
        self.liveness = before.liveness.wrapping_add(changed.into());
    }

    /// What a live connection of a server obeys.
    fn governs(&self, id: ServerId) -> (bool, Option<(&Timeouts, &Lifecycle)>) {
        let policy = self.service_of(id).map(|service| &service.policy);
        (self.is_gone(id), policy.map(|policy| (&policy.timeouts, &policy.lifecycle)))
    }

    /// The record of a server, if it has one.
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id as usize)?.as_ref()
    }

    /// The service of a server; its record outlives its removal as long as the server's does.
    pub fn service_of(&self, id: ServerId) -> Option<&Service> {
        self.services.get(self.server(id)?.service as usize)?.as_ref()
    }

    /// The connections of this service are logged, if there is a log.
    pub fn logs(&self, service: Option<&Service>) -> bool {
        self.settings
            .logged
            .as_ref()
            .is_none_or(|names| service.is_some_and(|service| names.contains(&service.name)))
    }

    /// True for a server that was removed or is down: its connections are treated by
    /// [`Lifecycle::gone`]. One that is drained or has weight 0 keeps them.
    pub fn is_gone(&self, id: ServerId) -> bool {
        self.server(id).is_none_or(Server::gone)
    }

    /// What becomes of connections of a server that [is gone](Self::is_gone).
    pub fn end_of(&self, id: ServerId) -> Gone {
        let lifecycle = self.lifecycle(id);
        let down = self.server(id).is_some_and(|server| !server.removed && !server.absent);
        lifecycle.down.filter(|_| down).unwrap_or(lifecycle.gone)
    }

    /// How the connections of a server move and end; of one that is forgotten, as the box does.
    pub fn lifecycle(&self, id: ServerId) -> Lifecycle {
        match self.service_of(id) {
            Some(service) => service.policy.lifecycle,
            None if self.settings.compat_lvs => Lifecycle::lvs(),
            None => Lifecycle::default(),
        }
    }

    /// The service's servers as its scheduler sees them, in scheduling order.
    pub fn candidates(&self, service: &Service) -> Vec<sched::Candidate> {
        let candidate = |id: &ServerId| self.servers[*id as usize].as_ref()?.candidate(*id);
        service.servers.iter().filter_map(candidate).collect()
    }
}

impl Server {
    /// A server of weight 1 that is up.
    pub const fn new(service: ServiceId, address: IpAddr, port: u16, forward: Forward) -> Self {
        Self {
            service,
            address,
            port,
            weight: 1,
            share: 256,
            forward,
            tunnel: Tunnel::Ipip,
            former: Former::NONE,
            upper: 0,
            lower: 0,
            mac: None,
            edition: 0,
            up: true,
            standby: false,
            absent: false,
            drained: false,
            keeps_clients: false,
            removed: false,
        }
    }

    /// The tunnel of its connections, if they may have one.
    pub fn tunnel(&self) -> Option<Tunnel> {
        (self.forward == Forward::Tun || self.former.tun).then_some(self.tunnel)
    }

    /// Its answers may belong to connections by NAT.
    pub fn answers_by_nat(&self) -> bool {
        self.forward == Forward::Nat || self.former.nat
    }

    /// Removed or down: what becomes of its connections is the service's lifecycle's.
    pub const fn gone(&self) -> bool {
        self.removed || self.absent || !self.up
    }

    /// Nothing for one that was removed, or is as if it were.
    fn candidate(&self, id: ServerId) -> Option<sched::Candidate> {
        let Self { address, port, weight, drained, share, edition, .. } = *self;
        (!self.removed && !self.absent).then_some(sched::Candidate {
            id,
            address,
            port,
            weight,
            up: self.up && !self.standby,
            drained,
            share,
            edition,
        })
    }
}

/// By which methods packets reached a server before edits, of those that need more than its
/// address: a live connection keeps the method that it began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// By NAT: its answers pass here.
    pub nat: bool,
    /// Through [`Server::tunnel`].
    pub tun: bool,
}

impl Former {
    /// It never had another method.
    pub const NONE: Self = Self { nat: false, tun: false };

    /// With one method more.
    pub const fn and(self, forward: Forward) -> Self {
        Self {
            nat: self.nat || matches!(forward, Forward::Nat),
            tun: self.tun || matches!(forward, Forward::Tun),
        }
    }
}

/// One real server of one service.
#[derive(Clone, Debug)]
pub struct Server {
    /// The service it serves.
    pub service: ServiceId,
    /// Its address.
    pub address: IpAddr,
    /// Its port (equal to the service's in DR and TUN); 0 keeps the client's destination port.
    pub port: u16,
    /// The configured weight; 0 takes no new connections.
    pub weight: u32,
    /// Slow start: 256ths of the weight that count by now; 256 is all.
    pub share: u16,
    /// How packets reach it.
    pub forward: Forward,
    /// In TUN, and of connections from when it was in TUN: what the outer header is.
    pub tunnel: Tunnel,
    /// How packets reached it before.
    pub former: Former,
    /// Connections at which it gets no new ones; 0: any number.
    pub upper: u32,
    /// Below so many it gets new ones again; 0: three quarters of `upper`.
    pub lower: u32,
    /// `mac:` of the file: overrides neighbour resolution.
    pub mac: Option<Mac>,
    /// Rises with each edit by the operator, also with one that changes nothing.
    pub edition: u32,
    /// Health: up servers are candidates.
    pub up: bool,
    /// Up, but not wanted now: of a lower tier, or a sorry server that nobody needs, or down with its
    /// connections kept. Schedulers see it as down, its connections go on.
    pub standby: bool,
    /// Down, and out of its service's list, as keepalived does it.
    pub absent: bool,
    /// Drained: keeps its connections, gets no new ones.
    pub drained: bool,
    /// Drained, but clients whose template names it still come.
    pub keeps_clients: bool,
    /// Gone from the file, kept until its last connection ends.
    pub removed: bool,
}
