//! What an operator decides about a service: everything but its key and its servers.

use std::{net::IpAddr, ops::RangeInclusive};

use crate::prefix::Prefix;

/// The behaviour of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How a server is picked.
    pub scheduler: sched::Plan,
    /// Clients stay with their server.
    pub persistence: Option<Persistence>,
    /// One-packet scheduling: each datagram is a connection of its own (UDP and marks).
    pub one_packet: bool,
    /// A service on port 0: ports of its VIP that stay with the kernel.
    pub except_ports: Vec<RangeInclusive<u16>>,
    /// How a server that joins or returns is kept from being flooded.
    pub on_join: OnJoin,
    /// Who may open connections, beside what holds for the box.
    pub access: Access,
    /// FullNAT: source addresses of the VIP's family, in file order.
    pub local_addresses: Vec<LocalAddress>,
    /// Whether SYNs get their MSS lowered (NAT, FullNAT).
    pub mss_clamp: MssClamp,
    /// Idle times.
    pub timeouts: Timeouts,
    /// How connections begin, move and end.
    pub lifecycle: Lifecycle,
}

/// Persistence of a service (`ip_vs_sched_persist`): a template sends later connections of a
/// client, or of its network, to the server of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// How long a template outlives its last use, in seconds.
    pub timeout: u32,
    /// Leading bits of the client's address that count: 32 or 128 for each client by itself.
    pub prefix: u8,
}

/// What happens when a server joins a service or returns to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnJoin {
    /// Nothing: by least connections it gets all new ones until it has as many as the others.
    #[default]
    Nothing,
    /// Its weight rises from nearly nothing to all within this many seconds.
    SlowStart(u32),
    /// Each server's counts of this moment become its base: schedulers see only what came later
    /// (called *quiesce* in Red Hat's tools).
    ResetCounts,
}

/// Who may open connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Only these sources, if there are any.
    pub allow: Vec<Prefix>,
    /// Not these, even if they are allowed.
    pub deny: Vec<Prefix>,
    /// New connections a second that one source (an IPv4 address, an IPv6 /64) may open.
    pub new_connections: Option<u32>,
}

/// A FullNAT source address with its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// The ports of it that are ours.
    pub ports: RangeInclusive<u16>,
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

/// Idle times in seconds, by state. Defaults are those of LVS (`ip_vs_proto_tcp.c`,
/// `ip_vs_proto_udp.c`, `ip_vs_proto_sctp.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// By `tcp::State` as index.
    pub tcp: [u32; 11],
    /// UDP.
    pub udp: u32,
    /// By `sctp::State` as index, in the kernel's numbering (`enum ip_vs_sctp_states`).
    pub sctp: [u32; 14],
}

impl Timeouts {
    /// The longest idle time, in seconds: a month, the most that ipvsadm takes (`MAX_TIMEOUT`).
    pub const MOST: u32 = 31 * 86_400;
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120],
            udp: 300,
            sctp: [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61],
        }
    }
}

/// How connections begin, move and end: the `net.ipv4.vs` sysctls that make sense for one
/// service, and what we do instead where we differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// What becomes of a connection whose server was removed.
    pub gone: Gone,
    /// What becomes of a connection whose server is down; the same unless it is said.
    pub down: Option<Gone>,
    /// An idle TCP connection that expires is reset (NAT and FullNAT).
    pub reset_idle: bool,
    /// Templates send no new connections to a server of weight 0
    /// (`expire_quiescent_template`).
    pub expire_quiescent_template: bool,
    /// When a client's reused source port opens a new connection: bit 0 in `TIME_WAIT` and
    /// `CLOSE`, bit 1 also in `FIN_WAIT` where answers do not pass here (`conn_reuse_mode`).
    pub conn_reuse_mode: u8,
    /// Any segment but RST opens a connection (`sloppy_tcp`).
    pub sloppy_tcp: bool,
    /// Any chunk but ABORT opens an association (`sloppy_sctp`).
    pub sloppy_sctp: bool,
    /// An ICMP error that belongs to no connection is scheduled (`schedule_icmp`).
    pub schedule_icmp: bool,
    /// A real server that sends from a service port without a connection is told so
    /// (`nat_icmp_send`).
    pub nat_icmp_send: bool,
    /// Tunnels obey the inner DF (`pmtu_disc`); otherwise the outer packet is fragmented.
    pub pmtu_disc: bool,
    /// Without a server, a mark service forwards to the packet's own destination
    /// (`cache_bypass`).
    pub cache_bypass: bool,
    /// One-packet replies are translated back to the VIP; the kernel leaks the server's address.
    pub one_packet_replies: bool,
}

/// What becomes of a connection whose server was removed or is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// TCP: reset at its next packet, to both ends. Others: rescheduled.
    Reset,
    /// Dropped in silence, without refreshing the timer (`expire_nodest_conn` 0).
    Hold,
    /// Ended within a second, and a packet that comes before is looked at as if there had never
    /// been one (`expire_nodest_conn` 1).
    Expire,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            gone: Gone::Reset,
            down: None,
            reset_idle: true,
            expire_quiescent_template: true,
            conn_reuse_mode: 3,
            sloppy_tcp: false,
            sloppy_sctp: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            cache_bypass: false,
            one_packet_replies: true,
        }
    }
}

impl Lifecycle {
    /// The kernel's defaults: `compat: lvs`.
    pub const fn lvs() -> Self {
        Self {
            gone: Gone::Hold,
            down: None,
            reset_idle: false,
            expire_quiescent_template: false,
            conn_reuse_mode: 1,
            sloppy_tcp: false,
            sloppy_sctp: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            cache_bypass: false,
            one_packet_replies: false,
        }
    }
}

/// The box's own defence against floods (`net.ipv4.vs`): modes are 0 never, 1 and 2 while
/// memory is short, 3 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defence {
    /// Of what would open connections, drop a part (`drop_packet`).
    pub drop_packet: u8,
    /// Drop half-open and nearly unused connections each second (`drop_entry`).
    pub drop_entry: u8,
    /// TCP by the stricter table (`secure_tcp`).
    pub secure_tcp: u8,
    /// `drop_packet: 3` drops one of so many (`am_droprate`).
    pub am_droprate: u32,
    /// "Memory is short": fewer free entries in a family's connection table than this. The kernel
    /// counts free pages (`amemthresh`); our table has its memory from the start.
    pub amemthresh: u32,
}

impl Default for Defence {
    fn default() -> Self {
        Self { drop_packet: 0, drop_entry: 0, secure_tcp: 0, am_droprate: 10, amemthresh: 1024 }
    }
}
