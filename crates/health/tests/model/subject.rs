//! The same by the code.

use std::{sync::Arc, time::Duration};

use health::{
    check::{Check, Probe, Question, Target, Via},
    event::Health,
    member::{Member, State},
    outcome::{Bad, Good, Kind, Outcome},
    pool::{Policy, Pool, Seat},
};

use crate::story::{Event, Plan, Shown, Story, View};

/// A service, as control has it.
pub(crate) struct Subject {
    policy: Policy,
    plans: Vec<Plan>,
    now: Duration,
    seats: Vec<Option<(Seat, State)>>,
    pool: Pool,
}

impl Subject {
    pub(crate) fn new(story: &Story) -> Self {
        let now = Duration::ZERO;
        let seated = |(place, plan): (_, &Plan)| Some(seat(place, plan, plan.known, now));
        Self {
            policy: story.policy,
            plans: story.servers.clone(),
            now,
            seats: story.servers.iter().enumerate().map(seated).collect(),
            pool: Pool::default(),
        }
    }

    pub(crate) fn play(&mut self, event: &Event) -> View {
        let mut view = View::default();
        match *event {
            Event::Answer { server, check, good, weight } => {
                if let Some((_, state)) = &mut self.seats[server] {
                    let change = state.take(check, &answer(good, weight), self.now);
                    view.told = change.map(|change| (change.health, change.weight));
                    view.next = Some(state.checks()[check].streak.next());
                }
            }
            Event::Pass(time) => self.now += time,
            Event::Drain(server, drained) => {
                self.seats[server].iter_mut().for_each(|(seat, _)| seat.drained = drained);
            }
            Event::Weigh(server, weight) => {
                self.seats[server].iter_mut().for_each(|(seat, _)| seat.weight = weight);
            }
            Event::Remove(server) => self.seats[server] = None,
            Event::Restore(server, known) => {
                let (plan, now) = (&self.plans[server], self.now);
                self.seats[server].get_or_insert_with(|| seat(server, plan, known, now));
            }
        }
        self.decide(&mut view);
        let there = self.seats.iter().flatten();
        view.servers = there.map(|(seat, state)| shown(seat, state)).collect();
        view
    }

    fn decide(&mut self, view: &mut View) {
        let seated = |(seat, state): &(Seat, State)| Seat { health: state.health(), ..*seat };
        let seats: Vec<Seat> = self.seats.iter().flatten().map(seated).collect();
        let decision = self.pool.decide(&self.policy, &seats);
        view.steady = self.pool.clone().decide(&self.policy, &seats) == decision;
        let used = seats.iter().zip(&decision.uses).filter(|(_, used)| **used);
        view.uses = used.map(|(seat, _)| seat.server as usize).collect();
        (view.sorry, view.quorum, view.weight) = (decision.sorry, decision.quorum, decision.weight);
    }
}

fn seat(place: usize, plan: &Plan, known: Option<Health>, now: Duration) -> (Seat, State) {
    let member = member(place, plan, known);
    let state = State::new(&member, now);
    let Plan { tier, weight, .. } = *plan;
    let seat = Seat { server: member.server, tier, weight, drained: false, health: state.health() };
    (seat, state)
}

/// A server as the runner is told of it.
pub(crate) fn member(place: usize, plan: &Plan, known: Option<Health>) -> Member {
    let target = Target {
        address: std::net::Ipv4Addr::from(0x0a00_0000 + place as u32).into(),
        port: 80,
        source: None,
        interface: None,
        via: Via::Direct,
    };
    let timeout = Duration::from_secs(1);
    let question = Question { probe: Arc::new(Probe::Ping), target, timeout };
    let check = |timing| Check { name: "ping".to_owned(), question: question.clone(), timing };
    Member {
        server: place as u32,
        checks: plan.checks.iter().copied().map(check).collect(),
        require: plan.require,
        damping: plan.damping,
        known,
    }
}

pub(crate) fn answer(good: bool, weight: Option<u32>) -> Outcome {
    let verdict = match good {
        true => Ok(Good { text: "fine".to_owned(), weight }),
        false => Err(Bad::new(Kind::Refused, "connection refused")),
    };
    Outcome { verdict, took: Duration::ZERO }
}

fn shown(seat: &Seat, state: &State) -> Shown {
    Shown {
        server: seat.server as usize,
        health: state.health(),
        held: state.held(),
        checks: state.checks().iter().map(|checked| checked.streak.health()).collect(),
    }
}
