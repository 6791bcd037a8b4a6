//! The listing, in the order of `ipvsadm -Ln`: services, each with its servers.

use std::{collections::BTreeMap, fmt::Write};

use control::{
    connection_log, hooks,
    report::{Counts, Report, Ring, Server, ServerState, Service, Totals},
};

/// Columns to the left edge; the others are numbers, to the right one.
const LEFT: usize = 4;

/// The title of each column; the words of a row stand under them.
const TITLES: [&str; 11] = [
    "  Address:Port",
    "Forward",
    "Weight",
    "State",
    "Active",
    "Inactive",
    "Conns",
    "InPkts",
    "InBytes",
    "OutPkts",
    "OutBytes",
];

type Row = [String; TITLES.len()];

/// The whole listing, ending in a line break.
pub(crate) fn render(report: &Report, colours: bool) -> String {
    let mut text = String::new();
    head(&mut text, report);
    services(&mut text, &report.services, colours);
    let totals = &report.totals;
    reasons(&mut text, "Dropped", &totals.drops);
    reasons(&mut text, "Given to the kernel", &totals.punts);
    reasons(&mut text, "Originated or held back", &totals.answers);
    happenings(&mut text, totals, &report.hooks);
    report.connection_log.inspect(|log| unlogged(&mut text, *log));
    rings(&mut text, &report.rings);
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn head(text: &mut String, report: &Report) {
    line(text, &format!("xlvs {}, up {}", report.version, duration(report.uptime_s)));
    let tables = &report.tables;
    let fill = |table: &control::report::Table| format!("{}/{}", table.connections, table.capacity);
    line(
        text,
        &format!(
            "connections: IPv4 {}, IPv6 {}, half-open {}",
            fill(&tables.ipv4),
            fill(&tables.ipv6),
            tables.half_open.now
        ),
    );
    for interface in &report.interfaces {
        let state = if interface.up { "up" } else { "down" };
        let mode = interface.xdp_mode.map_or("not attached", |mode| mode.name());
        let copy = if interface.zero_copy { "zero-copy" } else { "copy" };
        let mut row = format!(
            "{}: {state}, {mode}, {copy}, queues {}, mtu {}",
            interface.name, interface.queues, interface.mtu
        );
        if let Some(reason) = &interface.fallback {
            let _ = write!(row, " ({reason})");
        }
        line(text, &row);
    }
    for worker in &report.workers {
        let core = worker.core.map_or_else(|| "no core".to_owned(), |core| format!("core {core}"));
        line(
            text,
            &format!(
                "worker {}: {core}, received {}, sent {}, held {}",
                worker.worker,
                decimal(worker.rx_packets),
                decimal(worker.tx_packets),
                worker.waiting
            ),
        );
    }
}

/// Services with their servers, all in the same columns.
fn services(text: &mut String, services: &[Service], colours: bool) {
    let rows: Vec<Vec<Row>> =
        services.iter().map(|service| service.servers.iter().map(row).collect()).collect();
    let titles = TITLES.map(str::to_owned);
    let mut widths = titles.each_ref().map(String::len);
    for row in rows.iter().flatten() {
        for (width, word) in widths.iter_mut().zip(row) {
            *width = (*width).max(word.len());
        }
    }
    line(text, "");
    line(text, &aligned(&titles, &widths));
    for (service, rows) in services.iter().zip(rows) {
        let Service { scheduler, name, .. } = service;
        let protocol = service.protocol.to_uppercase();
        line(text, &format!("{protocol} {} {scheduler} {name}", service.place()));
        for (server, row) in service.servers.iter().zip(rows) {
            let row = aligned(&row, &widths);
            line(text, &if colours { coloured(server.state, row) } else { row });
            if let Some(reason) = reason(server) {
                line(text, &reason);
            }
        }
        if service.servers.is_empty() {
            line(text, "  (no servers)");
        }
    }
}

/// Why a server is not simply up: what an operator said, what its checks say.
fn reason(server: &Server) -> Option<String> {
    if let Some(why) = crate::server::why(server) {
        return Some(format!("       {why}"));
    }
    let health = server.health.as_ref()?;
    let paused = if health.paused { ", checks pause" } else { "" };
    let odd = health.state != "up" || server.state != ServerState::Up || health.paused;
    odd.then(|| {
        let (state, time) = (&health.state, duration(health.for_s));
        format!("       {state} for {time}{paused}: {}", health.why)
    })
}

fn row(server: &Server) -> Row {
    let Counts { active, inactive, connections, in_packets, in_bytes, out_packets, out_bytes } =
        server.counts;
    [
        format!("  -> {}", server.endpoint()),
        server.forward.clone(),
        crate::server::weight(server),
        server.state.name().to_owned(),
        active.to_string(),
        inactive.to_string(),
        decimal(connections),
        decimal(in_packets),
        binary(in_bytes),
        decimal(out_packets),
        binary(out_bytes),
    ]
}

fn aligned(row: &Row, widths: &[usize; TITLES.len()]) -> String {
    let mut text = String::new();
    for (at, (word, width)) in row.iter().zip(widths).enumerate() {
        let _ = if at < LEFT {
            write!(text, "{word:width$} ")
        } else {
            write!(text, "{word:>width$} ")
        };
    }
    text.trim_end().to_owned()
}

/// What needs attention stands out: down is red, drained and removed are yellow.
fn coloured(state: ServerState, row: String) -> String {
    let colour = match state {
        ServerState::Up => return row,
        ServerState::Down => 31,
        ServerState::Drained
        | ServerState::Maint
        | ServerState::Removed
        | ServerState::Suspect
        | ServerState::Waiting => 33,
        ServerState::Standby => 36,
    };
    format!("\x1b[{colour}m{row}\x1b[0m")
}

/// The reasons that came, the most frequent first.
fn reasons(text: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    let mut came: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    came.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    if came.is_empty() {
        return;
    }
    line(text, &format!("\n{title}"));
    let width = came.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, count) in came {
        line(text, &format!("  {name:width$} {count}"));
    }
}

/// What was done to connections beside forwarding them.
fn happenings(text: &mut String, totals: &Totals, hooks: &hooks::Counts) {
    let Totals { moved_ports, bypassed, dropped_entries, stateless, .. } = totals;
    let Counts { connections, active, inactive, in_packets, .. } = *bypassed;
    let now = active + inactive;
    let hooks::Counts { failed, killed, waiting, .. } = *hooks;
    let all = [
        (*moved_ports, format!("Source ports moved: {moved_ports}")),
        (
            connections,
            format!("Past the servers: {connections} connections, {now} now, {in_packets} packets"),
        ),
        (*dropped_entries, format!("Ended to make room: {dropped_entries}")),
        (*stateless, format!("Without an entry: {stateless} packets")),
        (failed + killed, format!("Hooks: {failed} failed, {killed} killed, {waiting} waiting")),
    ];
    let came: Vec<String> = all.into_iter().filter(|(n, _)| *n > 0).map(|(_, said)| said).collect();
    if !came.is_empty() {
        line(text, &format!("\n{}", came.join("\n")));
    }
}

/// Lines that the connection log lacks.
fn unlogged(text: &mut String, log: connection_log::Counts) {
    let connection_log::Counts { lost_rate, lost_queue, lost_file, .. } = log;
    if lost_rate + lost_queue + lost_file > 0 {
        let said =
            format!("{lost_rate} beyond its rate, {lost_queue} queue full, {lost_file} file");
        line(text, &format!("\nConnection log lost: {said}"));
    }
}

/// What the kernel dropped before a worker saw it, or refused.
fn rings(text: &mut String, rings: &[Ring]) {
    for ring in rings {
        let Ring { interface, queue, .. } = ring;
        let losses = [
            ("dropped by the kernel", ring.rx_dropped),
            ("receive ring full", ring.rx_ring_full),
            ("fill ring empty", ring.fill_ring_empty),
            ("refused for receiving", ring.rx_invalid),
            ("refused for sending", ring.tx_invalid),
        ];
        let lost = losses.iter().filter(|(_, count)| *count > 0);
        let lost: Vec<String> = lost.map(|(what, count)| format!("{what} {count}")).collect();
        if !lost.is_empty() {
            line(text, &format!("\n{interface} queue {queue}: {}", lost.join(", ")));
        }
    }
}

/// `12345`, `1234k`: at most five digits, in powers of 1000.
fn decimal(count: u64) -> String {
    scaled(count, 1000, ["", "k", "M", "G", "T", "P"])
}

/// Octets, in powers of 1024.
fn binary(octets: u64) -> String {
    scaled(octets, 1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi"])
}

/// At most five digits, rounded down, and the unit. 2^64 does not fill the last one.
fn scaled(mut count: u64, step: u64, units: [&str; 6]) -> String {
    let mut unit = 0;
    while count >= 100_000 {
        count /= step;
        unit += 1;
    }
    format!("{count}{}", units[unit])
}

/// A time in words.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
