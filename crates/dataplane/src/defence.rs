//! What the box does against floods by itself (`update_defense_level` of LVS): once a second
//! one worker looks how much room the connection tables have, and what it decides holds for all.
//! Each family goes by its own table: a flood over one costs the other's clients nothing.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};

use crate::{
    breath::Breath,
    director::Family,
    forward::{Address, V4, V6},
    policy::Defence,
    stats::OwnLine,
    table::Table,
};

/// What is in force, for all workers.
#[derive(Debug, Default)]
pub struct Defences {
    in_force: OwnLine<InForce>,
    /// How many more packets pass until `drop_packet` drops one.
    passing: OwnLine<AtomicU32>,
}

/// Written once a second, read with packets.
#[derive(Debug, Default)]
struct InForce {
    /// The second of the last look.
    looked: AtomicU32,
    /// By family: a [`Level`].
    levels: [AtomicU64; 2],
}

/// What one family's table calls for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    memory_short: bool,
    secure_tcp: bool,
    drop_entry: bool,
    /// Of so many packets that would open connections one is dropped; 0: none.
    drop_rate: u32,
}

impl Level {
    const MEMORY_SHORT: u64 = 1 << 32;
    const SECURE_TCP: u64 = 1 << 33;
    const DROP_ENTRY: u64 = 1 << 34;

    /// What is to be done while `free` entries of `capacity` are left. The threshold of a table
    /// that is not four times as large is a quarter of it.
    fn new(wanted: &Defence, free: usize, capacity: usize) -> Self {
        let threshold = u32::try_from(capacity / 4).unwrap_or(u32::MAX).min(wanted.amemthresh);
        let missing = threshold.saturating_sub(u32::try_from(free).unwrap_or(u32::MAX));
        let memory_short = missing > 0;
        // Modes 1 and 2 differ in how LVS writes them back while memory is short, not in what
        // they do.
        let in_force = |mode| match mode {
            0 => false,
            1 | 2 => memory_short,
            _ => true,
        };
        let drop_rate = match wanted.drop_packet {
            0 => 0,
            1 | 2 => threshold.checked_div(missing).unwrap_or(0),
            _ => wanted.am_droprate,
        };
        Self {
            memory_short,
            secure_tcp: in_force(wanted.secure_tcp),
            drop_entry: in_force(wanted.drop_entry),
            drop_rate,
        }
    }

    fn word(self) -> u64 {
        let bit = |set, bit| if set { bit } else { 0 };
        u64::from(self.drop_rate)
            | bit(self.memory_short, Self::MEMORY_SHORT)
            | bit(self.secure_tcp, Self::SECURE_TCP)
            | bit(self.drop_entry, Self::DROP_ENTRY)
    }
}

impl Defences {
    /// Becomes as another one is.
    pub(crate) fn become_like(&self, other: &Self) {
        let (ours, theirs) = (&self.in_force.0, &other.in_force.0);
        ours.looked.store(theirs.looked.load(Relaxed), Relaxed);
        for (ours, theirs) in ours.levels.iter().zip(&theirs.levels) {
            ours.store(theirs.load(Relaxed), Relaxed);
        }
        self.passing.0.store(other.passing.0.load(Relaxed), Relaxed);
    }

    /// TCP goes by the stricter table.
    #[inline]
    pub fn secure_tcp(&self, ipv6: bool) -> bool {
        self.level(ipv6) & Level::SECURE_TCP != 0
    }

    /// Half-open and nearly unused connections are dropped.
    pub fn drop_entry(&self, ipv6: bool) -> bool {
        self.level(ipv6) & Level::DROP_ENTRY != 0
    }

    /// The family's table has fewer free entries than `amemthresh`.
    pub fn memory_short(&self, ipv6: bool) -> bool {
        self.level(ipv6) & Level::MEMORY_SHORT != 0
    }

    /// Whether this packet, which would open a connection, is dropped (`ip_vs_todrop`).
    pub fn drops_packet(&self, ipv6: bool) -> bool {
        let rate = self.level(ipv6) as u32;
        // The kernel's `--counter > 0`, from 0 on: the first packet is dropped.
        let next = |left: u32| Some(if left > 1 { left - 1 } else { rate });
        let passing = &self.passing.0;
        rate > 0 && passing.fetch_update(Relaxed, Relaxed, next).is_ok_and(|left| left <= 1)
    }

    #[inline]
    fn level(&self, ipv6: bool) -> u64 {
        self.in_force.0.levels[usize::from(ipv6)].load(Relaxed)
    }

    /// Puts a level in force. As in the kernel, a rate that follows the memory begins anew.
    fn raise(&self, ipv6: bool, level: Level, wanted: &Defence) {
        self.in_force.0.levels[usize::from(ipv6)].store(level.word(), Relaxed);
        if level.drop_rate > 0 && matches!(wanted.drop_packet, 1 | 2) {
            self.passing.0.store(level.drop_rate, Relaxed);
        }
    }

    /// True for one caller in each second.
    fn turn(&self, second: u32) -> bool {
        let looked = &self.in_force.0.looked;
        let last = looked.load(Relaxed);
        last != second && looked.compare_exchange(last, second, AcqRel, Relaxed).is_ok()
    }
}

impl Breath<'_> {
    /// Once a second: what has to be in force from now on.
    pub(crate) fn raise_defences(&self) {
        // Second 0 has passed when the first worker breathes.
        if self.director.defences.turn(self.now.seconds().max(1)) {
            self.raise_by(V4::table(self.director), false);
            self.raise_by(V6::table(self.director), true);
        }
    }

    fn raise_by<A: Address>(&self, table: &Table<A>, ipv6: bool) {
        let wanted = &self.snapshot.services.settings.defence;
        let level = Level::new(wanted, table.free(), table.capacity());
        self.director.defences.raise(ipv6, level, wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_the_sysctls() {
        let rows = [(0, false, false), (1, false, true), (2, false, true), (3, true, true)];
        for (mode, with_memory, without) in rows {
            for (free, expected) in [(1024, with_memory), (1023, without)] {
                let wanted = Defence {
                    secure_tcp: mode,
                    drop_entry: mode,
                    drop_packet: mode,
                    ..Defence::default()
                };
                let level = Level::new(&wanted, free, 1_000_000);
                assert_eq!(
                    (level.memory_short, level.secure_tcp, level.drop_entry, level.drop_rate > 0),
                    (free < 1024, expected, expected, expected),
                    "mode {mode}, {free} free"
                );
            }
        }
    }

    #[test]
    fn each_family_goes_by_its_own_level() {
        let defences = Defences::default();
        let wanted = Defence { drop_packet: 1, drop_entry: 1, secure_tcp: 1, ..Defence::default() };
        defences.raise(true, Level::new(&wanted, 0, 1_000_000), &wanted);
        let of = |ipv6| {
            let all = [defences.memory_short(ipv6), defences.secure_tcp(ipv6)];
            (all, defences.drop_entry(ipv6), defences.drops_packet(ipv6))
        };
        assert_eq!(of(true), ([true; 2], true, true));
        assert_eq!(of(false), ([false; 2], false, false));
    }

    #[test]
    fn one_worker_looks_in_each_second() {
        let defences = Defences::default();
        let turns = [1, 1, 1, 2, 2, 5].map(|second| defences.turn(second));
        assert_eq!(turns, [true, false, false, true, false, true]);
    }

    /// Which of the next twelve packets are dropped, once `free` entries of many were seen.
    fn dropped(defences: &Defences, wanted: &Defence, free: usize) -> Vec<usize> {
        defences.raise(false, Level::new(wanted, free, usize::MAX), wanted);
        (1..=12).filter(|_| defences.drops_packet(false)).collect()
    }

    /// Mode 3 with `am_droprate` 4, as Debian's 6.1 kernel did it.
    #[test]
    fn always_one_of_so_many_from_the_first_on() {
        let mut wanted = Defence { drop_packet: 3, am_droprate: 4, ..Defence::default() };
        let defences = Defences::default();
        assert_eq!(dropped(&defences, &wanted, 0), [1, 5, 9]);
        assert_eq!(dropped(&defences, &wanted, 0), [1, 5, 9]);
        wanted.am_droprate = 1;
        assert_eq!(dropped(&Defences::default(), &wanted, 0).len(), 12);
        wanted.drop_packet = 0;
        assert_eq!(dropped(&defences, &wanted, 0), []);
    }

    #[test]
    fn the_fuller_the_table_the_more() {
        let defences = Defences::default();
        let wanted = Defence { drop_packet: 1, amemthresh: 1000, ..Defence::default() };
        // Free entries, and the rate: 1000 / (1000 - free).
        let rows: [(usize, &[usize]); 6] = [
            (1000, &[]),
            (800, &[5, 10]),
            (500, &[2, 4, 6, 8, 10, 12]),
            (750, &[4, 8, 12]),
            (5_000_000_000, &[]),
            (0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ];
        for (free, expected) in rows {
            assert_eq!(dropped(&defences, &wanted, free), expected, "{free} free");
        }
    }
}
