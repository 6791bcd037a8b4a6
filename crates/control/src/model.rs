//! What is true: the configuration after every check, with defaults filled in and names
//! replaced by what they stand for. [`crate::compile`] turns it into the datapath's
//! [`dataplane::snapshot::Services`]; the rest of it is what `xlvs run` needs to start.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use dataplane::{
    forward::{Forward, ServiceKey, Tunnel},
    mark::MarkRule,
    policy::{Access, Defence, Lifecycle, LocalAddress, OnJoin, Policy, Timeouts},
    topology::Mac,
};
use health::{
    check::{Check, Probe, Require},
    member::Damping,
    pool,
};
use sched::{Kind, Plan};

use crate::{event::Topic, file};

/// The checked configuration of one director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The interfaces to serve, in file order; the index is the datapath's `PortId`.
    pub interfaces: Vec<Interface>,
    /// How many workers there are and how they idle.
    pub workers: Workers,
    /// Whether rings share memory with the NIC, for the whole box.
    pub zero_copy: ZeroCopy,
    /// Upper bounds of everything that grows.
    pub limits: Limits,
    /// Whose choices count where ours and the kernel's differ.
    pub compat: Compat,
    /// What becomes of packets to a VIP while xlvs does not run.
    pub when_down: WhenDown,
    /// How long traffic is still forwarded after managed VIPs were withdrawn on SIGTERM.
    pub stop_grace: Duration,
    /// The file is applied whenever it changes.
    pub autoreload: bool,
    /// Octets of one UMEM chunk: 2048 or 4096.
    pub chunk_size: u32,
    /// Who may open connections to any service.
    pub access: Access,
    /// What is done against floods (`lvs:`).
    pub defence: Defence,
    /// The box's own `lvs:` settings, for services that come while it runs.
    pub lifecycle: Lifecycle,
    /// The box's own idle times, for services that come while it runs (`ipvsadm --set`).
    pub timeouts: Timeouts,
    /// What a server that joins meets in services that say nothing else.
    pub on_join: OnJoin,
    /// `lvs.lblc_expiration`, in seconds.
    pub lblc_expiration: u32,
    /// `lvs.lblcr_expiration`, in seconds.
    pub lblcr_expiration: u32,
    /// All of `local_addresses:`, for FullNAT servers that come while it runs.
    pub local_addresses: Vec<LocalAddress>,
    /// The same by the groups of the file.
    pub local_groups: Vec<LocalGroup>,
    /// The `vips:` list.
    pub vips: Vec<Vip>,
    /// Where probes through services come from.
    pub probe_sources: Vec<IpAddr>,
    /// The `marks:` list, in file order.
    pub marks: Vec<MarkRule>,
    /// What is run when something happens: those of the box, then those of services.
    pub hooks: Vec<Hook>,
    /// Where connections are logged, if they are.
    pub connection_log: Option<ConnectionLog>,
    /// Who may ask, beside root on the socket.
    pub api: Api,
    /// What Prometheus may scrape.
    pub metrics: Metrics,
    /// One for each element of a `listen:` list and for each `mark:`, in file order.
    pub services: Vec<Service>,
}

/// `api:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// The group of the unix socket.
    pub group: Option<String>,
    /// Where it is served over TCP.
    pub listen: Vec<SocketAddr>,
    /// What is shown there; without it in plain HTTP.
    pub tls: Option<file::Tls>,
    /// The file of those who may ask over TCP.
    pub tokens: Option<PathBuf>,
}

/// `metrics:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics` is served over TCP; on the API's socket it is in any case.
    pub listen: Vec<SocketAddr>,
    /// node_exporter's families for IPVS are there too.
    pub node_ipvs: bool,
}

impl Model {
    /// The service with this key.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.iter().find(|service| service.key == *key)
    }

    /// The largest MTU (octets, without the Ethernet header) whose frames fit a chunk.
    pub const fn largest_mtu(&self) -> u32 {
        self.chunk_size - CHUNK_RESERVE
    }

    /// As whom checks run programs, with repetitions.
    pub fn exec_users(&self) -> impl Iterator<Item = &str> {
        let servers = self.services.iter().flat_map(|service| &service.servers);
        servers.flat_map(|server| &server.checks).filter_map(|check| match &*check.question.probe {
            Probe::Exec(exec) => Some(exec.user.as_str()),
            _ => None,
        })
    }

    /// The plan of a scheduler of which nothing is said.
    pub const fn plan(&self, kind: Kind) -> Plan {
        let mut plan = Plan::new(kind);
        match kind {
            Kind::Lblc => plan.expiration = self.lblc_expiration,
            Kind::Lblcr => plan.expiration = self.lblcr_expiration,
            Kind::Mh if matches!(self.compat, Compat::None) => plan.slots = MH_SLOTS,
            _ => {}
        }
        plan
    }

    /// What a server meets that joins a service with this scheduler, which has its `own` or the
    /// box's: nothing where that does not help.
    pub fn joining(&self, own: Option<OnJoin>, kind: Kind) -> OnJoin {
        let wanted = own.unwrap_or(self.on_join);
        if no_help(wanted, kind).is_none() { wanted } else { OnJoin::Nothing }
    }
}

/// The `connection_log:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLog {
    /// Where it is written.
    pub file: PathBuf,
    /// Lines a second, at most.
    pub rate: u32,
    /// Octets at which the file is set aside.
    pub size: u64,
    /// Names of the services that are logged; `None`: all.
    pub services: Option<Vec<String>>,
}

/// Why what a joining server meets does not help it with this scheduler, if so.
pub const fn no_help(on_join: OnJoin, kind: Kind) -> Option<&'static str> {
    match on_join {
        OnJoin::Nothing => None,
        OnJoin::SlowStart(_) => deaf_to_a_ramp(kind),
        OnJoin::ResetCounts => deaf_to_counts(kind),
    }
}

/// Why a weight that rises from nothing does not help with this scheduler.
const fn deaf_to_a_ramp(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Rr | Kind::Lc => Some("which does not look at how large a weight is"),
        Kind::Dh => Some("which gives a destination to a server whatever its weight"),
        Kind::Sh | Kind::Mh => Some("which would move clients with each step of the weight"),
        Kind::Fo => Some("which would leave the server until it has its whole weight"),
        Kind::Ovf => Some("for which a weight is a number of connections"),
        _ => None,
    }
}

/// Why counts from a new base do not help with this scheduler.
const fn deaf_to_counts(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Rr | Kind::Wrr | Kind::Dh | Kind::Sh | Kind::Mh | Kind::Fo => {
            Some("which does not look at counts of connections")
        }
        _ => None,
    }
}

/// The slots of mh where the kernel's picks are not asked for: of ten equal servers any one may
/// go, and half a percent of the others' clients moves, not 1.06 to 1.76 as with its 4093.
const MH_SLOTS: u32 = 65_521;

/// Octets of a chunk that a packet cannot use: the headroom that the kernel keeps in front
/// (`XDP_PACKET_HEADROOM`, 256), room for the largest outer headers (IPv6 40, UDP 8, GUE 4) and the
/// Ethernet header (14).
pub const CHUNK_RESERVE: u32 = 256 + 40 + 8 + 4 + 14;

/// An interface to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the kernel.
    pub name: String,
    /// How the XDP program is attached.
    pub mode: XdpMode,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native if the driver can, else generic, with a word in the log.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the stack, after the kernel has built its own buffer.
    Generic,
}

/// The worker threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// The cores to pin to, one worker each; `None`: one worker per queue.
    pub cores: Option<Vec<usize>>,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Poll while busy, sleep when it has been quiet.
    #[default]
    Adaptive,
    /// Poll always: one core each, the lowest delay.
    Poll,
}

/// Whether rings share memory with the NIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Where every interface can, else nowhere.
    #[default]
    Auto,
    /// Refuse to start without it.
    Require,
    /// Always copy.
    Never,
}

/// Whose choices count where ours and the kernel's differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Ours.
    #[default]
    None,
    /// Those of the kernel's IPVS.
    Lvs,
}

/// What becomes of packets to a VIP while xlvs does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// The kernel gets them, and resets connections to VIPs that are its own addresses.
    #[default]
    Pass,
    /// They are dropped, so that clients retry until xlvs is back.
    Drop,
}

/// Upper bounds. Each has a default that starts in a machine of 3 GiB and 2 CPUs; reaching
/// one is a drop with a name. The unit is entries where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// IPv4 connections.
    pub connections: u32,
    /// IPv6 connections, in a table of their own because their entries are twice as large;
    /// a quarter of `connections` unless set.
    pub connections_ipv6: u32,
    /// Connections of both families whose handshake is not complete; a quarter of
    /// `connections` unless set.
    pub half_open: u32,
    /// IPv4 persistence templates; a quarter of `connections` unless set.
    pub templates: u32,
    /// IPv6 persistence templates; a quarter of `connections_ipv6` unless set.
    pub templates_ipv6: u32,
    /// Sources whose rate of new connections is known (`access.new_connections`).
    pub sources: u32,
    /// Fragmented datagrams remembered at a time.
    pub fragments: u32,
    /// Frames that each worker holds for a first fragment or a neighbour.
    pub held_frames: u32,
    /// Routes mirrored from the kernel.
    pub routes: u32,
    /// Neighbours mirrored from the kernel.
    pub neighbours: u32,
    /// Frames a second that are given back to the kernel.
    pub punt_rate: u32,
    /// ICMP messages a second that xlvs originates.
    pub icmp_rate: u32,
    /// Services; each element of a `listen:` list is one.
    pub services: u32,
    /// Real servers over all services, with removed ones that still have connections.
    pub servers: u32,
}

impl Limits {
    /// The default number of IPv4 connections: about 96 MB of table.
    pub const CONNECTIONS: u32 = 1_000_000;

    /// A connection names its template in 24 bits.
    pub const TEMPLATES_MOST: u32 = 1 << 24;

    /// The defaults beside a given number of IPv4 connections.
    pub const fn beside(connections: u32) -> Self {
        Self {
            connections,
            connections_ipv6: connections / 4,
            half_open: connections / 4,
            templates: lesser(connections / 4, Self::TEMPLATES_MOST),
            templates_ipv6: lesser(connections / 16, Self::TEMPLATES_MOST),
            sources: 65_536,
            fragments: 4096,
            held_frames: 512,
            routes: 65_536,
            neighbours: 4096,
            punt_rate: 10_000,
            // net.ipv4.icmp_msgs_per_sec of the kernel.
            icmp_rate: 1000,
            services: 1024,
            servers: 16_384,
        }
    }
}

const fn lesser(one: u32, other: u32) -> u32 {
    if one < other { one } else { other }
}

impl Default for Limits {
    fn default() -> Self {
        Self::beside(Self::CONNECTIONS)
    }
}

/// One entry of `vips:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// The prefix length that the address gets on the interface.
    pub prefix: u8,
    /// The interface that carries it; always there if `managed`.
    pub interface: Option<String>,
    /// xlvs adds, announces and removes it.
    pub managed: bool,
    /// It is withdrawn when any of its services that say `withdraw` is below its quorum, not only
    /// when all of them are.
    pub withdraw_any: bool,
}

/// One entry of `local_addresses:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalGroup {
    /// Its name.
    pub name: String,
    /// Its addresses, all with the same ports.
    pub addresses: Vec<LocalAddress>,
}

/// A program of the operator's that is run when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program and its words.
    pub argv: Vec<String>,
    /// For which kinds of events, in any state or in one.
    pub on: Vec<Topic>,
    /// As whom it runs.
    pub user: String,
    /// When it is asked to end; a second later it is killed.
    pub timeout: Duration,
    /// It wants to know how everything begins, too.
    pub at_start: bool,
    /// The service whose events it is for; `None`: all of the box.
    pub service: Option<String>,
}

/// One LVS service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The operator's name for it; the elements of one `listen:` list share it.
    pub name: String,
    /// What clients connect to.
    pub key: ServiceKey,
    /// The service's forwarding method; servers carry the one that applies to them.
    pub forward: Forward,
    /// Its behaviour.
    pub policy: Policy,
    /// What the file writes for it of servers that join; otherwise the box's holds.
    pub on_join: Option<OnJoin>,
    /// The idle times in `policy` that the file writes for it; the others are the box's, and
    /// follow `ipvsadm --set`.
    pub timeouts: file::Timeouts,
    /// The real servers, in file order.
    pub servers: Vec<Server>,
    /// What their health does to it.
    pub health: Health,
}

/// What the health of a service's servers does to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// How many of a server's checks must be up.
    pub require: Require,
    /// Which servers are in use.
    pub pool: pool::Policy,
    /// What becomes of a server that is down.
    pub on_down: OnDown,
    /// The connections of a server that is down go on (`existing: keep`).
    pub keeps: bool,
    /// What holds a server down that comes and goes.
    pub damping: Option<Damping>,
    /// Who takes connections below the quorum.
    pub sorry: Option<Server>,
    /// Its VIP goes while it is below its quorum, if that is managed.
    pub withdraw: bool,
    /// Its checks pause while its VIP is not an address of this box.
    pub pause_without_vip: bool,
    /// What its traffic tells of a server.
    pub hints: Hints,
}

/// What handshakes that fail in a service's traffic do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// So many within a second have the server's checks asked at once; 0: none do.
    pub failures: u32,
    /// The server gets no new connections then, until its checks have said that it is well, or
    /// for this long.
    pub suspect: Option<Duration>,
}

impl Default for Hints {
    fn default() -> Self {
        Self { failures: 3, suspect: None }
    }
}

/// What becomes of a server that is down, in its service's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// It stays in the list, schedulers leave it out: hashes move its clients only.
    #[default]
    Leave,
    /// LVS's quiescence: its weight is 0, and its connections go on.
    Weight0,
    /// keepalived's way: it is out of the list as if it had been removed.
    Remove,
}

/// What an operator wants of a server, whatever its checks say: its administrative state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdminState {
    /// It serves.
    #[default]
    Ready,
    /// No new connections; what it has goes on.
    Drain,
    /// As `Drain`, but clients with a persistence template still come (BIG-IP's "disabled").
    DrainPersistent,
    /// As if it were down, and nobody asks it.
    Maint,
}

impl AdminState {
    /// All of them, by their words.
    pub const WORDS: [(&str, Self); 4] = [
        (Self::Ready.name(), Self::Ready),
        (Self::Drain.name(), Self::Drain),
        (Self::DrainPersistent.name(), Self::DrainPersistent),
        (Self::Maint.name(), Self::Maint),
    ];

    /// The word of the file and of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::DrainPersistent => "drain_persistent",
            Self::Maint => "maint",
        }
    }

    /// The state of a word.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, state)| *state)
    }

    /// Its connections go on, and it gets no new ones, or only those of known clients.
    pub const fn drains(self) -> bool {
        matches!(self, Self::Drain | Self::DrainPersistent)
    }
}

impl Server {
    /// Address and port: what makes it the same server of its service after an edit.
    pub const fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// One real server of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The operator's name for it, if it has one.
    pub name: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// Its port; the service's where the file has none, and 0 where that has several: then the
    /// client's is kept.
    pub port: u16,
    /// Its weight, 0 to 65535; 0 takes no new connections.
    pub weight: u32,
    /// How packets reach it.
    pub forward: Forward,
    /// In TUN: what the outer header is.
    pub tunnel: Tunnel,
    /// A GUE tunnel was asked for with remote checksum offload (`--tun-remcsum`). That is used
    /// for packets without a checksum yet, which do not arrive from a wire, so what it leaves to
    /// do is a full checksum: `tunnel` says that. Listings say what was asked for.
    pub remote_checksum: bool,
    /// Connections at which it gets no new ones (`max_connections`); 0: any number.
    pub upper: u32,
    /// Below so many it gets new ones again (`resume_connections`); 0: three quarters of `upper`.
    pub lower: u32,
    /// The MAC that replaces neighbour resolution.
    pub mac: Option<Mac>,
    /// How often a command edited it.
    pub edition: u32,
    /// Lower tiers are in use when those above have not the quorum; 0 is the highest.
    pub tier: u32,
    /// What the file wants of it; an operator may want something else for a while
    /// ([`crate::registry::Overrides`]).
    pub state: AdminState,
    /// What is asked of it.
    pub checks: Vec<Check>,
}
