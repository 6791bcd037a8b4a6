//! Frames that wait a moment: for a neighbour's MAC, or for the first fragment of their
//! datagram, which another worker may see. They are kept as they came, and go through the
//! same decision again when what they wait for may have come.

use std::collections::VecDeque;

use crate::{
    breath::{Breath, datagram},
    clock::Now,
    fragment::Datagram,
    packet::Parsed,
    topology::PortId,
    verdict::{Drop, Punt, Verdict, Wait},
};

/// How long a frame is held, in milliseconds.
const PATIENCE_MS: u64 = 1_000;
/// Later fragments of one datagram that are held.
const PER_DATAGRAM: usize = 4;

/// A held frame.
pub struct Held<F> {
    /// The frame, as it came.
    pub frame: F,
    /// Where it came from.
    pub port: PortId,
    wait: Wait,
    /// The snapshot's generation or the fragment table's epoch at the last look.
    seen: u64,
    until_ms: u64,
    datagram: Option<Datagram>,
}

impl<F> Held<F> {
    /// Starts to hold a frame.
    pub fn new(frame: F, port: PortId, wait: Wait, parsed: &Parsed, breath: &Breath<'_>) -> Self {
        let datagram = match (wait, parsed) {
            (Wait::FirstFragment, Parsed::V4(packet)) => Some(datagram(packet)),
            (Wait::FirstFragment, Parsed::V6(packet)) => Some(datagram(packet)),
            _ => None,
        };
        let until_ms = breath.now.millis + PATIENCE_MS;
        Self { frame, port, wait, seen: sign(wait, breath), until_ms, datagram }
    }

    /// True if nothing happened that it waits for, and it may go on waiting.
    pub fn nothing_new(&self, breath: &Breath<'_>) -> bool {
        self.seen == sign(self.wait, breath) && !self.expired(breath.now)
    }

    /// Waits on after another look.
    pub fn wait_on(&mut self, wait: Wait, breath: &Breath<'_>) {
        self.wait = wait;
        self.seen = sign(wait, breath);
    }

    /// True if it was held as long as it may be.
    pub fn expired(&self, now: Now) -> bool {
        now.millis >= self.until_ms
    }
}

/// What becomes of a frame that was held as long as it may be and still has to wait. A
/// fragment whose first one never came may be the kernel's.
pub const fn given_up(wait: Wait) -> Verdict {
    match wait {
        Wait::Neighbour => Verdict::Drop(Drop::NeighbourUnresolved),
        Wait::FirstFragment => Verdict::Punt(Punt::Fragment),
    }
}

/// What changes when a wait may be over.
fn sign(wait: Wait, breath: &Breath<'_>) -> u64 {
    match wait {
        Wait::Neighbour => breath.snapshot.generation,
        Wait::FirstFragment => breath.director.fragments.epoch().into(),
    }
}

/// The frames that one worker holds.
pub struct WaitingRoom<F> {
    held: VecDeque<Held<F>>,
    limit: usize,
}

impl<F> WaitingRoom<F> {
    /// For up to `limit` frames.
    pub fn new(limit: usize) -> Self {
        Self { held: VecDeque::with_capacity(limit), limit }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes a frame in.
    ///
    /// # Errors
    /// Gives the frame back if there are too many, of its datagram or in all.
    pub fn hold(&mut self, held: Held<F>) -> Result<(), F> {
        let same = |other: &&Held<F>| held.datagram.is_some() && other.datagram == held.datagram;
        if self.held.len() >= self.limit || self.held.iter().filter(same).count() >= PER_DATAGRAM {
            return Err(held.frame);
        }
        self.held.push_back(held);
        Ok(())
    }

    /// The frame that was looked at longest ago: to be held on, or not.
    pub fn take_next(&mut self) -> Option<Held<F>> {
        self.held.pop_front()
    }

    /// Puts back what came from [`WaitingRoom::take_next`].
    pub fn hold_on(&mut self, held: Held<F>) {
        self.held.push_back(held);
    }
}
