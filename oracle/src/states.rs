//! Every cell of a state table that packets can reach: each state by a known way, and then
//! each kind of packet, from the client and from the server.
use serde::Deserialize;

use crate::{Fault, fault};

/// What a file says of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct States {
    /// tcp or sctp.
    protocol: Protocol,
    /// nat, where answers pass, or dr.
    forward: Forward,
    /// Whether the table is that of secure_tcp, which the scenario switches on by its sysctl.
    #[serde(default)]
    secure: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Tcp,
    Sctp,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Forward {
    Nat,
    Dr,
}

/// A state's name and the packets that lead there: `>` from the client, `<` from the server.
type Way = (&'static str, &'static str);

/// From the tables in net/netfilter/ipvs/ip_vs_proto_tcp.c: what no packet reaches is left out
/// (LISTEN and LAST_ACK, and SYNACK without secure_tcp).
const TCP_NAT: &[Way] = &[
    ("none", ""),
    ("syn_recv", ">S"),
    ("established", ">S >A"),
    ("syn_sent", ">S >A <F <SA"),
    ("fin_wait", ">S >A <F"),
    ("time_wait", ">S >F"),
    ("close", ">S <R"),
    ("close_wait", ">S >A >F"),
];
const TCP_DR: &[Way] = &[
    ("none", ""),
    ("syn_recv", ">S"),
    ("established", ">S >A"),
    ("fin_wait", ">S >A >F"),
    ("time_wait", ">S >F"),
    ("close", ">S >A >R"),
];
const TCP_NAT_SECURE: &[Way] = &[
    ("none", ""),
    ("syn_recv", ">S"),
    ("synack", ">S <SA"),
    ("established", ">S <SA <A"),
    ("syn_sent", ">S <SA <A <F <SA"),
    ("fin_wait", ">S <SA <A <F"),
    ("time_wait", ">S >F"),
    ("close", ">S <R"),
    ("close_wait", ">S <SA <A >F"),
];
const TCP_DR_SECURE: &[Way] = &[
    ("none", ""),
    ("synack", ">S"),
    ("established", ">S >A"),
    ("fin_wait", ">S >A >F"),
    ("time_wait", ">S >F"),
    ("close", ">S >A >R"),
];
const SCTP_NAT: &[Way] = &[
    ("none", ""),
    ("init1", ">INIT"),
    ("init", ">INIT >INIT"),
    ("cookie_sent", ">INIT <INIT-ACK"),
    ("cookie_replied", ">COOKIE-ECHO"),
    ("cookie_wait", ">INIT <INIT"),
    ("cookie", ">INIT <INIT >INIT-ACK"),
    ("cookie_echoed", ">INIT <COOKIE-ECHO"),
    ("established", ">INIT <COOKIE-ACK"),
    ("shutdown_sent", ">INIT <SHUTDOWN"),
    ("shutdown_received", ">INIT <COOKIE-ACK >SHUTDOWN"),
    ("shutdown_ack_sent", ">INIT <SHUTDOWN-ACK"),
    ("rejected", ">INIT <ABORT"),
    ("closed", ">INIT >ABORT"),
];
const SCTP_DR: &[Way] = &[
    ("none", ""),
    ("init1", ">INIT"),
    ("init", ">INIT >INIT"),
    ("cookie_echoed", ">INIT >COOKIE-ECHO"),
    ("established", ">INIT >COOKIE-ECHO >COOKIE-ACK"),
    ("shutdown", ">INIT >COOKIE-ECHO >COOKIE-ACK >SHUTDOWN"),
    ("closed", ">INIT >ABORT"),
];

/// Alone, together in the order of their rank, and none at all.
const TCP_EVENTS: &[&str] = &["S", "F", "A", "R", ".", "SA", "FA", "RA", "SF", "RS"];
const SCTP_EVENTS: &[&str] = &[
    "DATA",
    "INIT",
    "INIT-ACK",
    "COOKIE-ECHO",
    "COOKIE-ACK",
    "SHUTDOWN",
    "SHUTDOWN-ACK",
    "SHUTDOWN-COMPLETE",
    "ERROR",
    "ABORT",
    "HEARTBEAT",
    "SACK",
    "COOKIE-ECHO+DATA",
    "COOKIE-ECHO+ABORT",
];

impl States {
    /// Suffixes of names, and steps: a scenario for each state, in which each client brings
    /// its connection there and then one packet comes.
    pub(crate) fn spell_out(&self) -> Result<Vec<(String, Vec<String>)>, Fault> {
        let ways = match (self.protocol, self.forward, self.secure) {
            (Protocol::Tcp, Forward::Nat, false) => TCP_NAT,
            (Protocol::Tcp, Forward::Nat, true) => TCP_NAT_SECURE,
            (Protocol::Tcp, Forward::Dr, false) => TCP_DR,
            (Protocol::Tcp, Forward::Dr, true) => TCP_DR_SECURE,
            (Protocol::Sctp, Forward::Nat, false) => SCTP_NAT,
            (Protocol::Sctp, Forward::Dr, false) => SCTP_DR,
            (Protocol::Sctp, _, true) => return fault("secure_tcp is for tcp"),
        };
        Ok(ways.iter().map(|(state, way)| (format!("_{state}"), self.scenario(way))).collect())
    }

    fn scenario(&self, way: &str) -> Vec<String> {
        let (service, forward, events) = match (self.protocol, self.forward) {
            (Protocol::Tcp, Forward::Nat) => ("-t", "-m", TCP_EVENTS),
            (Protocol::Tcp, Forward::Dr) => ("-t", "-g", TCP_EVENTS),
            (Protocol::Sctp, Forward::Nat) => ("--sctp-service", "-m", SCTP_EVENTS),
            (Protocol::Sctp, Forward::Dr) => ("--sctp-service", "-g", SCTP_EVENTS),
        };
        let mut steps = vec![
            format!("ipvsadm -A {service} 10.9.0.1:80 -s rr"),
            format!("ipvsadm -a {service} 10.9.0.1:80 -r 10.2.0.11:80 {forward}"),
        ];
        // The server's answers only pass in NAT, and only once there is a connection.
        let sides: &[&str] =
            if self.forward == Forward::Nat && !way.is_empty() { &[">", "<"] } else { &[">"] };
        let all = sides.iter().flat_map(|side| events.iter().map(move |event| (side, event)));
        for (number, (side, event)) in all.enumerate() {
            let client = format!("198.18.1.{}:{}", number + 1, 9001 + number);
            for packet in way.split_whitespace() {
                steps.push(self.packet(&client, packet));
            }
            steps.push(self.packet(&client, &format!("{side}{event}")));
        }
        steps.push("connections".to_owned());
        steps.push("ipvsadm -Ln".to_owned());
        steps
    }

    fn packet(&self, client: &str, packet: &str) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Sctp => "sctp",
        };
        let (side, event) = packet.split_at(1);
        if side == ">" {
            format!("{protocol} {client} > 10.9.0.1:80 {event}")
        } else {
            format!("{protocol} 10.2.0.11:80 > {client} {event}")
        }
    }
}
