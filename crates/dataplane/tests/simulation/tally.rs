//! What came to pass over all seeds: a law that nothing tests holds easily.

use std::collections::{BTreeMap, BTreeSet};

use dataplane::forward::{Forward, Protocol};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    /// Towards a server, mode, protocol, IPv6, in fragments: what was delivered.
    pub(crate) reached: BTreeSet<(bool, u8, Protocol, bool, bool)>,
}

/// What must have happened. Left out is what an honest configuration never meets or what
/// the golden tables show.
const HAPPENED: [&str; 44] = [
    "ICMP error about a tunnel packet",
    "ICMP error to a client",
    "ICMP error to a server",
    "a connection ended with its server",
    "a keep-alive of the director",
    "a neighbour came back",
    "a neighbour's MAC changed",
    "a port went down",
    "a reset of the director",
    "a server failed or came back",
    "a server was drained or not",
    "a source port moved",
    "another MTU",
    "another gateway",
    "another weight",
    "frame pool empty on arrival",
    "late answer at a client",
    "bad_icmp_checksum",
    "bad_ip_checksum",
    "fragment_of_dropped",
    "fragment_table_full",
    "half_open_limit",
    "local_ports_exhausted",
    "malformed",
    "neighbour_unresolved",
    "no_route",
    "no_server",
    "port_down",
    "punt_limited",
    "reset",
    "reset_other",
    "route_refuses",
    "server_gone",
    "table_full",
    "too_big",
    "ttl_exceeded",
    "tunnel_error",
    "tx_ring_full",
    "waiting_full",
    "alien",
    "no_connection",
    "host_unreachable",
    "port_unreachable",
    "rate_limited",
];

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(what, count)| self.add(what, count));
        self.reached.extend(other.reached);
    }

    /// Everything happened that the simulation is there for.
    pub(crate) fn check(&self) {
        for what in HAPPENED {
            assert!(self.counts.get(what).is_some_and(|count| *count > 0), "never: {what}");
        }
        for forward in [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun] {
            for to_server in [true, false] {
                // Answers pass here in two modes only.
                if to_server || forward.two_way() {
                    self.check_way(to_server, forward);
                }
            }
        }
    }

    fn check_way(&self, to_server: bool, forward: Forward) {
        for v6 in [false, true] {
            for (protocol, parts) in
                [(Protocol::Tcp, false), (Protocol::Udp, false), (Protocol::Udp, true)]
            {
                let way = (to_server, forward as u8, protocol, v6, parts);
                assert!(self.reached.contains(&way), "never: {way:?}");
            }
        }
    }
}
