//! One worker on a desk, for what has to happen in one order.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_channel::bounded;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    memory::{MemoryFrame, MemoryIo},
    policy::Lifecycle,
    snapshot::Snapshot,
    stats::Stats,
    topology::{Mac, PortId},
    verdict::Punt,
    worker::Worker,
};

use crate::{
    ground::{Choice, Ground, Net, Port, at, services},
    wire::{self, Ip, Segment, TCP, UDP},
};

pub(crate) const LIMITS: Limits = Limits {
    connections_v4: 64,
    connections_v6: 64,
    half_open: 64,
    fragments: 64,
    held_frames: 8,
    icmp_rate: 1000,
    templates_v4: 64,
    templates_v6: 64,
    sources: 64,
    services: 32,
    servers: 128,
};

pub(crate) const CHOICE: Choice = Choice {
    scheduler: sched::Kind::Rr,
    local_ports: 100,
    weights: [1, 1, 1],
    lifecycle: Lifecycle::lvs(),
};

pub(crate) struct Desk {
    pub(crate) ground: Ground,
    pub(crate) director: Arc<Director>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) worker: Worker<MemoryFrame>,
    pub(crate) io: MemoryIo,
}

impl Desk {
    pub(crate) fn new(limits: Limits) -> Self {
        let ground = Ground::new(services(CHOICE));
        let (sender, _) = bounded(64);
        let director = Arc::new(Director::new(limits, sender).expect("memory"));
        director.prepare(&ground.services);
        let published = Arc::new(ArcSwap::new(ground.snapshot()));
        let stats = Arc::new(Stats::new(director.limits().servers));
        let (shared, snapshot) = (Arc::clone(&director), Arc::clone(&published));
        let worker = Worker::new((0, 1), shared, snapshot, Arc::clone(&stats));
        Self { ground, director, published, stats, worker, io: MemoryIo::new(2, 64) }
    }

    /// Publishes the ground as it is now.
    pub(crate) fn publish(&mut self) {
        self.ground.generation += 1;
        self.published.store(self.ground.snapshot());
    }

    pub(crate) fn arrive(&mut self, port: PortId, ip: &Ip) {
        let frame = wire::frame(Port::mac(port), Mac([2, 0, 0, 0, 0, 1]), ip);
        assert!(self.io.arrive(port, &frame), "the pool is empty");
    }

    /// One breath; what it sent.
    pub(crate) fn breathe(&mut self, millis: u64) -> Vec<Ip> {
        self.worker.breathe(&mut self.io, Now { millis });
        let sent = std::iter::from_fn(|| self.io.take_sent());
        sent.map(|(_, frame)| Ip::read(&frame[14..]).expect("a right packet")).collect()
    }

    pub(crate) fn punts(&mut self) -> Vec<Punt> {
        std::iter::from_fn(|| self.io.take_punted()).map(|(_, _, reason)| reason).collect()
    }
}

/// A datagram of `len` octets to the NAT service.
pub(crate) fn datagram(sport: u16, len: usize) -> Ip {
    packet(UDP, sport, 0, len)
}

/// A segment to the NAT service.
pub(crate) fn segment(sport: u16, flags: u8) -> Ip {
    packet(TCP, sport, flags, 0)
}

fn packet(protocol: u8, sport: u16, flags: u8, len: usize) -> Ip {
    let (src, dst) = (at(false, Net::Clients, 2), at(false, Net::Vips, 10));
    let data = vec![7; len];
    let segment = Segment { protocol, sport, dport: 80, flags, data, unchecked: false };
    Ip { id: sport.into(), ..Ip::new(src, dst, protocol, segment.octets(src, dst)) }
}
