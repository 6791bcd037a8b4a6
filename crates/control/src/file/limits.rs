//! `limits:`.

use std::ops::RangeInclusive;

use super::cursor::Keys;
use crate::{fault::Fault, model::Limits};

/// What is written, over the defaults, some of which follow from `connections`.
pub(super) fn limits(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Limits {
    let keys = keys.take("limits").and_then(|at| at.keys(faults));
    let Some(mut keys) = keys else { return Limits::default() };
    let mut limit = |key: &'static str, range: RangeInclusive<u32>| {
        let put = keys.take(key)?.number(faults, *range.start(), *range.end());
        put.map(|put| put.value)
    };
    let connections = limit("connections", 1024..=1 << 28);
    let mut limits = Limits::beside(connections.unwrap_or(Limits::CONNECTIONS));
    let fields: [(&'static str, RangeInclusive<u32>, &mut u32); 13] = [
        ("connections_ipv6", 256..=1 << 28, &mut limits.connections_ipv6),
        ("half_open", 1..=1 << 28, &mut limits.half_open),
        ("templates", 256..=Limits::TEMPLATES_MOST, &mut limits.templates),
        ("templates_ipv6", 256..=Limits::TEMPLATES_MOST, &mut limits.templates_ipv6),
        ("sources", 256..=1 << 24, &mut limits.sources),
        ("fragments", 1..=1 << 20, &mut limits.fragments),
        ("held_frames", 0..=1 << 16, &mut limits.held_frames),
        ("routes", 1..=1 << 22, &mut limits.routes),
        // A hop id has 16 bits, and the last one says "none".
        ("neighbours", 1..=65_534, &mut limits.neighbours),
        ("punt_rate", 0..=10_000_000, &mut limits.punt_rate),
        ("icmp_rate", 0..=1_000_000, &mut limits.icmp_rate),
        ("services", 1..=1 << 16, &mut limits.services),
        ("servers", 1..=1 << 20, &mut limits.servers),
    ];
    for (key, range, field) in fields {
        if let Some(value) = limit(key, range) {
            *field = value;
        }
    }
    keys.finish(faults, |_| false);
    limits
}
