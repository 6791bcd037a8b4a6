//! LVS schedulers, pure: no I/O, no clock, no packets.
//!
//! A [`Scheduler`] keeps only what must last from one pick to the next: a place in the
//! list of servers, a current weight. The servers themselves are passed to every call,
//! in *scheduling order*, which the caller chooses: as in the file, or newest first as
//! the kernel has them. Whoever changes that list tells the scheduler by
//! [`Scheduler::changed`]. Rules and picks are the kernel's (`net/netfilter/ipvs/ip_vs_*.c`).
#![forbid(unsafe_code)]

mod rr;
mod wrr;

use self::{rr::RoundRobin, wrr::WeightedRoundRobin};

/// Which scheduler a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
}

impl Kind {
    /// The word in the configuration file, and in `ipvsadm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
        }
    }
}

/// A real server as a scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which server it is.
    pub id: u32,
    /// Its weight; 0 takes no new connections.
    pub weight: u32,
    /// Up, not drained, not overloaded.
    pub available: bool,
}

impl Candidate {
    /// It may be picked.
    const fn eligible(&self) -> bool {
        self.available && self.weight > 0
    }
}

/// What happened to the list of servers; positions are in scheduling order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A server came and now has this position.
    Added(usize),
    /// A server went that had this position.
    Removed(usize),
    /// The server at this position has another weight. Availability is not an edit.
    Edited(usize),
}

/// The state of one service's scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler(Algorithm);

#[derive(Clone, Debug)]
enum Algorithm {
    Rr(RoundRobin),
    Wrr(WeightedRoundRobin),
}

impl Scheduler {
    /// A scheduler that starts its first cycle with these servers.
    pub fn new(kind: Kind, candidates: &[Candidate]) -> Self {
        Self(match kind {
            Kind::Rr => Algorithm::Rr(RoundRobin::default()),
            Kind::Wrr => Algorithm::Wrr(WeightedRoundRobin::new(candidates)),
        })
    }

    /// The scheduler that the kernel has after the servers, newest first, were added one by
    /// one. For wrr that differs from [`Scheduler::new`]: its first cycle is one pass over
    /// all servers that have a weight.
    pub fn grown(kind: Kind, newest_first: &[Candidate]) -> Self {
        let mut scheduler = Self::new(kind, &[]);
        for newest in (0..newest_first.len()).rev() {
            scheduler.changed(&newest_first[newest..], Change::Added(0));
        }
        scheduler
    }

    /// The position of the server for the next connection; `None` if no server is available.
    pub fn pick(&mut self, candidates: &[Candidate]) -> Option<usize> {
        match &mut self.0 {
            Algorithm::Rr(rr) => rr.pick(candidates),
            Algorithm::Wrr(wrr) => wrr.pick(candidates),
        }
    }

    /// To be called after each single change of the list, with the list as it is now.
    pub fn changed(&mut self, candidates: &[Candidate], change: Change) {
        match &mut self.0 {
            Algorithm::Rr(rr) => rr.changed(change),
            Algorithm::Wrr(wrr) => wrr.changed(candidates),
        }
    }
}
