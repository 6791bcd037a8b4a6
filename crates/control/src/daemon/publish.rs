//! The one pointer: services and topology go to the workers together.

use std::sync::Arc;

use arc_swap::ArcSwap;
use dataplane::{
    snapshot::{Services, Snapshot},
    stats::Stats,
    topology::Topology,
};

/// Makes snapshots, and keeps each until all workers have a newer one, so that no worker
/// ever frees one.
pub(super) struct Publisher {
    pointer: Arc<ArcSwap<Snapshot>>,
    generation: u64,
    retired: Vec<Arc<Snapshot>>,
    /// Octets of the largest packet that a frame holds with an outer header.
    largest_mtu: u16,
}

impl Publisher {
    pub(super) fn new(services: Services, topology: Topology, largest_mtu: u32) -> Self {
        let largest_mtu = u16::try_from(largest_mtu).unwrap_or(u16::MAX);
        let topology = fitted(topology, largest_mtu);
        let snapshot = Snapshot::new(1, Arc::new(services), Arc::new(topology));
        Self {
            pointer: Arc::new(ArcSwap::from_pointee(snapshot)),
            generation: 1,
            retired: Vec::new(),
            largest_mtu,
        }
    }

    /// What workers load from.
    pub(super) fn pointer(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.pointer)
    }

    /// What is published.
    pub(super) fn current(&self) -> Arc<Snapshot> {
        self.pointer.load_full()
    }

    /// Publishes the same services over another topology.
    pub(super) fn topology(&mut self, topology: Topology) {
        let services = Arc::clone(&self.current().services);
        self.generation += 1;
        let topology = fitted(topology, self.largest_mtu);
        let next = Snapshot::new(self.generation, services, Arc::new(topology));
        self.retired.push(self.pointer.swap(Arc::new(next)));
    }

    /// Publishes other services over the same topology.
    pub(super) fn services(&mut self, services: Services) {
        let topology = Arc::clone(&self.current().topology);
        self.generation += 1;
        let next = Snapshot::new(self.generation, Arc::new(services), topology);
        self.retired.push(self.pointer.swap(Arc::new(next)));
    }

    /// Frees what no worker has any more.
    pub(super) fn release(&mut self, workers: &[Arc<Stats>]) {
        let oldest = workers.iter().map(|stats| stats.snapshot.value()).min().unwrap_or(0);
        self.retired.retain(|snapshot| snapshot.generation >= oldest);
    }
}

/// An interface whose MTU was raised beyond what frames hold is used as far as they go: peers
/// are told so by ICMP, instead of losing packets that a tunnel header makes too long.
fn fitted(mut topology: Topology, largest_mtu: u16) -> Topology {
    for hop in &mut topology.hops {
        hop.mtu = hop.mtu.min(largest_mtu);
    }
    topology
}
