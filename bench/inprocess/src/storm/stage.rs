//! A box with established connections.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use dataplane::{
    clock::Now,
    forward::{Forward, Protocol, Tuple, V4},
    snapshot::{ServerId, Services, Snapshot},
    stats::Stats,
    table::{Connection, Keys, TemplateRef},
    tcp::State,
    topology::Topology,
    wire::tcp,
    worker::{BURST, Worker},
};

use crate::{
    carousel::{Carousel, ChunkFrame, FRAMES},
    director::{self, Ground},
    flows::{BenchFamily, PORT, Template, nth, tuple},
    random::Random,
};

/// Who serves the strangers that are put into the table past the worker: the UDP service's first
/// server, so that what befalls it does not touch those who talk.
pub(super) const STRANGERS_SERVER: ServerId = 10;

/// What is to be on the stage.
pub(super) struct Setting {
    pub(super) forward: Forward,
    pub(super) scheduler: sched::Kind,
    /// Entries.
    pub(super) room: usize,
    pub(super) half_open: u32,
    pub(super) established: u64,
    /// Room for so many others lies in front of them in the table.
    pub(super) in_front: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            forward: Forward::Nat,
            scheduler: sched::Kind::Rr,
            room: 1_000_000,
            // The daemon's default: a quarter.
            half_open: 250_000,
            established: super::ESTABLISHED,
            in_front: 0,
        }
    }
}

pub(super) struct Stage {
    pub(super) ground: Ground,
    pub(super) worker: Worker<ChunkFrame>,
    pub(super) stats: Arc<Stats>,
    pub(super) carousel: Carousel,
    pub(super) now: Now,
    pub(super) established: u64,
    pub(super) services: Services,
    forward: Forward,
    random: Random,
    acks: Template<V4>,
    syns: Template<V4>,
    /// SYNs up to now, each from an address that was never seen before.
    new: u64,
    generation: u64,
    /// As control does: no worker frees a snapshot.
    kept: Vec<Arc<Snapshot>>,
}

impl Stage {
    pub(super) fn new(setting: &Setting) -> io::Result<Self> {
        let mut services = director::services::<V4>(setting.forward);
        for service in services.services.iter_mut().flatten() {
            service.policy.scheduler = sched::Plan::new(setting.scheduler);
            // However far the clock is put.
            service.policy.timeouts.tcp[State::Established as usize] = 1 << 23;
        }
        services.derive();
        let ground = Ground::new::<V4>(services.clone(), setting.room, setting.half_open)?;
        let (worker, stats) = ground.worker((0, 1));
        let [syns, acks] = [tcp::SYN, tcp::ACK].map(|flags| Template::new(Protocol::Tcp, flags));
        let mut stage = Self {
            ground,
            worker,
            stats,
            carousel: Carousel::new(),
            now: Now::at_seconds(1),
            established: setting.established,
            services,
            forward: setting.forward,
            random: Random(7),
            acks,
            syns,
            new: 0,
            generation: 1,
            kept: Vec::new(),
        };
        stage.insert(setting.in_front, State::Close, 10);
        stage.open();
        stage.clear();
        assert_eq!(stage.ground.director.v4.len() as u64, stage.established, "all are open");
        Ok(stage)
    }

    fn open(&mut self) {
        for template in [&self.syns, &self.acks] {
            let mut flow = 0;
            while flow < self.established {
                let count = (self.established - flow).min(BURST as u64);
                self.carousel.arrive(count as usize, |room| {
                    flow += 1;
                    template.write(flow - 1, room)
                });
                self.worker.breathe(&mut self.carousel, self.now);
            }
        }
    }

    /// Packets of established connections arrive.
    pub(super) fn talk(&mut self, packets: usize) {
        let (random, established) = (&mut self.random, self.established);
        self.carousel.arrive(packets, |room| self.acks.write(random.below(established), room));
    }

    /// SYNs arrive, from clients that were never there.
    pub(super) fn flood(&mut self, packets: usize) {
        let new = &mut self.new;
        self.carousel.arrive(packets, |room| {
            *new += 1;
            self.syns.write_as(stranger(*new), room)
        });
    }

    /// One breath.
    pub(super) fn breathe(&mut self) -> Duration {
        let start = Instant::now();
        self.worker.breathe(&mut self.carousel, self.now);
        start.elapsed()
    }

    /// A window of established packets alone.
    pub(super) fn window(&mut self) -> (Duration, usize) {
        self.talk(FRAMES);
        let start = Instant::now();
        for _ in 0..FRAMES / BURST {
            self.worker.breathe(&mut self.carousel, self.now);
        }
        (start.elapsed(), FRAMES)
    }

    /// Connections that were opened so many seconds before they end, by strangers, put into the
    /// table past the worker.
    pub(super) fn insert(&mut self, count: usize, state: State, timeout: u32) {
        let director = &self.ground.director;
        for _ in 0..count {
            self.new += 1;
            let Tuple { src, sport, .. } = stranger(self.new);
            let server_id = STRANGERS_SERVER;
            let connection = Connection {
                client: src,
                cport: sport,
                vip: V4::VIP,
                vport: PORT,
                server: nth(V4::SERVER, self.new % 10),
                rport: 8080,
                local: src,
                lport: sport,
                protocol: Protocol::Tcp,
                forward: self.forward,
                server_id,
                flags: 0,
                keys: Keys::Both,
                template: TemplateRef::NONE,
            };
            let now = self.now.seconds();
            let placed = director.v4.insert(&connection, state as u8, timeout, now);
            placed.expect("there is room");
            director.opened(server_id, state as u8);
        }
    }

    /// Ends all but the established ones that were there first.
    pub(super) fn clear(&mut self) {
        let director = &self.ground.director;
        let strange = stranger(1).src.0;
        director.v4.for_each(&mut |found| {
            if found.connection.client.0 >= strange
                && let Some(meta) = director.v4.take(&found)
            {
                director.ended(&found.connection, meta.state());
            }
        });
    }

    /// Publishes another snapshot, as control does.
    pub(super) fn publish(&mut self, routes: u32, change: impl FnOnce(&mut Services)) {
        let before = self.services.clone();
        change(&mut self.services);
        self.services.derive();
        self.services.follow(&before);
        self.ground.director.prepare(&self.services);
        self.generation += 1;
        let topology = Topology { route_generation: routes, ..director::topology() };
        let services = Arc::new(self.services.clone());
        let next = Arc::new(Snapshot::new(self.generation, services, Arc::new(topology)));
        self.kept.push(Arc::clone(&next));
        self.ground.published.store(next);
    }
}

/// A client that nobody has seen before: behind all that other benches have, each with an address
/// of its own.
fn stranger(n: u64) -> Tuple<V4> {
    Tuple { src: nth(V4::CLIENT, (1 << 20) + n), ..tuple(Protocol::Tcp, n) }
}
