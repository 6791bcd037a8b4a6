//! Maglev hashing (`ip_vs_mh.c`; Eisenbud et al., NSDI 2016, 3.4): each client has its
//! server, and few clients move when a server comes or goes. Each server has its own order
//! of all slots, by its address and port; they take free slots in turns, as many as
//! their weight says.
//!
//! Weights count as they last were above 0, so a server of weight 0 keeps its slots, and so
//! does one that is drained, overloaded or down. Its clients get no server, unless the
//! fallback flag is set or it is down: then another slot decides. Slow start does not count.
//!
//! An IPv6 server counts with its whole address, also behind an IPv4 service (by a tunnel);
//! the kernel takes only the first of its four words there.

use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::{Candidate, Change, Loads, Plan, Request, key, wrr::gcd};

/// The bits of a weight that count.
const WEIGHT_BITS: u32 = 6;

/// Where a client's slot and a server's first slot are.
const PLACE: u64 = 2_654_435_761;
/// How far it is from one of a server's slots to the next.
const STRIDE: u64 = 2_654_446_892;

#[derive(Clone, Debug)]
pub(crate) struct Maglev {
    /// How many slots there are to be.
    size: u32,
    /// Positions of servers; empty if none ever had a weight.
    slots: Vec<u32>,
    /// The servers' last weights above 0, in list order.
    weights: Vec<u32>,
    /// Whether the slots are those of an earlier list.
    stale: bool,
}

impl Maglev {
    pub(crate) fn new(plan: &Plan, candidates: &[Candidate]) -> Self {
        let weights = candidates.iter().map(|server| server.weight).collect();
        let mut maglev = Self { size: plan.slots, slots: Vec::new(), weights, stale: true };
        maglev.settle(candidates);
        maglev
    }

    pub(crate) fn changed(&mut self, candidates: &[Candidate], change: Change) {
        match change {
            Change::Added(at) => self.weights.insert(at, candidates[at].weight),
            Change::Removed(at) => drop(self.weights.remove(at)),
            Change::Edited(at) if candidates[at].weight == 0 => return,
            Change::Edited(at) => self.weights[at] = candidates[at].weight,
        }
        self.stale = true;
    }

    /// Lets the servers take their slots, if they are others or their weights are.
    pub(crate) fn settle(&mut self, candidates: &[Candidate]) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.slots.clear();
        let step = self.weights.iter().copied().fold(0, gcd);
        if step == 0 {
            return;
        }
        let heaviest = self.weights.iter().copied().fold(0, u32::max) / step;
        let shift = (u32::BITS - heaviest.leading_zeros()).saturating_sub(WEIGHT_BITS);
        let turns = |weight: u32| ((weight / step) >> shift).max(1);
        let numbered = (0u32..).zip(&self.weights).zip(candidates);
        let mut rows: Vec<Row> = numbered
            .filter(|((_, weight), _)| **weight > 0)
            .map(|((at, weight), server)| Row::new(at, turns(*weight), server, self.size))
            .collect();
        self.slots.resize(self.size as usize, u32::MAX);
        let mut free = self.size;
        while free > 0 {
            for row in &mut rows {
                let turns = row.turns.min(free);
                (0..turns).for_each(|_| row.take(&mut self.slots));
                free -= turns;
            }
        }
    }

    pub(crate) fn pick(
        &mut self,
        plan: &Plan,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        self.settle(candidates);
        let home = slot(plan, request, 0, self.size);
        let first = self.at(home)?;
        let server = candidates.get(first)?;
        if server.eligible(loads) {
            return Some(first);
        }
        if server.up && !plan.fallback {
            return None;
        }
        let offsets = (0..self.size).map(|step| (step + home) % self.size);
        let mut others =
            offsets.filter_map(|offset| self.at(slot(plan, request, offset, self.size)));
        others.find(|&at| candidates.get(at).is_some_and(|server| server.eligible(loads)))
    }

    /// The server of a connection that was opened before. Without the fallback flag nobody else
    /// took it while its server took none: so it stays there. Else it goes as a new one would.
    pub(crate) fn follow(
        &mut self,
        plan: &Plan,
        candidates: &[Candidate],
        request: &Request,
        loads: &impl Loads,
    ) -> Option<usize> {
        self.settle(candidates);
        let home = self.at(slot(plan, request, 0, self.size))?;
        if candidates.get(home)?.up && !plan.fallback {
            return Some(home);
        }
        self.pick(plan, candidates, request, loads)
    }

    /// Who has a slot.
    fn at(&self, slot: u32) -> Option<usize> {
        self.slots.get(slot as usize).map(|&at| at as usize)
    }
}

/// The slot of a client.
fn slot(plan: &Plan, request: &Request, offset: u32, slots: u32) -> u32 {
    let port = if plan.port { request.client_port } else { 0 };
    place(PLACE, request.client, port, offset) % slots
}

/// A server's order of slots, and how far it has come.
struct Row {
    position: u32,
    turns: u32,
    next: u32,
    stride: u32,
}

impl Row {
    fn new(position: u32, turns: u32, server: &Candidate, slots: u32) -> Self {
        let next = place(PLACE, server.address, server.port, 0) % slots;
        let stride = place(STRIDE, server.address, server.port, 0) % (slots - 1) + 1;
        Self { position, turns, next, stride }
    }

    /// Takes its next slot that is free; one must be.
    fn take(&mut self, slots: &mut [u32]) {
        let size = slots.len() as u32;
        while slots[self.next as usize] != u32::MAX {
            self.next = (self.next + self.stride) % size;
        }
        slots[self.next as usize] = self.position;
    }
}

/// `hsiphash` on a 64-bit kernel: the lower half of SipHash-1-3 over four octets.
fn place(key: u64, address: IpAddr, port: u16, offset: u32) -> u32 {
    let value = offset.wrapping_add(u32::from(port)).wrapping_add(key::fold(address));
    SipHasher13::new_with_keys(key, key).hash(&value.to_le_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Servers 11, 12, ... of the network in which the kernel was asked, newest first.
    fn servers(weights: &[u32]) -> Vec<Candidate> {
        let server = |(id, &weight): (u32, &u32)| {
            Candidate::new(id, Ipv4Addr::new(10, 2, 0, id as u8).into(), 80, weight)
        };
        (11..100).zip(weights).map(server).rev().collect()
    }

    /// The server of each slot.
    fn table(servers: &[Candidate]) -> Vec<u32> {
        Maglev::new(&Plan::new(crate::Kind::Mh), servers)
            .slots
            .iter()
            .map(|&at| servers[at as usize].id)
            .collect()
    }

    /// The kernel's tables.
    #[test]
    fn shares_of_the_table() {
        for (weights, shares) in [([1, 1, 1], [1364, 1364, 1365]), ([1, 2, 3], [682, 1364, 2047])] {
            let table = table(&servers(&weights));
            let count = |id| table.iter().filter(|&&slot| slot == id).count();
            assert_eq!([count(11), count(12), count(13)], shares);
        }
    }

    /// The kernel's figures for the middle one of n equal servers: how many of the other
    /// servers' slots get another server when it is removed, in hundredths of a percent.
    #[test]
    fn the_middle_one_goes() {
        for (n, expected) in [(3, 15.0), (5, 73.0), (10, 117.0), (20, 183.0), (50, 267.0)] {
            let before = servers(&vec![1; n]);
            let mut after = before.clone();
            let gone = after.remove((n - 1) / 2).id;
            let (old, new) = (table(&before), table(&after));
            let others = || old.iter().zip(&new).filter(|(old, _)| **old != gone);
            let moved = others().filter(|(old, new)| old != new).count();
            let part = moved as f64 / others().count() as f64 * 10_000.0;
            assert_eq!(part.round(), expected, "{n}");
        }
    }
}
