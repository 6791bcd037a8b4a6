//! A service as the kernel keeps it, newest server first, with connections that stay
//! half-open: each pick is one more active connection of its server.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use sched::{Candidate, Change, Kind, Load, Plan, Request, Scheduler};

/// The service's address in most tests.
pub(crate) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));

/// A connection of some client.
pub(crate) const REQUEST: Request = Request {
    client: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    client_port: 20_000,
    destination: VIP,
    now: 0,
    random: 0,
};

pub(crate) struct Service {
    pub(crate) scheduler: Scheduler,
    pub(crate) servers: Vec<Candidate>,
    pub(crate) loads: HashMap<u32, Load>,
    /// Upper and lower threshold of a server.
    pub(crate) thresholds: HashMap<u32, (u32, u32)>,
    /// What the next connection is like.
    pub(crate) request: Request,
}

impl Service {
    /// Servers 11, 12, ... added in that order, all at once.
    pub(crate) fn new(plan: impl Into<Plan>, weights: &[u32]) -> Self {
        let plan = plan.into();
        let mut service = Self::one_by_one(plan, weights);
        service.scheduler = Scheduler::grown(plan, &service.servers);
        service
    }

    /// The same by one change after the other.
    pub(crate) fn one_by_one(plan: impl Into<Plan>, weights: &[u32]) -> Self {
        let mut service = Self {
            scheduler: Scheduler::new(plan.into(), &[]),
            servers: Vec::new(),
            loads: HashMap::new(),
            thresholds: HashMap::new(),
            request: REQUEST,
        };
        for (id, &weight) in (11..).zip(weights) {
            service.add(id, weight);
        }
        service
    }

    pub(crate) fn add(&mut self, id: u32, weight: u32) {
        self.servers.insert(0, server(id, weight));
        self.scheduler.changed(&self.servers, Change::Added(0));
    }

    pub(crate) fn delete(&mut self, id: u32) {
        let at = self.at(id);
        self.servers.remove(at);
        self.scheduler.changed(&self.servers, Change::Removed(at));
    }

    pub(crate) fn edit(&mut self, id: u32, edit: impl FnOnce(&mut Candidate)) {
        let at = self.at(id);
        edit(&mut self.servers[at]);
        self.scheduler.changed(&self.servers, Change::Edited(at));
    }

    pub(crate) fn weigh(&mut self, id: u32, weight: u32) {
        self.edit(id, |server| server.weight = weight);
    }

    /// Health, which nobody tells the scheduler.
    pub(crate) fn up(&mut self, id: u32, up: bool) {
        let at = self.at(id);
        self.servers[at].up = up;
    }

    fn at(&self, id: u32) -> usize {
        self.servers.iter().position(|server| server.id == id).expect("no such server")
    }

    /// A connection is closed and gone.
    pub(crate) fn close(&mut self, id: u32) {
        let load = self.loads.get_mut(&id).expect("a server with connections");
        load.active -= 1;
        let (upper, lower) = self.thresholds.get(&id).copied().unwrap_or_default();
        let readmits = if lower > 0 { lower } else { upper - (upper >> 2) };
        load.overloaded &= load.active + load.inactive >= readmits;
    }

    /// The server for one more connection, which stays half-open.
    pub(crate) fn connect(&mut self) -> Option<u32> {
        let loads = |id| self.loads.get(&id).copied().unwrap_or_default();
        let at = self.scheduler.pick(&self.servers, &self.request, &loads)?;
        let id = self.servers[at].id;
        let load = self.loads.entry(id).or_default();
        load.active += 1;
        if let Some(&(upper, _)) = self.thresholds.get(&id) {
            load.overloaded |= load.active + load.inactive >= upper;
        }
        Some(id)
    }

    /// Picks as often as `expected` has words, and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &str) {
        self.expect_each(expected, |_, _| {});
    }

    /// The same with a request that `next` makes for the pick of this number.
    #[track_caller]
    pub(crate) fn expect_each(&mut self, expected: &str, next: impl Fn(usize, &mut Request)) {
        let words: Vec<&str> = expected.split_whitespace().filter(|word| *word != "|").collect();
        let mut picks = Vec::new();
        for number in 0..words.len() {
            next(number, &mut self.request);
            picks.push(self.connect().map_or("X".to_owned(), |id| id.to_string()));
        }
        let plan = self.scheduler.plan();
        assert_eq!(picks.join(" "), words.join(" "), "{plan:?}");
    }
}

/// A server of the network that the kernel's picks come from.
pub(crate) fn server(id: u32, weight: u32) -> Candidate {
    let address = Ipv4Addr::new(10, 2, 0, id as u8);
    Candidate::new(id, address.into(), 80, weight)
}

/// A hashing scheduler with its flags.
pub(crate) fn flagged(kind: Kind, port: bool, fallback: bool) -> Plan {
    Plan { port, fallback, ..Plan::new(kind) }
}
