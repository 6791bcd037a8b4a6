//! `drop_packet`: of the packets that would open connections, a part is dropped: always, or
//! while the connection table is nearly full (`update_defense_level`, `ip_vs_todrop`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::{clock::Now, policy::Defence};

/// Which packet is dropped next.
#[derive(Debug, Default)]
pub struct Pressure {
    /// How many more packets pass until one is dropped.
    counter: AtomicU32,
    /// For each family, second (32) | one of how many is dropped (32); 0: none.
    rates: [AtomicU64; 2],
}

impl Pressure {
    /// Whether a packet that would open a connection is dropped. `free` counts the free entries
    /// of its family's table; it is asked once a second.
    pub fn drops(&self, defence: &Defence, ipv6: bool, now: Now, free: impl Fn() -> usize) -> bool {
        let rate = match defence.drop_packet {
            0 => return false,
            1 | 2 => self.automatic(defence, ipv6, now, free),
            _ => defence.am_droprate,
        };
        // The kernel's `--counter > 0`, from 0 on: the first packet is dropped.
        let next = |left: u32| Some(if left > 1 { left - 1 } else { rate });
        rate > 0 && self.counter.fetch_update(Relaxed, Relaxed, next).is_ok_and(|left| left <= 1)
    }

    /// `amemthresh / (amemthresh - avail)`, evaluated each second.
    fn automatic(&self, defence: &Defence, ipv6: bool, now: Now, free: impl Fn() -> usize) -> u32 {
        let place = &self.rates[usize::from(ipv6)];
        let word = place.load(Relaxed);
        if word >> 32 == u64::from(now.seconds()) {
            return word as u32;
        }
        let available = u32::try_from(free()).unwrap_or(u32::MAX);
        let missing = defence.amemthresh.saturating_sub(available);
        let rate = defence.amemthresh.checked_div(missing).unwrap_or(0);
        let next = u64::from(now.seconds()) << 32 | u64::from(rate);
        if place.compare_exchange(word, next, Relaxed, Relaxed).is_ok() && rate > 0 {
            self.counter.store(rate, Relaxed);
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(pressure: &Pressure, defence: &Defence, second: u32, free: usize) -> Vec<usize> {
        let drops = |_: &usize| pressure.drops(defence, false, Now::at_seconds(second), || free);
        (1..=12).filter(drops).collect()
    }

    /// Mode 3 with `am_droprate` 4, as Debian's 6.1 kernel did it.
    #[test]
    fn always_one_of_so_many_from_the_first_on() {
        let mut defence = Defence { drop_packet: 3, am_droprate: 4, ..Defence::default() };
        let pressure = Pressure::default();
        assert_eq!(dropped(&pressure, &defence, 1, 0), [1, 5, 9]);
        assert_eq!(dropped(&pressure, &defence, 1, 0), [1, 5, 9]);
        defence.am_droprate = 1;
        assert_eq!(dropped(&Pressure::default(), &defence, 1, 0).len(), 12);
        defence.drop_packet = 0;
        assert_eq!(dropped(&pressure, &defence, 1, 0), []);
    }

    #[test]
    fn the_fuller_the_table_the_more() {
        let pressure = Pressure::default();
        let defence = Defence { drop_packet: 1, amemthresh: 1000, ..Defence::default() };
        // Free entries, and the rate: 1000 / (1000 - free).
        let rows: [(usize, &[usize]); 6] = [
            (1000, &[]),
            (800, &[5, 10]),
            (500, &[2, 4, 6, 8, 10, 12]),
            (750, &[4, 8, 12]),
            (5_000_000_000, &[]),
            (0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ];
        for (second, (free, expected)) in (1..).zip(rows) {
            assert_eq!(dropped(&pressure, &defence, second, free), expected, "{free} free");
        }
    }
}
