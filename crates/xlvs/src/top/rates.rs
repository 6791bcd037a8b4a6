//! What two reports say of the time between them.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use control::report::{Counts, Report};

/// A second's worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) connections: f64,
    pub(crate) in_packets: f64,
    /// Bits.
    pub(crate) in_bits: f64,
    pub(crate) out_packets: f64,
    /// Bits.
    pub(crate) out_bits: f64,
}

impl Rate {
    fn between(before: &Counts, now: &Counts, seconds: f64) -> Self {
        // Counters do not go back, but a service may be another one of the same name.
        let per = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        Self {
            connections: per(before.connections, now.connections),
            in_packets: per(before.in_packets, now.in_packets),
            in_bits: per(before.in_bytes, now.in_bytes) * 8.0,
            out_packets: per(before.out_packets, now.out_packets),
            out_bits: per(before.out_bytes, now.out_bytes) * 8.0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.in_packets += other.in_packets;
        self.in_bits += other.in_bits;
        self.out_packets += other.out_packets;
        self.out_bits += other.out_bits;
    }
}

/// All rates; empty with the first report.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) total: Rate,
    /// By key.
    services: HashMap<String, Rate>,
    servers: HashMap<(String, SocketAddr), Rate>,
    /// Drops by reason, the most frequent first, without those that did not come.
    pub(crate) drops: Vec<(String, f64)>,
    /// How much of their time workers were busy, 0 to 1, by number.
    pub(crate) busy: Vec<f64>,
}

impl Rates {
    pub(crate) fn between(before: &Report, now: &Report, time: Duration) -> Self {
        let seconds = time.as_secs_f64().max(0.001);
        let mut rates = Self::default();
        let known: HashMap<&str, _> =
            before.services.iter().map(|service| (service.key.as_str(), service)).collect();
        for service in &now.services {
            let Some(before) = known.get(service.key.as_str()) else { continue };
            let rate = Rate::between(&before.counts, &service.counts, seconds);
            rates.total.add(&rate);
            rates.services.insert(service.key.clone(), rate);
            for server in &service.servers {
                let old = before.servers.iter().find(|old| old.endpoint() == server.endpoint());
                let Some(old) = old else { continue };
                let rate = Rate::between(&old.counts, &server.counts, seconds);
                rates.servers.insert((service.key.clone(), server.endpoint()), rate);
            }
        }
        for (reason, count) in &now.totals.drops {
            let old = before.totals.drops.get(reason).copied().unwrap_or(0);
            let rate = count.saturating_sub(old) as f64 / seconds;
            if rate > 0.0 {
                rates.drops.push((reason.clone(), rate));
            }
        }
        rates.drops.sort_by(|one, other| other.1.total_cmp(&one.1));
        rates.busy = now
            .workers
            .iter()
            .map(|worker| {
                let old = before.workers.iter().find(|old| old.worker == worker.worker);
                let old = old.map_or(worker.busy_ns, |old| old.busy_ns);
                let busy = worker.busy_ns.saturating_sub(old) as f64 / 1e9 / seconds;
                busy.min(1.0)
            })
            .collect();
        rates
    }

    pub(crate) fn service(&self, key: &str) -> Rate {
        self.services.get(key).copied().unwrap_or_default()
    }

    pub(crate) fn server(&self, key: &str, server: SocketAddr) -> Rate {
        self.servers.get(&(key.to_owned(), server)).copied().unwrap_or_default()
    }
}

/// As [`short`], of what has no fractions.
pub(crate) fn count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { short(count as f64) }
}

/// `0`, `7.3`, `12k`: at most four letters and a unit in powers of 1000.
pub(crate) fn short(rate: f64) -> String {
    let mut rate = rate;
    let mut units = ["", "k", "M", "G", "T"].into_iter();
    let mut unit = units.next().unwrap_or("");
    while rate >= 9999.5 {
        let Some(next) = units.next() else { break };
        rate /= 1000.0;
        unit = next;
    }
    match rate {
        _ if rate <= 0.0 => "0".to_owned(),
        _ if rate < 9.95 => format!("{rate:.1}{unit}"),
        _ => format!("{rate:.0}{unit}"),
    }
}
