//! Every packet ends in one verdict, and every drop has a name. That name is the
//! counter, the metric label and the expectation of the tests.

use crate::{
    table::{ConnectionRef, Way},
    topology::PortId,
};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame leaves, rewritten; larger than `split` octets of IP, it is fragmented first.
    Send {
        /// Where it leaves.
        port: PortId,
        /// The MTU to fragment to, if it has to be.
        split: Option<u16>,
    },
    /// The packet is dropped and the frame leaves with our answer to its sender.
    Answer {
        /// Where the answer leaves.
        port: PortId,
        /// Why the packet was dropped.
        reason: Drop,
        /// What the answer is.
        kind: Answer,
    },
    /// The packet is dropped as [`Drop::Reset`]; the frame holds two resets of equal length,
    /// for its sender and for the other end.
    Resets {
        /// Where each leaves.
        ports: [PortId; 2],
    },
    /// The packet is dropped.
    Drop(Drop),
    /// The packet goes to the kernel, as it came.
    Punt(Punt),
    /// The packet is held, as it came, and looked at again.
    Wait(Wait),
}

/// What a held packet waits for, and how that is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A neighbour's MAC: another snapshot.
    Neighbour {
        /// The packet's connection, which has seen it: it is not looked for again.
        connection: ConnectionRef,
        /// Whose packet it is.
        way: Way,
    },
    /// Its datagram's first fragment: another decision in the fragment table.
    FirstFragment {
        /// The table's epoch before it was asked.
        epoch: u32,
    },
}

/// Defines a set of reasons once: the variants, their names, their sentences, their remedies.
macro_rules! reasons {
    ($(#[$outer:meta])* $set:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal $(=> $remedy:literal)?,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $set { $($(#[doc = $doc])+ $variant,)+ }

        impl $set {
            /// All of them, in order; `ALL[reason as usize] == reason`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The counter's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for an operator.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// What an operator may do about it; empty where there is nothing to be done.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => concat!($($remedy)?),)+ }
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    Drop {
        /// Shorter than the headers it announces, or a length field contradicts another.
        Malformed = "malformed"
            => "Its sender or something on the way is broken, or it is an attack; capture it and look at its lengths.",
        /// The IPv4 header checksum is wrong.
        BadIpChecksum = "bad_ip_checksum"
            => "Look for a broken NIC, cable or switch on the way, or a checksum offload between virtual machines (ethtool -K IF tx off).",
        /// Source and destination are the same (land attack).
        Land = "land"
            => "Nobody means this: deny the source at the border.",
        /// An IPv4 source-route option (RFC 7126 section 4.3), or an IPv6 routing header of type 0 (RFC 5095).
        SourceRoute = "source_route"
            => "Let its sender do without source routing; xlvs never takes it.",
        /// A source address that no host may have (multicast, broadcast, loopback, unspecified).
        BadSource = "bad_source"
            => "Let the border drop it; if the source is an address of this box, ask from another host, or use xlvs probe.",
        /// An ICMP error whose checksum is wrong.
        BadIcmpChecksum = "bad_icmp_checksum"
            => "Look for a broken device on the way from its sender.",
        /// TTL or hop limit ran out here; the sender got ICMP time exceeded.
        TtlExceeded = "ttl_exceeded"
            => "Look for a loop between this box and the server's gateway; traceroute shows this too.",
        /// Larger than the way out with DF set (or IPv6); the sender got the right MTU.
        TooBig = "too_big"
            => "Let ICMP through towards the client, or set mss_clamp for the service, or raise the MTU of the way (tunnels need it).",
        /// The service has no server that takes new connections.
        NoServer = "no_server"
            => "See xlvs list: bring a server back, undrain one, give one a weight or raise its thresholds; or configure a sorry server.",
        /// The connection table is full (`limits.connections`, `limits.connections_ipv6`).
        TableFull = "table_full"
            => "Raise limits.connections or limits.connections_ipv6, or shorten timeouts.",
        /// Too many half-open connections (`limits.half_open`).
        HalfOpenLimit = "half_open_limit"
            => "If it is no flood, raise limits.half_open; see whether the servers answer.",
        /// The table of persistence templates is full (`limits.templates`, `limits.templates_ipv6`).
        TemplateTableFull = "template_table_full"
            => "Raise limits.templates or limits.templates_ipv6, or shorten persistence.timeout.",
        /// An operator denies the source for a while (`xlvs deny`).
        DeniedForNow = "denied_for_now"
            => "xlvs deny list says until when and who denied it; xlvs deny del ends it.",
        /// The source is denied by the box or the service (`access: deny`).
        SourceDenied = "source_denied"
            => "Take the source out of access.deny, of the box and of the service.",
        /// The source is not among those that the box or the service allows (`access: allow`).
        SourceNotAllowed = "source_not_allowed"
            => "Add the source to access.allow, of the box or of the service.",
        /// The source opens more connections a second than one source may (`access: new_connections`).
        SourceRate = "source_rate"
            => "Raise access.new_connections; clients behind one address share it.",
        /// Dropped against floods (`lvs: drop_packet`).
        DropPacket = "drop_packet"
            => "Set lvs.drop_packet to 0 or raise limits.connections; clients send again.",
        /// FullNAT found no free local port towards the server; add local addresses.
        LocalPortsExhausted = "local_ports_exhausted"
            => "Add local addresses or widen their ports.",
        /// The server's port towards this client is taken by another VIP's connection and no other source port was free.
        SourcePortsExhausted = "source_ports_exhausted"
            => "Give the VIPs different server ports, or use fullnat.",
        /// No route to the destination.
        NoRoute = "no_route"
            => "Add a route to it in the main table (ip route get ADDRESS).",
        /// A blackhole, unreachable or prohibit route.
        RouteRefuses = "route_refuses"
            => "Remove the blackhole, unreachable or prohibit route (ip route get ADDRESS).",
        /// The route leaves by an interface that xlvs does not serve.
        PortNotServed = "port_not_served"
            => "Add the interface that the route leaves by to interfaces, or change the route.",
        /// The way out is down.
        PortDown = "port_down"
            => "Set the interface up and look at its carrier (ip link).",
        /// The neighbour did not resolve within a second, or the connection ended while the packet waited for it.
        NeighbourUnresolved = "neighbour_unresolved"
            => "See whether the host is up and on this link (ip neigh), or give its mac in the configuration.",
        /// More packets wait for a neighbour or a first fragment than may be held.
        WaitingFull = "waiting_full"
            => "Many wait for one neighbour: see whether it is up; or raise limits.held_frames.",
        /// The fragment table is full (`limits.fragments`).
        FragmentTableFull = "fragment_table_full"
            => "Raise limits.fragments, or see who sends so many fragments.",
        /// A fragment of a datagram whose first fragment was dropped.
        FragmentOfDropped = "fragment_of_dropped"
            => "See why the first fragment was dropped.",
        /// A fragmented SCTP packet whose port changes (NAT, FullNAT): its checksum covers what is not in the fragment.
        SctpFragment = "sctp_fragment"
            => "Lower the MTU that its sender uses for SCTP, or give the server the service's port.",
        /// The transmit ring of the way out is full, or its interface has no socket now.
        TxRingFull = "tx_ring_full"
            => "See xlvs list whether the interface is there; spread the load over more queues and workers.",
        /// No free frame for the parts of a packet that must be fragmented.
        FramePoolEmpty = "frame_pool_empty"
            => "Raise the MTU of the way out, so that less is fragmented.",
        /// The result does not fit a frame.
        FrameRoom = "frame_room"
            => "Set chunk_size to 4096, or lower the MTU of the interfaces.",
        /// The punt queue to the kernel is full or over its rate.
        PuntLimited = "punt_limited"
            => "Raise limits.punt_rate, or see what comes that is not for a service.",
        /// An ICMP error about our own tunnel packet: its news went to the client, or was kept.
        TunnelError = "tunnel_error"
            => "See which router reports it; the MTU to the tunnel's end may be too small.",
        /// Its connection's server is gone, and the service holds such connections (`expire_nodest_conn` 0).
        ServerGone = "server_gone"
            => "Bring the server back, or set lvs.expire_nodest_conn to 1.",
        /// From the sockets of health probes, but of no probe that is under way.
        StrayProbe = "stray_probe"
            => "Nothing: a probe that was given up.",
        /// A real server sent it from a service's port and no connection is there; it was told so (`nat_icmp_send`).
        NoServerConnection = "no_server_connection"
            => "The connection has expired, or the answer took another way; see timeouts.",
        /// Its connection is over, since its server is gone or it was idle for too long: its ends get a TCP reset.
        Reset = "reset"
            => "The client connects again; to keep idle connections, raise the timeouts, or set keep-alives.",
    }
}

reasons! {
    /// Why a packet was given to the kernel.
    Punt {
        /// Not for a service: untranslated traffic of a real server, or routed through the box.
        Alien = "alien"
            => "No service has this destination: see xlvs list; what a server sends by itself is routed by the kernel.",
        /// To a service, but no connection and not one that opens one: the kernel answers (RST).
        NoConnection = "no_connection"
            => "Its connection is not known here: it expired, began elsewhere, or never began with a SYN.",
        /// The server is this box.
        LocalServer = "local_server"
            => "Nothing, if the server is meant to run on this box.",
        /// A fragment whose first fragment was punted, or never came.
        Fragment = "fragment"
            => "See what became of its first fragment.",
        /// An ICMP message that is the kernel's.
        Icmp = "icmp"
            => "Nothing: the kernel answers.",
        /// A protocol, extension header or frame type that xlvs does not handle.
        Unhandled = "unhandled"
            => "Nothing: the kernel handles it.",
    }
}

reasons! {
    /// What we originate.
    Answer {
        /// ICMP destination unreachable, port.
        PortUnreachable = "port_unreachable",
        /// ICMP destination unreachable, network or host.
        HostUnreachable = "host_unreachable",
        /// ICMP time exceeded.
        TimeExceeded = "time_exceeded",
        /// ICMP fragmentation needed, or packet too big.
        PacketTooBig = "packet_too_big",
        /// An answer that the rate limit held back.
        RateLimited = "rate_limited",
        /// An answer that RFC 1122 3.2.2 or RFC 4443 2.4 (e) forbids.
        Forbidden = "forbidden",
        /// A TCP reset to the sender of a packet.
        Reset = "reset",
        /// A TCP reset to the other end of a packet's connection.
        ResetOther = "reset_other",
        /// A TCP keep-alive to an end of an idle connection that expired: the answer tells with which numbers to reset.
        Probe = "probe",
    }
}
