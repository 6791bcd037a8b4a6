//! The loop: orders, answers, and what is due.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    CheckReport, Order, Prober, Report, ServerReport, Tally, Turns,
    agenda::{Agenda, ItemId, Key},
};
use crate::{
    ServerId,
    check::Check,
    event::{Event, Health},
    member::{Change, Member, State},
    outcome::Outcome,
};

/// Everything that the thread knows.
pub(super) struct Round {
    prober: Arc<dyn Prober>,
    in_flight: usize,
    events: UnboundedSender<Event>,
    began: Instant,
    members: HashMap<ServerId, Known>,
    agenda: Agenda,
    probes: JoinSet<(ItemId, Outcome)>,
    paused: HashSet<ServerId>,
    chance: Chance,
    totals: Report,
}

/// A member and what is known of it.
struct Known {
    member: Member,
    state: State,
    since: SystemTime,
    why: String,
    counts: Counts,
}

/// What was counted of a member; it stays while the member does, whatever its checks become.
#[derive(Default)]
struct Counts {
    turns: Turns,
    /// By the check's name.
    checks: HashMap<String, Tally>,
}

impl Counts {
    fn note(&mut self, check: &Check, outcome: &Outcome) {
        let tally = match self.checks.get_mut(&check.name) {
            Some(tally) => tally,
            None => self.checks.entry(check.name.clone()).or_default(),
        };
        tally.answers += 1;
        if let Err(bad) = &outcome.verdict {
            *tally.failures.entry(bad.kind.name()).or_default() += 1;
        }
    }

    fn turn(&mut self, from: Health, to: Health) {
        match (from, to) {
            (Health::Down, Health::Up) => self.turns.up += 1,
            (Health::Up, Health::Down) => self.turns.down += 1,
            _ => {}
        }
    }
}

/// With nothing to do; an order ends it sooner.
const IDLE: Duration = Duration::from_secs(3600);

impl Round {
    pub(super) fn new(
        prober: Arc<dyn Prober>,
        in_flight: usize,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            prober,
            in_flight,
            events,
            began: Instant::now(),
            members: HashMap::new(),
            agenda: Agenda::default(),
            probes: JoinSet::new(),
            paused: HashSet::new(),
            chance: Chance::default(),
            totals: Report::default(),
        }
    }

    /// Runs until nobody can give orders any more.
    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        loop {
            self.begin_due();
            let full = self.probes.len() >= self.in_flight;
            let wake = self.agenda.first().filter(|_| !full);
            let wake = wake.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(ended) = self.probes.join_next() => {
                    // One that was aborted has no answer.
                    if let Ok((id, outcome)) = ended {
                        self.take(id, &outcome);
                    }
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Set(members) => self.set(members),
            Order::Raise(server) => self.raise(server),
            Order::Pause(servers) => self.pause(servers),
            Order::Report(to) => drop(to.send(self.report())),
        }
    }

    fn set(&mut self, members: Vec<Member>) {
        let mut before = std::mem::take(&mut self.members);
        let mut new = Vec::new();
        for member in members {
            match before.remove(&member.server) {
                Some(known) if same(&known.member, &member) => {
                    self.members.insert(member.server, known);
                }
                Some(known) => {
                    self.forget(&known.member);
                    let health = known.state.health();
                    let mut counts = known.counts;
                    let named = |name: &String| member.checks.iter().any(|c| c.name == *name);
                    counts.checks.retain(|name, _| named(name));
                    new.push((Member { known: Some(health), ..member }, counts));
                }
                None => new.push((member, Counts::default())),
            }
        }
        for known in before.values() {
            self.forget(&known.member);
        }
        for (member, counts) in new {
            self.enter(member, counts);
        }
    }

    fn enter(&mut self, member: Member, counts: Counts) {
        let now = Instant::now();
        let state = State::new(&member, now - self.began);
        for (at, check) in member.checks.iter().enumerate() {
            let due = now + self.chance.below(check.timing.spread);
            self.agenda.subscribe(&key(check), (member.server, at), due);
        }
        let first = state.first();
        let (since, why) = (SystemTime::now(), first.why.clone());
        let known = Known { since, why, member, state, counts };
        let server = known.member.server;
        self.members.insert(server, known);
        self.tell(server, first);
    }

    fn forget(&mut self, member: &Member) {
        for check in &member.checks {
            self.agenda.unsubscribe(member.server, &key(check));
        }
    }

    fn raise(&mut self, server: ServerId) {
        let Some(known) = self.members.get(&server) else { return };
        for check in &known.member.checks {
            if let Some(id) = self.agenda.id_of(&key(check))
                && self.agenda.get_mut(id).is_some_and(|item| item.running.is_none())
            {
                self.agenda.put(id, Instant::now());
            }
        }
    }

    /// What was passed over while it paused is due again within the check's spread.
    fn pause(&mut self, servers: Vec<ServerId>) {
        let before = std::mem::replace(&mut self.paused, servers.into_iter().collect());
        let resumed: Vec<ServerId> = before.difference(&self.paused).copied().collect();
        for server in resumed {
            let Some(known) = self.members.get(&server) else { continue };
            for check in &known.member.checks {
                if let Some(id) = self.agenda.id_of(&key(check)) {
                    let due = Instant::now() + self.chance.below(check.timing.spread);
                    self.agenda.put(id, due);
                }
            }
        }
    }

    /// Begins what is due, as far as there is room.
    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.probes.len() < self.in_flight
            && let Some(id) = self.agenda.take_due(now)
        {
            let Some(item) = self.agenda.get_mut(id) else { continue };
            if item.subscribers.iter().all(|(server, _)| self.paused.contains(server)) {
                item.passed_over = true;
                continue;
            }
            let after = now.saturating_duration_since(item.due);
            self.totals.lateness.note(after, item.key.interval);
            let asked = self.prober.ask(item.key.question.clone());
            let probe = self.probes.spawn(async move { (id, asked.await) });
            item.running = Some((item.due.max(now - item.key.interval), probe));
        }
    }

    /// An answer.
    fn take(&mut self, id: ItemId, outcome: &Outcome) {
        self.totals.probes += 1;
        if let Err(bad) = &outcome.verdict {
            *self.totals.failures.entry(bad.kind.name()).or_default() += 1;
        }
        // Nobody wants it any more.
        let Some(item) = self.agenda.get_mut(id) else { return };
        let Some((begun, _)) = item.running.take() else { return };
        let text = match &outcome.verdict {
            Ok(good) => good.text.clone(),
            Err(bad) => bad.text.clone(),
        };
        item.last = Some((outcome.verdict.is_ok(), text, outcome.took, SystemTime::now()));
        let (mut pause, mut changes) = (item.key.interval, Vec::new());
        let now = Instant::now() - self.began;
        for &(server, check) in &item.subscribers {
            let Some(known) = self.members.get_mut(&server) else { continue };
            if let Some(check) = known.member.checks.get(check) {
                known.counts.note(check, outcome);
            }
            let before = known.state.health();
            changes.extend(known.state.take(check, outcome, now).map(|change| (server, change)));
            known.counts.turn(before, known.state.health());
            let next = known.state.checks().get(check).map(|checked| checked.streak.next());
            pause = next.map_or(pause, |next| next.min(pause));
        }
        self.agenda.put(id, (begun + pause).max(Instant::now()));
        for (server, change) in changes {
            self.tell(server, change);
        }
    }

    fn tell(&mut self, server: ServerId, change: Change) {
        let at = SystemTime::now();
        if let Some(known) = self.members.get_mut(&server) {
            known.since = at;
            known.why.clone_from(&change.why);
        }
        let Change { health, weight, why } = change;
        // Without a listener the daemon is ending.
        let _ = self.events.send(Event { server, health, weight, why, at });
    }

    fn report(&self) -> Report {
        let now = Instant::now();
        let servers = self.members.iter().map(|(server, known)| {
            let paused = self.paused.contains(server);
            let checks = known.member.checks.iter().zip(known.state.checks());
            let checks = checks.map(|(check, checked)| {
                let item = self.agenda.of(&key(check));
                let waits = item.filter(|item| item.running.is_none() && !paused);
                CheckReport {
                    name: check.name.clone(),
                    kind: check.question.probe.name(),
                    health: checked.streak.health(),
                    row: checked.streak.row(),
                    last: item.and_then(|item| item.last.clone()),
                    tally: known.counts.checks.get(&check.name).cloned().unwrap_or_default(),
                    next: waits.map(|item| item.due.saturating_duration_since(now)),
                }
            });
            let report = ServerReport {
                health: known.state.health(),
                since: known.since,
                why: known.why.clone(),
                paused,
                held: known.state.held(),
                suspect: None,
                turns: known.counts.turns,
                checks: checks.collect(),
            };
            (*server, report)
        });
        Report { servers: servers.collect(), in_flight: self.probes.len(), ..self.totals.clone() }
    }
}

/// What an earlier run knew matters to new members only.
fn same(one: &Member, other: &Member) -> bool {
    (&one.checks, one.require, one.damping) == (&other.checks, other.require, other.damping)
}

fn key(check: &Check) -> Key {
    let (interval, retry) = (check.timing.interval, check.timing.retry);
    Key { question: check.question.clone(), interval, retry }
}

/// Where in its first interval a check begins: xorshift64 (Marsaglia 2003), seeded by the
/// hasher's own randomness.
struct Chance(u64);

impl Default for Chance {
    fn default() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::collections::hash_map::RandomState::new().build_hasher().finish() | 1)
    }
}

impl Chance {
    fn below(&mut self, time: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        time.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}
