//! wrr against the kernel's search done step by step, over random lists and changes: ours
//! leaves out the passes that nobody reaches and must still stand where the kernel does.

use sched::{Candidate, Change, Kind, Load, Scheduler};

use crate::{
    random::Random,
    service::{REQUEST, server},
};

/// The walk in its plain form: `at` is 0 for the list head, else 1 + a position.
#[derive(Default)]
struct Walk {
    at: usize,
    weight: i64,
    highest: i64,
    step: i64,
}

impl Walk {
    fn changed(&mut self, servers: &[Candidate]) {
        let weights: Vec<i64> =
            servers.iter().map(|s| s.weight.into()).filter(|&w| w > 0).collect();
        let most = weights.iter().copied().max().unwrap_or(0);
        let divides_all = |d: &i64| weights.iter().all(|weight| weight % d == 0);
        self.step = (1..=most).rev().find(divides_all).unwrap_or(1);
        self.highest = most - (self.step - 1);
        self.at = 0;
        if self.weight > self.highest || self.weight == 0 {
            self.weight = self.highest;
        } else if self.step > 1 {
            self.weight = self.weight / self.step * self.step + 1;
        }
    }

    fn pick(&mut self, servers: &[Candidate]) -> Option<usize> {
        if self.highest == 0 {
            return None;
        }
        let from = self.at;
        let mut position = from;
        let (mut lowest, mut again, mut stop) = (false, false, None);
        loop {
            while position < servers.len() {
                let server = &servers[position];
                position += 1;
                if server.up && i64::from(server.weight) >= self.weight {
                    self.at = position;
                    return Some(position - 1);
                }
                if Some(position) == stop {
                    self.at = position;
                    return None;
                }
            }
            position = 0;
            self.weight -= self.step;
            if self.weight <= 0 {
                self.weight = self.highest;
                if lowest || from == 0 {
                    self.at = 0;
                    return None;
                }
                again = true;
            }
            lowest = self.weight <= self.step;
            if lowest && again && from != 0 {
                stop = Some(from);
            }
        }
    }
}

#[test]
fn same_picks_and_same_places() {
    for seed in 1..=2000 {
        let mut random = Random(seed);
        let mut servers: Vec<Candidate> = Vec::new();
        let mut ours = Scheduler::new(Kind::Wrr.into(), &servers);
        let mut walk = Walk::default();
        walk.changed(&servers);
        let unit = 1 + random.below(5);
        for step in 0..300 {
            let weight = (random.below(6) * unit) as u32;
            match random.below(12) {
                0 if servers.len() < 6 => {
                    let at = random.below(servers.len() + 1);
                    servers.insert(at, server(step, weight));
                    ours.changed(&servers, Change::Added(at));
                    walk.changed(&servers);
                }
                1 if !servers.is_empty() && random.below(2) == 0 => {
                    let at = random.below(servers.len());
                    servers.remove(at);
                    ours.changed(&servers, Change::Removed(at));
                    walk.changed(&servers);
                }
                2 if !servers.is_empty() => {
                    let at = random.below(servers.len());
                    servers[at].weight = weight;
                    ours.changed(&servers, Change::Edited(at));
                    walk.changed(&servers);
                }
                3 | 4 if !servers.is_empty() => {
                    let at = random.below(servers.len());
                    servers[at].up = !servers[at].up;
                }
                _ => {
                    let expected = walk.pick(&servers);
                    assert_eq!(
                        ours.pick(&servers, &REQUEST, &|_| Load::default()),
                        expected,
                        "seed {seed} step {step}"
                    );
                }
            }
        }
    }
}
