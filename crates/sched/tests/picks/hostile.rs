//! Whatever happens to a service, no pick panics, allocates or gives a server that takes no
//! connections.

use sched::{Candidate, Change, Kind, Load, Plan, Request, Scheduler};

use crate::{
    random::Random,
    service::{REQUEST, Service, server},
};

/// A service whose servers and loads change at random.
struct Turmoil {
    random: Random,
    plan: Plan,
    scheduler: Scheduler,
    servers: Vec<Candidate>,
    /// By id.
    loads: [Load; 16],
    now: u32,
}

impl Turmoil {
    fn new(seed: u64, kind: Kind) -> Self {
        let mut random = Random(seed);
        let mut plan = Plan::new(kind);
        plan.port = random.below(2) == 0;
        plan.fallback = random.below(2) == 0;
        plan.destinations = [0, 1, 5, 40][random.below(4)];
        plan.expiration = [0, 5, 1000][random.below(3)];
        let servers: Vec<Candidate> = (0..random.below(5) as u32).map(|id| server(id, 1)).collect();
        let scheduler = if random.below(2) == 0 {
            Scheduler::new(plan, &servers)
        } else {
            Scheduler::grown(plan, &servers)
        };
        Self { random, plan, scheduler, servers, loads: [Load::default(); 16], now: 0 }
    }

    fn weight(&mut self) -> u32 {
        [0, 1, 2, 3, 7, 100, 65_535, u32::MAX][self.random.below(8)]
    }

    /// One thing happens to a server or to the list.
    fn upset(&mut self) {
        let weight = self.weight();
        let dice = self.random.below(16);
        if dice == 0 {
            let free = (0..16).find(|id| self.servers.iter().all(|server| server.id != *id));
            let Some(id) = free else { return };
            let at = self.random.below(self.servers.len() + 1);
            self.servers.insert(at, server(id, weight));
            self.scheduler.changed(&self.servers, Change::Added(at));
            return;
        }
        if self.servers.is_empty() {
            return;
        }
        let at = self.random.below(self.servers.len());
        let candidate = &mut self.servers[at];
        let load = &mut self.loads[candidate.id as usize];
        match dice {
            1 => {
                self.servers.remove(at);
                self.scheduler.changed(&self.servers, Change::Removed(at));
            }
            2 | 3 => {
                candidate.weight = weight;
                self.scheduler.changed(&self.servers, Change::Edited(at));
            }
            4 => {
                candidate.drained = !candidate.drained;
                self.scheduler.changed(&self.servers, Change::Edited(at));
            }
            5..=7 => candidate.up = !candidate.up,
            8 | 9 => candidate.share = self.random.below(300) as u16,
            10 | 11 => load.overloaded = !load.overloaded,
            12 => *load = Load { active: u32::MAX, inactive: u32::MAX, ..*load },
            13 => *load = Load::default(),
            _ => self.now += self.random.below(400) as u32,
        }
    }

    /// One connection, to one of eight destinations or to any.
    fn connect(&mut self) {
        let mut request = Request { now: self.now, ..self.random.request() };
        if self.random.below(2) == 0 {
            request.destination = std::net::Ipv6Addr::from(self.random.below(8) as u128).into();
        }
        let loads = |id: u32| self.loads[id as usize];
        let picked = self.scheduler.pick(&self.servers, &request, &loads);
        let plan = self.plan;
        let takes = |server: &Candidate| {
            let kept = plan.kind == Kind::Lblc || !loads(server.id).overloaded;
            server.up && server.weight > 0 && !server.drained && kept
        };
        let Some(at) = picked else {
            let partial = [Kind::Dh, Kind::Sh, Kind::Mh, Kind::Ovf].contains(&plan.kind);
            let open = |server: &&Candidate| takes(server) && !loads(server.id).overloaded;
            assert!(partial || !self.servers.iter().any(|s| open(&s)), "{plan:?}");
            return;
        };
        let server = self.servers[at];
        assert!(takes(&server), "{plan:?} {server:?}");
        let load = &mut self.loads[server.id as usize];
        load.active = load.active.saturating_add(1);
    }
}

#[test]
fn nothing_picks_a_server_that_takes_no_connections() {
    for kind in Kind::ALL {
        for seed in 1..=150 {
            let mut turmoil = Turmoil::new(seed, kind);
            for _ in 0..400 {
                if turmoil.random.below(3) == 0 {
                    turmoil.upset();
                }
                turmoil.connect();
            }
        }
    }
}

#[test]
fn picks_allocate_nothing() {
    for kind in Kind::ALL {
        let mut turmoil = Turmoil::new(7, kind);
        for id in 10..14 {
            turmoil.servers.insert(0, server(id, 100));
            turmoil.scheduler.changed(&turmoil.servers, Change::Added(0));
        }
        turmoil.scheduler.settle(&turmoil.servers);
        let allocations = allocation_counter::measure(|| {
            for _ in 0..2000 {
                turmoil.now += 1;
                turmoil.connect();
            }
        });
        assert_eq!(allocations.count_total, 0, "{kind:?}");
    }
}

/// Every name leads back to its kind, and a service can be built step by step or at once.
#[test]
fn names() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        assert_eq!(Scheduler::new(kind.into(), &[]).plan(), Plan::from(kind));
    }
    assert_eq!(Kind::from_name("conhash"), None);
    assert_eq!(Plan::default(), Plan::new(Kind::Wlc));
}

/// Loads are other cores' memory: the schedulers that do not need them leave them alone.
#[test]
fn loads_are_asked_for_only_where_needed() {
    let cases = [
        (Kind::Rr, 1),
        (Kind::Wrr, 1),
        (Kind::Fo, 1),
        (Kind::Dh, 1),
        (Kind::Sh, 1),
        (Kind::Mh, 1),
        (Kind::Nq, 1),
        (Kind::Lc, 10),
        (Kind::Wlc, 10),
        (Kind::Sed, 10),
        (Kind::Ovf, 1),
    ];
    for (kind, expected) in cases {
        let mut service = Service::new(kind, &[3; 10]);
        let asked = std::cell::Cell::new(0);
        let loads = |_| {
            asked.set(asked.get() + 1);
            Load::default()
        };
        service.scheduler.pick(&service.servers, &REQUEST, &loads);
        assert_eq!(asked.get(), expected, "{kind:?}");
    }
}
