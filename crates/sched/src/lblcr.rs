//! Locality-based least connections with replication (`ip_vs_lblcr.c`), for caches: each
//! destination has a set of servers, of which the least loaded one serves. The set grows when
//! that one has more connections than its weight while another server is half idle, and loses
//! its most loaded member when it has not changed for the expiration time.

use crate::{
    Candidate, Change, Loads, Plan, Request,
    lblc::{Roll, crowded},
    least::{self, Burden},
    memory::Memory,
};

/// For each destination that may be remembered, how many members there are for all sets. If
/// they run out, a set does not grow: its destination is served, but not remembered there.
const MEMBERS: u32 = 4;
const LEAST_MEMBERS: u32 = 1024;

/// No member.
const END: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Replicated {
    memory: Memory<Set>,
    members: Members,
    /// Seconds without change after which a set loses a member.
    expiration: u32,
    roll: Roll,
}

/// The servers of one destination, the one that came last first.
#[derive(Clone, Copy, Debug)]
struct Set {
    first: u32,
    size: u32,
    changed: u32,
}

impl Replicated {
    pub(crate) fn new(plan: &Plan, candidates: &[Candidate]) -> Self {
        Self {
            memory: Memory::new(plan.destinations, plan.expiration),
            members: Members::new(plan.destinations.saturating_mul(MEMBERS).max(LEAST_MEMBERS)),
            expiration: plan.expiration,
            roll: Roll::new(candidates),
        }
    }

    pub(crate) fn pick(
        &mut self,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        let Request { destination, now, .. } = *request;
        let members = &mut self.members;
        let Some(set) = self.memory.recall(destination, now, |set| members.release(set)) else {
            let at = least::weighted_connections(candidates, loads)?;
            let mut set = Set { first: END, size: 0, changed: now };
            members.insert(&mut set, candidates[at].id, now);
            if !self.memory.remember(destination, now, set, |old| members.release(old)) {
                members.release(set);
            }
            return Some(at);
        };
        let served = members.least(set, candidates, loads);
        let stale = set.size > 1 && now.saturating_sub(set.changed) > self.expiration;
        if stale && let Some(most) = members.most(set, candidates, loads) {
            members.remove(set, most, now);
        }
        if let Some(at) = served.filter(|&at| !crowded(&candidates[at], candidates, loads)) {
            return Some(at);
        }
        let at = least::weighted_connections(candidates, loads)?;
        members.insert(set, candidates[at].id, now);
        Some(at)
    }

    /// A removed server leaves all sets, so that another one may have its id.
    pub(crate) fn changed(&mut self, candidates: &[Candidate], change: Change) {
        let Some(gone) = self.roll.changed(candidates, change) else {
            return;
        };
        let members = &mut self.members;
        self.memory.retain(|set| {
            let changed = set.changed;
            members.remove(set, gone, changed);
            set.size > 0
        });
    }
}

/// The members of all sets, each in the chain of its set or of the free ones.
#[derive(Clone, Debug)]
struct Members {
    all: Box<[Member]>,
    free: u32,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    server: u32,
    next: u32,
}

impl Members {
    fn new(limit: u32) -> Self {
        let limit = limit.min(END - 1);
        let vacant = |next| Member { server: 0, next: if next < limit { next } else { END } };
        Self { all: (1..=limit).map(vacant).collect(), free: 0 }
    }

    /// The ids of a set's servers.
    fn ids(&self, set: &Set) -> impl Iterator<Item = u32> {
        let member = |at: u32| self.all.get(at as usize);
        std::iter::successors(member(set.first), move |last| member(last.next))
            .map(|member| member.server)
    }

    /// Adds a server that is not yet in the set, if a member is free.
    fn insert(&mut self, set: &mut Set, server: u32, now: u32) {
        let at = self.free;
        if at == END || self.ids(set).any(|id| id == server) {
            return;
        }
        self.free = self.all[at as usize].next;
        self.all[at as usize] = Member { server, next: set.first };
        *set = Set { first: at, size: set.size + 1, changed: now };
    }

    fn remove(&mut self, set: &mut Set, server: u32, now: u32) {
        let mut before = None;
        let mut at = set.first;
        while at != END && self.all[at as usize].server != server {
            before = Some(at);
            at = self.all[at as usize].next;
        }
        if at == END {
            return;
        }
        let next = self.all[at as usize].next;
        match before {
            Some(before) => self.all[before as usize].next = next,
            None => set.first = next,
        }
        (set.size, set.changed) = (set.size - 1, now);
        self.all[at as usize].next = self.free;
        self.free = at;
    }

    /// Frees the members of a set that is forgotten.
    fn release(&mut self, mut set: Set) {
        while set.first != END {
            let server = self.all[set.first as usize].server;
            self.remove(&mut set, server, 0);
        }
    }

    /// The position of the least loaded server of a set that takes connections.
    fn least(&self, set: &Set, candidates: &[Candidate], loads: &impl Loads) -> Option<usize> {
        let place = |id| candidates.iter().position(|server| server.id == id);
        let open = self.ids(set).filter_map(place).filter(|&at| candidates[at].open());
        least::lightest(open.filter_map(|at| {
            let (server, load) = (&candidates[at], loads.load(candidates[at].id));
            let burden = Burden { cost: load.overhead(), weight: server.scaled_weight() };
            (!load.overloaded).then_some((at, burden))
        }))
    }

    /// The id of the most loaded server of a set that has a weight.
    fn most(&self, set: &Set, candidates: &[Candidate], loads: &impl Loads) -> Option<u32> {
        let mut worst: Option<(u32, Burden)> = None;
        for id in self.ids(set) {
            let Some(server) = candidates.iter().find(|server| server.id == id) else { continue };
            let (cost, weight) = (loads.load(id).overhead(), server.scaled_weight());
            let burden = Burden { cost, weight };
            if weight > 0 && worst.is_none_or(|(_, most)| burden.exceeds(&most)) {
                worst = Some((id, burden));
            }
        }
        worst.map(|(id, _)| id)
    }
}
