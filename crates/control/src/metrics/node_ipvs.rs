//! What node_exporter tells of a kernel's IPVS, under its names (collector/ipvs_linux.go), so that
//! its dashboards and alerts go on working.

use super::{
    family::{Family, Group, Kind},
    page::Page,
};
use crate::report::{Report, Server, ServerState, Service};

const BACKEND: &[&str] =
    &["local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark"];

const fn total(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help, labels: &[], group: Group::NodeIpvs }
}

const fn backend(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help, labels: BACKEND, group: Group::NodeIpvs }
}

static TOTALS: [Family; 5] = [
    total("node_ipvs_connections", "The total number of connections made."),
    total("node_ipvs_incoming_packets", "The total number of incoming packets."),
    total("node_ipvs_outgoing_packets", "The total number of outgoing packets."),
    total("node_ipvs_incoming_bytes", "The total amount of incoming data."),
    total("node_ipvs_outgoing_bytes", "The total amount of outgoing data."),
];

static BACKENDS: [Family; 3] = [
    backend(
        "node_ipvs_backend_connections_active",
        "The current active connections by local and remote address.",
    ),
    backend(
        "node_ipvs_backend_connections_inactive",
        "The current inactive connections by local and remote address.",
    ),
    backend("node_ipvs_backend_weight", "The current backend weight by local and remote address."),
];

/// All eight.
pub static FAMILIES: [&Family; 8] = [
    &TOTALS[0],
    &TOTALS[1],
    &TOTALS[2],
    &TOTALS[3],
    &TOTALS[4],
    &BACKENDS[0],
    &BACKENDS[1],
    &BACKENDS[2],
];

/// Writes them. What xlvs has beside (`cache_bypass`, its own answers) is in the totals as far as
/// the kernel's have it.
pub(super) fn fill(page: &mut Page<'_>, report: &Report) {
    let all = &report.totals.all;
    let counts = [all.connections, all.in_packets, all.out_packets, all.in_bytes, all.out_bytes];
    for (family, count) in TOTALS.iter().zip(counts) {
        page.family(family).count(&[], count);
    }
    let picks: [fn(&Server) -> u64; 3] =
        [|server| server.counts.active, |server| server.counts.inactive, |it| it.weight.into()];
    for (family, pick) in BACKENDS.iter().zip(picks) {
        let mut samples = page.family(family);
        for service in &report.services {
            // The kernel lists no server that was removed, whatever connections it has.
            let there = |server: &&Server| server.state != ServerState::Removed;
            for server in service.servers.iter().filter(there) {
                let labels = labels(service, server);
                samples.add(&labels.each_ref().map(String::as_str), pick(server));
            }
        }
    }
}

/// As node_exporter reads them from /proc/net/ip_vs: marks in hexadecimal, as they stand there
/// (`%08X` in ip_vs_info_seq_show), and without an address.
fn labels(service: &Service, server: &Server) -> [String; 6] {
    let mark = service.mark.map(|mark| format!("{mark:08X}"));
    let address = service.address.map(|address| address.to_string());
    [
        address.unwrap_or_default(),
        if mark.is_some() { "0".to_owned() } else { service.port.to_string() },
        server.address.to_string(),
        server.port.to_string(),
        if mark.is_some() { "FWM".to_owned() } else { service.protocol.to_uppercase() },
        mark.unwrap_or_default(),
    ]
}
