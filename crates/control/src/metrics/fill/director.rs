//! What counts for the box.

use std::collections::BTreeMap;

use health::outcome::Kind;

use super::seconds;
use crate::{
    metrics::{families as f, family::Family, page::Page},
    report::{Fill, Outcome, Report, Table, Tables},
};

pub(super) fn fill(page: &mut Page<'_>, report: &Report) {
    page.family(&f::BUILD).add(&[&report.version], 1);
    page.family(&f::START_TIME).add(&[], report.started_s);
    page.family(&f::STOPPING).truth(&[], report.stopping);
    page.family(&f::GENERATION).add(&[], report.generation);
    configuration(page, report);
    traffic(page, report);
    tables(page, &report.tables);
    let mut vips = page.family(&f::VIP_ANNOUNCED);
    for vip in &report.managed {
        vips.truth(&[&vip.to_string()], !report.withdrawn.contains(vip));
    }
    by(page, &f::EVENTS, &report.events);
    hooks(page, report);
    probes(page, report);
}

fn configuration(page: &mut Page<'_>, report: &Report) {
    let reloads = &report.reloads;
    by(page, &f::RELOADS, &reloads.count);
    let well = reloads.last != Outcome::Failure.name();
    page.family(&f::LAST_RELOAD_SUCCESSFUL).truth(&[], well);
    page.family(&f::LAST_RELOAD_TIME).add(&[], reloads.last_success_s);
}

fn traffic(page: &mut Page<'_>, report: &Report) {
    let totals = &report.totals;
    for (family, count) in [
        (&f::CONNECTIONS, totals.all.connections),
        (&f::INCOMING_PACKETS, totals.all.in_packets),
        (&f::OUTGOING_PACKETS, totals.all.out_packets),
        (&f::INCOMING_BYTES, totals.all.in_bytes),
        (&f::OUTGOING_BYTES, totals.all.out_bytes),
    ] {
        page.family(family).count(&[], count);
    }
    by(page, &f::DROPPED, &totals.drops);
    by(page, &f::PUNTED, &totals.punts);
    by(page, &f::ANSWERS, &totals.answers);
    for (family, count) in [
        (&f::MOVED_PORTS, totals.moved_ports),
        (&f::DROPPED_ENTRIES, totals.dropped_entries),
        (&f::STATELESS_PACKETS, totals.stateless),
        (&f::BYPASSED_CONNECTIONS, totals.bypassed.connections),
        (&f::BYPASSED_PACKETS, totals.bypassed.in_packets),
    ] {
        page.family(family).count(&[], count);
    }
}

/// A count for each value of the family's one label.
fn by(page: &mut Page<'_>, family: &'static Family, counts: &BTreeMap<String, u64>) {
    let mut samples = page.family(family);
    for (word, count) in counts {
        samples.count(&[word], *count);
    }
}

fn tables(page: &mut Page<'_>, tables: &Tables) {
    let fill = |table: Table| Fill { now: table.connections, limit: table.capacity };
    let rows = [
        ("connections_ipv4", fill(tables.ipv4)),
        ("connections_ipv6", fill(tables.ipv6)),
        ("half_open", tables.half_open),
        ("templates_ipv4", tables.templates_ipv4),
        ("templates_ipv6", tables.templates_ipv6),
        ("fragments", tables.fragments),
        ("services", tables.services),
        ("servers", tables.servers),
    ];
    let mut entries = page.family(&f::TABLE_ENTRIES);
    rows.iter().for_each(|(table, fill)| entries.add(&[table], fill.now));
    let mut limits = page.family(&f::TABLE_LIMIT);
    rows.iter().for_each(|(table, fill)| limits.add(&[table], fill.limit));
}

fn hooks(page: &mut Page<'_>, report: &Report) {
    let hooks = &report.hooks;
    let mut ended = page.family(&f::HOOKS);
    ended.count(&["succeeded"], hooks.succeeded);
    ended.count(&["failed"], hooks.failed);
    ended.count(&["killed"], hooks.killed);
    page.family(&f::HOOKS_COLLAPSED).count(&[], hooks.collapsed);
    page.family(&f::HOOKS_WAITING).add(&[], hooks.waiting);
}

fn probes(page: &mut Page<'_>, report: &Report) {
    let probes = &report.probes;
    page.family(&f::PROBES).count(&[], probes.done);
    let mut failures = page.family(&f::PROBE_FAILURES);
    for kind in Kind::ALL {
        let count = probes.failed.get(kind.name()).copied().unwrap_or_default();
        failures.count(&[kind.name()], count);
    }
    page.family(&f::PROBES_LATE).count(&[], probes.late);
    page.family(&f::PROBES_IN_FLIGHT).add(&[], probes.in_flight);
    page.family(&f::PROBE_LATENESS).summary(
        &[],
        ("0.99", seconds(probes.late_p99_us)),
        seconds(probes.late_sum_us),
        probes.begun,
    );
}
