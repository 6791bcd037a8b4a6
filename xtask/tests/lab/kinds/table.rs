//! What is asked, of whom, what goes wrong there, and what xlvs says of it.

mod daemons;
mod datagrams;
mod web;

use super::fault::Fault::{self, Rule};
use super::server::Server;

/// All kinds.
pub(super) fn all() -> impl Iterator<Item = &'static Kind> {
    web::KINDS.iter().chain(datagrams::KINDS).chain(daemons::KINDS)
}

/// A check and the server that it asks.
pub(super) struct Kind {
    /// Of the service, the check, and the directory.
    pub(super) name: &'static str,
    /// Of its address: 0 is IPv4, 1 is IPv6.
    pub(super) family: usize,
    /// The server's port; 0 if nothing listens.
    pub(super) port: u16,
    /// The check's own keys.
    pub(super) check: &'static str,
    pub(super) server: Server,
    /// What the listing says of a good answer.
    pub(super) good: &'static str,
    /// What goes wrong, one after the other, and is set right again in between.
    pub(super) rows: &'static [Row],
}

/// What goes wrong, and what the listing then says.
pub(super) struct Row(pub(super) &'static str, pub(super) Fault, pub(super) &'static str);

impl Kind {
    /// The transport of its port: that of nftables and of ss.
    pub(super) fn protocol(&self) -> &'static str {
        if self.check.contains("type: dns") || self.check.contains("type: udp") {
            "udp"
        } else {
            "tcp"
        }
    }
}

const NOT_ACCEPTED: &str = "no answer to the connection request within 400 ms";
const NOT_COMPLETE: &str = "connected, but no complete answer within 400 ms";
const NOTHING: &str = "no answer within 400 ms";
const REFUSED: &str = "connection refused";

const SILENT_TCP: Fault = Rule("input", "tcp dport @port@ drop");
const SILENT_UDP: Fault = Rule("input", "udp dport @port@ drop");
