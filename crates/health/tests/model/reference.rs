//! What README's "Health checks" says, sentence by sentence, without any regard to cost.

use std::{collections::BTreeSet, time::Duration};

use health::{
    check::{Initial, Require, Timing},
    event::Health,
    member::Damping,
    pool::{AllDown, Policy},
};

use crate::story::{Event, Plan, Shown, Story, View};

/// A service.
pub(crate) struct Reference {
    policy: Policy,
    plans: Vec<Plan>,
    now: Duration,
    /// By place; those that are left out are not there.
    servers: Vec<Option<Server>>,
    /// Until all servers have answered it counts as having its quorum, and nothing is given up.
    begun: bool,
    quorum: bool,
    /// Who was in use when somebody was up last.
    in_use_last: BTreeSet<usize>,
}

/// A server.
pub(crate) struct Server {
    tier: u32,
    weight: u32,
    drained: bool,
    require: Require,
    damping: Option<Damping>,
    checks: Vec<Check>,
    /// Each time it went down, and since when it is up.
    downs: Vec<Duration>,
    up_since: Option<Duration>,
    held: bool,
}

/// A check and every answer to it.
struct Check {
    timing: Timing,
    answers: Vec<bool>,
    health: Health,
    /// What its last good answer said.
    weight: Option<u32>,
}

impl Check {
    fn new(timing: &Timing, known: Option<Health>) -> Self {
        let health = match (known, timing.initial) {
            (Some(Health::Up), _) | (Some(Health::Waiting) | None, Initial::Up) => Health::Up,
            (Some(Health::Down), _) | (Some(Health::Waiting) | None, Initial::Down) => Health::Down,
            (Some(Health::Waiting) | None, Initial::Wait) => Health::Waiting,
        };
        Self { timing: *timing, answers: Vec::new(), health, weight: None }
    }

    /// "`rise`, `fall`: successes, failures in a row that change its state"; "`wait`: that answer
    /// decides alone".
    fn hear(&mut self, good: bool, weight: Option<u32>) {
        self.answers.push(good);
        if good {
            self.weight = weight;
        }
        let needed = match (self.health, good) {
            (Health::Waiting, _) => 1,
            (_, true) => self.timing.rise,
            (_, false) => self.timing.fall,
        };
        if self.row(good) >= needed as usize {
            self.health = if good { Health::Up } else { Health::Down };
        }
    }

    /// How many of the last answers were so, in a row.
    fn row(&self, good: bool) -> usize {
        self.answers.iter().rev().take_while(|answer| **answer == good).count()
    }

    /// "`retry` while its state is changing".
    fn next(&self) -> Duration {
        let as_it_is = self.answers.last() == Some(&(self.health == Health::Up));
        if as_it_is { self.timing.interval } else { self.timing.retry }
    }
}

impl Server {
    pub(crate) fn new(plan: &Plan, known: Option<Health>, now: Duration) -> Self {
        let Plan { tier, weight, require, damping, .. } = *plan;
        let mut server = Self {
            tier,
            weight,
            drained: false,
            require,
            damping,
            checks: plan.checks.iter().map(|timing| Check::new(timing, known)).collect(),
            downs: Vec::new(),
            up_since: None,
            held: false,
        };
        server.up_since = (server.checked() == Health::Up).then_some(now);
        server
    }

    /// "`require`: all, any, or how many must be up". It waits while what is not known could
    /// make it either.
    fn checked(&self) -> Health {
        let needed = match self.require {
            Require::All => self.checks.len(),
            Require::Any => self.checks.len().min(1),
            Require::AtLeast(count) => self.checks.len().min(count as usize),
        };
        let so = |waiting: bool| {
            let up = self.checks.iter().filter(|check| match check.health {
                Health::Up => true,
                Health::Down => false,
                Health::Waiting => waiting,
            });
            up.count() >= needed
        };
        match (so(false), so(true)) {
            (true, _) => Health::Up,
            (false, false) => Health::Down,
            (false, true) => Health::Waiting,
        }
    }

    /// "`damping`: more often down, and it stays down until it was well for so long".
    fn health(&self) -> Health {
        if self.held { Health::Down } else { self.checked() }
    }

    fn weight_by_checks(&self) -> Option<u32> {
        let up = self.checks.iter().filter(|check| check.health == Health::Up);
        up.filter_map(|check| check.weight).reduce(|sum, weight| sum + weight)
    }

    /// What is told of it.
    pub(crate) fn told(&self) -> (Health, Option<u32>) {
        (self.health(), self.weight_by_checks())
    }

    /// Takes an answer; what is told if that changed it.
    pub(crate) fn hear(
        &mut self,
        check: usize,
        (good, weight): (bool, Option<u32>),
        now: Duration,
    ) -> Option<(Health, Option<u32>)> {
        let (told, before) = (self.told(), self.checked());
        self.checks[check].hear(good, weight);
        match (before, self.checked()) {
            (Health::Up, Health::Up) => {}
            (_, Health::Up) => self.up_since = Some(now),
            (Health::Down, _) | (_, Health::Waiting) => {}
            (_, Health::Down) => {
                self.up_since = None;
                self.downs.push(now);
                self.damp(now);
            }
        }
        let well =
            |since: Duration| self.damping.is_some_and(|damping| now - since >= damping.hold);
        if self.held && self.up_since.is_some_and(well) {
            self.held = false;
            self.downs.clear();
        }
        (told != self.told()).then(|| self.told())
    }

    fn damp(&mut self, now: Duration) {
        let Some(damping) = self.damping else { return };
        let lately = self.downs.iter().filter(|down| now - **down <= damping.within).count();
        if lately > damping.changes as usize {
            self.held = true;
        }
    }
}

impl Reference {
    pub(crate) fn new(story: &Story) -> Self {
        let there = |plan: &Plan| Some(Server::new(plan, plan.known, Duration::ZERO));
        Self {
            policy: story.policy,
            plans: story.servers.clone(),
            now: Duration::ZERO,
            servers: story.servers.iter().map(there).collect(),
            begun: false,
            quorum: true,
            in_use_last: BTreeSet::new(),
        }
    }

    pub(crate) fn play(&mut self, event: &Event) -> View {
        let mut view = View::default();
        match *event {
            Event::Answer { server, check, good, weight } => {
                if let Some(server) = &mut self.servers[server] {
                    view.told = server.hear(check, (good, weight), self.now);
                    view.next = Some(server.checks[check].next());
                }
            }
            Event::Pass(time) => self.now += time,
            Event::Drain(server, drained) => {
                self.servers[server].iter_mut().for_each(|server| server.drained = drained);
            }
            Event::Weigh(server, weight) => {
                self.servers[server].iter_mut().for_each(|server| server.weight = weight);
            }
            Event::Remove(server) => self.servers[server] = None,
            Event::Restore(server, known) => {
                let (plan, now) = (&self.plans[server], self.now);
                self.servers[server].get_or_insert_with(|| Server::new(plan, known, now));
            }
        }
        self.decide(&mut view);
        view.servers = self.there().map(|(place, server)| shown(place, server)).collect();
        view
    }

    fn there(&self) -> impl Iterator<Item = (usize, &Server)> {
        let places = self.servers.iter().enumerate();
        places.filter_map(|(place, server)| Some((place, server.as_ref()?)))
    }

    /// "Quorum counts the configured weight of up, undrained servers in the tiers in use": in all
    /// down to this one.
    fn weight_down_to(&self, tier: u32) -> u64 {
        let counts = |server: &Server| {
            server.tier <= tier && server.health() == Health::Up && !server.drained
        };
        let counting = self.there().filter(|(_, server)| counts(server));
        counting.map(|(_, server)| u64::from(server.weight)).sum()
    }

    /// "Tiers fill first; below quorum the sorry server; the all-down policy only at none up and no
    /// sorry server".
    fn decide(&mut self, view: &mut View) {
        let Policy { quorum, hysteresis, all_down, sorry } = self.policy;
        let answered = self.there().all(|(_, server)| server.health() != Health::Waiting);
        self.begun |= answered;
        let all = self.weight_down_to(u32::MAX);
        // "Gained at quorum + hysteresis, lost below quorum - hysteresis", and never without any.
        self.quorum = if self.begun {
            let needed = if self.quorum { quorum - hysteresis } else { quorum + hysteresis };
            all >= needed
        } else {
            true
        };
        // "Lower ones serve only while those above lack the quorum": what keeps it, or, if it is
        // lost, what would regain it.
        let filled = if self.quorum { quorum } else { quorum + hysteresis };
        let serves = |server: &Server| {
            let above = server.tier.checked_sub(1).map(|tier| self.weight_down_to(tier));
            server.health() == Health::Up && above.is_none_or(|weight| weight < filled)
        };
        let counts = |server: &Server| if server.drained { 0 } else { u64::from(server.weight) };
        let there = self.there().filter(|(_, server)| serves(server));
        view.weight = there.map(|(_, server)| counts(server)).sum();
        let serving: BTreeSet<usize> =
            self.there().filter(|(_, server)| serves(server)).map(|(place, _)| place).collect();
        let any_up = self.there().any(|(_, server)| server.health() == Health::Up);
        (view.quorum, view.steady) = (self.quorum, true);
        let uses: BTreeSet<usize> = if !self.quorum && sorry {
            view.sorry = true;
            BTreeSet::new()
        } else if any_up || !self.begun {
            serving
        } else {
            let there = self.there().map(|(place, _)| place);
            match all_down {
                AllDown::Refuse => BTreeSet::new(),
                AllDown::KeepLast => {
                    there.filter(|place| self.in_use_last.contains(place)).collect()
                }
                AllDown::AllUp => there.collect(),
            }
        };
        if any_up && !uses.is_empty() {
            self.in_use_last.clone_from(&uses);
        }
        view.uses = uses.into_iter().collect();
    }
}

fn shown(server: usize, known: &Server) -> Shown {
    let checks = known.checks.iter().map(|check| check.health).collect();
    Shown { server, health: known.health(), held: known.held, checks }
}
