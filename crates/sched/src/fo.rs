//! Failover and overflow (`ip_vs_fo.c`, `ip_vs_ovf.c`): the server with the highest weight;
//! the first in the list wins a tie. Weights are ranks here, so slow start does not count.

use crate::{Candidate, Loads};

/// fo: the highest weight that takes connections.
pub(crate) fn failover(candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
    highest(candidates, |server| !loads.load(server.id).overloaded)
}

/// ovf: the highest weight that does not yet have more active connections than its weight
/// (so one more than its weight in the end, as in the kernel).
pub(crate) fn overflow(candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
    highest(candidates, |server| {
        let load = loads.load(server.id);
        !load.overloaded && load.active <= server.weight
    })
}

/// The first of the open servers with the highest weight among those with `room`, which is
/// asked only where the answer can matter.
fn highest(candidates: &[Candidate], room: impl Fn(&Candidate) -> bool) -> Option<usize> {
    let mut best: Option<(usize, u32)> = None;
    for (at, server) in candidates.iter().enumerate() {
        let higher = best.is_none_or(|(_, weight)| server.weight > weight);
        if higher && server.open() && room(server) {
            best = Some((at, server.weight));
        }
    }
    best.map(|(at, _)| at)
}
