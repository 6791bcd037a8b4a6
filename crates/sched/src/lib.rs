//! LVS schedulers, pure: no I/O, no clock, no packets.
//!
//! A [`Scheduler`] keeps only what must last from one pick to the next: a place in the
//! list of servers, a table of slots, what it remembers of destinations. The servers
//! themselves are passed to every call, in *scheduling order*, which the caller chooses: as
//! in the file, or newest first as the kernel has them. What changes by itself (connections,
//! health, slow start) is read at each pick; whoever changes the list or a weight tells the
//! scheduler by [`Scheduler::changed`]. Rules, orders and ties are the kernel's
//! (`net/netfilter/ipvs/ip_vs_*.c`); where a server is down or in slow start, which the
//! kernel does not know, each module says what it does.
#![forbid(unsafe_code)]

mod candidate;
mod dh;
mod fo;
mod key;
mod lblc;
mod lblcr;
mod least;
mod memory;
mod mh;
mod plan;
mod rating;
mod rr;
mod sh;
mod twos;
mod wrr;

use std::net::IpAddr;

pub use self::{
    candidate::{Candidate, Load, Loads},
    plan::{KERNEL_SLOTS, Kind, Plan, SLOTS},
    rating::{Closed, Rating},
};
use self::{
    lblc::Locality, lblcr::Replicated, mh::Maglev, rr::RoundRobin, sh::SourceTable,
    wrr::WeightedRoundRobin,
};

/// The new connection that a server is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who connects: what sh and mh hash.
    pub client: IpAddr,
    /// From which port; 0 if the protocol has none. Counts for `sh-port` and `mh-port`.
    pub client_port: u16,
    /// The address that the client asked for: what dh hashes and lblc(r) remembers.
    pub destination: IpAddr,
    /// A clock in seconds that does not go back, for lblc(r).
    pub now: u32,
    /// 64 uniformly random bits, for twos; any value for the others.
    pub random: u64,
}

/// What happened to the list of servers; positions are in scheduling order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A server came and now has this position.
    Added(usize),
    /// A server went that had this position.
    Removed(usize),
    /// The server at this position has another weight, or is drained, or no longer is.
    /// Health, slow start and overload are not edits and need not be told.
    Edited(usize),
}

/// The state of one service's scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler {
    plan: Plan,
    state: State,
}

/// What lasts from pick to pick; most schedulers look at the servers only.
#[derive(Clone, Debug)]
enum State {
    Nothing,
    Rr(RoundRobin),
    Wrr(WeightedRoundRobin),
    Lblc(Locality),
    Lblcr(Replicated),
    Sh(SourceTable),
    Mh(Maglev),
}

impl Scheduler {
    /// A scheduler that starts its first cycle with these servers. Takes all memory that it
    /// will need for picks.
    pub fn new(plan: Plan, candidates: &[Candidate]) -> Self {
        let state = match plan.kind {
            Kind::Rr => State::Rr(RoundRobin::default()),
            Kind::Wrr => State::Wrr(WeightedRoundRobin::new(candidates)),
            Kind::Lblc => State::Lblc(Locality::new(&plan, candidates)),
            Kind::Lblcr => State::Lblcr(Replicated::new(&plan, candidates)),
            Kind::Sh => State::Sh(SourceTable::new(candidates)),
            Kind::Mh => State::Mh(Maglev::new(&plan, candidates)),
            Kind::Lc
            | Kind::Wlc
            | Kind::Dh
            | Kind::Sed
            | Kind::Nq
            | Kind::Fo
            | Kind::Ovf
            | Kind::Twos => State::Nothing,
        };
        Self { plan, state }
    }

    /// The scheduler that the kernel has after the servers, newest first, were added one by
    /// one. For wrr that differs from [`Scheduler::new`]: its first cycle is one pass over
    /// all servers that have a weight.
    pub fn grown(plan: Plan, newest_first: &[Candidate]) -> Self {
        if plan.kind != Kind::Wrr {
            return Self::new(plan, newest_first);
        }
        let mut scheduler = Self::new(plan, &[]);
        for newest in (0..newest_first.len()).rev() {
            scheduler.changed(&newest_first[newest..], Change::Added(0));
        }
        scheduler
    }

    /// How it was configured.
    pub const fn plan(&self) -> Plan {
        self.plan
    }

    /// The position of the server for the next connection; `None` if there is no server for
    /// it. Allocates nothing, once settled.
    pub fn pick(
        &mut self,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        match &mut self.state {
            State::Rr(rr) => rr.pick(candidates, loads),
            State::Wrr(wrr) => wrr.pick(candidates, loads),
            State::Lblc(lblc) => lblc.pick(candidates, request, loads),
            State::Lblcr(lblcr) => lblcr.pick(candidates, request, loads),
            State::Sh(sh) => sh.pick(&self.plan, candidates, request, loads),
            State::Mh(mh) => mh.pick(&self.plan, candidates, request, loads),
            State::Nothing => match self.plan.kind {
                Kind::Lc => least::connections(candidates, loads),
                Kind::Sed => least::delay(candidates, loads),
                Kind::Nq => least::never_queue(candidates, loads),
                Kind::Fo => fo::failover(candidates, loads),
                Kind::Ovf => fo::overflow(candidates, loads),
                Kind::Dh => dh::pick(candidates, request, loads),
                Kind::Twos => twos::pick(candidates, request, loads),
                // The kinds with a state do not come here.
                _ => least::weighted_connections(candidates, loads),
            },
        }
    }

    /// The position of the server that has a connection of which nothing is known but who made
    /// it, also if the server takes no new ones; `None` if the scheduler cannot tell. Only mh can.
    pub fn follow(
        &mut self,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        match &mut self.state {
            State::Mh(mh) => mh.follow(&self.plan, candidates, request, loads),
            _ => None,
        }
    }

    /// To be called after each single change of the list, with the list as it is now.
    pub fn changed(&mut self, candidates: &[Candidate], change: Change) {
        match &mut self.state {
            State::Nothing => {}
            State::Rr(rr) => rr.changed(change),
            State::Wrr(wrr) => wrr.changed(candidates, change),
            State::Lblc(lblc) => lblc.changed(candidates, change),
            State::Lblcr(lblcr) => lblcr.changed(candidates, change),
            State::Sh(sh) => sh.fill(candidates),
            State::Mh(mh) => mh.changed(candidates, change),
        }
    }

    /// Does what is costly once for all changes so far; otherwise the next pick does it.
    pub fn settle(&mut self, candidates: &[Candidate]) {
        if let State::Mh(mh) = &mut self.state {
            mh.settle(candidates);
        }
    }
}
