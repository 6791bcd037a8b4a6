//! What would happen to a packet now? A *rehearsal* finds out by letting it happen, apart from
//! the box: a [`Worker`] over ports in memory, with a small director of its own that holds copies
//! of what concerns the packet. So the answer comes from the datapath itself. Nothing on the
//! packet path knows of it; the box is only read.
//!
//! [`bring`](mod@bring) copies, [`account`] tells what was seen on the way. Packets that are rehearsed one after the
//! other see what the earlier ones did, all at one moment.
//!
//! What is copied while workers run is the guess of a moment, as every listing is. Of the tables
//! only what concerns the packet is there, so one thing is not foreseen: that the index of a
//! table has no place for a new key while entries are free, which hardly ever happens.

pub mod account;
mod bring;

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, bounded};
use hashbrown::HashSet;

pub use account::{Account, End, Line, Template, WayOut};

use crate::{
    breath::Breath,
    clock::Now,
    director::{Director, ResolveRequest},
    fragment::Datagram,
    ids::Ids,
    memory::{MemoryFrame, MemoryIo, ROOM},
    snapshot::{ServiceId, Snapshot},
    stats::Stats,
    topology::PortId,
    worker::Worker,
};

/// Frames that the scratch worker may hold, and the parts of one that it splits.
const FRAMES: usize = 128;
/// Connections and templates that packets may bring with them, at least.
const ROOM_FOR: usize = 256;
/// At most so many, whatever the services need: some 6 MiB.
const MOST: usize = 1 << 16;

/// A packet cannot be rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrehearsed {
    /// No frame of the box has room for it: the XDP program drops such ones.
    #[error("{0} octets: a frame holds {ROOM}")]
    TooLong(usize),
    /// There is no such interface.
    #[error("there is no port {0}")]
    NoPort(PortId),
}

/// The stage: everything that a packet meets, in copies.
pub struct Rehearsal<'a> {
    /// The running one. Only read.
    real: &'a Director,
    scratch: Arc<Director>,
    snapshot: Arc<Snapshot>,
    worker: Worker<MemoryFrame>,
    stats: Arc<Stats>,
    io: MemoryIo,
    asked: Receiver<ResolveRequest>,
    now: Now,
    /// By family: IPv4, IPv6.
    brought: [bring::Brought; 2],
    /// Services whose admission is here.
    services: HashSet<ServiceId>,
    /// Datagrams whose decision is ours by now.
    datagrams: HashSet<Datagram>,
}

impl<'a> Rehearsal<'a> {
    /// Sets the stage for as many packets, as the box is now. A service with many servers needs
    /// room for what may be in the way of a new connection to each.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(
        real: &'a Director,
        snapshot: Arc<Snapshot>,
        now: Now,
        packets: usize,
    ) -> io::Result<Self> {
        let services = snapshot.services.services.iter().flatten();
        let candidates = services.map(|service| service.servers.len()).max().unwrap_or(0);
        let wanted = ROOM_FOR + packets.saturating_mul(4 + bring::obstacles(candidates));
        let room = (wanted.min(MOST), (ROOM_FOR + 4 * packets).min(MOST));
        let (resolve, asked) = bounded(ROOM_FOR);
        let scratch = Arc::new(real.replica(room, resolve)?);
        let ports =
            snapshot.topology.interfaces.len() + usize::from(snapshot.topology.probes.is_some());
        let stats = Arc::new(Stats::new(real.limits().servers));
        let published = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
        let worker = Worker::new((0, 1), Arc::clone(&scratch), published, Arc::clone(&stats));
        let mut stage = Self {
            real,
            scratch,
            snapshot,
            worker,
            stats,
            io: MemoryIo::new(ports, FRAMES),
            asked,
            now,
            brought: Default::default(),
            services: HashSet::new(),
            datagrams: HashSet::new(),
        };
        // The upkeep of this moment, while nothing is there that it could change: it comes once
        // for each time.
        stage.worker.breathe(&mut stage.io, now);
        stage.scratch.defences.become_like(&real.defences);
        Ok(stage)
    }

    /// Lets one packet happen.
    ///
    /// # Errors
    /// See [`Unrehearsed`].
    pub fn play(&mut self, port: PortId, frame: &[u8]) -> Result<Account, Unrehearsed> {
        if frame.len() > ROOM {
            return Err(Unrehearsed::TooLong(frame.len()));
        }
        if usize::from(port) >= self.snapshot.topology.interfaces.len()
            && self.snapshot.topology.probes != Some(port)
        {
            return Err(Unrehearsed::NoPort(port));
        }
        self.bring(port, frame);
        let before = self.look(port, frame);
        let counted = account::Counted::of(&self.stats, self.worker.held());
        assert!(self.io.arrive(port, frame), "frames come home after each packet");
        self.worker.breathe(&mut self.io, self.now);
        let sent = std::iter::from_fn(|| self.io.take_sent()).collect();
        while self.io.take_punted().is_some() {}
        let asked = self.asked.try_iter().collect();
        let counted = account::Counted::of(&self.stats, self.worker.held()).since(&counted);
        Ok(self.tell(before, counted, sent, asked))
    }

    /// Calls `with` with a breath of the scratch worker's: what the pure functions of the datapath
    /// are methods of.
    fn with_breath<T>(&self, arrived: PortId, with: impl FnOnce(&mut Breath<'_>) -> T) -> T {
        with(&mut Breath {
            director: &self.scratch,
            snapshot: &self.snapshot,
            stats: &self.stats,
            now: self.now,
            ids: &mut Ids::new(0, 1),
            arrived,
        })
    }
}
