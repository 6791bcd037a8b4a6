//! Which lines came lately, so that a fault that repeats does not bury the others.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use log::Level;

/// A line is told so many times within a [`WINDOW`].
const TIMES: u32 = 5;
/// How long a line counts as the same.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines that are remembered; beyond that, all that are old are forgotten, and then all.
const REMEMBERED: usize = 256;

/// Lines by their hash.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<u64, Line>>);

struct Line {
    since: Instant,
    times: u32,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is told.
    Now,
    /// It came too often.
    Not,
    /// It is told again, and so many of its kind were not.
    Again(u32),
}

impl Repeats {
    /// A line comes.
    pub(super) fn hear(&self, level: Level, text: &str) -> Told {
        self.at(Instant::now(), level, text)
    }

    fn at(&self, now: Instant, level: Level, text: &str) -> Told {
        let mut hasher = DefaultHasher::new();
        (level, text).hash(&mut hasher);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |line: &Line| now.saturating_duration_since(line.since) >= WINDOW;
        let key = hasher.finish();
        if !lines.contains_key(&key) && lines.len() >= REMEMBERED {
            lines.retain(|_, line| !is_old(line));
            if lines.len() >= REMEMBERED {
                lines.clear();
            }
        }
        let line = lines.entry(key).or_insert(Line { since: now, times: 0 });
        let untold = line.times.saturating_sub(TIMES);
        if is_old(line) {
            *line = Line { since: now, times: 1 };
            return if untold > 0 { Told::Again(untold) } else { Told::Now };
        }
        line.times = line.times.saturating_add(1);
        if line.times > TIMES { Told::Not } else { Told::Now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_five_times_a_minute() {
        let repeats = Repeats::default();
        let start = Instant::now();
        let at = |second: u64, text: &str| {
            repeats.at(start + Duration::from_secs(second), Level::Warn, text)
        };
        for second in 0..5 {
            assert_eq!(at(second, "a"), Told::Now);
        }
        assert_eq!(at(6, "a"), Told::Not);
        assert_eq!(at(59, "a"), Told::Not);
        assert_eq!(at(59, "b"), Told::Now, "another line");
        assert_eq!(at(60, "a"), Told::Again(2));
        assert_eq!(at(61, "a"), Told::Now);
        assert_eq!(at(200, "a"), Told::Now, "nothing was left out");
        for other in 0..REMEMBERED {
            assert_eq!(at(201, &other.to_string()), Told::Now);
        }
    }
}
