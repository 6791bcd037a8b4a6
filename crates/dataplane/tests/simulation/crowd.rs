//! Two workers on two threads get copies of the same packets at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use crossbeam_channel::bounded;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    forward::Protocol,
    memory::{MemoryFrame, MemoryIo},
    snapshot::Snapshot,
    stats::Stats,
    topology::Mac,
    worker::Worker,
};

use crate::{
    desk::{CHOICE, LIMITS},
    ground::{FRONT, Ground, Net, Port, at, services},
    lives::{check_counts, check_keys, list},
    random::Random,
    talk::Mark,
    wire::{self, ACK, FIN, IPIP, IPV6, Ip, RST, SYN, Segment},
};

const WORKERS: usize = 2;
/// A multiple of the servers of a service.
const FLOWS_PER_SERVICE: usize = 6;
const ROUNDS: u64 = 1_500;
/// A slow machine does fewer rounds.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where a packet of a flow went: MAC, outer destination, source port.
type Place = (Mac, IpAddr, u16);
/// The places of each flow.
type Places = BTreeMap<u16, BTreeSet<Place>>;

/// What the threads share.
struct Crowd {
    ground: Ground,
    director: Arc<Director>,
    published: Arc<ArcSwap<Snapshot>>,
    barrier: Barrier,
}

impl Crowd {
    fn new() -> Self {
        let ground = Ground::new(services(CHOICE));
        let limits =
            Limits { connections_v4: 512, connections_v6: 512, half_open: u32::MAX, ..LIMITS };
        let (sender, _) = bounded(64);
        let director = Director::new(limits, sender).expect("memory");
        director.prepare(&ground.services);
        let published = Arc::new(ArcSwap::new(ground.snapshot()));
        Self { ground, director: Arc::new(director), published, barrier: Barrier::new(WORKERS) }
    }

    fn flows(&self) -> usize {
        self.ground.services.services.len() * FLOWS_PER_SERVICE
    }

    /// A packet of a flow. Flows of two services have the same client address and port.
    fn frame(&self, flow: usize, flags: u8) -> Vec<u8> {
        let key = self.ground.endpoint(flow / FLOWS_PER_SERVICE);
        let client = at(key.address.is_ipv6(), Net::Clients, 2);
        let mark = Mark { talk: flow as u16, life: None, seq: 0 };
        let segment = Segment {
            protocol: key.protocol as u8,
            sport: 40_000 + (flow % FLOWS_PER_SERVICE) as u16,
            dport: key.port,
            flags: if key.protocol == Protocol::Tcp { flags } else { 0 },
            data: mark.data(40),
            unchecked: false,
        };
        let octets = segment.octets(client, key.address);
        let ip = Ip::new(client, key.address, key.protocol as u8, octets);
        wire::frame(Port::mac(FRONT), Mac([2, 0, 0, 0, 0, 1]), &ip)
    }
}

/// One thread's worker.
struct Member<'a> {
    crowd: &'a Crowd,
    random: Random,
    worker: Worker<MemoryFrame>,
    io: MemoryIo,
    places: Places,
}

impl<'a> Member<'a> {
    fn new(crowd: &'a Crowd, number: usize, seed: u64) -> Self {
        let stats = Arc::new(Stats::new(crowd.director.limits().servers));
        let (director, published) = (Arc::clone(&crowd.director), Arc::clone(&crowd.published));
        Self {
            crowd,
            random: Random::new(seed * WORKERS as u64 + number as u64),
            worker: Worker::new((number, WORKERS), director, published, stats),
            io: MemoryIo::new(2, 256),
            places: Places::new(),
        }
    }

    /// All flows open, in another order on each thread.
    fn open(&mut self) {
        let flows = self.crowd.flows();
        let mut order: Vec<usize> = (0..flows).collect();
        for i in (1..flows).rev() {
            order.swap(i, self.random.below(i + 1));
        }
        let frames: Vec<_> = order.iter().map(|flow| self.crowd.frame(*flow, SYN)).collect();
        self.crowd.barrier.wait();
        frames.chunks(8).for_each(|burst| self.breathe(burst, 1_000));
    }

    /// Few flows open, close and come again, on both threads.
    fn quarrel(&mut self) {
        let frames: Vec<_> = (0..600)
            .map(|_| {
                let flow = self.random.below(4) * FLOWS_PER_SERVICE;
                let flags = self.random.pick(&[SYN, ACK, ACK, FIN | ACK, RST, SYN, 0]);
                self.crowd.frame(flow, flags)
            })
            .collect();
        self.crowd.barrier.wait();
        for (i, burst) in frames.chunks(4).enumerate() {
            // Now and then so much time passes that all is over.
            self.breathe(burst, 1_000 + 40_000 * (i as u64 / 10));
        }
    }

    fn breathe(&mut self, frames: &[Vec<u8>], millis: u64) {
        for frame in frames {
            assert!(self.io.arrive(FRONT, frame), "the pool is empty");
        }
        self.worker.breathe(&mut self.io, Now { millis });
        while let Some((_, frame)) = self.io.take_sent() {
            let (flow, place) = place(&frame);
            self.places.entry(flow).or_default().insert(place);
        }
        assert_eq!(self.io.outstanding(), 0, "frames without a home");
    }
}

/// The flow of a packet towards a server, and where it goes.
fn place(frame: &[u8]) -> (u16, Place) {
    let (mac, _, packet) = wire::read_frame(frame).expect("a frame");
    let outer = Ip::read(packet).expect("a packet");
    let tunnelled = matches!(outer.protocol, IPIP | IPV6);
    let ip = if tunnelled { Ip::read(&outer.payload).expect("a packet") } else { outer.clone() };
    let segment = Segment::read(&ip).expect("a segment");
    let mark = Mark::read(&segment.data).expect("a mark");
    (mark.talk, (mac, outer.dst, segment.sport))
}

/// Each member does its part on a thread of its own.
fn together<'a>(members: &mut [Member<'a>], part: impl Fn(&mut Member<'a>) + Sync) {
    std::thread::scope(|scope| {
        for member in members {
            let part = &part;
            scope.spawn(move || part(member));
        }
    });
}

/// One connection a flow, the same one on both threads, and each server its share.
fn check_opened(crowd: &Crowd, members: &[Member<'_>]) {
    let listing = list(&crowd.director);
    assert_eq!(listing.len(), crowd.flows());
    check_keys(&listing);
    check_counts(&crowd.director, &listing, crowd.ground.services.servers.len());
    for id in 0..crowd.ground.services.servers.len() as u32 {
        assert_eq!(crowd.director.server(id).opened(), 2, "round robin at server {id}");
    }
    for flow in 0..crowd.flows() as u16 {
        let places: BTreeSet<&Place> =
            members.iter().flat_map(|member| &member.places[&flow]).collect();
        assert_eq!(places.len(), 1, "flow {flow} at {places:?}");
    }
}

fn round(seed: u64) {
    let crowd = Crowd::new();
    let mut members: Vec<_> = (0..WORKERS).map(|i| Member::new(&crowd, i, seed)).collect();
    together(&mut members, Member::open);
    check_opened(&crowd, &members);
    together(&mut members, Member::quarrel);
    let listing = list(&crowd.director);
    check_keys(&listing);
    check_counts(&crowd.director, &listing, crowd.ground.services.servers.len());
    together(&mut members, |member| {
        member.breathe(&[], 10_000_000);
        member.breathe(&[], 20_000_000);
    });
    let listing = list(&crowd.director);
    assert!(listing.is_empty() && crowd.director.v4.keys() + crowd.director.v6.keys() == 0);
    check_counts(&crowd.director, &listing, crowd.ground.services.servers.len());
}

#[test]
fn two_threads_admit_as_one() {
    let start = Instant::now();
    let done = (0..ROUNDS).take_while(|_| start.elapsed() < PATIENCE).map(round).count();
    println!("{done} rounds");
    assert!(done > 20, "{done} rounds only");
}
