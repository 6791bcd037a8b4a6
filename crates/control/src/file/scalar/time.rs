//! Durations.

use std::time::Duration;

use dataplane::policy::Timeouts;

use super::Wrong;

/// A number with a unit: `ms`, `s`, `m`, `h` or `d`.
pub(in super::super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let remedy = "write a number with a unit, like 500ms, 30s, 15m, 2h or 1d";
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let Ok(number) = number.parse::<u64>() else {
        return Err(Wrong::new("not a duration", remedy));
    };
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(Wrong::new("a duration without a unit", remedy)),
        _ => return Err(Wrong::new("not a duration", remedy)),
    };
    let total = number.checked_mul(milliseconds);
    total.map(Duration::from_millis).ok_or_else(|| Wrong::new("too long", remedy))
}

/// An idle time in whole seconds, from one second to a month.
pub(in super::super) fn idle_time(text: &str) -> Result<u32, Wrong> {
    seconds(text, Timeouts::MOST)
}

/// A duration in whole seconds, from one second to `most`.
pub(in super::super) fn seconds(text: &str, most: u32) -> Result<u32, Wrong> {
    let time = duration(text)?;
    match u32::try_from(time.as_secs()) {
        Ok(seconds @ 1..) if seconds <= most && time.subsec_millis() == 0 => Ok(seconds),
        _ => Err(Wrong::new("out of range", format!("write whole seconds, from 1s to {most}s"))),
    }
}

/// As [`seconds`], but a number alone means seconds, as the sysctls have them.
pub(in super::super) fn sysctl_seconds(text: &str, most: u32) -> Result<u32, Wrong> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return seconds(&format!("{text}s"), most);
    }
    seconds(text, most)
}
