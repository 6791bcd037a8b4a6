//! Power of two choices (`ip_vs_twos.c`): two servers at random, by weight, and of these the
//! less loaded one.

use crate::{Candidate, Loads, Request, least::Burden};

pub(crate) fn pick(
    candidates: &[Candidate],
    request: &Request,
    loads: &impl Loads,
) -> Option<usize> {
    let eligible = || candidates.iter().enumerate().filter(|(_, c)| c.eligible(loads));
    // The kernel draws from 0 to the sum, both included, so the unit of the weights matters:
    // it is the kernel's as long as no server is in slow start.
    let whole = eligible().all(|(_, c)| c.share() == Candidate::FULL);
    let weight = |c: &Candidate| if whole { u64::from(c.weight) } else { c.scaled_weight() };
    let total: u64 = eligible().map(|(_, c)| weight(c)).sum();
    let (first, second) = (request.random & 0xffff_ffff, request.random >> 32);
    let chosen = |random: u64| {
        let mut rest = drawn(random, total);
        let mut last = None;
        for (at, server) in eligible() {
            last = Some((at, server));
            if rest <= weight(server) {
                break;
            }
            rest -= weight(server);
        }
        last
    };
    let (one, two) = (chosen(first)?, chosen(second)?);
    let burden =
        |c: &Candidate| Burden { cost: loads.load(c.id).overhead(), weight: c.scaled_weight() };
    Some(if burden(one.1).exceeds(&burden(two.1)) { two.0 } else { one.0 })
}

/// A number from 0 to `total`, each as likely, from 32 random bits.
fn drawn(random: u64, total: u64) -> u64 {
    ((u128::from(random) * (u128::from(total) + 1)) >> 32) as u64
}
