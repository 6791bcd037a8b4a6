//! What the box counts of one server: its connections, in one word, so that limits hold to the
//! connection and a reader never sees half of a change.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::clock::Now;

/// The box-wide counts of one server, its limits, and the MTU of the tunnel to it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServerRecord {
    /// See [`Counts`].
    counts: AtomicU64,
    /// `reset_counts`: what schedulers do not see, active (32) | inactive (32).
    base: AtomicU64,
    /// Upper (32) | lower (32).
    thresholds: AtomicU64,
    opened: AtomicU64,
    /// A learned tunnel MTU in the low 16 bits, the second it ends above.
    path_mtu: AtomicU64,
    persistent: AtomicU32,
    standing: AtomicU32,
    /// Connections that looked for a local port.
    local_turn: AtomicU32,
}

/// How a server stands in its service's list. Written and read under the service's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It is in the list, and up.
    pub(crate) up: bool,
    /// It has a weight and is not drained, or is drained of new clients only.
    pub(crate) weighted: bool,
}

impl ServerRecord {
    /// How long a learned MTU holds, in seconds: `net.ipv4.route.mtu_expires`.
    const PATH_MTU_SECONDS: u32 = 600;

    /// Connections in an active state: TCP's SYN_SENT, SYN_RECV, ESTABLISHED and SYNACK, SCTP's
    /// ESTABLISHED (LVS `ActiveConn`).
    pub fn active(&self) -> u32 {
        self.counts().active()
    }

    /// Other connections, and all of UDP (LVS `InActConn`).
    pub fn inactive(&self) -> u32 {
        self.counts().inactive()
    }

    /// Connections ever made, one-packet ones among them.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Persistence templates that send clients to it (LVS `PersistConn`).
    pub fn persistent(&self) -> u32 {
        self.persistent.load(Relaxed)
    }

    /// It reached its upper threshold and did not come below the lower one since.
    pub fn overloaded(&self) -> bool {
        self.counts().overloaded
    }

    /// The MTU learned from ICMP about our tunnel packets, while it holds.
    #[inline]
    pub fn path_mtu(&self, now: Now) -> u16 {
        let word = self.path_mtu.load(Relaxed);
        if word == 0 || u64::from(now.seconds()) >= word >> 16 { u16::MAX } else { word as u16 }
    }

    /// Remembers a tunnel MTU. One that holds is never raised (RFC 8201 section 4): what says so
    /// is late, or forged.
    pub fn learn_path_mtu(&self, mtu: u16, now: Now) {
        if mtu > self.path_mtu(now) {
            return;
        }
        let ends = u64::from(now.seconds() + Self::PATH_MTU_SECONDS);
        self.path_mtu.store(ends << 16 | u64::from(mtu), Relaxed);
    }

    /// What schedulers weigh: the counts above the base.
    pub fn load(&self) -> sched::Load {
        let counts = self.counts();
        let (active, inactive) = halves(self.base.load(Relaxed));
        sched::Load {
            active: counts.active().saturating_sub(active),
            inactive: counts.inactive().saturating_sub(inactive),
            overloaded: counts.overloaded,
        }
    }

    /// One that says the same, from now on apart.
    pub(crate) fn replica(&self) -> Self {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Relaxed));
        let half = |word: &AtomicU32| AtomicU32::new(word.load(Relaxed));
        Self {
            counts: word(&self.counts),
            base: word(&self.base),
            thresholds: word(&self.thresholds),
            opened: word(&self.opened),
            path_mtu: word(&self.path_mtu),
            persistent: half(&self.persistent),
            standing: half(&self.standing),
            local_turn: half(&self.local_turn),
        }
    }

    fn counts(&self) -> Counts {
        Counts::of(self.counts.load(Relaxed))
    }

    fn change(&self, change: impl Fn(&mut Counts)) {
        let next = |word| {
            let mut counts = Counts::of(word);
            change(&mut counts);
            Some(counts.word())
        };
        let _ = self.counts.fetch_update(Relaxed, Relaxed, next);
    }
}

/// What the director does.
impl ServerRecord {
    /// A connection is being made; [`ServerRecord::made`] follows, or [`ServerRecord::closes`].
    pub(crate) fn opens(&self, active: bool) {
        self.change(|counts| {
            counts.active = counts.active.wrapping_add(active.into());
            counts.all = counts.all.wrapping_add(1);
        });
    }

    /// The connection was made, and may be one too many (`ip_vs_bind_dest`). Under the service's
    /// lock, as the pick was; not before, since one that fails must not leave the flag behind, and
    /// what was counted is never taken back: who reads counters would take it for a restart.
    pub(crate) fn made(&self) {
        self.opens_once();
        let (upper, _) = halves(self.thresholds.load(Relaxed));
        if upper > 0 {
            self.change(|counts| counts.overloaded |= counts.all >= upper);
        }
    }

    /// A datagram was scheduled by itself (one-packet scheduling). Under the service's lock.
    pub(crate) fn opens_once(&self) {
        self.opened.store(self.opened() + 1, Relaxed);
    }

    /// A connection ended.
    pub(crate) fn closes(&self, active: bool) {
        let resume = self.resume();
        self.change(|counts| {
            counts.active = counts.active.wrapping_sub(active.into());
            counts.all = counts.all.wrapping_sub(1);
            // `ip_vs_unbind_dest`
            counts.overloaded &= counts.all >= resume;
        });
        self.sink_base();
    }

    /// A connection became active, or no longer is.
    pub(crate) fn turns(&self, active: bool) {
        let by = if active { 1 } else { u32::MAX };
        self.change(|counts| counts.active = counts.active.wrapping_add(by));
        self.sink_base();
    }

    /// A template came (1) or went (-1).
    pub(crate) fn templates(&self, change: i32) {
        self.persistent.fetch_add(change.cast_unsigned(), Relaxed);
    }

    /// Sets the thresholds. A limit that was raised admits at once (`__ip_vs_update_dest`); one
    /// that is reached holds at once, in the kernel (`lvs`) from the next connection on.
    pub(crate) fn limit(&self, upper: u32, lower: u32, lvs: bool) {
        let word = u64::from(upper) << 32 | u64::from(lower);
        let (old, _) = halves(self.thresholds.swap(word, Relaxed));
        let resume = self.resume();
        self.change(|counts| {
            let raised = upper == 0 || upper > old;
            counts.overloaded = if lvs {
                counts.overloaded && !raised
            } else {
                let stays = counts.overloaded && !raised && counts.all >= resume;
                upper > 0 && (counts.all >= upper || stays)
            };
        });
    }

    /// Below so many connections it is no longer overloaded.
    fn resume(&self) -> u32 {
        match halves(self.thresholds.load(Relaxed)) {
            (0, 0) => u32::MAX,
            (upper, 0) => upper - upper / 4,
            (_, lower) => lower,
        }
    }

    /// The counts of this moment become the base (`reset_counts`).
    pub(crate) fn reset_base(&self) {
        let counts = self.counts();
        let word = u64::from(counts.active()) << 32 | u64::from(counts.inactive());
        self.base.store(word, Relaxed);
    }

    /// Schedulers see all connections again.
    pub(crate) fn clear_base(&self) {
        if self.base.load(Relaxed) != 0 {
            self.base.store(0, Relaxed);
        }
    }

    /// The base is never above the counts.
    fn sink_base(&self) {
        if self.base.load(Relaxed) == 0 {
            return;
        }
        let counts = self.counts();
        let lower = |base| {
            let (active, inactive) = halves(base);
            let active = active.min(counts.active());
            let inactive = inactive.min(counts.inactive());
            Some(u64::from(active) << 32 | u64::from(inactive))
        };
        let _ = self.base.fetch_update(Relaxed, Relaxed, lower);
    }

    /// FullNAT: where among the local ports the next connection's search for a free one begins.
    pub(crate) fn local_turn(&self) -> u32 {
        self.local_turn.load(Relaxed)
    }

    /// As [`ServerRecord::local_turn`], and the one after it begins a port further. Under the
    /// service's lock.
    pub(crate) fn next_local_turn(&self) -> u32 {
        let turn = self.local_turn();
        self.local_turn.store(turn.wrapping_add(1), Relaxed);
        turn
    }

    pub(crate) fn standing(&self) -> Standing {
        let word = self.standing.load(Relaxed);
        Standing { up: word & 1 != 0, weighted: word & 2 != 0 }
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        let word = u32::from(standing.up) | u32::from(standing.weighted) << 1;
        if self.standing.load(Relaxed) != word {
            self.standing.store(word, Relaxed);
        }
    }
}

/// overloaded (1) | all connections (31) | active ones (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    overloaded: bool,
    all: u32,
    /// Another worker may count a change of state before the opening is counted: for that
    /// moment the count is one too low, which must not read as four billion.
    active: u32,
}

impl Counts {
    const ALL: u32 = u32::MAX >> 1;

    const fn of(word: u64) -> Self {
        let high = (word >> 32) as u32;
        Self { overloaded: high > Self::ALL, all: high & Self::ALL, active: word as u32 }
    }

    fn word(self) -> u64 {
        let high = u32::from(self.overloaded) << 31 | self.all & Self::ALL;
        u64::from(high) << 32 | u64::from(self.active)
    }

    fn active(self) -> u32 {
        self.active.cast_signed().max(0).cast_unsigned()
    }

    fn inactive(self) -> u32 {
        self.all.saturating_sub(self.active())
    }
}

const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learned_mtu_sinks_and_ends_but_is_not_raised() {
        let record = ServerRecord::default();
        let [start, late] = [Now::at_seconds(10), Now::at_seconds(700)];
        for (told, now, holds) in
            [(1400, start, 1400), (1450, start, 1400), (1300, start, 1300), (1480, late, 1480)]
        {
            record.learn_path_mtu(told, now);
            assert_eq!(record.path_mtu(now), holds);
        }
        assert_eq!(record.path_mtu(Now::at_seconds(1300)), u16::MAX);
    }

    /// `+`: a connection opens, `-`: one closes; what the flag is after each (A.7).
    #[test]
    fn thresholds_have_hysteresis() {
        let open = |record: &ServerRecord| {
            record.opens(false);
            record.made();
        };
        let rows: [(u32, u32, &str, &str); 7] = [
            (0, 0, "+++", "..."),
            (1, 0, "+-+-", "o.o."),
            (4, 2, "++++---", "...ooo."),
            // Three quarters of 4: below 3.
            (4, 0, "++++--+", "...oo.."),
            // u - (u >> 2) of 5 is 4.
            (5, 0, "+++++--", "....oo."),
            (2, 2, "++-+-", ".o.o."),
            (3, 1, "+++---", "..ooo."),
        ];
        for (upper, lower, steps, flags) in rows {
            let record = ServerRecord::default();
            record.limit(upper, lower, false);
            for (step, flag) in steps.chars().zip(flags.chars()) {
                if step == '+' {
                    open(&record)
                } else {
                    record.closes(false)
                }
                assert_eq!(record.overloaded(), flag == 'o', "{upper} {lower} {steps} {flags}");
            }
        }
    }

    /// One short of the limit, an opening that fails leaves no flag, and takes none away.
    #[test]
    fn what_failed_to_open_fills_nothing() {
        for (there, overloaded) in [(3, false), (4, true)] {
            let record = ServerRecord::default();
            record.limit(4, 1, false);
            for _ in 0..there {
                record.opens(true);
                record.made();
            }
            record.opens(true);
            assert_eq!(record.opened(), there.into(), "it is counted when it is made");
            record.closes(true);
            assert_eq!((record.active(), record.overloaded()), (there, overloaded));
            assert_eq!(record.opened(), there.into());
        }
    }

    #[test]
    fn an_edit_of_thresholds_counts_at_once() {
        let record = ServerRecord::default();
        (0..10).for_each(|_| record.opens(true));
        let lenient = ServerRecord::default();
        (0..10).for_each(|_| lenient.opens(true));
        // Thresholds; whether ten connections are too many, and whether the kernel says so.
        for (upper, lower, overloaded, kernels) in [
            (0, 0, false, false),
            (10, 0, true, false),
            (10, 5, true, false),
            (11, 5, false, false),
            (9, 0, true, false),
            (0, 3, false, false),
            (5, 2, true, false),
            (20, 2, false, false),
            (11, 10, false, false),
        ] {
            record.limit(upper, lower, false);
            lenient.limit(upper, lower, true);
            assert_eq!(record.overloaded(), overloaded, "{upper} {lower}");
            assert_eq!(lenient.overloaded(), kernels, "{upper} {lower}");
        }
        lenient.opens(true);
        lenient.made();
        for (upper, lower, kernels) in [(11, 12, true), (4, 0, true), (5, 0, false)] {
            lenient.limit(upper, lower, true);
            assert_eq!(lenient.overloaded(), kernels, "{upper} {lower}");
        }
    }

    #[test]
    fn the_base_sinks_with_the_counts() {
        let record = ServerRecord::default();
        let load = || (record.load().active, record.load().inactive);
        (0..5).for_each(|n| record.opens(n < 3));
        assert_eq!(load(), (3, 2));
        record.reset_base();
        assert_eq!(load(), (0, 0));
        record.opens(true);
        assert_eq!(load(), (1, 0));
        // Two of the three that were there end, then as many come: they are seen.
        (0..3).for_each(|_| record.closes(true));
        (0..2).for_each(|_| record.opens(true));
        assert_eq!(load(), (2, 0));
        // From active to inactive: one less of these, one more of those.
        record.turns(false);
        assert_eq!(load(), (1, 1));
        record.clear_base();
        assert_eq!(load(), (2, 3));
    }
}
