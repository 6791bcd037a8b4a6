//! A figure, the range in which it lies, and what that says of a goal.

use crate::measure::quantile;

/// How often a bound of a median may be wrong: one in twenty on either side.
const DOUBT: f64 = 0.05;

/// What was measured, and between which bounds the true value lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Where a figure is to lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// One that is known as it is: counted, not measured.
    pub(super) fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// The median of windows, with the bounds that the sign test gives (see [`rank`]). With fewer
    /// than five there are none.
    pub(super) fn median(windows: &[f64]) -> Self {
        let value = quantile(windows, 0.5);
        let mut sorted = windows.to_vec();
        sorted.sort_by(f64::total_cmp);
        match rank(sorted.len()) {
            Some(rank) => Self { value, low: sorted[rank], high: sorted[sorted.len() - 1 - rank] },
            None => Self { value, low: f64::NEG_INFINITY, high: f64::INFINITY },
        }
    }

    /// The quickest window; a quarter of all lie below the upper bound. Other work only ever makes
    /// a window longer, so the code itself takes no more than the quickest one.
    pub(super) fn quickest(windows: &[f64]) -> Self {
        let quickest = quantile(windows, 0.0);
        Self { value: quickest, low: quickest, high: quantile(windows, 0.25) }
    }

    /// This by that, which was measured on its own.
    pub(super) fn over(self, under: Self) -> Self {
        let value = self.value / under.value;
        if [self.low, self.high, under.low, under.high].iter().all(|bound| bound.is_finite()) {
            return Self { value, low: self.low / under.high, high: self.high / under.low };
        }
        Self { value, low: f64::NEG_INFINITY, high: f64::INFINITY }
    }

    /// This and that together, which was measured on its own.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            low: self.low + other.low,
            high: self.high + other.high,
        }
    }

    /// Whether a goal is reached.
    pub(super) fn verdict(self, aim: Aim) -> Verdict {
        let (surely, perhaps) = match aim {
            Aim::AtLeast(goal) => (self.low >= goal, self.high >= goal),
            Aim::AtMost(goal) => (self.high <= goal, self.low <= goal),
        };
        match (surely, perhaps) {
            (true, _) => Verdict::Yes,
            (false, true) => Verdict::Unresolved,
            (false, false) => Verdict::No,
        }
    }
}

/// What a figure says of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of the range is beyond it.
    Yes,
    /// The goal is within the range.
    Unresolved,
    /// The range ends before it.
    No,
}

/// The place, counted from 0 and from either end, of the bounds of a median among so many sorted
/// windows: as far inside as leaves at most [`DOUBT`] that the median lies beyond. It does if at
/// most so many windows fell on one side of it, where each falls on either side by a toss of a
/// coin (the sign test; Conover, Practical Nonparametric Statistics, 3.2). No shape is assumed.
fn rank(windows: usize) -> Option<usize> {
    let mut chance = 0.5_f64.powi(windows as i32);
    let (mut doubt, mut inside) = (chance, None);
    for rank in 0..windows / 2 {
        if doubt > DOUBT {
            break;
        }
        inside = Some(rank);
        chance *= (windows - rank) as f64 / (rank + 1) as f64;
        doubt += chance;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_bounds_decides_nothing() {
        let few = Figure::median(&[6.0, 6.0]);
        for (over, under) in [(few, few), (few, Figure::exact(2.0)), (Figure::exact(2.0), few)] {
            assert_eq!(over.over(under).verdict(Aim::AtLeast(0.1)), Verdict::Unresolved);
        }
    }

    /// From tables of the binomial distribution with p = 1/2.
    #[test]
    fn bounds_of_a_median() {
        let table = [
            (0, None),
            (4, None),
            (5, Some(0)),
            (7, Some(0)),
            (8, Some(1)),
            (10, Some(1)),
            (11, Some(2)),
            (16, Some(4)),
            (33, Some(11)),
        ];
        for (windows, expected) in table {
            assert_eq!(rank(windows), expected, "{windows} windows");
        }
    }

    #[test]
    fn a_goal_within_the_range_is_not_resolved() {
        let figure = |low, high| Figure { value: (low + high) / 2.0, low, high };
        let table = [
            (figure(0.95, 0.97), Aim::AtLeast(0.95), Verdict::Yes),
            (figure(0.94, 0.97), Aim::AtLeast(0.95), Verdict::Unresolved),
            (figure(0.90, 0.94), Aim::AtLeast(0.95), Verdict::No),
            (figure(28.0, 30.0), Aim::AtMost(30.0), Verdict::Yes),
            (figure(28.0, 31.0), Aim::AtMost(30.0), Verdict::Unresolved),
            (figure(31.0, 32.0), Aim::AtMost(30.0), Verdict::No),
            (Figure::median(&[2.0, 2.0, 2.0, 2.0]), Aim::AtLeast(1.0), Verdict::Unresolved),
            (Figure::median(&[2.0, 2.0, 2.0, 2.0, 2.0]), Aim::AtLeast(1.0), Verdict::Yes),
        ];
        for (figure, aim, expected) in table {
            assert_eq!(figure.verdict(aim), expected, "{figure:?}, {aim:?}");
        }
    }

    #[test]
    fn medians_quickest_windows_and_their_ratios() {
        let windows = [6.0, 1.0, 3.0, 2.0, 4.0, 5.0];
        let median = Figure::median(&windows);
        assert_eq!(median, Figure { value: 3.5, low: 1.0, high: 6.0 });
        let quickest = Figure::quickest(&[9.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(quickest, Figure { value: 4.0, low: 4.0, high: 5.0 });
        assert_eq!(median.plus(quickest), Figure { value: 7.5, low: 5.0, high: 11.0 });
        let ratio = median.over(Figure { value: 2.0, low: 1.0, high: 4.0 });
        assert_eq!(ratio, Figure { value: 1.75, low: 0.25, high: 6.0 });
    }
}
