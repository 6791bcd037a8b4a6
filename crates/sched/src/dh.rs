//! Destination hashing (`ip_vs_dh.c`): each destination has its server, for caches and
//! firewalls. The kernel fills 256 slots with the servers in list order, again and again,
//! whatever their weights; so slot `n` is server `n mod servers`, and no table is needed.
//!
//! A server that is down is left out of the filling. One that is drained, overloaded or of
//! weight 0 keeps its slots, and its destinations get no server. Slow start does not count.

use crate::{Candidate, Loads, Request, key};

pub(crate) fn pick(
    candidates: &[Candidate],
    request: &Request,
    loads: &impl Loads,
) -> Option<usize> {
    let slot = key::hash_8(key::fold(request.destination)) as usize;
    let up = || candidates.iter().enumerate().filter(|(_, server)| server.up);
    let turn = slot.checked_rem(up().count())?;
    let (at, server) = up().nth(turn)?;
    server.eligible(loads).then_some(at)
}
