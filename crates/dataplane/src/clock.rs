//! Time on the packet path: read once a breath, passed down by value.

use std::time::{Duration, Instant};

/// The time of one breath, counted from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds.
    pub millis: u64,
}

impl Now {
    /// Whole seconds: the unit of connection stamps.
    #[inline]
    pub const fn seconds(self) -> u32 {
        (self.millis / 1000) as u32
    }

    /// For tests: a time given in seconds.
    pub const fn at_seconds(seconds: u32) -> Self {
        Self { millis: seconds as u64 * 1000 }
    }
}

/// The daemon's clock; tests and the simulation make [`Now`] themselves.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts now. All workers share one clock, so that stamps agree.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads it: 20 ns.
    #[inline]
    pub fn tick(&self) -> Now {
        self.read().0
    }

    /// The same once a breath, with the time since the start as finely as it is known: how long
    /// breaths take is told by no other reading.
    #[inline]
    pub(crate) fn read(&self) -> (Now, Duration) {
        let since = self.start.elapsed();
        // One second ahead, so that 0 stays free for "never".
        (Now { millis: since.as_millis() as u64 + 1000 }, since)
    }
}
