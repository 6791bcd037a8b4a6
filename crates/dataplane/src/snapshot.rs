//! Services, real servers and next hops as the workers see them: flat, integer ids,
//! immutable. `control` compiles one from the model and publishes it through a single
//! pointer; counts, scheduler state and connections live outside, keyed by id.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;

pub use crate::policy::{LocalAddress, MssClamp, Timeouts};
use crate::{
    access::Gates,
    forward::{Forward, ServiceKey, Tunnel},
    lookup::Rules,
    mark::MarkRule,
    policy::{Access, Defence, Policy},
    route::source_towards,
    topology::{Mac, Topology},
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
    /// By server id.
    tunnels: Vec<Option<Path>>,
}

impl Snapshot {
    /// Joins the two halves; works out the source address of each tunnel.
    pub fn new(generation: u64, services: Arc<Services>, topology: Arc<Topology>) -> Self {
        let tunnels = services
            .servers
            .iter()
            .map(|server| {
                let server = server.as_ref().filter(|s| s.forward == Forward::Tun)?;
                let source = source_towards(&topology, server.address)?;
                Some(Path::new(Ends::new(source, server.address)?, server.tunnel))
            })
            .collect();
        Self { generation, services, topology, tunnels }
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
    /// The box-wide settings.
    pub settings: Settings,
    /// Which rules a lookup has to try.
    pub rules: Rules,
    /// Who may open connections.
    pub gates: Gates,
    /// Rises whenever a server is gone or comes back ([`Services::follow`]).
    pub liveness: u32,
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
        for service in self.services.iter().flatten() {
            self.vips.extend(service.key.endpoint().map(|endpoint| endpoint.address));
            for local in &service.policy.local_addresses {
                self.local_ports.insert(local.address, local.ports.clone());
            }
        }
        for (id, server) in self.servers.iter().enumerate() {
            if let Some(server) = server.as_ref().filter(|s| s.forward == Forward::Tun) {
                self.tunnel_servers.entry(server.address).or_default().push(id as ServerId);
            }
        }
    }

    /// Takes up the count of [`Services::liveness`] from what was published before: it rises if
    /// any server went or came back.
    pub fn follow(&mut self, before: &Self) {
        let gone = |server: &Option<Server>| server.as_ref().is_none_or(Server::gone);
        let length = self.servers.len().max(before.servers.len());
        let at = |all: &[Option<Server>], id| all.get(id).is_none_or(gone);
        let changed = (0..length).any(|id| at(&self.servers, id) != at(&before.servers, id));
        self.liveness = before.liveness.wrapping_add(changed.into());
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
            upper: 0,
            lower: 0,
            mac: None,
            up: true,
            drained: false,
            removed: false,
        }
    }

    /// Removed or down: what becomes of its connections is the service's lifecycle's.
    pub const fn gone(&self) -> bool {
        self.removed || !self.up
    }

    /// Nothing for one that was removed.
    fn candidate(&self, id: ServerId) -> Option<sched::Candidate> {
        let Self { address, port, weight, up, drained, share, .. } = *self;
        (!self.removed).then_some(sched::Candidate {
            id,
            address,
            port,
            weight,
            up,
            drained,
            share,
        })
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
    /// In TUN: what the outer header is.
    pub tunnel: Tunnel,
    /// Connections at which it gets no new ones; 0: any number.
    pub upper: u32,
    /// Below so many it gets new ones again; 0: three quarters of `upper`.
    pub lower: u32,
    /// `mac:` of the file: overrides neighbour resolution.
    pub mac: Option<Mac>,
    /// Health: up servers are candidates.
    pub up: bool,
    /// Drained: keeps its connections, gets no new ones.
    pub drained: bool,
    /// Gone from the file, kept until its last connection ends.
    pub removed: bool,
}
