//! By worker.

use dataplane::stats::BreathTime;

use crate::{
    metrics::{families as f, page::Page},
    report::{Report, Worker},
};

pub(super) fn fill(page: &mut Page<'_>, report: &Report) {
    let workers: Vec<(String, &Worker)> =
        report.workers.iter().map(|worker| (worker.worker.to_string(), worker)).collect();
    let mut info = page.family(&f::WORKER);
    for (number, worker) in &workers {
        let core = worker.core.map(|core| core.to_string()).unwrap_or_default();
        info.add(&[number, &core], 1);
    }
    let mut alive = page.family(&f::WORKER_ALIVE);
    workers.iter().for_each(|(number, worker)| alive.truth(&[number], worker.alive));
    for (family, pick) in [
        (&f::WORKER_GENERATION, (|worker| worker.generation) as fn(&Worker) -> u64),
        (&f::WORKER_RECEIVED, |worker| worker.rx_packets),
        (&f::WORKER_SENT, |worker| worker.tx_packets),
        (&f::WORKER_BREATHS, |worker| worker.breaths),
        (&f::WORKER_HELD, |worker| worker.waiting),
        (&f::UMEM_SIZE, |worker| worker.ledger.total),
    ] {
        let mut samples = page.family(family);
        workers.iter().for_each(|(number, worker)| samples.count(&[number], pick(worker)));
    }
    let mut frames = page.family(&f::UMEM_FRAMES);
    for (number, Worker { ledger, .. }) in &workers {
        for (place, count) in [
            ("pool", ledger.pool),
            ("rx_lent", ledger.rx_lent),
            ("tx_lent", ledger.tx_lent),
            ("held", ledger.held),
        ] {
            frames.add(&[number, place], count);
        }
    }
    breaths(page, &workers);
}

fn breaths(page: &mut Page<'_>, workers: &[(String, &Worker)]) {
    let mut durations = page.family(&f::WORKER_BREATH_DURATION);
    for (number, worker) in workers {
        let bounds = BreathTime::BOUNDS.iter().map(|bound| number_of_seconds(*bound));
        let beyond = worker.breath_steps.last().copied().unwrap_or_default();
        let steps = bounds.zip(worker.breath_steps.iter().copied());
        durations.histogram(&[number], steps, beyond, worker.busy_ns as f64 / 1e9);
    }
}

/// Nanoseconds in seconds, as Go writes them and OpenMetrics wants bounds: `5e-06`, `0.0001`.
fn number_of_seconds(nanos: u64) -> String {
    let seconds = nanos as f64 / 1e9;
    if seconds >= 1e-4 {
        return seconds.to_string();
    }
    let text = format!("{seconds:e}");
    match text.split_once("e-") {
        Some((digits, power)) => format!("{digits}e-{power:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::number_of_seconds;

    #[test]
    fn bounds_as_go_writes_them() {
        let rows = [
            (2_000, "2e-06"),
            (10_000, "1e-05"),
            (50_000, "5e-05"),
            (100_000, "0.0001"),
            (500_000, "0.0005"),
            (20_000_000, "0.02"),
        ];
        for (nanos, text) in rows {
            assert_eq!(number_of_seconds(nanos), text);
        }
    }
}
