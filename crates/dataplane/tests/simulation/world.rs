//! The world: workers over one director, the packets on their way, the hosts, one clock.
//! One step after the other, in an order that the seed decides.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, bounded};
use dataplane::{
    clock::Now,
    director::{Director, Limits, ResolveRequest},
    io::Io,
    memory::{MemoryFrame, MemoryIo},
    policy::{Gone, Lifecycle},
    snapshot::Snapshot,
    stats::Stats,
    table::Secret,
    topology::{Mac, PortId},
    verdict::Punt,
    worker::Worker,
};

use crate::{
    errors::Recent,
    ground::{BACK, Choice, Ground, Port, services},
    laws::Before,
    lives::{Listing, Lives},
    random::Random,
    talk::{Mark, Talk},
    tally::Tally,
    trouble,
    wire::{self, Ip, Reassembly, SYN},
};

/// What is known of a packet on its way to the director.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    /// What its data says; fragments share it.
    pub(crate) mark: Option<Mark>,
    /// An ICMP error about this life, and whether it is to reach the server.
    pub(crate) error: Option<(u32, bool)>,
    pub(crate) flags: u8,
    pub(crate) whole: bool,
    pub(crate) ttl: u8,
    pub(crate) len: usize,
    /// Damaged on purpose.
    pub(crate) hostile: bool,
}

/// A packet on its way to the director.
pub(crate) struct Parcel {
    pub(crate) port: PortId,
    pub(crate) frame: Vec<u8>,
    pub(crate) note: Note,
}

/// One worker with its own ports.
pub(crate) struct Station {
    pub(crate) worker: Worker<MemoryFrame>,
    pub(crate) io: MemoryIo,
    pub(crate) stats: Arc<Stats>,
    /// What arrived since the last breath.
    pub(crate) notes: Vec<Note>,
    /// The hashes of all frames that ever arrived here.
    pub(crate) arrived: BTreeSet<u64>,
    /// A damaged packet may be held.
    pub(crate) hostile_held: bool,
}

/// What happened last, for the report of a failure.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "read through Debug")]
pub(crate) enum Event {
    Time(u64),
    Arrives { worker: usize, port: PortId, note: Note },
    Lost(&'static str),
    Breath { number: u64, worker: usize, packets: usize },
    Sent { port: PortId, neighbour: usize, len: usize },
    Delivered(Mark),
    Born(crate::lives::Line),
    Died(crate::lives::Line),
    Change(&'static str),
}

pub(crate) struct World {
    pub(crate) seed: u64,
    trace: bool,
    events: VecDeque<Event>,
    pub(crate) random: Random,
    pub(crate) now: Now,
    pub(crate) breath: u64,
    pub(crate) director: Arc<Director>,
    published: Arc<ArcSwap<Snapshot>>,
    /// What is published.
    pub(crate) ground: Ground,
    /// What is published within this breath.
    pub(crate) coming: Option<Ground>,
    pub(crate) stations: Vec<Station>,
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) talks: Vec<Talk>,
    pub(crate) listing: Listing,
    pub(crate) lives: Lives,
    resolve: Receiver<ResolveRequest>,
    /// Neighbours that the director asked for since they were lost.
    pub(crate) asked: BTreeSet<(PortId, IpAddr)>,
    /// What reached a host in this breath: data, and errors by life and side.
    pub(crate) delivered: BTreeSet<Mark>,
    pub(crate) delivered_errors: BTreeSet<(u32, bool)>,
    pub(crate) outer: Reassembly,
    pub(crate) inner: Reassembly,
    pub(crate) recent: VecDeque<Recent>,
    pub(crate) tally: Tally,
    numbers: u32,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let limits = limits(&mut random);
        let choice = Choice {
            scheduler: random.pick(&[sched::Kind::Rr, sched::Kind::Wrr]),
            local_ports: random.pick(&[2, 20, 200]),
            weights: [1 + random.below(4) as u32, random.below(4) as u32, random.below(2) as u32],
            lifecycle: Lifecycle {
                gone: random.pick(&[Gone::Reset, Gone::Hold, Gone::Expire]),
                reset_idle: random.chance(50),
                ..Lifecycle::default()
            },
        };
        let ground = Ground::new(services(choice));
        let (sender, resolve) = bounded(4096);
        let secrets = [(); 2].map(|()| Secret(std::array::from_fn(|_| random.next() << 20)));
        let director = Director::with_secrets(limits, sender, secrets).expect("memory");
        director.prepare(&ground.services);
        let director = Arc::new(director);
        let published = Arc::new(ArcSwap::new(ground.snapshot()));
        let workers = 1 + random.below(4);
        let talks = trouble::talks(&mut random, &ground);
        let stations = (0..workers)
            .map(|i| Station::new((i, workers), &director, &published, &mut random))
            .collect();
        Self {
            seed,
            trace,
            events: VecDeque::new(),
            random,
            now: Now { millis: 1000 },
            breath: 0,
            director,
            published,
            ground,
            coming: None,
            stations,
            parcels: Vec::new(),
            talks,
            listing: Listing::new(),
            lives: Lives::default(),
            resolve,
            asked: BTreeSet::new(),
            delivered: BTreeSet::new(),
            delivered_errors: BTreeSet::new(),
            outer: Reassembly::default(),
            inner: Reassembly::default(),
            recent: VecDeque::new(),
            tally: Tally::default(),
            numbers: 0,
        }
    }

    /// A number that comes once only: for sequences and identifications.
    pub(crate) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        self.tally.add(what, 1);
    }

    pub(crate) fn event(&mut self, event: Event) {
        const KEPT: usize = 60;
        if self.trace {
            println!("{event:?}");
        }
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// One step: hosts speak, things change, packets arrive, a worker breathes, time passes.
    pub(crate) fn step(&mut self) {
        for _ in 0..self.random.below(4) {
            self.client_speaks();
        }
        if self.random.chance(8) {
            self.somebody_complains();
        }
        if self.random.chance(4) {
            self.garbage();
        }
        if self.random.chance(6) {
            let ground = self.changed();
            self.publish(ground);
        }
        self.neighbours_return();
        for _ in 0..self.random.below(8) {
            self.deliver();
        }
        let worker = self.random.below(self.stations.len());
        self.breathe(worker);
        let millis = match self.random.below(100) {
            0 => 1000 * self.random.below(1000),
            1..=4 => self.random.below(3000),
            _ => self.random.below(40),
        };
        self.wait(millis as u64);
    }

    /// Time passes. No worker sleeps for long while it holds frames.
    fn wait(&mut self, millis: u64) {
        if millis > 1_000 {
            self.all_breathe();
            self.pass(1_000);
            self.all_breathe();
        }
        self.pass(millis);
    }

    fn all_breathe(&mut self) {
        (0..self.stations.len()).for_each(|worker| self.breathe(worker));
    }

    fn pass(&mut self, millis: u64) {
        self.now.millis += millis;
        self.event(Event::Time(self.now.millis));
    }

    /// A packet on its way arrives at a random worker, gets lost, or comes twice.
    fn deliver(&mut self) {
        if self.parcels.is_empty() {
            return;
        }
        let at = self.random.below(self.parcels.len());
        let parcel = self.parcels.swap_remove(at);
        if self.random.chance(2) {
            return self.event(Event::Lost("on the way"));
        }
        // Large ones may be cut by the director, and a host takes parts of one datagram once.
        let twice = parcel.note.whole && parcel.note.len < 500 && self.random.chance(4);
        for _ in 0..1 + usize::from(twice) {
            let worker = self.random.below(self.stations.len());
            self.arrive(worker, &parcel);
        }
    }

    fn arrive(&mut self, worker: usize, Parcel { port, frame, note }: &Parcel) {
        const BATCH: usize = 60;
        let same_syn = |other: &Note| {
            note.flags & other.flags & SYN != 0
                && note.mark.map(|m| m.talk) == other.mark.map(|m| m.talk)
        };
        let notes = &self.stations[worker].notes;
        // Two SYNs of a talk in one breath could make two connections, of which one is unseen.
        if notes.len() >= BATCH || notes.iter().any(same_syn) {
            self.breathe(worker);
        }
        let station = &mut self.stations[worker];
        if station.io.arrive(*port, frame) {
            station.notes.push(*note);
            station.arrived.insert(hash(frame));
            self.event(Event::Arrives { worker, port: *port, note: *note });
        } else {
            self.count("frame pool empty on arrival");
            self.event(Event::Lost("no frame"));
        }
    }

    /// Makes a new ground the published one.
    pub(crate) fn publish(&mut self, ground: Ground) {
        self.published.store(ground.snapshot());
        self.ground = ground;
    }

    /// One worker breathes, and everything is looked at.
    pub(crate) fn breathe(&mut self, worker: usize) {
        self.breath += 1;
        let before = Before::new(self, worker);
        // In some breaths the world changes right in the middle.
        let news = self.random.chance(5).then(|| self.changed());
        let station = &mut self.stations[worker];
        let snapshot = news.as_ref().map(|ground| (&*self.published, ground.snapshot()));
        self.coming = news;
        let mut io = Interrupted { io: &mut station.io, snapshot };
        station.worker.breathe(&mut io, self.now);
        let packets = std::mem::take(&mut station.notes).len();
        self.event(Event::Breath { number: self.breath, worker, packets });
        self.asked.extend(self.resolve.try_iter().map(|request| (request.port, request.address)));
        self.delivered.clear();
        self.delivered_errors.clear();
        self.follow_connections(worker, &before);
        self.take_frames(worker, &before);
        self.laws(worker, &before);
        if let Some(ground) = self.coming.take() {
            self.ground = ground;
        }
    }

    /// The hosts get what was sent.
    fn take_frames(&mut self, worker: usize, before: &Before) {
        let sent: Vec<(PortId, Vec<u8>)> = self.stations[worker]
            .io
            .sent()
            .skip(before.sent)
            .map(|(port, frame)| (port, frame.to_vec()))
            .collect();
        for (port, frame) in sent {
            let neighbour = self.receiver(port, &frame);
            self.event(Event::Sent { port, neighbour, len: frame.len() });
            if let Err(wrong) = self.host_takes(port, neighbour, &frame) {
                assert!(before.hostile, "a host got a wrong packet: {wrong}: {frame:02x?}");
                self.count("damaged packet at a host");
            }
        }
        // Now and then the ring is not emptied yet.
        if self.random.chance(85) {
            self.stations[worker].io.discard_sent();
        }
    }

    /// Puts a packet on its way to the director, in fragments of at most `mtu` octets.
    pub(crate) fn post(&mut self, port: PortId, ip: &Ip, mtu: usize, note: Note) {
        let parts = ip.cut(mtu);
        for part in &parts {
            let frame = wire::frame(Port::mac(port), Mac([2, 0, 0, 0, 0, 1]), part);
            let note = Note { whole: parts.len() == 1, ttl: ip.ttl, len: part.len(), ..note };
            self.parcels.push(Parcel { port, frame, note });
        }
    }

    /// Time passes without packets, until everything is over.
    pub(crate) fn finish(&mut self) {
        self.parcels.clear();
        for _ in 0..3 {
            self.wait(2_000_000);
            self.all_breathe();
        }
        self.last_laws();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for event in &self.events {
                eprintln!("{event:?}");
            }
            eprintln!("simulation: seed {} failed; XLVS_SEED={} traces it", self.seed, self.seed);
        }
    }
}

impl Station {
    fn new(
        place: (usize, usize),
        director: &Arc<Director>,
        published: &Arc<ArcSwap<Snapshot>>,
        random: &mut Random,
    ) -> Self {
        let stats = Arc::new(Stats::new(director.limits().servers));
        let mut io = MemoryIo::new(2, random.pick(&[16, 200]));
        io.tx_limit = random.pick(&[8, usize::MAX, usize::MAX]);
        io.punt_limit = random.pick(&[1, usize::MAX, usize::MAX]);
        Self {
            worker: Worker::new(
                place,
                Arc::clone(director),
                Arc::clone(published),
                Arc::clone(&stats),
            ),
            io,
            stats,
            notes: Vec::new(),
            arrived: BTreeSet::new(),
            hostile_held: false,
        }
    }
}

/// Small ones, so that everything runs out in one simulation or another.
fn limits(random: &mut Random) -> Limits {
    Limits {
        connections_v4: random.pick(&[4, 30, 100, 100]),
        connections_v6: random.pick(&[4, 30, 100, 100]),
        half_open: random.pick(&[2, 8, u32::MAX]),
        fragments: random.pick(&[8, 4096]),
        held_frames: random.pick(&[2, 64]),
        icmp_rate: 1000,
        templates_v4: 64,
        templates_v6: 64,
        sources: 64,
        services: 32,
        servers: 128,
    }
}

pub(crate) fn hash(frame: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    frame.hash(&mut hasher);
    hasher.finish()
}

/// Ports that publish another snapshot while a worker receives from the second one.
struct Interrupted<'a> {
    io: &'a mut MemoryIo,
    snapshot: Option<(&'a ArcSwap<Snapshot>, Arc<Snapshot>)>,
}

impl Io for Interrupted<'_> {
    type Frame = MemoryFrame;

    fn ports(&self) -> usize {
        self.io.ports()
    }

    fn receive(&mut self, port: PortId, burst: &mut Vec<MemoryFrame>, max: usize) -> usize {
        if port == BACK
            && let Some((published, snapshot)) = self.snapshot.take()
        {
            published.store(snapshot);
        }
        self.io.receive(port, burst, max)
    }

    fn send(&mut self, port: PortId, frame: MemoryFrame) -> Result<(), MemoryFrame> {
        self.io.send(port, frame)
    }

    fn punt(&mut self, port: PortId, packet: &[u8], reason: Punt) -> bool {
        self.io.punt(port, packet, reason)
    }

    fn take(&mut self) -> Option<MemoryFrame> {
        self.io.take()
    }

    fn give(&mut self, frame: MemoryFrame) {
        self.io.give(frame);
    }

    fn flush(&mut self) {
        self.io.flush();
    }
}
