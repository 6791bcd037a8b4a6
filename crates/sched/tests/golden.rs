//! The picks of Debian's 6.1 kernel: servers 11, 12, 13 added in that order with the weights
//! given, then connections from new clients. `X` is "no destination".

use sched::{Candidate, Change, Kind, Scheduler};

/// A service as the kernel keeps it: newest server first.
struct Service {
    scheduler: Scheduler,
    servers: Vec<Candidate>,
}

impl Service {
    fn new(kind: Kind, weights: &[u32]) -> Self {
        let mut service = Self { scheduler: Scheduler::new(kind, &[]), servers: Vec::new() };
        for (id, &weight) in (11..).zip(weights) {
            service.add(id, weight);
        }
        service
    }

    fn add(&mut self, id: u32, weight: u32) {
        self.servers.insert(0, Candidate { id, weight, available: true });
        self.scheduler.changed(&self.servers, Change::Added(0));
    }

    fn at(&self, id: u32) -> usize {
        self.servers.iter().position(|server| server.id == id).expect("no such server")
    }

    fn delete(&mut self, id: u32) {
        let at = self.at(id);
        self.servers.remove(at);
        self.scheduler.changed(&self.servers, Change::Removed(at));
    }

    fn edit(&mut self, id: u32, weight: u32) {
        let at = self.at(id);
        self.servers[at].weight = weight;
        self.scheduler.changed(&self.servers, Change::Edited(at));
    }

    fn available(&mut self, id: u32, available: bool) {
        let at = self.at(id);
        self.servers[at].available = available;
    }

    /// Picks as often as `expected` has words, and compares.
    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let words: Vec<&str> = expected.split_whitespace().filter(|word| *word != "|").collect();
        let picks: Vec<String> = words
            .iter()
            .map(|_| match self.scheduler.pick(&self.servers) {
                Some(at) => self.servers[at].id.to_string(),
                None => "X".to_owned(),
            })
            .collect();
        assert_eq!(picks.join(" "), words.join(" "));
    }
}

#[test]
fn fresh_services() {
    let cases: [(Kind, &[u32], &str); 10] = [
        (Kind::Rr, &[1, 1, 1], "13 12 11 13 12 11 13"),
        (Kind::Rr, &[1, 0, 1], "13 11 13 11"),
        (Kind::Rr, &[0, 0], "X X"),
        (Kind::Wrr, &[1, 2, 4], "13 12 11 | 13 13 13 12 13 12 11 | 13 13 13 12 13 12 11"),
        (Kind::Wrr, &[4, 3, 2], "13 12 11 | 11 12 11 13 12 11 | 13 12 11"),
        (Kind::Wrr, &[5, 1, 1], "13 12 11 11 11 11 11 13 12 11"),
        (Kind::Wrr, &[10, 20, 30], "13 12 11 13 13 12 13 12 11 13 13 12 13 12"),
        (Kind::Wrr, &[7, 3], "12 11 11 11 11 11 12 11 12 11 12 11 11 11 11 11"),
        (Kind::Wrr, &[0, 2, 1], "13 12 12 13 12 12"),
        (Kind::Wrr, &[0, 0], "X X"),
    ];
    for (kind, weights, picks) in cases {
        Service::new(kind, weights).expect(picks);
        // The same in one step.
        let mut grown = Service::new(kind, weights);
        grown.scheduler = Scheduler::grown(kind, &grown.servers);
        grown.expect(picks);
    }
}

#[test]
fn rr_keeps_its_place() {
    let mut service = Service::new(Kind::Rr, &[1, 1, 1, 1]);
    service.expect("14 13 12 11 14 13");
    service.delete(13);
    service.expect("12 11 14 12 11");
    service.add(15, 1);
    service.expect("15 14 12 11 15 14");
}

#[test]
fn wrr_starts_a_pass_at_each_change() {
    let mut service = Service::new(Kind::Wrr, &[1, 2, 4]);
    service.expect("13 12 11 | 13 13 13 12 13 12 11 | 13 13 13 12 13 12 11");
    service.edit(11, 4);
    service.expect("13 12 11 13 11 | 13 12 11");
    service.edit(13, 0);
    service.expect("12 11 11 12 11 11");
}

/// Not from the kernel: what ours adds.
#[test]
fn a_clean_start_has_no_warm_up() {
    let servers =
        [(11, 1), (12, 2), (13, 4)].map(|(id, weight)| Candidate { id, weight, available: true });
    let mut service =
        Service { scheduler: Scheduler::new(Kind::Wrr, &servers), servers: servers.to_vec() };
    service.expect("13 13 12 13 11 12 13 | 13 13 12 13 11 12 13");
}

#[test]
fn unavailable_servers_are_passed_over() {
    for kind in [Kind::Rr, Kind::Wrr] {
        let mut service = Service::new(kind, &[1, 1, 1]);
        service.expect("13");
        service.available(12, false);
        service.expect("11 13 11");
        service.available(11, false);
        service.available(13, false);
        service.expect("X X");
        service.available(12, true);
        service.expect("12 12");
    }
    let mut service = Service::new(Kind::Wrr, &[1, 65535]);
    service.available(12, false);
    service.expect("11 11 11");
}
