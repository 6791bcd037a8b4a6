//! lblc and lblcr: what they remember, and when they forget it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use sched::{Candidate, Kind, Load, Plan};

use crate::{random::Random, service::Service};

const BOTH: [Kind; 2] = [Kind::Lblc, Kind::Lblcr];

fn destination(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a09_0000 + number).into()
}

fn at(service: &mut Service, to: u32) -> Option<u32> {
    service.request.destination = destination(to);
    service.connect()
}

/// A service where every new destination goes to another server than the one before.
fn caches(kind: Kind, destinations: u32, expiration: u32) -> Service {
    Service::new(Plan { destinations, expiration, ..Plan::new(kind) }, &[1000; 3])
}

#[test]
fn a_destination_stays_with_its_server() {
    for kind in BOTH {
        let mut service = caches(kind, 100, 86_400);
        let homes: Vec<_> = (0..60).map(|to| at(&mut service, to)).collect();
        for _ in 0..3 {
            for (to, home) in (0..).zip(&homes) {
                assert_eq!(at(&mut service, to), *home, "{kind:?}");
            }
        }
    }
}

#[test]
fn a_destination_is_forgotten_after_its_time() {
    for kind in BOTH {
        for (passed, kept) in [(99, true), (100, false)] {
            let mut service = caches(kind, 16, 100);
            assert_eq!(at(&mut service, 1), Some(13));
            service.request.now = passed;
            assert_eq!(at(&mut service, 1), Some(if kept { 13 } else { 12 }), "{kind:?}");
            // Each use starts the time anew.
            service.request.now = passed * 2;
            assert_eq!(at(&mut service, 1), Some(if kept { 13 } else { 11 }), "{kind:?}");
        }
    }
}

/// The table never grows. A new destination takes the place of the one idle the longest.
#[test]
fn the_longest_idle_destination_makes_room() {
    for kind in BOTH {
        let mut service = caches(kind, 3, 86_400);
        for (now, to, server) in
            [(0, 1, 13), (10, 2, 12), (20, 3, 11), (30, 1, 13), (40, 4, 12), (50, 1, 13)]
        {
            service.request.now = now;
            assert_eq!(at(&mut service, to), Some(server), "{kind:?} {to}");
        }
        // 2 had to go; the loads are 13: 3, 12: 2, 11: 1 now, so as a new one it goes to 11.
        assert_eq!(at(&mut service, 2), Some(11), "{kind:?}");
    }
}

/// Without room for any destination both are wlc.
#[test]
fn no_room_at_all() {
    for kind in BOTH {
        let mut service = caches(kind, 0, 86_400);
        service.expect("13 12 11 13 12 11");
    }
}

/// A removed server leaves the memory at once: another one that gets its id is a stranger.
#[test]
fn a_removed_server_is_forgotten() {
    for kind in BOTH {
        let mut service = caches(kind, 16, 86_400);
        assert_eq!(at(&mut service, 1), Some(13));
        service.delete(13);
        service.add(13, 1000);
        // 13 has a connection already, so a new destination goes to 12.
        assert_eq!(at(&mut service, 1), Some(12), "{kind:?}");
        service.delete(11);
        assert_eq!(at(&mut service, 1), Some(12), "{kind:?}");
    }
}

/// A.7: past its threshold lblc's server keeps its destinations, lblcr's does not.
#[test]
fn thresholds() {
    for (kind, second) in [(Kind::Lblc, 13), (Kind::Lblcr, 12)] {
        let mut service = caches(kind, 16, 86_400);
        service.thresholds.insert(13, (1, 0));
        assert_eq!(at(&mut service, 1), Some(13));
        assert_eq!(at(&mut service, 1), Some(second), "{kind:?}");
    }
}

/// lblcr: a set that has not changed for the expiration time loses its most loaded server.
#[test]
fn sets_shrink() {
    let mut service = Service::new(Plan { expiration: 100, ..Kind::Lblcr.into() }, &[2, 2, 6]);
    service.expect("13 13 13 13 13 13 13 12 12 12 11 11");
    // The set is 11, 12, 13; nobody is crowded, since nobody is half idle.
    service.request.now = 60;
    service.expect("11 13 13");
    // All have one and a half times their weight, so the first of the set serves.
    service.request.now = 100;
    service.expect("11");
    // After 100 s without change the most loaded one goes: 11, with twice its weight.
    service.request.now = 101;
    service.expect("12");
    // At half its weight it would serve, if it were in the set still.
    service.loads.insert(11, Load { active: 1, ..Load::default() });
    service.expect("13");
}

/// Both beside a plain model with maps and lists, over random changes.
#[derive(Default)]
struct Model {
    replicates: bool,
    expiration: u32,
    known: HashMap<IpAddr, Set>,
}

#[derive(Default)]
struct Set {
    ids: Vec<u32>,
    changed: u32,
    used: u32,
}

impl Model {
    fn pick(&mut self, service: &Service) -> Option<u32> {
        let (servers, now) = (&service.servers, service.request.now);
        let load = |id: u32| service.loads.get(&id).copied().unwrap_or_default();
        let weight = |s: &Candidate| if s.drained || !s.up { 0 } else { s.weight };
        let ratio = |s: &Candidate| {
            let load = load(s.id);
            f64::from(load.active * 257 + load.inactive) / f64::from(weight(s))
        };
        let takes = |s: &&Candidate| weight(s) > 0 && !load(s.id).overloaded;
        let least = |ids: &mut dyn Iterator<Item = &Candidate>| {
            ids.filter(takes).reduce(|a, b| if ratio(a) > ratio(b) { b } else { a }).map(|s| s.id)
        };
        let find = |id: u32| servers.iter().find(|s| s.id == id).expect("a server");
        let crowded = |id: u32| {
            load(id).active > find(id).weight
                && servers.iter().any(|s| 2 * load(s.id).active < weight(s))
        };
        let to = service.request.destination;
        if self.known.get(&to).is_some_and(|set| now - set.used >= self.expiration) {
            self.known.remove(&to);
        }
        let Some(set) = self.known.get_mut(&to) else {
            let id = least(&mut servers.iter())?;
            self.known.insert(to, Set { ids: vec![id], changed: now, used: now });
            return Some(id);
        };
        set.used = now;
        let kept = if self.replicates {
            least(&mut set.ids.iter().map(|id| find(*id)))
        } else {
            set.ids.first().copied().filter(|id| weight(find(*id)) > 0)
        };
        if set.ids.len() > 1 && now - set.changed > self.expiration {
            let heavy = |id: &u32| find(*id).weight > 0 && !find(*id).drained;
            let raw = |id: u32| {
                let load = load(id);
                f64::from(load.active * 257 + load.inactive) / f64::from(find(id).weight)
            };
            let some = set.ids.iter().copied().filter(heavy);
            if let Some(most) = some.reduce(|a, b| if raw(b) > raw(a) { b } else { a }) {
                set.ids.retain(|id| *id != most);
                set.changed = now;
            }
        }
        if let Some(id) = kept.filter(|id| !crowded(*id)) {
            return Some(id);
        }
        let id = least(&mut servers.iter())?;
        if !self.replicates {
            set.ids = vec![id];
        } else if !set.ids.contains(&id) {
            set.ids.insert(0, id);
            set.changed = now;
        }
        Some(id)
    }

    fn forget(&mut self, id: u32) {
        for set in self.known.values_mut() {
            set.ids.retain(|known| *known != id);
        }
        self.known.retain(|_, set| !set.ids.is_empty());
    }
}

#[test]
fn same_picks_as_a_plain_model() {
    for seed in 1..=200 {
        for kind in BOTH {
            let mut random = Random(seed);
            let expiration = 50;
            let plan = Plan { expiration, ..Plan::new(kind) };
            let mut service = Service::new(plan, &[2, 5, 1, 3]);
            let replicates = kind == Kind::Lblcr;
            let mut model = Model { replicates, expiration, ..Model::default() };
            for step in 0..400 {
                disturb(&mut random, &mut service, &mut model);
                service.request.destination = destination(random.below(12) as u32);
                let expected = model.pick(&service);
                assert_eq!(service.connect(), expected, "{kind:?} seed {seed} step {step}");
            }
        }
    }
}

fn disturb(random: &mut Random, service: &mut Service, model: &mut Model) {
    let id = 11 + random.below(4) as u32;
    match random.below(12) {
        0 => {
            service.delete(id);
            model.forget(id);
            service.add(id, random.below(6) as u32);
        }
        1 => service.weigh(id, random.below(6) as u32),
        2 => service.edit(id, |server| server.drained = !server.drained),
        3 => {
            let up = service.servers.iter().any(|server| server.id == id && !server.up);
            service.up(id, up);
        }
        4 => {
            let load = service.loads.entry(id).or_default();
            load.overloaded = !load.overloaded;
        }
        5..=7 => {
            service.loads.insert(id, Load::default());
        }
        8 => service.request.now += random.below(60) as u32,
        _ => {}
    }
}
