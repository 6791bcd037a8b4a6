//! A real server as a scheduler sees it.

use std::net::IpAddr;

/// A real server as a scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which server it is; no other server of the service has this number.
    pub id: u32,
    /// Its address, which mh hashes.
    pub address: IpAddr,
    /// Its port, which mh hashes; 0 if it takes the client's.
    pub port: u16,
    /// Its weight; 0 takes no new connections.
    pub weight: u32,
    /// Healthy. One that is not leaves selection: sh and mh go on as with their fallback
    /// flag, dh spreads over the others, all others pass it over.
    pub up: bool,
    /// Drained: takes no new connections, as if its weight were 0, but keeps its place in the
    /// tables of sh and mh.
    pub drained: bool,
    /// Slow start: how many 256ths of the weight count now. 256 is all; 0 counts as 1, more
    /// than 256 as 256. Followed by wrr, wlc, sed, nq, lblc, lblcr and twos, ignored by the
    /// others.
    pub share: u16,
    /// Rises with each edit of the server by the operator, also with one that changes nothing:
    /// the kernel's wrr starts a new pass then. Whoever raises it sends [`crate::Change::Edited`].
    pub edition: u32,
}

impl Candidate {
    /// A healthy server, not drained, that takes its full share.
    pub const fn new(id: u32, address: IpAddr, port: u16, weight: u32) -> Self {
        let (up, drained, share) = (true, false, Self::FULL);
        Self { id, address, port, weight, up, drained, share, edition: 0 }
    }

    /// The share of a server that is not in slow start.
    pub(crate) const FULL: u16 = 256;

    /// The weight that the kernel would know.
    pub(crate) const fn active_weight(&self) -> u32 {
        if self.drained { 0 } else { self.weight }
    }

    /// The share, within its bounds.
    pub(crate) const fn share(&self) -> u16 {
        match self.share {
            0 => 1,
            share if share < Self::FULL => share,
            _ => Self::FULL,
        }
    }

    /// The active weight in 256ths, after slow start. Only ratios and comparisons with other
    /// numbers in 256ths are made from it, so without slow start nothing changes.
    pub(crate) fn scaled_weight(&self) -> u64 {
        u64::from(self.active_weight()) * u64::from(self.share())
    }

    /// Takes new connections, unless overloaded.
    pub(crate) const fn open(&self) -> bool {
        self.up && self.active_weight() > 0
    }

    /// Takes new connections. The load is asked for only if all else is well.
    pub(crate) fn eligible(&self, loads: &impl Loads) -> bool {
        self.open() && !loads.load(self.id).overloaded
    }
}

/// What a server has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    /// Its active connections (for TCP: established ones and those on the way there).
    pub active: u32,
    /// Its other connections.
    pub inactive: u32,
    /// It has reached its upper threshold and not yet come below the lower one.
    pub overloaded: bool,
}

impl Load {
    /// What the kernel takes as the cost of its connections: an active one is 256 times as
    /// dear as another (`ip_vs_dest_conn_overhead`).
    pub(crate) fn overhead(&self) -> u64 {
        let (active, inactive) = (u64::from(self.active), u64::from(self.inactive));
        (active << 8) + active + inactive
    }
}

/// What is known of servers at the moment of a pick. If counts are to start anew when a
/// server joins, the caller has taken the bases off already.
pub trait Loads {
    /// The load of the server with this [`Candidate::id`].
    fn load(&self, id: u32) -> Load;
}

impl<F: Fn(u32) -> Load> Loads for F {
    fn load(&self, id: u32) -> Load {
        self(id)
    }
}
