//! Windows of time: short enough that some pass undisturbed, many enough to tell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one bench gave: nanoseconds a packet, one figure a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
        let of = |part| quantile(&windows, part);
        Self { min: of(0.0), median: of(0.5), spread: of(0.75) - of(0.25), windows }
    }
}

/// What this part of the windows is not above; there must be one. Between two of them in
/// proportion, so the median of an even number is the mean of the two in the middle.
pub fn quantile(windows: &[f64], part: f64) -> f64 {
    let mut sorted = windows.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() - 1) as f64 * part;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_windows() {
        let table: [(&[f64], f64, f64); 6] = [
            (&[7.0], 0.5, 7.0),
            (&[3.0, 1.0], 0.5, 2.0),
            (&[3.0, 1.0, 2.0], 0.5, 2.0),
            (&[4.0, 1.0, 2.0, 3.0], 0.5, 2.5),
            (&[5.0, 4.0, 3.0, 2.0, 1.0], 0.25, 2.0),
            (&[5.0, 4.0, 3.0, 2.0, 1.0], 1.0, 5.0),
        ];
        for (windows, part, expected) in table {
            assert_eq!(quantile(windows, part), expected, "{part} of {windows:?}");
        }
    }
}
