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

/// How often neighbours are looked after, and a request is repeated that had no effect.
const ROUND: Duration = Duration::from_secs(1);

/// When a request is repeated that the kernel refused: it looked for room in a full table.
const REFUSED: Duration = Duration::from_secs(10);

/// The longest turn of requests to the kernel. The pause after it is as long, so that
/// thousands of neighbours do not keep the mirror from its events.
const TURN: Duration = Duration::from_millis(2);

/// A resolved neighbour that only we can ask for is asked again so many rounds later, so
/// that the kernel never comes to doubt it (`base_reachable_time`, at least 15 s).
const PROBE_ROUNDS: u32 = 5;

/// What is asked of the kernel for one neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wish {
    Keep,
    GiveBack,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    wanted: BTreeSet<Neighbour>,
    vips: Vec<IpAddr>,
    /// What the kernel was asked for, and when it may be asked again: that it did it is
    /// heard as an event, later.
    asked: HashMap<(Wish, Neighbour), Instant>,
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
        self.asked.retain(|_, until| now < *until);
        for (wish, place) in self.wishes(kernel) {
            let again = match (wish, self.ask(handle, wish, place).await) {
                (Wish::Keep, false) => REFUSED,
                _ => ROUND,
            };
            self.asked.insert((wish, place), now + again);
            if now.elapsed() > TURN {
                return Some(Instant::now() + TURN);
            }
        }
        if self.next_round.is_none_or(|at| at <= now) {
            self.probe(kernel);
            self.next_round = Some(now + ROUND);
        }
        self.next_round.filter(|_| !self.wanted.is_empty())
    }

    /// What to ask the kernel for, and was not just asked for.
    fn wishes(&self, kernel: &Kernel) -> Vec<(Wish, Neighbour)> {
        let ageing = |place: &&Neighbour| {
            kernel.neighbours.get(*place).is_none_or(|known| known.keeper == Keeper::Ageing)
        };
        let strays = managed(kernel).filter(|place| !self.wanted.contains(place));
        let lacking = self.wanted.iter().filter(ageing).copied();
        let all = strays.map(|place| (Wish::GiveBack, place));
        all.chain(lacking.map(|place| (Wish::Keep, place)))
            .filter(|wish| !self.asked.contains_key(wish))
            .collect()
    }

    /// True if the kernel agreed.
    async fn ask(&mut self, handle: &Handle, wish: Wish, place: Neighbour) -> bool {
        let answer = match wish {
            Wish::Keep => neighbours::manage(handle, place.0, place.1).await,
            Wish::GiveBack => neighbours::unmanage(handle, place.0, place.1).await,
        };
        match answer {
            Ok(()) => _ = self.refused.remove(&place),
            Err(error) => {
                if self.refused.insert(place, error.kind()) != Some(error.kind()) {
                    log::warn!("neighbour {}: the kernel will not {wish}: {error}", place.1);
                }
                return false;
            }
        }
        true
    }

    /// Leaves nothing behind; also not what was asked for a moment ago and not yet heard of.
    pub(super) async fn release(&mut self, handle: &Handle, kernel: &Kernel) {
        let mut ours: BTreeSet<Neighbour> = managed(kernel).collect();
        let known = |place: &Neighbour| kernel.neighbours.get(place).map(|known| known.keeper);
        let asked = self.asked.keys().filter(|(wish, _)| *wish == Wish::Keep);
        ours.extend(asked.map(|(_, at)| at).filter(|at| known(at) != Some(Keeper::Others)));
        for place in ours {
            self.ask(handle, Wish::GiveBack, place).await;
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

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep it fresh",
            Self::GiveBack => "take it back",
        })
    }
}
