//! What a running director tells of itself: the shapes behind `xlvs list` and the API.
//!
//! Built on demand from what is there anyway: [`build`] reads the workers' counters and the
//! director's records, and stores nothing. Numbers of one report may be a moment apart.

mod admin;
mod build;
mod health;
mod reloads;
mod status;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use crate::api::schema::Address;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{connection_log, hooks};

pub use admin::{Admin, Overridden, Override, admins};
pub use build::{Facts, InterfaceFacts, Outlook, build};
pub use reloads::{Outcome, Reloads};
pub use status::{Ill, IllKind, Port, Quorum, Share, Status, Wanted};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// The daemon's version.
    pub version: String,
    /// Which publication of configuration, health and routes is in force; rises with each.
    pub generation: u64,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// When that was, in seconds since 1970.
    #[serde(default)]
    pub started_s: f64,
    /// It was told to stop, and forwards for its grace only.
    pub stopping: bool,
    /// Managed VIPs that are taken away for want of servers.
    #[schema(value_type = Vec<Address>)]
    pub withdrawn: Vec<IpAddr>,
    /// All managed VIPs.
    #[serde(default)]
    #[schema(value_type = Vec<Address>)]
    pub managed: Vec<IpAddr>,
    /// What became of changed configurations.
    #[serde(default)]
    pub reloads: Reloads,
    /// Events since the daemon started, by kind.
    #[serde(default)]
    pub events: BTreeMap<String, u64>,
    /// The served interfaces, in file order.
    pub interfaces: Vec<Interface>,
    /// The services by protocol, address and port.
    pub services: Vec<Service>,
    /// The workers, by number.
    pub workers: Vec<Worker>,
    /// What was counted for the box.
    pub totals: Totals,
    /// How full the connection tables are.
    pub tables: Tables,
    /// The kernel's counters of each socket, by interface and queue.
    pub rings: Vec<Ring>,
    /// How the checks go.
    pub probes: Probes,
    /// How hooks go.
    pub hooks: hooks::Counts,
    /// How the connection log goes, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_log: Option<connection_log::Counts>,
}

/// A served interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's index; 0 while the interface does not exist.
    pub index: u32,
    /// Its MAC address, `02:00:00:00:00:01`.
    pub mac: String,
    /// Its MTU in octets, without the Ethernet header.
    pub mtu: u16,
    /// Administratively up, with carrier.
    pub up: bool,
    /// RX queues that are served.
    pub queues: u32,
    /// Where the XDP program runs; none while it is not attached.
    pub xdp_mode: Option<XdpMode>,
    /// Its rings share memory with the NIC.
    pub zero_copy: bool,
    /// Why it is not native, or not zero-copy, where that was tried.
    pub fallback: Option<String>,
    /// Packets that the XDP program gave to a worker.
    pub taken: u64,
    /// Packets that it left to the kernel.
    pub passed: u64,
    /// Packets of services that were larger than a frame, and dropped.
    pub oversize: u64,
    /// Packets of services whose queue had no socket.
    pub no_socket: u64,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, after the kernel built a buffer of its own.
    Generic,
}

impl XdpMode {
    /// The word of the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl From<xsk::XdpMode> for XdpMode {
    fn from(mode: xsk::XdpMode) -> Self {
        match mode {
            xsk::XdpMode::Native => Self::Native,
            xsk::XdpMode::Generic => Self::Generic,
        }
    }
}

/// One service; its counts are the sums over its servers, those that are gone included: they
/// only grow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// The operator's name for it; the elements of one `listen:` list share it.
    pub name: String,
    /// What clients connect to, such as `203.0.113.10:80/tcp`, `mark 10` or `mark 10 IPv6`.
    #[serde(default)]
    pub key: String,
    /// `tcp`, `udp`, `sctp`, or `mark`.
    pub protocol: String,
    /// The VIP; none in a mark service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    pub address: Option<IpAddr>,
    /// Its port; 0 where it takes several.
    pub port: u16,
    /// The mark of a mark service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The scheduler's name.
    pub scheduler: String,
    /// How it stands to its quorum; none of a service that left the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Connections and traffic.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its servers in scheduling order, then removed ones that still have connections.
    pub servers: Vec<Server>,
}

impl Service {
    /// Address and port, or the mark.
    pub fn place(&self) -> String {
        match (self.address, self.mark) {
            (Some(address), _) => SocketAddr::new(address, self.port).to_string(),
            (None, mark) => mark.unwrap_or_default().to_string(),
        }
    }
}

/// How a service stands to its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// It has its quorum.
    pub quorum: bool,
    /// Servers' first answers are awaited.
    pub waiting: bool,
    /// The configured weight of up, undrained servers in the tiers in use.
    pub weight: u64,
    /// The weight that it needs.
    pub needed: u64,
    /// Its sorry server takes new connections.
    pub sorry: bool,
}

/// One real server of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Server {
    /// Its address.
    #[schema(value_type = Address)]
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The forwarding method: `nat`, `fullnat`, `dr` or `tun`.
    pub forward: String,
    /// The weight in force: the file's, that of its checks, or an operator's.
    pub weight: u32,
    /// Whether it gets new connections, and why not.
    pub state: ServerState,
    /// What operators want for a while in place of the file's values.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Override>,
    /// Persistence templates that send clients to it.
    #[serde(default)]
    pub templates: u32,
    /// What its checks say; none without checks, and in maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Connections and traffic.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Server {
    /// Address and port.
    pub const fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Whether a server gets new connections, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It does, if its weight is not 0.
    Up,
    /// Its checks fail.
    Down,
    /// Its checks have not answered yet.
    Waiting,
    /// It may not be well, says its traffic: no new connections until its checks have looked.
    Suspect,
    /// It is well, but another tier serves, or the sorry server; or it is the sorry server, and
    /// nobody needs it.
    Standby,
    /// The operator drains it: it keeps what it has.
    Drained,
    /// The operator has it in maintenance: as if it were down.
    Maint,
    /// It left the file; its last connections are not over.
    Removed,
}

impl ServerState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Up,
        Self::Down,
        Self::Waiting,
        Self::Suspect,
        Self::Standby,
        Self::Drained,
        Self::Maint,
        Self::Removed,
    ];

    /// The word in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Waiting => "waiting",
            Self::Suspect => "suspect",
            Self::Standby => "standby",
            Self::Drained => "drained",
            Self::Maint => "maint",
            Self::Removed => "removed",
        }
    }
}

/// What a server's checks say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `up`, `down` or `waiting`.
    pub state: String,
    /// Why.
    pub why: String,
    /// For how many seconds.
    pub for_s: u64,
    /// Its checks pause.
    pub paused: bool,
    /// It is held down because it comes and goes.
    pub held: bool,
    /// How often it came up after it had been down.
    #[serde(default)]
    pub ups: u64,
    /// How often it went down after it had been up.
    #[serde(default)]
    pub downs: u64,
    /// Its checks, in order.
    pub checks: Vec<Check>,
}

/// A check of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `up`, `down` or `waiting`.
    pub state: String,
    /// The last answer in words.
    pub last: Option<String>,
    /// How long that took, in milliseconds.
    pub took_ms: Option<u64>,
    /// The same in microseconds.
    #[serde(default)]
    pub took_us: Option<u64>,
    /// How many seconds ago it came.
    pub ago_s: Option<u64>,
    /// Good answers in a row.
    pub good: u32,
    /// Bad answers in a row.
    pub bad: u32,
    /// In how many milliseconds it is asked again.
    pub next_ms: Option<u64>,
    /// Answers since it is asked, failures among them.
    #[serde(default)]
    pub answers: u64,
    /// Those of them that failed, by kind.
    #[serde(default)]
    pub failed: BTreeMap<String, u64>,
}

/// How the checks of the box go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Probes {
    /// Probes that ended.
    pub done: u64,
    /// Those of them that failed, by kind.
    pub failed: BTreeMap<String, u64>,
    /// Under way.
    pub in_flight: usize,
    /// How late the latest one began, in microseconds.
    pub latest_us: u64,
    /// How late they began on average, in microseconds.
    pub late_us: u64,
    /// All that lateness together, in microseconds.
    #[serde(default)]
    pub late_sum_us: u64,
    /// Probes that began.
    #[serde(default)]
    pub begun: u64,
    /// How late all but a hundredth of them began at most, in microseconds.
    pub late_p99_us: u64,
    /// Those that began more than a tenth of their interval late.
    pub late: u64,
}

/// Connections and traffic of a server, or of all servers of a service. Octets are those of
/// IP packets; what goes out is only seen in NAT and FullNAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Connections in an active state (`ActiveConn` of LVS).
    pub active: u64,
    /// Other connections, and all of UDP (`InActConn` of LVS).
    pub inactive: u64,
    /// Connections ever made.
    pub connections: u64,
    /// Packets towards servers.
    pub in_packets: u64,
    /// Octets towards servers.
    pub in_bytes: u64,
    /// Packets from servers.
    pub out_packets: u64,
    /// Octets from servers.
    pub out_bytes: u64,
}

impl Counts {
    /// Adds another's counts.
    pub const fn add(&mut self, other: &Self) {
        self.active += other.active;
        self.inactive += other.inactive;
        self.connections += other.connections;
        self.in_packets += other.in_packets;
        self.in_bytes += other.in_bytes;
        self.out_packets += other.out_packets;
        self.out_bytes += other.out_bytes;
    }
}

/// One worker thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its number.
    pub worker: usize,
    /// It answered when it was asked.
    pub alive: bool,
    /// The core that it is pinned to, if it is.
    pub core: Option<usize>,
    /// The generation of the snapshot that it used last.
    pub generation: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Times around its loop.
    pub breaths: u64,
    /// Those that moved packets.
    pub busy_breaths: u64,
    /// How long those were, all together, in nanoseconds.
    #[serde(default)]
    pub busy_ns: u64,
    /// How many of them were no longer than each of [`dataplane::stats::BreathTime::BOUNDS`] and
    /// longer than the one before; the last: longer than all.
    #[serde(default)]
    pub breath_steps: Vec<u64>,
    /// Frames held for a neighbour or a first fragment now.
    pub waiting: u64,
    /// Where its frames are.
    pub ledger: Ledger,
}

/// Where a worker's UMEM chunks are: `pool + rx_lent + tx_lent + held = total`, unless one
/// was on its way while it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    /// All that it has for life.
    pub total: u64,
    /// Free.
    pub pool: u64,
    /// At the kernel, to receive into.
    pub rx_lent: u64,
    /// At the kernel, to be sent.
    pub tx_lent: u64,
    /// In the worker's hands: held packets.
    pub held: u64,
}

/// What was counted for the box, over all workers. Reasons that never came are there, as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Dropped packets, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Packets given to the kernel, by reason.
    pub punts: BTreeMap<String, u64>,
    /// Packets that xlvs originated, or held back, by kind.
    pub answers: BTreeMap<String, u64>,
    /// NAT connections whose source port was moved to keep two VIPs apart.
    pub moved_ports: u64,
    /// What went to its own destination, for want of a server (`cache_bypass`).
    pub bypassed: Counts,
    /// Connections and persistence templates that `drop_entry` ended.
    pub dropped_entries: u64,
    /// Packets that reached a server without an entry, as the connection table was full (mh in DR
    /// and TUN).
    #[serde(default)]
    pub stateless: u64,
    /// Connections made.
    pub opened: u64,
    /// Connections and traffic of all servers that there ever were.
    #[serde(default)]
    pub all: Counts,
}

/// The connection tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tables {
    /// IPv4.
    pub ipv4: Table,
    /// IPv6.
    pub ipv6: Table,
    /// Connections of both families whose handshake is not complete: the limit is one, too.
    pub half_open: Fill,
    /// Persistence templates of IPv4 clients.
    #[serde(default)]
    pub templates_ipv4: Fill,
    /// Persistence templates of IPv6 clients.
    #[serde(default)]
    pub templates_ipv6: Fill,
    /// Fragmented datagrams that are remembered.
    #[serde(default)]
    pub fragments: Fill,
    /// Services with an id: also one that was removed and has connections.
    #[serde(default)]
    pub services: Fill,
    /// Servers with an id, as above.
    #[serde(default)]
    pub servers: Fill,
}

/// One connection table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Table {
    /// Connections in it now.
    pub connections: u64,
    /// How many fit.
    pub capacity: u64,
}

/// A count with its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fill {
    /// Now.
    pub now: u64,
    /// At most.
    pub limit: u64,
}

/// The kernel's counters of the socket on one queue (`XDP_STATISTICS`), in packets or
/// descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ring {
    /// The interface's name.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The worker that serves it.
    pub worker: usize,
    /// Dropped by the kernel for other reasons, such as a packet larger than a frame.
    pub rx_dropped: u64,
    /// Dropped as the receive ring was full: the worker is too slow.
    pub rx_ring_full: u64,
    /// Times the fill ring was empty: too few frames.
    pub fill_ring_empty: u64,
    /// Fill descriptors that the kernel refused; not 0 is a fault of xlvs.
    pub rx_invalid: u64,
    /// Transmit descriptors that the kernel refused; not 0 is a fault of xlvs.
    pub tx_invalid: u64,
    /// Times the kernel found the transmit ring empty.
    pub tx_ring_empty: u64,
}

impl Ring {
    /// The counters of the socket that `worker` has on a queue.
    pub fn new(interface: &str, queue: u32, worker: usize, stats: &xsk::PortStats) -> Self {
        Self {
            interface: interface.to_owned(),
            queue,
            worker,
            rx_dropped: stats.rx_dropped,
            rx_ring_full: stats.rx_ring_full,
            fill_ring_empty: stats.fill_ring_empty,
            rx_invalid: stats.rx_invalid,
            tx_invalid: stats.tx_invalid,
            tx_ring_empty: stats.tx_ring_empty,
        }
    }
}
