//! The schedulers that look for the least loaded server: lc, wlc, sed, nq (`ip_vs_lc.c`,
//! `ip_vs_wlc.c`, `ip_vs_sed.c`, `ip_vs_nq.c`). The first in the list wins a tie. lc knows no
//! weights but 0, so slow start does not count there.

use crate::{Candidate, Load, Loads};

/// A server's cost and the weight that bears it.
#[derive(Clone, Copy)]
pub(crate) struct Burden {
    pub(crate) cost: u64,
    /// In 256ths, as [`Candidate::scaled_weight`].
    pub(crate) weight: u64,
}

impl Burden {
    /// Cost for each unit of weight.
    pub(crate) fn value(&self) -> f64 {
        256.0 * self.cost as f64 / self.weight as f64
    }

    /// More cost for each unit of weight, compared without division.
    pub(crate) fn exceeds(&self, other: &Self) -> bool {
        u128::from(self.cost) * u128::from(other.weight)
            > u128::from(other.cost) * u128::from(self.weight)
    }
}

/// lc: the least connections, whatever the weights.
pub(crate) fn connections(candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
    least(candidates, loads, |_, load| Burden { cost: load.overhead(), weight: 1 })
}

/// wlc, and what lblc and lblcr do for a destination that they do not know.
pub(crate) fn weighted_connections(candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
    least(candidates, loads, weighted)
}

/// What a server costs by wlc.
pub(crate) fn weighted(server: &Candidate, load: &Load) -> Burden {
    Burden { cost: load.overhead(), weight: server.scaled_weight() }
}

/// sed: the least active connections, this one counted already.
pub(crate) fn delay(candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
    least(candidates, loads, expected_delay)
}

/// nq: the first server without an active connection, else as sed.
pub(crate) fn never_queue(candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
    let mut best: Option<(usize, Burden)> = None;
    for (at, server, load) in eligible(candidates, loads) {
        if load.active == 0 {
            return Some(at);
        }
        let burden = expected_delay(server, &load);
        if best.is_none_or(|(_, least)| least.exceeds(&burden)) {
            best = Some((at, burden));
        }
    }
    best.map(|(at, _)| at)
}

/// What a server costs by sed.
pub(crate) fn expected_delay(server: &Candidate, load: &Load) -> Burden {
    Burden { cost: u64::from(load.active) + 1, weight: server.scaled_weight() }
}

/// The first of the servers with the least burden.
fn least(
    candidates: &[Candidate],
    loads: &impl Loads,
    burden: impl Fn(&Candidate, &Load) -> Burden,
) -> Option<usize> {
    let eligible = eligible(candidates, loads);
    lightest(eligible.map(|(at, server, load)| (at, burden(server, &load))))
}

/// The first of those with the least burden.
pub(crate) fn lightest<T>(burdens: impl Iterator<Item = (T, Burden)>) -> Option<T> {
    // More than any other: one unit of cost on no weight at all.
    let (mut best, mut least) = (None, Burden { cost: 1, weight: 0 });
    for (which, burden) in burdens {
        if least.exceeds(&burden) {
            (best, least) = (Some(which), burden);
        }
    }
    best
}

/// The servers that take connections, with their places and loads.
fn eligible<'a>(
    candidates: &'a [Candidate],
    loads: &'a impl Loads,
) -> impl Iterator<Item = (usize, &'a Candidate, Load)> {
    let open = candidates.iter().enumerate().filter(|(_, server)| server.open());
    open.map(|(at, server)| (at, server, loads.load(server.id)))
        .filter(|(_, _, load)| !load.overloaded)
}
