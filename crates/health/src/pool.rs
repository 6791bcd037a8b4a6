//! Which servers of a service are in use: tiers, quorum, sorry server, and what happens when
//! all are down.
//!
//! Tiers fill first: the highest ones are in use down to the one at which the configured weight
//! of up servers reaches the quorum. The quorum is then a matter of the tiers in use. Below it
//! the sorry server takes all new connections; without one, what is up goes on serving. Only
//! when nothing is up, and there is no sorry server, [`AllDown`] decides.

use crate::{ServerId, event::Health};

/// What happens when no server is up and there is no sorry server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AllDown {
    /// Nobody gets connections: clients are told that the port is unreachable.
    #[default]
    Refuse,
    /// The servers that were in use last stay in use.
    KeepLast,
    /// All servers are in use as if they were up, of all tiers.
    AllUp,
}

/// How a service wants its servers used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The weight of up servers that a service needs, at least 1.
    pub quorum: u64,
    /// The quorum is gained at `quorum + hysteresis` and lost below `quorum - hysteresis`.
    pub hysteresis: u64,
    /// What happens when all are down.
    pub all_down: AllDown,
    /// There is a sorry server.
    pub sorry: bool,
}

impl Default for Policy {
    /// One server of weight 1 is enough.
    fn default() -> Self {
        Self { quorum: 1, hysteresis: 0, all_down: AllDown::Refuse, sorry: false }
    }
}

/// A server of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which.
    pub server: ServerId,
    /// 0 is the highest tier.
    pub tier: u32,
    /// The configured weight.
    pub weight: u32,
    /// The operator wants no new connections on it.
    pub drained: bool,
    /// By its checks.
    pub health: Health,
}

impl Seat {
    /// What it counts for the quorum.
    fn counts(&self) -> u64 {
        if self.health == Health::Up && !self.drained { self.weight.into() } else { 0 }
    }
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// By seat: it may get new connections, as far as health is concerned.
    pub uses: Vec<bool>,
    /// The sorry server takes all new connections.
    pub sorry: bool,
    /// The service has its quorum, or has not been looked at yet.
    pub quorum: bool,
    /// Nothing is given up yet, since servers' first answers are awaited.
    pub waiting: bool,
    /// How many tiers are in use.
    pub tiers: usize,
    /// The configured weight of up, undrained servers in them.
    pub weight: u64,
    /// [`Policy::all_down`] decided: those in use are down.
    pub all_down: bool,
}

/// What must be remembered of a service from one decision to the next.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// Whether it had its quorum; not known before the first answers.
    quorum: Option<bool>,
    /// Which servers were in use when one was up last.
    last: Vec<ServerId>,
}

impl Pool {
    /// Decides, now that something changed.
    pub fn decide(&mut self, policy: &Policy, seats: &[Seat]) -> Decision {
        let Policy { quorum, hysteresis, .. } = *policy;
        let had = self.quorum.unwrap_or(true);
        let wanted = if had { quorum } else { quorum + hysteresis };
        let (mut tiers, mut sum) = fill(seats, wanted);
        let has = sum > 0 && if had { sum + hysteresis >= quorum } else { sum >= wanted };
        if has {
            // Once it is gained, those tiers serve that would have kept it.
            (tiers, sum) = fill(seats, quorum);
        }
        let up = |seat: &Seat| seat.health == Health::Up && tiers.contains(&seat.tier);
        let mut decision = Decision {
            uses: seats.iter().map(up).collect(),
            quorum: true,
            tiers: tiers.len(),
            weight: sum,
            ..Decision::default()
        };
        // At the start servers answer one by one: nothing is given up before all have.
        if self.quorum.is_none() && seats.iter().any(|seat| seat.health == Health::Waiting) {
            self.remember(&decision, seats);
            decision.waiting = true;
            return decision;
        }
        self.quorum = Some(has);
        decision.quorum = has;
        if !has && policy.sorry {
            decision.uses.fill(false);
            decision.sorry = true;
        } else if decision.uses.contains(&true) {
            self.remember(&decision, seats);
        } else {
            decision.all_down = policy.all_down != AllDown::Refuse;
            let used = |seat: &Seat| match policy.all_down {
                AllDown::Refuse => false,
                AllDown::KeepLast => self.last.contains(&seat.server),
                AllDown::AllUp => true,
            };
            decision.uses = seats.iter().map(used).collect();
        }
        decision
    }

    fn remember(&mut self, decision: &Decision, seats: &[Seat]) {
        let used = seats.iter().zip(&decision.uses).filter(|(_, used)| **used);
        let used: Vec<ServerId> = used.map(|(seat, _)| seat.server).collect();
        if !used.is_empty() {
            self.last = used;
        }
    }
}

/// The highest tiers that together have the weight, or all of them, and what they have.
fn fill(seats: &[Seat], wanted: u64) -> (Vec<u32>, u64) {
    let mut tiers: Vec<u32> = seats.iter().map(|seat| seat.tier).collect();
    tiers.sort_unstable();
    tiers.dedup();
    let mut sum = 0;
    for at in 0..tiers.len() {
        let of_tier = seats.iter().filter(|seat| seat.tier == tiers[at]);
        sum += of_tier.map(Seat::counts).sum::<u64>();
        if sum >= wanted {
            tiers.truncate(at + 1);
            break;
        }
    }
    (tiers, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `u` up, `d` down, `w` waiting; a capital is drained; a digit behind it is its weight, a
    /// bar begins the next tier.
    fn seats(text: &str) -> Vec<Seat> {
        let (mut tier, mut seats) = (0, Vec::<Seat>::new());
        for c in text.chars() {
            match c {
                '|' => tier += 1,
                '0'..='9' => {
                    seats.last_mut().expect("a seat").weight = c.to_digit(10).expect("one")
                }
                _ => seats.push(Seat {
                    server: seats.len() as ServerId,
                    tier,
                    weight: 1,
                    drained: c.is_uppercase(),
                    health: match c.to_ascii_lowercase() {
                        'u' => Health::Up,
                        'd' => Health::Down,
                        _ => Health::Waiting,
                    },
                }),
            }
        }
        seats
    }

    /// Who is in use (`x`), and whether the sorry server is (`S`), the quorum is lost (`L`), all are
    /// down (`A`).
    fn shown(decision: &Decision) -> String {
        let uses = decision.uses.iter().map(|used| if *used { 'x' } else { '.' });
        let more = [(decision.sorry, 'S'), (!decision.quorum, 'L'), (decision.all_down, 'A')];
        uses.chain(more.into_iter().filter(|(is, _)| *is).map(|(_, c)| c)).collect()
    }

    #[test]
    fn events_in_decisions_out() {
        let policy =
            |quorum, hysteresis, all_down, sorry| Policy { quorum, hysteresis, all_down, sorry };
        let (refuse, last, all) = (AllDown::Refuse, AllDown::KeepLast, AllDown::AllUp);
        let rows: &[(&str, Policy, &str)] = &[
            (
                "no quorum asked for",
                policy(1, 0, refuse, false),
                "uuu xxx, udu x.x, ddd ...L, dud .x.",
            ),
            ("start", policy(2, 0, refuse, true), "www ..., uww x.., udw x.., udd ...SL, udu x.x"),
            ("start, all down", policy(1, 0, last, false), "ww .., dw .., dd ..LA, du .x, dd .xLA"),
            ("start, one was up", policy(1, 0, last, false), "ww .., uw x., dw .., dd x.LA"),
            ("all up", policy(1, 0, all, false), "uu xx, dd xxLA, du .x"),
            ("keep last", policy(1, 0, last, false), "uu xx, ud x., dd x.LA, du .x, dd .xLA"),
            (
                "drained and weight 0 do not count",
                policy(1, 0, refuse, true),
                "Uu xx, Ud ..SL, u0u xx, u0d ..SL",
            ),
            (
                "quorum without a sorry server",
                policy(3, 0, refuse, false),
                "uuu xxx, uud xx.L, uuu xxx",
            ),
            (
                "hysteresis",
                policy(3, 1, refuse, true),
                "uuuu xxxx, uuud xxx., uudd xx.., uddd ....SL, uudd ....SL, uuud ....SL, uuuu xxxx",
            ),
            ("weights", policy(3, 0, refuse, true), "u3u xx, du ..SL, u3d x."),
            (
                "tiers",
                policy(1, 0, refuse, true),
                "uu|u|u xx.., du|u|u .x.., dd|u|u ..x., dd|d|u ...x, dd|d|d ....SL",
            ),
            (
                "tiers fill to the quorum",
                policy(2, 0, refuse, false),
                "uu|uu xx.., ud|uu x.xx, dd|ud ..x.L",
            ),
            (
                "tiers and hysteresis",
                policy(2, 1, refuse, true),
                "uu|uu xx.., ud|uu x.xx, dd|ud ..x., dd|dd ....SL, ud|ud ....SL, uu|ud xx.., ud|uu x.xx",
            ),
        ];
        for (name, policy, steps) in rows {
            let mut pool = Pool::default();
            for step in steps.split(", ") {
                let (state, expected) = step.split_once(' ').expect("two words");
                let decision = pool.decide(policy, &seats(state));
                let shown = shown(&decision);
                assert_eq!(shown, expected, "{name}: {state}");
            }
        }
    }
}
