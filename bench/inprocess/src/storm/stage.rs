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

/// Half-open connections, where they are limited.
const LIMIT: u32 = 1024;

/// What is to be on the stage.
pub(super) struct Setting {
    pub(super) forward: Forward,
    pub(super) scheduler: sched::Kind,
    /// Entries.
    pub(super) room: usize,
    /// Half-open connections are at their limit.
    pub(super) limited: bool,
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
            limited: false,
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
    limited: bool,
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
        let half_open = if setting.limited { LIMIT } else { u32::MAX };
        let mut services = director::services::<V4>(setting.forward);
        for service in services.services.iter_mut().flatten() {
            service.policy.scheduler = sched::Plan::new(setting.scheduler);
            // However far the clock is put.
            service.policy.timeouts.tcp[State::Established as usize] = 1 << 23;
        }
        services.derive();
        let ground = Ground::new::<V4>(services.clone(), setting.room, half_open)?;
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
            limited: setting.limited,
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
        assert_eq!(stage.lost(), 0, "all are open");
        Ok(stage)
    }

    fn open(&mut self) {
        for flow in (0..self.established).step_by(BURST) {
            let flows = flow..self.established.min(flow + BURST as u64);
            for template in [&self.syns, &self.acks] {
                let mut flows = flows.clone();
                let count = flows.clone().count();
                self.carousel.arrive(count, |room| template.write(flows.next().unwrap_or(0), room));
                self.worker.breathe(&mut self.carousel, self.now);
            }
        }
    }

    /// Established connections that are not there any more.
    pub(super) fn lost(&self) -> u64 {
        let all = self.established + if self.limited { LIMIT.into() } else { 0 };
        all.saturating_sub(self.ground.director.v4.len() as u64)
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

    /// Ends all but the established ones that were there first, and those up to the limit.
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
        if self.limited {
            self.insert(LIMIT as usize, State::SynRecv, 1 << 20);
        }
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
