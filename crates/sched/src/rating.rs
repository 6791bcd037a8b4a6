//! What a scheduler looks at, for who wants to know why it picked a server. Nothing is picked
//! here, and nothing changes.

use crate::{Candidate, Kind, Load, Loads, Scheduler, least};

/// A candidate as its scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// Which server: [`Candidate::id`].
    pub id: u32,
    /// Why it gets no new connection; `None` for one that may get it.
    pub closed: Option<Closed>,
    /// Its weight, after slow start.
    pub weight: f64,
    /// What it has to do.
    pub load: Load,
    /// What the scheduler compares ([`Kind::rule`]); nothing where it goes by turns or by a hash.
    pub score: Option<f64>,
}

/// Why a server gets no new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Down by its checks, or of a tier that is not wanted now.
    Down,
    /// The operator drained it.
    Drained,
    /// Its weight is 0.
    NoWeight,
    /// It reached its upper threshold.
    Overloaded,
}

impl Closed {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Drained => "drained",
            Self::NoWeight => "weight 0",
            Self::Overloaded => "overloaded",
        }
    }

    fn of(candidate: &Candidate, load: &Load) -> Option<Self> {
        let closed = [
            (!candidate.up, Self::Down),
            (candidate.drained, Self::Drained),
            (candidate.weight == 0, Self::NoWeight),
            (load.overloaded, Self::Overloaded),
        ];
        closed.into_iter().find_map(|(is, why)| is.then_some(why))
    }
}

impl Kind {
    /// By what it chooses, and what its scores are.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Rr => "the next one in turn",
            Self::Wrr => "the next one in turn, as often as its weight says",
            Self::Lc => "the lowest score: 257 x active + inactive connections",
            Self::Wlc => "the lowest score: (257 x active + inactive connections) / weight",
            Self::Lblc => {
                "the destination's server; if there is none, or it is overloaded, the lowest score: \
                 (257 x active + inactive connections) / weight"
            }
            Self::Lblcr => {
                "the least loaded of the destination's servers; if there is none, the lowest score: \
                 (257 x active + inactive connections) / weight"
            }
            Self::Dh => "the hash of the destination",
            Self::Sh => "the hash of the client",
            Self::Sed => "the lowest score: (active connections + 1) / weight",
            Self::Nq => {
                "an idle one first, else the lowest score: (active connections + 1) / weight"
            }
            Self::Fo => "the highest score: the weight",
            Self::Ovf => {
                "the highest score: the weight, of those with no more active connections than it"
            }
            Self::Mh => "the hash of the client, by Maglev",
            Self::Twos => {
                "two at random, of these the lower score: (257 x active + inactive connections) / \
                 weight"
            }
        }
    }
}

impl Scheduler {
    /// What it sees of each candidate now, in their order.
    pub fn rate(&self, candidates: &[Candidate], loads: &impl Loads) -> Vec<Rating> {
        let kind = self.plan().kind;
        let rate = |candidate: &Candidate| {
            let load = loads.load(candidate.id);
            let closed = Closed::of(candidate, &load);
            let score = score(kind, candidate, &load).filter(|_| closed.is_none());
            let weight = candidate.scaled_weight() as f64 / f64::from(Candidate::FULL);
            Rating { id: candidate.id, closed, weight, load, score }
        };
        candidates.iter().map(rate).collect()
    }
}

fn score(kind: Kind, candidate: &Candidate, load: &Load) -> Option<f64> {
    match kind {
        Kind::Lc => Some(load.overhead() as f64),
        Kind::Wlc | Kind::Lblc | Kind::Lblcr | Kind::Twos => {
            Some(least::weighted(candidate, load).value())
        }
        Kind::Sed | Kind::Nq => Some(least::expected_delay(candidate, load).value()),
        Kind::Fo | Kind::Ovf => Some(candidate.weight.into()),
        Kind::Rr | Kind::Wrr | Kind::Dh | Kind::Sh | Kind::Mh => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, Request};

    /// Where a scheduler compares scores, the best one is the pick, and the first of equals.
    #[test]
    fn the_best_score_is_the_pick() {
        let mut seed = 7u64;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((seed >> 33) % u64::from(below)) as u32
        };
        for _ in 0..2_000 {
            let servers: Vec<Candidate> = (0..1 + random(5))
                .map(|id| Candidate {
                    up: random(8) > 0,
                    drained: random(8) == 0,
                    share: if random(4) == 0 { 1 + random(256) as u16 } else { 256 },
                    ..Candidate::new(id, [10, 0, 0, 1].into(), 80, random(4))
                })
                .collect();
            let loads: Vec<Load> = (0..5)
                .map(|_| Load {
                    active: random(4),
                    inactive: random(4),
                    overloaded: random(8) == 0,
                })
                .collect();
            let load = |id: u32| loads[id as usize];
            for (kind, sign) in
                [(Kind::Lc, 1.0), (Kind::Wlc, 1.0), (Kind::Sed, 1.0), (Kind::Fo, -1.0)]
            {
                let mut scheduler = Scheduler::new(Plan::new(kind), &servers);
                let mut best: Option<(usize, f64)> = None;
                for (at, rating) in scheduler.rate(&servers, &load).iter().enumerate() {
                    let Some(score) = rating.score.map(|score| sign * score) else { continue };
                    if best.is_none_or(|(_, least)| score < least) {
                        best = Some((at, score));
                    }
                }
                let request = Request {
                    client: [192, 0, 2, 1].into(),
                    client_port: 1,
                    destination: [192, 0, 2, 2].into(),
                    now: 1,
                    random: 0,
                };
                let pick = scheduler.pick(&servers, &request, &load);
                assert_eq!(pick, best.map(|(at, _)| at), "{kind:?} {servers:?} {loads:?}");
            }
        }
    }
}
