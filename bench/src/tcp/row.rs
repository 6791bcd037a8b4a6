//! Windows, and the lines of the two tables that they make.

use serde::Serialize;

use super::{pace::Paced, usage::Spent, way::Way, wrk::Run};
use crate::measure::Figures;

/// What is counted when as much goes as can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// On connections that stay open.
    Requests,
    /// Each with one request.
    Connections,
}

impl Kind {
    /// As it is printed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Connections => "connections",
        }
    }
}

/// CPU time of one request, in microseconds.
#[derive(Clone, Copy)]
struct Cost {
    work: Option<f64>,
    middle: f64,
    ends: f64,
}

/// One window of wrk.
#[derive(Clone, Copy)]
pub(super) struct CapacityWindow {
    pub(super) per_second: f64,
    cost: Cost,
    stolen: f64,
    errors: u64,
}

/// One window at a rate.
#[derive(Clone, Copy)]
pub(super) struct LatencyWindow {
    rate: f64,
    pub(super) paced: Paced,
    cost: Cost,
    stolen: f64,
}

impl Cost {
    fn of(spent: &Spent, requests: f64) -> Self {
        let each = |seconds: f64| seconds * 1e6 / requests;
        Self { work: spent.work.map(each), middle: each(spent.middle), ends: each(spent.ends) }
    }
}

impl CapacityWindow {
    pub(super) fn of(run: &Run, spent: &Spent) -> Self {
        let cost = Cost::of(spent, run.answers);
        Self { per_second: run.per_second, cost, stolen: spent.stolen, errors: run.errors }
    }
}

impl LatencyWindow {
    pub(super) fn of(rate: f64, paced: Paced, spent: &Spent) -> Self {
        let cost = Cost::of(spent, paced.answered as f64);
        Self { rate, paced, cost, stolen: spent.stolen }
    }
}

/// CPU time of one request, in microseconds, in each window.
#[derive(Serialize)]
struct Costs {
    /// Work of who forwards: xlvs's breaths that moved packets, a proxy's CPU time.
    work_us: Option<Figures>,
    /// All of CPU 1 but its idle time; xlvs polls there.
    box_us: Figures,
    /// All of CPU 0 but its idle time.
    ends_us: Figures,
    /// The largest part of a CPU's time that the host gave to others, of 1.
    stolen: f64,
}

impl Costs {
    fn of(windows: &[(Cost, f64)]) -> Self {
        let work: Option<Vec<f64>> = windows.iter().map(|(cost, _)| cost.work).collect();
        Self {
            work_us: work.map(figures),
            box_us: figures(windows.iter().map(|(cost, _)| cost.middle)),
            ends_us: figures(windows.iter().map(|(cost, _)| cost.ends)),
            stolen: rounded(windows.iter().map(|(_, stolen)| *stolen).fold(0.0, f64::max)),
        }
    }

    fn print(&self) {
        let work = self.work_us.as_ref().map_or("-".to_owned(), |us| format!("{:.1}", us.median));
        println!(
            " {work:>7} {:>7.1} {:>7.1} {:>6.1}%",
            self.box_us.median,
            self.ends_us.median,
            self.stolen * 100.0
        );
    }
}

const COSTS: &str = "us a request:  work     box    ends  stolen";

/// One line: a way, as fast as it goes.
#[derive(Serialize)]
pub(super) struct Capacity {
    way: Way,
    kind: Kind,
    /// Requests or connections a second.
    per_second: Figures,
    /// Over `direct` in the same round; none if that was not run.
    of_direct: Option<Figures>,
    #[serde(flatten)]
    costs: Costs,
    /// Connections and requests that failed, in all windows.
    errors: u64,
}

impl Capacity {
    /// The lines of all ways, in their order.
    pub(super) fn of_all(ways: &[Way], windows: &[(Way, Kind, CapacityWindow)]) -> Vec<Self> {
        let mut lines = Vec::new();
        for kind in [Kind::Requests, Kind::Connections] {
            let rates = |way| {
                let of_it = windows.iter().filter(move |w| (w.0, w.1) == (way, kind));
                of_it.map(|(_, _, window)| window.per_second)
            };
            for way in ways {
                let of_it = windows.iter().filter(|w| (w.0, w.1) == (*way, kind));
                let of_it: Vec<CapacityWindow> = of_it.map(|w| w.2).collect();
                let ratios = rates(*way).zip(rates(Way::Direct)).map(|(ours, bare)| ours / bare);
                let costs: Vec<(Cost, f64)> = of_it.iter().map(|w| (w.cost, w.stolen)).collect();
                lines.push(Self {
                    way: *way,
                    kind,
                    per_second: figures(rates(*way)),
                    of_direct: ways.contains(&Way::Direct).then(|| figures(ratios)),
                    costs: Costs::of(&costs),
                    errors: of_it.iter().map(|window| window.errors).sum(),
                });
            }
        }
        lines
    }

    /// Requests a second of a way, the median.
    pub(super) fn requests(lines: &[Self], way: Way) -> f64 {
        let line = lines.iter().find(|line| line.way == way && line.kind == Kind::Requests);
        line.map_or(f64::NAN, |line| line.per_second.median)
    }

    pub(super) fn print_all(lines: &[Self]) {
        for kind in [Kind::Requests, Kind::Connections] {
            let head = format!("{}/s", kind.name());
            println!(
                "\n{head:<13} {:>8} {:>7} {:>9} {:>6}  {COSTS}",
                "median", "spread", "of direct", "errors"
            );
            for line in lines.iter().filter(|line| line.kind == kind) {
                line.print();
            }
        }
        println!();
    }

    fn print(&self) {
        let Self { way, per_second, of_direct, errors, .. } = self;
        let ratio = of_direct.as_ref().map_or("-".to_owned(), |of| format!("{:.3}", of.median));
        print!(
            "{:<13} {:>8.0} {:>7.0} {ratio:>9} {errors:>6}               ",
            way.name(),
            per_second.median,
            per_second.spread
        );
        self.costs.print();
    }
}

/// One line: a way at a load. Latencies in microseconds.
#[derive(Serialize)]
pub(super) struct Latency {
    way: Way,
    /// Percent of the rate that the way holds.
    load: u32,
    /// Requests a second.
    rate: f64,
    p50_us: Figures,
    p99_us: Figures,
    p999_us: Figures,
    most_us: Figures,
    /// 99 of 100 requests left no later than this after their time.
    late_p99_us: Figures,
    #[serde(flatten)]
    costs: Costs,
    /// Requests without an answer two seconds after the last one, in all windows.
    unanswered: u64,
}

impl Latency {
    /// The lines of all ways at all loads.
    pub(super) fn of_all(
        ways: &[Way],
        loads: &[u32],
        windows: &[(Way, u32, LatencyWindow)],
    ) -> Vec<Self> {
        let mut lines = Vec::new();
        for load in loads {
            for way in ways {
                let of_it = windows.iter().filter(|w| (w.0, w.1) == (*way, *load));
                lines.push(Self::of(*way, *load, &of_it.map(|w| w.2).collect::<Vec<_>>()));
            }
        }
        lines
    }

    fn of(way: Way, load: u32, windows: &[LatencyWindow]) -> Self {
        let of = |part: fn(&Paced) -> f64| figures(windows.iter().map(|w| part(&w.paced)));
        let costs: Vec<(Cost, f64)> = windows.iter().map(|w| (w.cost, w.stolen)).collect();
        Self {
            way,
            load,
            rate: windows.first().map_or(f64::NAN, |window| window.rate),
            p50_us: of(|paced| paced.p50),
            p99_us: of(|paced| paced.p99),
            p999_us: of(|paced| paced.p999),
            most_us: of(|paced| paced.most),
            late_p99_us: of(|paced| paced.late_p99),
            costs: Costs::of(&costs),
            unanswered: windows.iter().map(|w| w.paced.asked - w.paced.answered).sum(),
        }
    }

    pub(super) fn print_all(lines: &[Self]) {
        println!(
            "\n{:<9} {:>4} {:>8} {:>7} {:>6} {:>7} {:>6} {:>7} {:>6} {:>6}  {COSTS}",
            "us", "load", "rate", "p50", "spread", "p99", "spread", "p99.9", "spread", "late"
        );
        lines.iter().for_each(Self::print);
        println!();
    }

    fn print(&self) {
        let Self { way, load, rate, p50_us, p99_us, p999_us, late_p99_us, .. } = self;
        print!("{:<9} {load:>3}% {rate:>8.0}", way.name());
        for of in [p50_us, p99_us, p999_us] {
            print!(" {:>7.0} {:>6.0}", of.median, of.spread);
        }
        print!(" {:>6.0}               ", late_p99_us.median);
        self.costs.print();
    }
}

/// Thousandths are more than any of these figures is good for.
fn figures(windows: impl IntoIterator<Item = f64>) -> Figures {
    Figures::of(windows.into_iter().map(rounded).collect())
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
