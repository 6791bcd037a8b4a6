//! Axes: what stands at them, and where a value lies.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// An axis with its name, unit and ticks.
#[derive(Clone)]
pub(super) struct Axis {
    /// Name and unit.
    pub(super) label: String,
    scale: Scale,
    /// Where it has a tick, in rising order.
    ticks: Vec<f64>,
    /// What is written there.
    text: fn(f64) -> String,
}

impl Axis {
    /// One with a tick at each of these values.
    pub(super) fn at(
        label: &str,
        scale: Scale,
        values: impl IntoIterator<Item = f64>,
        text: fn(f64) -> String,
    ) -> Self {
        let mut ticks: Vec<f64> = values.into_iter().collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        Self { label: label.to_owned(), scale, ticks, text }
    }

    /// One with round ticks, on which these values fit: a linear one begins at 0.
    pub(super) fn around(
        label: &str,
        scale: Scale,
        values: impl IntoIterator<Item = f64>,
        text: fn(f64) -> String,
    ) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        let ticks = match scale {
            Scale::Linear => steps(most),
            Scale::Logarithmic => decades(least, most),
        };
        Self { label: label.to_owned(), scale, ticks, text }
    }

    /// A value by the scale.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.log10(),
        }
    }

    /// From the first to the last tick by the scale, with some room for what is drawn there.
    fn places(&self) -> Range<f64> {
        let (first, last) = match self.ticks.as_slice() {
            [] => (0.0, 1.0),
            [first, .., last] => (self.place(*first), self.place(*last)),
            [only] => (self.place(*only) - 0.5, self.place(*only) + 0.5),
        };
        let room = (last - first) * 0.04;
        first - room..last + room
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (begin, end): (i32, i32)) -> i32 {
        let Range { start, end: last } = self.places();
        let part = (self.place(*value) - start) / (last - start);
        begin + (part * f64::from(end - begin)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        let Range { start, end } = self.places();
        match self.scale {
            Scale::Linear => start..end,
            Scale::Logarithmic => 10_f64.powf(start)..10_f64.powf(end),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        (self.text)(*value)
    }
}

/// From 0 to at least `most`, some five steps of 1, 2 or 5.
fn steps(most: f64) -> Vec<f64> {
    let rough = (most / 5.0).max(f64::MIN_POSITIVE);
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|of| of * decade).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(decade);
    (0..=(most / step).ceil() as u32).map(|n| f64::from(n) * step).collect()
}

/// 1, 2 and 5 of every decade, from at most `least` to at least `most`.
fn decades(least: f64, most: f64) -> Vec<f64> {
    let decades = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|of| of * 10_f64.powi(decade)));
    let all: Vec<f64> = all.collect();
    let first = all.iter().rposition(|tick| *tick <= least).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= most).unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_ticks_hold_all_values() {
        let table: [(Scale, &[f64], &[f64]); 5] = [
            (Scale::Linear, &[30.0, 104.0], &[0.0, 50.0, 100.0, 150.0]),
            (Scale::Linear, &[1.9, 1.6], &[0.0, 0.5, 1.0, 1.5, 2.0]),
            (Scale::Linear, &[10.0], &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
            (Scale::Logarithmic, &[80.0, 900.0], &[50.0, 100.0, 200.0, 500.0, 1000.0]),
            (Scale::Logarithmic, &[100.0, 100.0], &[100.0]),
        ];
        for (scale, values, expected) in table {
            let axis = Axis::around("", scale, values.iter().copied(), |v| v.to_string());
            assert_eq!(axis.ticks, expected, "{values:?}");
            let range = axis.range();
            assert!(values.iter().all(|value| range.contains(value)), "{values:?}");
        }
    }
}
