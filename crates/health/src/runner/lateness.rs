//! How late probes begin, against when they are due.

use std::time::Duration;

/// Steps of the histogram: four to each power of two microseconds, the last one from 33 s on.
const STEPS: usize = 100;

/// How late probes began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// Probes that began.
    pub count: u64,
    /// Those of them that were late: that began more than a tenth of their interval after their
    /// time.
    pub late: u64,
    /// All lateness together.
    pub sum: Duration,
    /// The longest.
    pub most: Duration,
    steps: [u64; STEPS],
}

impl Default for Lateness {
    fn default() -> Self {
        let zero = Duration::ZERO;
        Self { count: 0, late: 0, sum: zero, most: zero, steps: [0; STEPS] }
    }
}

impl Lateness {
    /// A probe that is asked so often began so long after its time.
    pub fn note(&mut self, after: Duration, interval: Duration) {
        self.count += 1;
        self.late += u64::from(after > interval / 10);
        self.sum += after;
        self.most = self.most.max(after);
        self.steps[step(after)] += 1;
    }

    /// This part of all probes began no later than that: by the histogram, so up to a quarter more
    /// than it was.
    pub fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        let found = self.steps.iter().position(|step| {
            seen += step;
            seen >= wanted
        });
        found.map_or(self.most, |step| end(step).min(self.most))
    }
}

/// The step of a time: its highest bit, and the two below.
fn step(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let Some(power) = micros.checked_ilog2().filter(|power| *power >= 2) else {
        return micros as usize;
    };
    let quarter = (micros >> (power - 2)) & 3;
    (4 * (power as usize - 1) + quarter as usize).min(STEPS - 1)
}

/// Where a step ends.
fn end(step: usize) -> Duration {
    let micros = match step {
        0..4 => step as u64 + 1,
        _ => (4 + step as u64 % 4 + 1) << (step / 4 - 1),
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_one_another() {
        for micros in (0..5_000).chain([1 << 20, 3_000_000, 20_000_000]) {
            let time = Duration::from_micros(micros);
            let step = step(time);
            assert!(time < end(step) && (step == 0 || time >= end(step - 1)), "{micros}");
        }
        assert_eq!(step(Duration::from_secs(3600)), STEPS - 1);
    }

    #[test]
    fn parts_of_all() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.quantile(0.5), Duration::ZERO);
        for millis in 1..=100 {
            lateness.note(Duration::from_millis(millis), Duration::from_millis(900));
        }
        let millis = |part| lateness.quantile(part).as_secs_f64() * 1000.0;
        assert!((50.0..63.0).contains(&millis(0.5)), "{}", millis(0.5));
        assert!((99.0..=100.0).contains(&millis(0.99)), "{}", millis(0.99));
        assert_eq!((lateness.count, lateness.late), (100, 10));
        assert_eq!(lateness.most, Duration::from_millis(100));
    }
}
