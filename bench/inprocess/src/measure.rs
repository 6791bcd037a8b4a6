//! Windows of time: short enough that some pass undisturbed, many enough to tell.

use std::time::Duration;

use serde::Serialize;

/// What one bench gave: nanoseconds a packet, one figure a window.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The quickest window: what the code costs when nothing disturbs it.
    pub min: f64,
    /// Half of the windows were quicker.
    pub median: f64,
    /// The middle half of the windows lies within this much.
    pub spread: f64,
    /// All of them, in order of time.
    pub windows: Vec<f64>,
}

impl Figures {
    /// Summarizes windows; there must be one.
    pub fn of(windows: Vec<f64>) -> Self {
        let mut sorted = windows.clone();
        sorted.sort_by(f64::total_cmp);
        let quantile = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
        Self {
            min: sorted[0],
            median: quantile(0.5),
            spread: quantile(0.75) - quantile(0.25),
            windows,
        }
    }
}

/// Takes `count` windows after one that only warms up. A window tells how long its timed part
/// took and how many packets that were.
pub fn windows(count: usize, mut window: impl FnMut() -> (Duration, usize)) -> Figures {
    window();
    let nanoseconds = || {
        let (took, packets) = window();
        // Tenths of a nanosecond are more than the clock gives.
        (took.as_nanos() as f64 / packets as f64 * 10.0).round() / 10.0
    };
    Figures::of(std::iter::repeat_with(nanoseconds).take(count).collect())
}
