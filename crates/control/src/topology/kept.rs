//! The neighbours that the kernel keeps fresh on our behalf: asked for, given back, and
//! probed where the kernel's own request would not be answered.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use hashbrown::HashMap;
use rtnetlink::Handle;
use tokio::time::Instant;

use super::{
    state::{Keeper, Kernel},
    wanted::{Neighbour, probe_needed},
};
use crate::kernel::{frames, neighbours};

/// How often neighbours are looked after, and an attempt is repeated.
const ROUND: Duration = Duration::from_secs(1);

/// Requests to the kernel in one turn, and the pause before the next turn, so that
/// thousands of neighbours do not keep the mirror from its events.
const TURN: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// A resolved neighbour that only we can ask for is asked again so many rounds later, so
/// that the kernel never comes to doubt it (`base_reachable_time`, at least 15 s).
const PROBE_ROUNDS: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Kept {
    wanted: BTreeSet<Neighbour>,
    vips: Vec<IpAddr>,
    /// When the kernel was last asked for something about a neighbour: its answer comes as
    /// an event, later.
    asked: HashMap<Neighbour, Instant>,
    /// Neighbours that the kernel refused to keep; said once.
    refused: HashMap<Neighbour, io::ErrorKind>,
    rounds: u32,
    next_round: Option<Instant>,
}

impl Kept {
    /// Which neighbours are to be kept from now on.
    pub(super) fn want(&mut self, wanted: BTreeSet<Neighbour>) {
        self.refused.retain(|place, _| wanted.contains(place));
        self.wanted = wanted;
    }

    /// The addresses that real servers may have too.
    pub(super) fn know_vips(&mut self, vips: Vec<IpAddr>) {
        self.vips = vips;
    }

    /// Does what there is to do now, and says when to come again.
    pub(super) async fn tend(&mut self, handle: &Handle, kernel: &Kernel) -> Option<Instant> {
        let now = Instant::now();
        self.asked.retain(|_, at| now < *at + ROUND);
        let unasked = |place: &Neighbour| !self.asked.contains_key(place);
        let stray = |place: &Neighbour| !self.wanted.contains(place) && unasked(place);
        let give_back: Vec<Neighbour> = managed(kernel).filter(stray).take(TURN).collect();
        let room = TURN - give_back.len();
        let ageing = |place: &Neighbour| {
            kernel.neighbours.get(place).is_none_or(|known| known.keeper == Keeper::Ageing)
        };
        let lacking = self.wanted.iter().filter(|place| ageing(place) && unasked(place));
        let ask_for: Vec<Neighbour> = lacking.take(room).copied().collect();
        let more = give_back.len() + ask_for.len() == TURN;
        for place in give_back {
            self.asked.insert(place, now);
            unmanage(handle, place).await;
        }
        for place in ask_for {
            self.asked.insert(place, now);
            self.manage(handle, place).await;
        }
        if self.next_round.is_none_or(|at| at <= now) {
            self.probe(kernel);
            self.next_round = Some(now + ROUND);
        }
        if more {
            return Some(now + PAUSE);
        }
        self.next_round.filter(|_| !self.wanted.is_empty())
    }

    /// Leaves nothing behind; also not what was asked for a moment ago and not yet heard of.
    pub(super) async fn release(&mut self, handle: &Handle, kernel: &Kernel) {
        let mut ours: BTreeSet<Neighbour> = managed(kernel).collect();
        let known = |place: &Neighbour| kernel.neighbours.get(place).map(|known| known.keeper);
        ours.extend(self.asked.keys().filter(|place| known(place) != Some(Keeper::Others)));
        for place in ours {
            unmanage(handle, place).await;
        }
    }

    async fn manage(&mut self, handle: &Handle, place: Neighbour) {
        match neighbours::manage(handle, place.0, place.1).await {
            Ok(()) => _ = self.refused.remove(&place),
            Err(error) => {
                if self.refused.insert(place, error.kind()) != Some(error.kind()) {
                    log::warn!("neighbour {}: the kernel will not keep it: {error}", place.1);
                }
            }
        }
    }

    /// Asks for those whom the kernel cannot ask.
    fn probe(&mut self, kernel: &Kernel) {
        self.rounds = self.rounds.wrapping_add(1);
        let all = self.rounds.is_multiple_of(PROBE_ROUNDS);
        for place in &self.wanted {
            let known = kernel.neighbours.get(place).is_some_and(|known| known.mac.is_some());
            let (Some(link), IpAddr::V4(target)) = (kernel.links.get(&place.0), place.1) else {
                continue;
            };
            if (all || !known)
                && probe_needed(kernel, *place, &self.vips)
                && let Err(error) = frames::probe(&link.name, target)
            {
                log::debug!("neighbour {target}: no ARP probe on {}: {error}", link.name);
            }
        }
    }
}

/// The neighbours that carry our mark; also those that a killed run left behind.
fn managed(kernel: &Kernel) -> impl Iterator<Item = Neighbour> {
    kernel.neighbours.iter().filter(|(_, known)| known.keeper == Keeper::Us).map(|(at, _)| *at)
}

async fn unmanage(handle: &Handle, place: Neighbour) {
    if let Err(error) = neighbours::unmanage(handle, place.0, place.1).await {
        log::warn!("neighbour {}: cannot be given back to the kernel: {error}", place.1);
    }
}
