//! Frames that wait a moment: for a neighbour's MAC, or for the first fragment of their
//! datagram, which another worker may see. They are kept as they came, and go through the
//! same decision again when what they wait for may have come.

use std::collections::VecDeque;

use crate::{
    breath::Breath,
    clock::Now,
    fragment::{Datagram, datagram},
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
            (Wait::FirstFragment { .. }, Parsed::V4(packet)) => Some(datagram(packet)),
            (Wait::FirstFragment { .. }, Parsed::V6(packet)) => Some(datagram(packet)),
            _ => None,
        };
        let until_ms = breath.now.millis + PATIENCE_MS;
        Self { frame, port, wait, seen: seen(wait, breath), until_ms, datagram }
    }

    /// What it waits for.
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// True if nothing happened that it waits for, and it may go on waiting.
    pub fn nothing_new(&self, breath: &Breath<'_>) -> bool {
        self.seen == sign(self.wait, breath) && !self.expired(breath.now)
    }

    /// Waits on after another look.
    pub fn wait_on(&mut self, wait: Wait, breath: &Breath<'_>) {
        self.wait = wait;
        self.seen = seen(wait, breath);
    }

    /// For how long it has been held, in milliseconds.
    pub fn waited_ms(&self, now: Now) -> u64 {
        (now.millis + PATIENCE_MS).saturating_sub(self.until_ms)
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
        Wait::Neighbour { .. } => Verdict::Drop(Drop::NeighbourUnresolved),
        Wait::FirstFragment { .. } => Verdict::Punt(Punt::Fragment),
    }
}

/// What changes when a wait may be over.
fn sign(wait: Wait, breath: &Breath<'_>) -> u64 {
    match wait {
        Wait::Neighbour { .. } => breath.snapshot.generation,
        Wait::FirstFragment { .. } => breath.director.fragments.epoch().into(),
    }
}

/// The sign as it was when the frame was looked at.
fn seen(wait: Wait, breath: &Breath<'_>) -> u64 {
    match wait {
        Wait::Neighbour { .. } => breath.snapshot.generation,
        Wait::FirstFragment { epoch } => epoch.into(),
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
        if self.held.len() >= self.limit || !self.may_hold_part_of(held.datagram.as_ref()) {
            return Err(held.frame);
        }
        self.held.push_back(held);
        Ok(())
    }

    /// A quarter of the room stays free of fragments: anybody can send some whose first one
    /// never comes, and those that wait for a neighbour must not suffer.
    fn may_hold_part_of(&self, datagram: Option<&Datagram>) -> bool {
        let Some(datagram) = datagram else { return true };
        let fragments = self.held.iter().filter_map(|held| held.datagram.as_ref());
        let (all, same) = fragments
            .fold((0, 0), |(all, same), other| (all + 1, same + usize::from(other == datagram)));
        all < self.limit - self.limit / 4 && same < PER_DATAGRAM
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        director::{Director, Limits},
        fragment::Decision,
        ids::Ids,
        snapshot::Snapshot,
        stats::Stats,
        table::{ConnectionRef, Way},
        verdict::Drop as Reason,
    };

    fn with_breath(test: impl FnOnce(&Breath<'_>)) {
        let (resolve, _) = crossbeam_channel::bounded(1);
        let limits = Limits { connections_v4: 1, connections_v6: 1, ..Limits::default() };
        test(&Breath {
            director: &Director::new(limits, resolve).expect("memory"),
            snapshot: &Snapshot::new(1, Arc::default(), Arc::default()),
            stats: &Stats::new(0),
            now: Now::at_seconds(1),
            ids: &mut Ids::new(0, 1),
            arrived: 0,
        });
    }

    fn part_of(id: u32) -> Datagram {
        Datagram { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), id, protocol: 17 }
    }

    fn held(wait: Wait, datagram: Option<Datagram>, breath: &Breath<'_>) -> Held<()> {
        let parsed = Parsed::Drop(Reason::Malformed);
        Held { datagram, ..Held::new((), 0, wait, &parsed, breath) }
    }

    /// Another worker decides after this one asked the table, and before it holds the frame.
    #[test]
    fn a_decision_just_missed_is_noticed() {
        with_breath(|breath| {
            let fragments = &breath.director.fragments;
            let wait = Wait::FirstFragment { epoch: fragments.epoch() };
            assert!(held(wait, Some(part_of(1)), breath).nothing_new(breath));
            assert!(fragments.decide(part_of(1), Decision::Punted, breath.now));
            assert!(!held(wait, Some(part_of(1)), breath).nothing_new(breath));
        });
    }

    #[test]
    fn orphans_leave_room_for_those_that_wait_for_a_neighbour() {
        with_breath(|breath| {
            let mut room = WaitingRoom::new(16);
            let mut take = |wait, datagram| room.hold(held(wait, datagram, breath)).is_ok();
            let orphan = Wait::FirstFragment { epoch: 0 };
            assert_eq!((0..5).filter(|_| take(orphan, Some(part_of(0)))).count(), 4);
            assert_eq!((1..99).filter(|id| take(orphan, Some(part_of(*id)))).count(), 8);
            let connection = ConnectionRef { id: 0, generation: 1 };
            let neighbour = Wait::Neighbour { connection, way: Way::Forward };
            assert_eq!((0..99).filter(|_| take(neighbour, None)).count(), 4);
        });
    }
}
