//! Every family of xlvs. Names follow Prometheus's conventions: base units, `_total` at counters;
//! and the prefix says what a family is about.

use super::family::{Family, Group, Kind};

/// Defines families once: a constant each, and all of them in order.
macro_rules! families {
    ($($group:ident { $($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+ })+) => {
        $($(
            #[doc = $help]
            pub const $id: Family = Family {
                name: $name,
                kind: Kind::$kind,
                help: $help,
                labels: &[$($label),*],
                group: Group::$group,
            };
        )+)+

        /// All of them, in the order of a page.
        pub const ALL: &[Family] = &[$($($id,)+)+];
    };
}

families! {
    Director {
        BUILD = Info "xlvs_build" ["version"] "The version of xlvs that runs.";
        START_TIME = Gauge "xlvs_start_time_seconds" [] "When the daemon started, since 1970.";
        STOPPING = Gauge "xlvs_stopping" [] "1 once the daemon was told to stop and forwards for its grace only.";
        GENERATION = Gauge "xlvs_snapshot_generation" [] "The publication of configuration, health and routes that is in force; rises with each.";
        RELOADS = Counter "xlvs_config_reloads" ["result"] "Configurations that were given to the running daemon, by what became of them.";
        LAST_RELOAD_SUCCESSFUL = Gauge "xlvs_config_last_reload_successful" [] "1 unless the last configuration was refused.";
        LAST_RELOAD_TIME = Gauge "xlvs_config_last_reload_success_timestamp_seconds" [] "When the configuration in force came into force, since 1970.";
        CONNECTIONS = Counter "xlvs_connections" [] "Connections made, over all servers that there ever were.";
        INCOMING_PACKETS = Counter "xlvs_incoming_packets" [] "Packets sent to servers.";
        OUTGOING_PACKETS = Counter "xlvs_outgoing_packets" [] "Packets from servers sent to clients; NAT and FullNAT only.";
        INCOMING_BYTES = Counter "xlvs_incoming_bytes" [] "Octets of IP packets sent to servers.";
        OUTGOING_BYTES = Counter "xlvs_outgoing_bytes" [] "Octets of IP packets from servers sent to clients; NAT and FullNAT only.";
        DROPPED = Counter "xlvs_packets_dropped" ["reason"] "Packets dropped, by reason.";
        PUNTED = Counter "xlvs_packets_punted" ["reason"] "Packets of a service's addresses that went to the kernel, by reason.";
        ANSWERS = Counter "xlvs_answers" ["kind"] "Packets that xlvs made itself, or held back, by kind.";
        MOVED_PORTS = Counter "xlvs_source_ports_moved" [] "NAT connections whose source port was moved to keep two VIPs apart.";
        DROPPED_ENTRIES = Counter "xlvs_entries_dropped" [] "Connections and templates that drop_entry ended.";
        STATELESS_PACKETS = Counter "xlvs_stateless_packets" [] "Packets that reached a server by mh's hash alone, as the connection table was full.";
        BYPASSED_CONNECTIONS = Counter "xlvs_bypassed_connections" [] "Connections to their own destination for want of a server (cache_bypass).";
        BYPASSED_PACKETS = Counter "xlvs_bypassed_packets" [] "Packets of those connections.";
        TABLE_ENTRIES = Gauge "xlvs_table_entries" ["table"] "How many entries a table has.";
        TABLE_LIMIT = Gauge "xlvs_table_limit" ["table"] "How many entries a table takes (limits).";
        VIP_ANNOUNCED = Gauge "xlvs_vip_announced" ["address"] "1 while a managed VIP is on its interface, 0 while it is withdrawn.";
        EVENTS = Counter "xlvs_events" ["kind"] "Events, as xlvs events lists them, by kind.";
        HOOKS = Counter "xlvs_hooks" ["result"] "Hooks that ran, by how they ended.";
        HOOKS_COLLAPSED = Counter "xlvs_hooks_collapsed" [] "Events that a later one of the same subject stood for, since too many hooks waited.";
        HOOKS_WAITING = Gauge "xlvs_hooks_waiting" [] "Hooks that wait, with the one that runs.";
        PROBES = Counter "xlvs_probes" [] "Probes of checks that ended; servers that share a check share its probes.";
        PROBE_FAILURES = Counter "xlvs_probe_failures" ["reason"] "Those of them that failed, by reason.";
        PROBES_LATE = Counter "xlvs_probes_late" [] "Probes that began more than a tenth of their interval late: the box is too busy to check.";
        PROBES_IN_FLIGHT = Gauge "xlvs_probes_in_flight" [] "Probes under way.";
        PROBE_LATENESS = Summary "xlvs_probe_lateness_seconds" [] "How late probes began.";
    }
    Workers {
        WORKER = Info "xlvs_worker" ["worker", "core"] "A worker thread and the core that it is pinned to.";
        WORKER_ALIVE = Gauge "xlvs_worker_alive" ["worker"] "1 if the worker answered within 400 ms when it was asked.";
        WORKER_GENERATION = Gauge "xlvs_worker_snapshot_generation" ["worker"] "The publication that the worker used last.";
        WORKER_RECEIVED = Counter "xlvs_worker_received_packets" ["worker"] "Frames received.";
        WORKER_SENT = Counter "xlvs_worker_sent_packets" ["worker"] "Frames sent.";
        WORKER_BREATHS = Counter "xlvs_worker_breaths" ["worker"] "Times around the worker's loop; it sleeps a quarter of a second at most.";
        WORKER_HELD = Gauge "xlvs_worker_held_frames" ["worker"] "Frames that wait for a neighbour or a first fragment.";
        UMEM_SIZE = Gauge "xlvs_umem_size_frames" ["worker"] "Frames that the worker has for life.";
        UMEM_FRAMES = Gauge "xlvs_umem_frames" ["worker", "place"] "Frames by where they are: free, at the kernel to receive into or to be sent, held.";
        WORKER_BREATH_DURATION = Histogram "xlvs_worker_breath_duration_seconds" ["worker"] "How long the loop took when it moved packets; the rate of the sum is the worker's occupancy.";
    }
    Interfaces {
        INTERFACE = Info "xlvs_interface" ["interface", "mac", "xdp_mode", "zero_copy"] "A served interface.";
        INTERFACE_UP = Gauge "xlvs_interface_up" ["interface"] "1 if it is up and has a carrier.";
        INTERFACE_ATTACHED = Gauge "xlvs_interface_attached" ["interface"] "1 while the XDP program is attached.";
        INTERFACE_MTU = Gauge "xlvs_interface_mtu_bytes" ["interface"] "Its MTU, without the Ethernet header.";
        INTERFACE_QUEUES = Gauge "xlvs_interface_queues" ["interface"] "RX queues that have a socket.";
        XDP_TAKEN = RestartingCounter "xlvs_xdp_taken_packets" ["interface"] "Packets that the XDP program gave to a worker.";
        XDP_PASSED = RestartingCounter "xlvs_xdp_passed_packets" ["interface"] "Packets that the XDP program left to the kernel.";
        XDP_OVERSIZE = RestartingCounter "xlvs_xdp_oversize_packets" ["interface"] "Packets of services that were larger than a frame, and dropped.";
        XDP_NO_SOCKET = RestartingCounter "xlvs_xdp_no_socket_packets" ["interface"] "Packets of services whose queue had no socket.";
        XSK_RX_DROPPED = RestartingCounter "xlvs_xsk_rx_dropped_packets" ["interface", "queue", "worker"] "Packets that the kernel dropped at a socket for other reasons, such as one larger than a frame.";
        XSK_RING_FULL = RestartingCounter "xlvs_xsk_rx_ring_full_packets" ["interface", "queue", "worker"] "Packets that the kernel dropped since the receive ring was full: the worker is too slow.";
        XSK_FILL_EMPTY = RestartingCounter "xlvs_xsk_fill_ring_empty" ["interface", "queue", "worker"] "Times that the kernel found the fill ring empty: too few frames.";
        XSK_TX_EMPTY = RestartingCounter "xlvs_xsk_tx_ring_empty" ["interface", "queue", "worker"] "Times that the kernel found the transmit ring empty; no fault.";
        XSK_INVALID = RestartingCounter "xlvs_xsk_invalid_descriptors" ["interface", "queue", "worker", "ring"] "Descriptors that the kernel refused; any is a fault of xlvs.";
    }
    Services {
        SERVICE = Info "xlvs_service" ["service", "listen", "protocol", "scheduler"] "A service: the operator's name for it, and which packets are its own.";
        SERVICE_CONNECTIONS = Counter "xlvs_service_connections" ["service", "listen"] "Connections made, removed servers included.";
        SERVICE_ACTIVE = Gauge "xlvs_service_connections_active" ["service", "listen"] "Connections in an active state (ActiveConn of LVS).";
        SERVICE_INACTIVE = Gauge "xlvs_service_connections_inactive" ["service", "listen"] "Other connections, and all of UDP (InActConn of LVS).";
        SERVICE_INCOMING_PACKETS = Counter "xlvs_service_incoming_packets" ["service", "listen"] "Packets sent to its servers.";
        SERVICE_OUTGOING_PACKETS = Counter "xlvs_service_outgoing_packets" ["service", "listen"] "Packets from its servers; NAT and FullNAT only.";
        SERVICE_INCOMING_BYTES = Counter "xlvs_service_incoming_bytes" ["service", "listen"] "Octets of IP packets sent to its servers.";
        SERVICE_OUTGOING_BYTES = Counter "xlvs_service_outgoing_bytes" ["service", "listen"] "Octets of IP packets from its servers; NAT and FullNAT only.";
        SERVICE_SERVERS = Gauge "xlvs_service_servers" ["service", "listen", "state"] "Its servers, by state.";
        SERVICE_QUORUM = Gauge "xlvs_service_quorum_met" ["service", "listen"] "1 if it has its quorum.";
        SERVICE_WAITING = Gauge "xlvs_service_waiting" ["service", "listen"] "1 while first answers of its servers are awaited.";
        SERVICE_WEIGHT = Gauge "xlvs_service_weight" ["service", "listen"] "The configured weight of its servers that are up and not drained.";
        SERVICE_WEIGHT_NEEDED = Gauge "xlvs_service_quorum_weight" ["service", "listen"] "The weight that its quorum takes.";
        SERVICE_SORRY = Gauge "xlvs_service_sorry_active" ["service", "listen"] "1 while its sorry server takes new connections.";
    }
    Servers {
        SERVER = Info "xlvs_server" ["service", "listen", "server", "forward"] "A server of a service and how packets reach it.";
        SERVER_CONNECTIONS = Counter "xlvs_server_connections" ["service", "listen", "server"] "Connections made.";
        SERVER_ACTIVE = Gauge "xlvs_server_connections_active" ["service", "listen", "server"] "Connections in an active state (ActiveConn of LVS).";
        SERVER_INACTIVE = Gauge "xlvs_server_connections_inactive" ["service", "listen", "server"] "Other connections, and all of UDP (InActConn of LVS).";
        SERVER_INCOMING_PACKETS = Counter "xlvs_server_incoming_packets" ["service", "listen", "server"] "Packets sent to it.";
        SERVER_OUTGOING_PACKETS = Counter "xlvs_server_outgoing_packets" ["service", "listen", "server"] "Packets from it; NAT and FullNAT only.";
        SERVER_INCOMING_BYTES = Counter "xlvs_server_incoming_bytes" ["service", "listen", "server"] "Octets of IP packets sent to it.";
        SERVER_OUTGOING_BYTES = Counter "xlvs_server_outgoing_bytes" ["service", "listen", "server"] "Octets of IP packets from it; NAT and FullNAT only.";
        SERVER_WEIGHT = Gauge "xlvs_server_weight" ["service", "listen", "server"] "Its weight.";
        SERVER_STATE = Gauge "xlvs_server_state" ["service", "listen", "server", "state"] "1 at the state that it is in, 0 at the others.";
        SERVER_TRANSITIONS = RestartingCounter "xlvs_server_transitions" ["service", "listen", "server", "to"] "How often its checks took it up and down; what it began as does not count.";
    }
    Checks {
        CHECK_UP = Gauge "xlvs_check_up" ["service", "listen", "server", "check"] "1 if the check says that the server is up.";
        CHECK_DURATION = Gauge "xlvs_check_duration_seconds" ["service", "listen", "server", "check"] "How long its last answer took.";
        CHECK_ANSWERS = RestartingCounter "xlvs_check_answers" ["service", "listen", "server", "check"] "Answers, failures among them.";
        CHECK_FAILURES = RestartingCounter "xlvs_check_failures" ["service", "listen", "server", "check", "reason"] "Failures, by reason; those that never came are not there.";
    }
}
