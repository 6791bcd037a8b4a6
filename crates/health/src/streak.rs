//! One check: answers in a row make it up or down.

use std::time::Duration;

use crate::{
    check::{Initial, Timing},
    event::Health,
};

/// What a check's answers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    timing: Timing,
    health: Health,
    /// Good answers in a row, or bad ones; one of the two is 0.
    good: u32,
    bad: u32,
}

impl Streak {
    /// Before the first answer; `known` is what an earlier run or configuration knew, and then
    /// answers must come in a row to change it.
    pub fn new(timing: &Timing, known: Option<Health>) -> Self {
        let health = match (known, timing.initial) {
            (Some(known @ (Health::Up | Health::Down)), _) => known,
            (_, Initial::Wait) => Health::Waiting,
            (_, Initial::Up) => Health::Up,
            (_, Initial::Down) => Health::Down,
        };
        Self { timing: *timing, health, good: 0, bad: 0 }
    }

    /// What it is now.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Good answers in a row until now, and bad ones.
    pub const fn row(&self) -> (u32, u32) {
        (self.good, self.bad)
    }

    /// Takes an answer; true if that changed the health.
    pub fn take(&mut self, good: bool) -> bool {
        (self.good, self.bad) = match good {
            true => (self.good.saturating_add(1), 0),
            false => (0, self.bad.saturating_add(1)),
        };
        let next = match self.health {
            Health::Waiting if good => Health::Up,
            Health::Waiting => Health::Down,
            Health::Up if self.bad >= self.timing.fall => Health::Down,
            Health::Down if self.good >= self.timing.rise => Health::Up,
            same => same,
        };
        std::mem::replace(&mut self.health, next) != next
    }

    /// From the start of the last probe to that of the next: shorter while answers of another
    /// kind have begun to come.
    pub const fn next(&self) -> Duration {
        let changing = match self.health {
            Health::Waiting => true,
            Health::Up => self.bad > 0,
            Health::Down => self.good > 0,
        };
        if changing { self.timing.retry } else { self.timing.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers (`+` good, `-` bad) and what the check is after each: `u`, `d`.
    #[test]
    fn answers_in_a_row() {
        let rows = [
            // The first answer decides; then rise 2 and fall 3 do.
            (Initial::Wait, None, "+--+---+-++", "uuuuuuddddu"),
            (Initial::Wait, None, "-+-++", "ddddu"),
            (Initial::Up, None, "--+---", "uuuuud"),
            (Initial::Down, None, "+-++", "dddu"),
            // What was known before is not lost by one probe.
            (Initial::Wait, Some(Health::Up), "--+---", "uuuuud"),
            (Initial::Wait, Some(Health::Down), "+-++", "dddu"),
            // Whoever waited knew nothing.
            (Initial::Up, Some(Health::Waiting), "--+---", "uuuuud"),
        ];
        for (initial, known, answers, expected) in rows {
            let timing = Timing { initial, ..Timing::default() };
            let mut streak = Streak::new(&timing, known);
            let mut seen = String::new();
            for answer in answers.chars() {
                let before = streak.health();
                let changed = streak.take(answer == '+');
                assert_eq!(changed, before != streak.health());
                seen.push(streak.health().name().chars().next().expect("a word"));
            }
            assert_eq!(seen, expected, "{initial:?} {known:?} {answers}");
        }
    }

    #[test]
    fn it_asks_sooner_while_something_changes() {
        let (interval, retry) = (Duration::from_secs(9), Duration::from_secs(1));
        let timing = Timing { interval, retry, ..Timing::default() };
        let mut streak = Streak::new(&timing, None);
        let mut next = vec![streak.next()];
        for good in [true, false, true, false, false, false, false, true, true] {
            streak.take(good);
            next.push(streak.next());
        }
        let seconds: Vec<u64> = next.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 9, 1, 9, 1, 1, 9, 9, 1, 9]);
    }
}
