//! Titles and rows of the table of services.

use std::fmt::Write;

use super::{ListedServer, ListedService, flags, mask};
use crate::command::{Checksum, Forward, Protocol, ServiceRef, ServiceSpec, Tunnel, View};
use crate::names::{self, Resolver};

/// Where an IPv4 service's and an IPv4 server's name are cut; IPv6 ones are not.
const SERVICE_WIDTH: usize = 33;
const SERVER_WIDTH: usize = 28;

/// How a table is written.
pub(super) struct Table<'a> {
    pub(super) view: View,
    /// Large numbers in full.
    pub(super) exact: bool,
    pub(super) names: &'a dyn Resolver,
}

impl Table<'_> {
    pub(super) fn title(&self) -> String {
        let columns = match self.view {
            View::Stats => counter_titles(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
            View::Rate => counter_titles(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
            View::Thresholds => " Uthreshold Lthreshold ActiveConn InActConn ".to_owned(),
            View::PersistentConn => " Weight    PersistConn ActiveConn InActConn ".to_owned(),
            View::TunInfo => return plain_title("Forward TunnelInfo    Weight"),
            View::Plain => return plain_title("Forward Weight"),
        };
        let service = "Prot LocalAddress:Port";
        format!("{service:<SERVICE_WIDTH$}{columns}\n  -> RemoteAddress:Port\n")
    }

    pub(super) fn service(&self, listed: &ListedService) -> String {
        let name = self.service_name(&listed.spec.service);
        let counters = match self.view {
            View::Stats => listed.stats,
            View::Rate => listed.rates,
            _ => return format!("{name} {}\n", options(&listed.spec)),
        };
        format!("{name:<SERVICE_WIDTH$}{}\n", self.counters(&counters.columns()))
    }

    fn service_name(&self, service: &ServiceRef) -> String {
        match *service {
            ServiceRef::Mark { mark, ipv6: false } => format!("FWM  {mark}"),
            ServiceRef::Mark { mark, ipv6: true } => format!("FWM  {mark} IPv6"),
            ServiceRef::Endpoint { protocol, address, port } => {
                let endpoint = names::endpoint(address, port, Some(protocol), self.names);
                let mut name = format!("{:<4} {endpoint}", protocol.name());
                if address.is_ipv4() {
                    name.truncate(name.floor_char_boundary(SERVICE_WIDTH));
                }
                name
            }
        }
    }

    pub(super) fn server(&self, service: &ListedService, server: &ListedServer) -> String {
        let name = self.server_name(service.spec.service.protocol(), server);
        let ListedServer { spec, active, inactive, persistent, stats, rates, .. } = server;
        let row = match self.view {
            View::Stats => self.counters(&stats.columns()),
            // Connections and packets are never shortened here, unlike those of the service.
            View::Rate => format!(
                " {:>8} {:>8} {:>8}{}",
                rates.connections,
                rates.in_packets,
                rates.out_packets,
                self.counters(&[rates.in_bytes, rates.out_bytes])
            ),
            View::Thresholds => {
                format!(" {:<10} {:<10} {active:<10} {inactive:<10}", spec.upper, spec.lower)
            }
            View::PersistentConn => {
                format!(" {:<9} {persistent:<11} {active:<10} {inactive:<10}", spec.weight)
            }
            View::TunInfo => format!(
                " {:<7} {:<13} {:<6} {active:<10} {inactive:<10}",
                forward(server),
                tunnel(server),
                spec.weight
            ),
            View::Plain => {
                format!(" {:<7} {:<6} {active:<10} {inactive:<10}", forward(server), spec.weight)
            }
        };
        format!("  -> {name:<SERVER_WIDTH$}{row}\n")
    }

    fn server_name(&self, protocol: Option<Protocol>, server: &ListedServer) -> String {
        let address = server.spec.address;
        let mut name = names::endpoint(address, server.spec.port, protocol, self.names);
        if address.is_ipv4() {
            name.truncate(name.floor_char_boundary(SERVER_WIDTH));
        }
        name
    }

    fn counters(&self, numbers: &[u64]) -> String {
        numbers.iter().map(|number| self.counter(*number)).collect()
    }

    /// A number in 9 columns, shortened above 99999999; with `--exact` in full after a blank.
    fn counter(&self, number: u64) -> String {
        const STEPS: [(u64, u64, char); 4] = [
            (1_000_000_000, 1_000, 'K'),
            (100_000_000_000, 1_000_000, 'M'),
            (100_000_000_000_000, 1_000_000_000, 'G'),
            (u64::MAX, 1_000_000_000_000, 'T'),
        ];
        if self.exact {
            return format!(" {number:>8}");
        }
        if number < 100_000_000 {
            return format!("{number:>9}");
        }
        let (_, unit, suffix) =
            STEPS.into_iter().find(|(limit, ..)| number < *limit).unwrap_or(STEPS[3]);
        format!("{:>8}{suffix}", number / unit)
    }
}

fn counter_titles(titles: [&str; 5]) -> String {
    titles.iter().map(|title| format!(" {title:>8}")).collect()
}

fn plain_title(columns: &str) -> String {
    format!(
        "Prot LocalAddress:Port Scheduler Flags\n  \
         -> RemoteAddress:Port           {columns} ActiveConn InActConn\n"
    )
}

/// A service's scheduler, flags, persistence.
fn options(spec: &ServiceSpec) -> String {
    let mut text = spec.scheduler.clone();
    if !spec.flags.is_empty() {
        // sh and mh have no third flag: ipvsadm shows `()` if it is set all the same.
        let own = if matches!(spec.scheduler.as_str(), "sh" | "mh") { 2 } else { 3 };
        let known = &crate::SchedulerFlag::of(&spec.scheduler)[..own];
        let names: Vec<_> =
            flags(spec).filter(|flag| known.contains(flag)).map(|flag| flag.name()).collect();
        // Writing to a String cannot fail, here and below.
        let _ = write!(text, " ({})", names.join(","));
    }
    if let Some(timeout) = spec.persistent {
        let _ = write!(text, " persistent {timeout}");
        if let Some(mask) = mask(spec) {
            let _ = write!(text, " mask {mask}");
        }
        if let Some(engine) = &spec.pe {
            let _ = write!(text, " pe {engine}");
        }
    }
    if spec.one_packet {
        text.push_str(" ops");
    }
    text
}

fn forward(server: &ListedServer) -> &'static str {
    match server.spec.forward {
        Forward::Nat => "Masq",
        Forward::Tun(_) => "Tunnel",
        Forward::Dr => "Route",
        Forward::FullNat => "FullNat",
    }
}

fn tunnel(server: &ListedServer) -> String {
    let checksum = |checksum| match checksum {
        Checksum::None => "-c",
        Checksum::Full => "+c",
        Checksum::Remote => "r+c",
    };
    match server.spec.forward {
        Forward::Tun(Tunnel::Ipip) => "ipip".to_owned(),
        Forward::Tun(Tunnel::Gue { port, checksum: c }) => format!("gue:{port}:{}", checksum(c)),
        Forward::Tun(Tunnel::Gre { checksum: c }) => format!("gre:{}", checksum(c)),
        _ => "n/a".to_owned(),
    }
}
