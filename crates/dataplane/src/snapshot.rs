//! Services, real servers and next hops as the workers see them: flat, integer ids,
//! immutable. `control` compiles one from the model and publishes it through a single
//! pointer; counts, scheduler state and connections live outside, keyed by id.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;

use crate::{
    forward::{Forward, ServiceKey},
    route::source_towards,
    topology::{Mac, Topology},
    tunnel::Ends,
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
    tunnels: Vec<Option<Ends>>,
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
                Ends::new(source, server.address)
            })
            .collect();
        Self { generation, services, topology, tunnels }
    }

    /// The ends of the tunnel to a server, if there is a route to it.
    #[inline]
    pub fn tunnel(&self, server: ServerId) -> Option<&Ends> {
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
    /// Which service a destination belongs to.
    pub by_key: HashMap<ServiceKey, ServiceId>,
    /// All addresses of services.
    pub vips: hashbrown::HashSet<IpAddr>,
    /// Which servers a tunnel address belongs to.
    pub tunnel_servers: HashMap<IpAddr, Vec<ServerId>>,
    /// The ranges that FullNAT takes source ports from, by address.
    pub local_ports: HashMap<IpAddr, std::ops::RangeInclusive<u16>>,
    /// The box-wide settings.
    pub settings: Settings,
}

/// Box-wide settings of the datapath.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `compat: lvs`: the kernel's choices where ours differ.
    pub compat_lvs: bool,
}

/// One service: one element of a `listen:` list.
#[derive(Clone, Debug)]
pub struct Service {
    /// The operator's name for it.
    pub name: String,
    /// What clients connect to.
    pub key: ServiceKey,
    /// How a server is picked.
    pub scheduler: sched::Kind,
    /// Its servers in scheduling order.
    pub servers: Vec<ServerId>,
    /// The same as the scheduler sees them; made by [`Services::derive`].
    pub candidates: Vec<sched::Candidate>,
    /// FullNAT: source addresses of the VIP's family of use, in file order.
    pub local_addresses: Vec<LocalAddress>,
    /// Clamp the MSS option of SYNs to what the way out carries (NAT, FullNAT).
    pub mss_clamp: MssClamp,
    /// Idle times in seconds.
    pub timeouts: Timeouts,
}

impl Services {
    /// Works out what follows from services and servers. Call it after every change of them,
    /// before publication.
    pub fn derive(&mut self) {
        self.vips.clear();
        self.local_ports.clear();
        self.tunnel_servers.clear();
        for service in self.services.iter_mut().flatten() {
            self.vips.insert(service.key.address);
            for local in &service.local_addresses {
                self.local_ports.insert(local.address, local.ports.clone());
            }
            let candidate = |id: &ServerId| self.servers[*id as usize].as_ref()?.candidate(*id);
            service.candidates = service.servers.iter().filter_map(candidate).collect();
        }
        for (id, server) in self.servers.iter().enumerate() {
            if let Some(server) = server.as_ref().filter(|s| s.forward == Forward::Tun) {
                self.tunnel_servers.entry(server.address).or_default().push(id as ServerId);
            }
        }
    }

    /// A scheduler for a service as it is configured; in `compat: lvs` as the kernel's is after
    /// its servers were added one by one.
    pub fn new_scheduler(&self, service: &Service) -> sched::Scheduler {
        if self.settings.compat_lvs {
            sched::Scheduler::grown(service.scheduler, &service.candidates)
        } else {
            sched::Scheduler::new(service.scheduler, &service.candidates)
        }
    }
}

impl Server {
    fn candidate(&self, id: ServerId) -> Option<sched::Candidate> {
        let available = self.up && !self.drained;
        (!self.removed).then_some(sched::Candidate { id, weight: self.weight, available })
    }
}

/// A FullNAT source address with its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// The ports of it that are ours.
    pub ports: std::ops::RangeInclusive<u16>,
}

/// Whether and how SYN segments get their MSS lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssClamp {
    /// Leave it.
    #[default]
    Off,
    /// At most the MTU of the way out less the headers.
    Path,
    /// At most this many octets.
    Octets(u16),
}

/// Idle times in seconds, by TCP state and for UDP.
/// Defaults are those of LVS (`ip_vs_proto_tcp.c`, `ip_vs_proto_udp.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// By `tcp::State` as index.
    pub tcp: [u16; 11],
    /// UDP.
    pub udp: u16,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp: [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120], udp: 300 }
    }
}

/// One real server of one service.
#[derive(Clone, Debug)]
pub struct Server {
    /// The service it serves.
    pub service: ServiceId,
    /// Its address.
    pub address: IpAddr,
    /// Its port (equal to the service's in DR and TUN).
    pub port: u16,
    /// The configured weight; 0 takes no new connections.
    pub weight: u32,
    /// How packets reach it.
    pub forward: Forward,
    /// `mac:` of the file: overrides neighbour resolution.
    pub mac: Option<Mac>,
    /// Health: up servers are candidates.
    pub up: bool,
    /// Drained: keeps its connections, gets no new ones.
    pub drained: bool,
    /// Gone from the file, kept until its last connection ends.
    pub removed: bool,
}
