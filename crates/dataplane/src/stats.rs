//! Counters: each worker has its own, plain single-writer words; only a listing reads
//! them from another core.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    snapshot::ServerId,
    verdict::{Answer, Drop, Punt},
};

/// A counter that one thread writes and others may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, without a locked instruction: there is one writer.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its value, perhaps a moment old.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What passed between clients and one server. Octets are those of IP packets (A.12 of LVS:
/// `ip_vs_in_stats` counts `skb->len` at the IP layer).
#[derive(Debug, Default)]
#[repr(align(32))]
pub struct Traffic {
    /// Packets towards the server.
    pub in_packets: Counter,
    /// Octets towards the server.
    pub in_bytes: Counter,
    /// Packets from the server (NAT and FullNAT).
    pub out_packets: Counter,
    /// Octets from the server.
    pub out_bytes: Counter,
}

/// Handshakes that did not come about at one server, as far as its answers pass here (NAT and
/// FullNAT): hints that it is not well.
#[derive(Debug, Default)]
pub struct Unmet {
    /// SYNs that were sent again, while nothing ever came from the server.
    pub unanswered: Counter,
    /// SYNs that it answered with RST.
    pub refused: Counter,
}

/// What several workers write, on a cache line of its own: its neighbours are only read.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct OwnLine<T>(pub(crate) T);

/// One worker's counters, on lines that no other worker's share.
#[derive(Debug)]
#[repr(align(64))]
pub struct Stats {
    /// By server id; the last one counts what went past the servers (`cache_bypass`).
    pub servers: Box<[Traffic]>,
    /// By server id.
    pub unmet: Box<[Unmet]>,
    /// By [`Drop`].
    pub drops: [Counter; Drop::COUNT],
    /// By [`Punt`].
    pub punts: [Counter; Punt::COUNT],
    /// By [`Answer`].
    pub answers: [Counter; Answer::COUNT],
    /// Frames received.
    pub rx_packets: Counter,
    /// Frames sent, answers and fragments included.
    pub tx_packets: Counter,
    /// NAT connections whose source port was moved to keep two VIPs apart.
    pub moved_ports: Counter,
    /// Packets that reached a server without an entry, as the connection table was full.
    pub stateless: Counter,
    /// Connections made.
    pub opened: Counter,
    /// Connections and persistence templates that `drop_entry` ended.
    pub dropped_entries: Counter,
    /// Entries of connections and templates that the worker looked at beside its packets.
    pub upkeep_looks: Counter,
    /// Entries that it ended so.
    pub upkeep_ends: Counter,
    /// Frames held for a neighbour or a first fragment now (a gauge).
    pub waiting: Counter,
    /// The frame ledger (gauges): all, pool, lent for RX, lent for TX, held.
    pub ledger: [Counter; 5],
    /// Generation of the snapshot in use: control frees older ones after that.
    pub snapshot: Counter,
    /// Breaths taken.
    pub breaths: Counter,
    /// Breaths that moved packets.
    pub busy_breaths: Counter,
    /// How long those were.
    pub breath_time: BreathTime,
}

/// How long breaths were that moved packets: from one reading of the worker's clock to the next,
/// so with all that the thread did in between.
#[derive(Debug, Default)]
pub struct BreathTime {
    /// All of them together, in nanoseconds.
    pub nanos: Counter,
    /// How many were longer than the bound before, and no longer than this one; the last counts
    /// those beyond all bounds.
    pub steps: [Counter; Self::BOUNDS.len() + 1],
}

impl BreathTime {
    /// The upper bounds of the steps, in nanoseconds. A burst of 64 packets takes some 5 us.
    pub const BOUNDS: [u64; 11] = [
        2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000,
        20_000_000,
    ];

    /// Counts a breath.
    #[inline]
    pub fn note(&self, nanos: u64) {
        self.nanos.add(nanos);
        let step = Self::BOUNDS.iter().map(|bound| usize::from(nanos > *bound)).sum::<usize>();
        self.steps[step].add(1);
    }
}

impl Stats {
    /// Zeroed counters for up to `servers` server ids.
    pub fn new(servers: usize) -> Self {
        Self {
            servers: (0..=servers).map(|_| Traffic::default()).collect(),
            unmet: (0..=servers).map(|_| Unmet::default()).collect(),
            drops: std::array::from_fn(|_| Counter::default()),
            punts: std::array::from_fn(|_| Counter::default()),
            answers: std::array::from_fn(|_| Counter::default()),
            rx_packets: Counter::default(),
            tx_packets: Counter::default(),
            moved_ports: Counter::default(),
            stateless: Counter::default(),
            opened: Counter::default(),
            dropped_entries: Counter::default(),
            upkeep_looks: Counter::default(),
            upkeep_ends: Counter::default(),
            waiting: Counter::default(),
            ledger: std::array::from_fn(|_| Counter::default()),
            snapshot: Counter::default(),
            breaths: Counter::default(),
            busy_breaths: Counter::default(),
            breath_time: BreathTime::default(),
        }
    }

    /// Counts a drop.
    #[inline]
    pub fn drop(&self, reason: Drop) {
        self.drops[reason as usize].add(1);
    }

    /// Counts a punt.
    #[inline]
    pub fn punt(&self, reason: Punt) {
        self.punts[reason as usize].add(1);
    }

    /// Counts an answer.
    #[inline]
    pub fn answer(&self, kind: Answer) {
        self.answers[kind as usize].add(1);
    }

    /// The record of a server.
    #[inline(always)]
    pub fn server(&self, id: ServerId) -> &Traffic {
        &self.servers[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::BreathTime;

    #[test]
    fn a_breath_counts_in_the_step_that_holds_it() {
        let rows = [(0, 0), (2_000, 0), (2_001, 1), (99_999, 5), (20_000_000, 10), (1 << 40, 11)];
        for (nanos, step) in rows {
            let time = BreathTime::default();
            time.note(nanos);
            let counted: Vec<u64> = time.steps.iter().map(super::Counter::value).collect();
            assert_eq!(counted.iter().position(|count| *count == 1), Some(step), "{nanos}");
            assert_eq!((counted.iter().sum::<u64>(), time.nanos.value()), (1, nanos));
        }
    }
}
