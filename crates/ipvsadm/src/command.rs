//! What a command line asks for, in types that travel as JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::schema::Address;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One command of ipvsadm, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// `-A`: a new service.
    AddService(ServiceSpec),
    /// `-E`: a service's options, all of them; what is not named takes its default.
    EditService(ServiceSpec),
    /// `-D`: a service and its servers.
    DeleteService(ServiceRef),
    /// `-C`: every service.
    Flush,
    /// `-a`: a new real server of a service.
    AddServer(ServiceRef, ServerSpec),
    /// `-e`: a real server's options, all of them.
    EditServer(ServiceRef, ServerSpec),
    /// `-d`: a real server of a service.
    DeleteServer(ServiceRef, ServerRef),
    /// `-L`, `-l`, and no word at all.
    List(ListSpec),
    /// `-Z`: the counters of one service, or of all.
    Zero(Option<ServiceRef>),
    /// `--set tcp tcpfin udp`.
    Timeouts(Timeouts),
    /// `--start-daemon`.
    StartDaemon(SyncDaemon),
    /// `--stop-daemon`, with its `--syncid`.
    StopDaemon(DaemonRole, u8),
    /// `-S`, and `ipvsadm-save`.
    Save {
        /// `-n`: addresses and ports as numbers.
        numeric: bool,
    },
    /// `-R`, and `ipvsadm-restore`: the rules follow on standard input.
    Restore {
        /// The table is emptied first, as `ipvsadm-restore` does and `ipvsadm -R` does not.
        flush: bool,
    },
    /// `-h`: [`crate::help::usage`] on standard output.
    Help,
    /// `-v`: [`crate::help::VERSION`] on standard output.
    Version,
}

/// A transport protocol that a service can have.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `-t`.
    Tcp,
    /// `-u`.
    Udp,
    /// `--sctp-service`.
    Sctp,
}

impl Protocol {
    /// The word in listings: `TCP`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The option that names a service of this protocol.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Tcp => "-t",
            Self::Udp => "-u",
            Self::Sctp => "--sctp-service",
        }
    }

    /// IANA's number, by which listings are sorted.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// The key of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceRef {
    /// A protocol, an address and a port; port 0 takes every port of the address.
    Endpoint {
        /// The transport protocol.
        protocol: Protocol,
        /// The VIP.
        #[schema(value_type = Address)]
        address: IpAddr,
        /// In host order.
        port: u16,
    },
    /// A firewall mark.
    Mark {
        /// Never 0.
        mark: u32,
        /// `-6`: the service's packets are IPv6.
        ipv6: bool,
    },
}

impl ServiceRef {
    /// The packets of the service are IPv6.
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Endpoint { address, .. } => address.is_ipv6(),
            Self::Mark { ipv6, .. } => *ipv6,
        }
    }

    /// The protocol; a mark has none.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Endpoint { protocol, .. } => Some(*protocol),
            Self::Mark { .. } => None,
        }
    }

    /// The mask that groups nobody: 32 or 128.
    pub fn host_prefix(&self) -> u8 {
        if self.is_ipv6() { Ipv6Addr::BITS as u8 } else { Ipv4Addr::BITS as u8 }
    }
}

/// A service and its options, for `-A` and `-E` and in listings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceSpec {
    /// Which service.
    pub service: ServiceRef,
    /// `-s`: the scheduler's name, at most 15 bytes; not checked here. `wlc` if none is given.
    pub scheduler: String,
    /// `-b`: in the scheduler's order, each once.
    pub flags: Vec<SchedulerFlag>,
    /// `-p`: the timeout of persistence templates in seconds, 1 to 2678400.
    pub persistent: Option<u32>,
    /// `-M`: the length of the prefix of client addresses that share a template.
    pub netmask: u8,
    /// `--pe`: the persistence engine's name, at most 16 bytes; not checked here.
    pub pe: Option<String>,
    /// `-o`: every datagram is scheduled by itself.
    pub one_packet: bool,
}

/// A flag of a scheduler (`-b`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerFlag {
    /// sh: a server without weight or overloaded is passed over.
    ShFallback,
    /// sh: the source port is hashed too.
    ShPort,
    /// mh: as for sh.
    MhFallback,
    /// mh: as for sh.
    MhPort,
    /// The first flag of any other scheduler.
    #[serde(rename = "flag-1")]
    Flag1,
    /// The second one.
    #[serde(rename = "flag-2")]
    Flag2,
    /// The third one, of any scheduler.
    #[serde(rename = "flag-3")]
    Flag3,
}

impl SchedulerFlag {
    /// The word after `-b` and in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShFallback => "sh-fallback",
            Self::ShPort => "sh-port",
            Self::MhFallback => "mh-fallback",
            Self::MhPort => "mh-port",
            Self::Flag1 => "flag-1",
            Self::Flag2 => "flag-2",
            Self::Flag3 => "flag-3",
        }
    }

    /// The three flags of a scheduler, in the order in which they are listed.
    pub fn of(scheduler: &str) -> [Self; 3] {
        match scheduler {
            "sh" => [Self::ShFallback, Self::ShPort, Self::Flag3],
            "mh" => [Self::MhFallback, Self::MhPort, Self::Flag3],
            _ => [Self::Flag1, Self::Flag2, Self::Flag3],
        }
    }
}

/// The key of a real server in its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ServerRef {
    /// Its address.
    #[schema(value_type = Address)]
    pub address: IpAddr,
    /// In host order; 0 keeps the client's destination port.
    pub port: u16,
}

/// A real server and its options, for `-a` and `-e` and in listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerSpec {
    /// Its address; of the service's family, but for tunnels.
    #[schema(value_type = Address)]
    pub address: IpAddr,
    /// In host order. Direct routing and tunnels have the service's port.
    pub port: u16,
    /// How packets reach it.
    pub forward: Forward,
    /// `-w`, up to 2147483647.
    pub weight: u32,
    /// `-x`: connections at which it counts as overloaded; 0 is never.
    pub upper: u32,
    /// `-y`: connections below which it recovers; 0 is three quarters of `upper`.
    pub lower: u32,
}

impl ServerSpec {
    /// Its key.
    pub fn server(&self) -> ServerRef {
        ServerRef { address: self.address, port: self.port }
    }
}

/// How packets reach a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// `-m`, shown as `Masq`.
    Nat,
    /// `-g`, shown as `Route`.
    Dr,
    /// `-i`, shown as `Tunnel`.
    Tun(Tunnel),
    /// `--fullnat`, shown as `FullNat`.
    FullNat,
}

/// The outer header of a tunnelled packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// IP in IP.
    Ipip,
    /// GUE over UDP.
    Gue {
        /// The UDP destination port, never 0.
        port: u16,
        /// Of the outer UDP header.
        checksum: Checksum,
    },
    /// GRE.
    Gre {
        /// Of the GRE header; never [`Checksum::Remote`].
        checksum: Checksum,
    },
}

/// The checksum of a tunnel's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// `--tun-nocsum`, and if nothing is said.
    None,
    /// `--tun-csum`.
    Full,
    /// `--tun-remcsum`: GUE's remote checksum offload.
    Remote,
}

/// The box's timeouts in seconds; 0 in `--set` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeouts {
    /// TCP, established.
    pub tcp: u32,
    /// TCP after a FIN.
    pub tcpfin: u32,
    /// UDP.
    pub udp: u32,
}

/// Which way a connection sync daemon works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DaemonRole {
    /// Sends connections.
    Master,
    /// Receives them.
    Backup,
}

/// A connection sync daemon, to start or to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncDaemon {
    /// Which way it works.
    pub role: DaemonRole,
    /// `--mcast-interface`, at most 15 bytes; `eth0` if none is given.
    pub interface: String,
    /// `--syncid`.
    pub sync_id: u8,
    /// `--sync-maxlen`: bytes of a sync message.
    pub max_length: Option<u16>,
    /// `--mcast-group`.
    #[schema(value_type = Option<Address>)]
    pub group: Option<IpAddr>,
    /// `--mcast-port`.
    pub port: Option<u16>,
    /// `--mcast-ttl`.
    pub ttl: Option<u8>,
}

/// What `-L` lists, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListSpec {
    /// The thing listed.
    pub what: ListWhat,
    /// `-n`: addresses and ports as numbers.
    pub numeric: bool,
    /// `--exact`: counters without suffix.
    pub exact: bool,
    /// False with `--nosort`.
    pub sorted: bool,
}

/// The thing listed by `-L`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListWhat {
    /// Services and servers.
    Table {
        /// Only this one.
        service: Option<ServiceRef>,
        /// The columns.
        view: View,
    },
    /// `-c`: connections.
    Connections {
        /// `--persistent-conn`: with the engine's name and data.
        engine: bool,
    },
    /// `--timeout`.
    Timeouts,
    /// `--daemon`.
    Daemons,
}

/// The columns of a table of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Forwarding, weight, connections.
    Plain,
    /// `--stats`.
    Stats,
    /// `--rate`.
    Rate,
    /// `--thresholds`.
    Thresholds,
    /// `--persistent-conn`.
    PersistentConn,
    /// `--tun-info`.
    TunInfo,
}
