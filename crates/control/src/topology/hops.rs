//! Hop ids: a neighbour keeps its id as long as the id may be in a connection.

use std::net::IpAddr;

use dataplane::topology::{HopId, Interface, NO_HOP, PortId};
use hashbrown::{HashMap, HashSet};

use super::routes::Line;

/// A neighbour of a port.
pub(super) type Place = (PortId, IpAddr);

/// Which id belongs to which neighbour, and the route generation; lives as long as the mirror.
#[derive(Debug)]
pub struct HopIds {
    limit: usize,
    ids: HashMap<Place, HopId>,
    free: Vec<HopId>,
    /// Ids ever given out.
    used: usize,
    generation: u32,
    interfaces: Vec<Interface>,
    lines: Vec<Line>,
    refused: usize,
}

/// The route generation stays within 24 bits.
const GENERATIONS: u32 = 1 << 24;

impl HopIds {
    /// For at most `limit` neighbours.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(usize::from(NO_HOP)),
            ids: HashMap::new(),
            free: Vec::new(),
            used: 0,
            generation: 0,
            interfaces: Vec::new(),
            lines: Vec::new(),
            refused: 0,
        }
    }

    /// The neighbours that found no id when the topology was last built.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// The lines of the routing table as last built.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn ids(&self) -> &HashMap<Place, HopId> {
        &self.ids
    }

    /// One more than the greatest id ever given out.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Notes ports and routes; raises the generation if they differ from the last ones.
    pub(super) fn note(&mut self, interfaces: &[Interface], lines: Vec<Line>) {
        let renamed = self.interfaces.len() != interfaces.len()
            || self.interfaces.iter().zip(interfaces).any(|(a, b)| a.name != b.name);
        if renamed {
            // Port numbers mean something else now.
            self.free.extend(self.ids.drain().map(|(_, id)| id));
        }
        if self.interfaces != interfaces || self.lines != lines || self.generation == 0 {
            self.interfaces = interfaces.to_vec();
            self.lines = lines;
            self.raise();
        }
    }

    /// Gives every place an id, the first ones first. Ids of neighbours that the kernel
    /// forgot are kept until there is no other left; then they are reused, and the
    /// generation is raised, so that connections look their hops up again.
    pub(super) fn assign(&mut self, places: &[Place]) {
        let new: Vec<Place> =
            places.iter().filter(|place| !self.ids.contains_key(*place)).copied().collect();
        let room = |ids: &Self| ids.free.len() + (ids.limit - ids.used);
        if new.len() > room(self) {
            self.retire(&places.iter().copied().collect());
        }
        self.refused = 0;
        for place in new {
            match self.fresh() {
                Some(id) => _ = self.ids.insert(place, id),
                None => self.refused += 1,
            }
        }
    }

    fn retire(&mut self, needed: &HashSet<Place>) {
        let before = self.free.len();
        let gone = self.ids.extract_if(|place, _| !needed.contains(place));
        self.free.extend(gone.map(|(_, id)| id));
        if self.free.len() > before {
            self.raise();
        }
    }

    fn fresh(&mut self) -> Option<HopId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        (self.used < self.limit).then(|| {
            self.used += 1;
            HopId::try_from(self.used - 1).expect("the limit is below NO_HOP")
        })
    }

    fn raise(&mut self) {
        self.generation = (self.generation + 1) % GENERATIONS;
        if self.generation == 0 {
            self.generation = 1;
        }
    }
}
