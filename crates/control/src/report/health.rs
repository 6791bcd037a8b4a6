//! What the checks know, in the report's shapes.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use ::health::runner;

use super::{Check, Health, Probes};

pub(super) fn of(known: &runner::ServerReport) -> Health {
    Health {
        state: known.health.name().to_owned(),
        why: known.suspect.clone().unwrap_or_else(|| known.why.clone()),
        for_s: ago(known.since),
        paused: known.paused,
        held: known.held,
        ups: known.turns.up,
        downs: known.turns.down,
        checks: known.checks.iter().map(check).collect(),
    }
}

fn check(check: &runner::CheckReport) -> Check {
    let milliseconds = |time: Duration| time.as_millis().try_into().unwrap_or(u64::MAX);
    let last = check.last.as_ref();
    Check {
        name: check.name.clone(),
        kind: check.kind.to_owned(),
        state: check.health.name().to_owned(),
        last: last.map(|(_, text, ..)| text.clone()),
        took_ms: last.map(|(_, _, took, _)| milliseconds(*took)),
        took_us: last.map(|(_, _, took, _)| microseconds(*took)),
        ago_s: last.map(|(.., at)| ago(*at)),
        good: check.row.0,
        bad: check.row.1,
        next_ms: check.next.map(milliseconds),
        answers: check.tally.answers,
        failed: by_kind(check.tally.failures.iter()),
    }
}

fn by_kind<'a>(
    failures: impl Iterator<Item = (&'a &'static str, &'a u64)>,
) -> BTreeMap<String, u64> {
    failures.map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}

fn microseconds(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

pub(super) fn probes(report: &runner::Report) -> Probes {
    let late = &report.lateness;
    Probes {
        done: report.probes,
        failed: by_kind(report.failures.iter()),
        in_flight: report.in_flight,
        latest_us: microseconds(late.most),
        late_us: microseconds(late.sum.div_f64(late.count.max(1) as f64)),
        late_sum_us: microseconds(late.sum),
        begun: late.count,
        late_p99_us: microseconds(late.quantile(0.99)),
        late: late.late,
    }
}

/// Whole seconds since then; 0 if the clock was set back.
fn ago(then: SystemTime) -> u64 {
    then.elapsed().map_or(0, |time| time.as_secs())
}
