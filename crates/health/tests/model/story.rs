//! Stories: a service, its servers, and what happens to them, from a seed.

use std::time::Duration;

use health::{
    check::{Initial, Require, Timing},
    event::Health,
    member::Damping,
    pool::{AllDown, Policy},
};

use crate::chance::Chance;

/// A service and what happens.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) policy: Policy,
    pub(crate) servers: Vec<Plan>,
    pub(crate) events: Vec<Event>,
}

/// A server as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tier: u32,
    pub(crate) weight: u32,
    pub(crate) require: Require,
    pub(crate) damping: Option<Damping>,
    pub(crate) checks: Vec<Timing>,
    pub(crate) known: Option<Health>,
}

/// Something that happens; servers and checks by their place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// An answer to a server's check; a good one may give a weight.
    Answer { server: usize, check: usize, good: bool, weight: Option<u32> },
    /// Time goes by.
    Pass(Duration),
    /// The operator drains a server, or ends that.
    Drain(usize, bool),
    /// The operator gives it a weight.
    Weigh(usize, u32),
    /// A reload leaves it out.
    Remove(usize),
    /// A reload has it again, and this is known of it.
    Restore(usize, Option<Health>),
}

/// What must be the same after an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Servers that are there, with their checks.
    pub(crate) servers: Vec<Shown>,
    /// The health and the weight that are told, if the event changed one.
    pub(crate) told: Option<(Health, Option<u32>)>,
    /// After what time the check that was answered is asked again.
    pub(crate) next: Option<Duration>,
    /// Who may get new connections.
    pub(crate) uses: Vec<usize>,
    /// The sorry server takes them.
    pub(crate) sorry: bool,
    /// The service has its quorum.
    pub(crate) quorum: bool,
    /// What counts for it: the weight of up, undrained servers in the tiers in use.
    pub(crate) weight: u64,
    /// Deciding once more gives the same.
    pub(crate) steady: bool,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) server: usize,
    pub(crate) health: Health,
    pub(crate) held: bool,
    pub(crate) checks: Vec<Health>,
}

impl Story {
    /// The story of a seed.
    pub(crate) fn new(seed: u64, events: usize) -> Self {
        let mut chance = Chance::new(seed);
        let tiers = 1 + chance.below(3);
        let servers: Vec<Plan> =
            (0..1 + chance.below(6)).map(|_| plan(&mut chance, tiers)).collect();
        let policy = policy(&mut chance, servers.iter().map(|plan| plan.weight).sum());
        // How likely an answer is good; now and then that of a server is another one.
        let mut moods = vec![90; servers.len()];
        let mut events_told = Vec::with_capacity(events);
        for _ in 0..events {
            if chance.of(4) {
                moods[chance.below(servers.len())] = [2, 50, 98][chance.below(3)];
            }
            events_told.push(event(&mut chance, &servers, &moods));
        }
        Self { policy, servers, events: events_told }
    }
}

fn policy(chance: &mut Chance, total: u32) -> Policy {
    let quorum = 1 + chance.below(total.max(1) as usize) as u64;
    let all_down = [AllDown::Refuse, AllDown::KeepLast, AllDown::AllUp][chance.below(3)];
    let hysteresis = chance.below(quorum as usize) as u64;
    Policy { quorum, hysteresis, all_down, sorry: chance.of(40) }
}

fn plan(chance: &mut Chance, tiers: usize) -> Plan {
    let require = [Require::All, Require::Any, Require::AtLeast(chance.below(4) as u32)];
    let damping = Damping {
        changes: chance.below(4) as u32,
        within: Duration::from_secs(1 + chance.below(120) as u64),
        hold: Duration::from_secs(1 + chance.below(60) as u64),
    };
    Plan {
        tier: chance.below(tiers) as u32,
        weight: chance.below(5) as u32,
        require: require[chance.below(3)],
        damping: chance.of(50).then_some(damping),
        checks: (0..chance.below(4)).map(|_| timing(chance)).collect(),
        known: known(chance),
    }
}

fn timing(chance: &mut Chance) -> Timing {
    Timing {
        interval: Duration::from_secs(2),
        retry: Duration::from_secs(1),
        rise: 1 + chance.below(4) as u32,
        fall: 1 + chance.below(4) as u32,
        spread: Duration::ZERO,
        initial: [Initial::Wait, Initial::Up, Initial::Down][chance.below(3)],
    }
}

fn known(chance: &mut Chance) -> Option<Health> {
    [None, None, Some(Health::Waiting), Some(Health::Up), Some(Health::Down)][chance.below(5)]
}

fn event(chance: &mut Chance, servers: &[Plan], moods: &[usize]) -> Event {
    // The first ones have more to tell: some others still wait for their first answer then.
    let server = chance.below(servers.len()).min(chance.below(servers.len()));
    let checks = servers[server].checks.len();
    match chance.below(100) {
        0..85 if checks > 0 => Event::Answer {
            server,
            check: chance.below(checks),
            good: chance.of(moods[server]),
            weight: chance.of(10).then(|| chance.below(9) as u32),
        },
        0..95 => Event::Pass(Duration::from_secs(chance.below(20) as u64)),
        95 => Event::Drain(server, true),
        96 => Event::Drain(server, false),
        97 => Event::Weigh(server, chance.below(5) as u32),
        98 => Event::Remove(server),
        _ => Event::Restore(server, known(chance)),
    }
}
