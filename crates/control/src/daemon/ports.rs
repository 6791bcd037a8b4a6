//! Interfaces, their sockets and their XDP programs: opened at the start, let go when an
//! interface vanishes, opened again when it is back.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crossbeam_channel::bounded;
use dataplane::{
    engine::Order,
    topology::{Mac, PortId, Topology},
    worker::BURST,
};
use xsk::{
    AttachError, AttachMode, Attached, MatchCapacities, MatchMaps, OpenError, Pool, Port,
    PortConfig, Program, Tap, Umem, UmemConfig, WhenDown, link,
};

use super::{
    matched::Matched,
    pins::{PinError, Pins},
    publish::Publisher,
    workers::Crew,
};
use crate::{
    model::{self, Model, ZeroCopy},
    report::InterfaceFacts,
};

/// Why interfaces cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// An interface's facts could not be read.
    #[error("interface {0}: {1}; is it there, and is it Ethernet?")]
    Interface(String, #[source] io::Error),
    /// More workers than an interface has queues.
    #[error("{0}")]
    TooFewQueues(#[from] TooFewQueues),
    /// The packet memory.
    #[error("{0}")]
    Umem(#[from] xsk::Error),
    /// A socket.
    #[error("{0}")]
    Socket(#[from] OpenError),
    /// `zero_copy: require`, and an interface refuses.
    #[error("zero_copy: require: {0}; write zero_copy: auto to copy instead")]
    ZeroCopy(#[source] OpenError),
    /// The match maps or a program.
    #[error("the XDP program: {0}; it needs CAP_BPF and CAP_NET_ADMIN")]
    Program(#[source] io::Error),
    /// The program could not be attached.
    #[error("{0}")]
    Attach(#[from] AttachError),
    /// Nowhere to pin programs.
    #[error("{0}")]
    Pins(#[from] PinError),
    /// An offload that must be off.
    #[error("interface {interface}: cannot switch {feature} off: {source}; do it by ethtool -K")]
    Offload {
        /// The interface.
        interface: String,
        /// The offload.
        feature: String,
        /// What the driver said.
        source: io::Error,
    },
}

/// A worker would have no queue there.
#[derive(Debug, thiserror::Error)]
#[error(
    "workers.cores: {workers} workers, but {interface} has {queues} receive queue(s), and each worker needs one of its own on every interface; name fewer cores or give it more queues (ethtool -L {interface} combined {workers})"
)]
pub struct TooFewQueues {
    /// How many there are.
    workers: usize,
    /// The interface.
    interface: String,
    /// How many it has.
    queues: u32,
}

/// One interface.
struct Served {
    name: String,
    mode: AttachMode,
    queues: u32,
    program: Program,
    attached: Option<Attached>,
    /// The kernel's index while it is served; 0 while it is gone.
    index: u32,
    mac: Mac,
    /// As last seen.
    mtu: u16,
    /// Why it is not served though it is there; said once.
    trouble: Option<String>,
}

/// How long an interface that could not be served again is left in peace.
const RETRY: Duration = Duration::from_secs(5);

/// All interfaces.
pub(super) struct Ports {
    umem: Umem,
    config: PortConfig,
    workers: usize,
    pins: Pins,
    served: Vec<Served>,
    maps: Option<MatchMaps>,
    facts: Arc<Mutex<Vec<InterfaceFacts>>>,
    largest_mtu: u32,
    retried: Instant,
}

impl Ports {
    /// Takes packet memory for as many workers as there are to be, and loads the programs.
    /// Nothing is attached, no socket is bound but the anchor.
    pub(super) fn open(model: &Model, tap: &Arc<Tap>) -> Result<(Self, Vec<Pool>), PortsError> {
        let queues = queues(model)?;
        let workers = workers(model, &queues)?;
        let zero_copy = zero_copy(model)?;
        let config = PortConfig { zero_copy, ..ring_sizes(&queues) };
        let (umem, pools) = Umem::new(UmemConfig {
            chunk_size: model.chunk_size,
            frames_per_worker: frames(model, &queues, workers, &config),
        })?;
        if !zero_copy {
            umem.anchor(tap.name())?;
        }
        let maps = MatchMaps::new(capacities(model, &umem)).map_err(PortsError::Program)?;
        let served = model
            .interfaces
            .iter()
            .map(|interface| load(model, interface, queues[&interface.name], &maps))
            .collect::<Result<_, _>>()?;
        let pins = Pins::open(model)?;
        let ports = Self {
            umem,
            config,
            workers,
            pins,
            served,
            maps: Some(maps),
            facts: Arc::default(),
            largest_mtu: model.largest_mtu(),
            retried: Instant::now(),
        };
        Ok((ports, pools))
    }

    /// Fills the match maps, before anything is attached.
    pub(super) fn fill(&mut self, publisher: &Publisher) -> Result<Matched, PortsError> {
        let maps = self.maps.take().expect("filled once");
        let mut matched = Matched::new(maps);
        matched.update(&publisher.current()).map_err(PortsError::Program)?;
        Ok(matched)
    }

    /// Opens the sockets of all interfaces, gives them to the workers, attaches the programs.
    pub(super) fn attach_all(&mut self, crew: &Crew) -> Result<(), PortsError> {
        let attached = (0..self.served.len()).try_for_each(|id| self.attach(id, crew));
        if attached.is_err() {
            self.give_up();
        }
        attached
    }

    /// Follows interfaces that vanished, came back, or changed their address or MTU.
    pub(super) fn follow(&mut self, topology: &Topology, crew: &Crew) {
        for (id, now) in topology.interfaces.iter().enumerate() {
            let served = &mut self.served[id];
            if served.index != 0 && served.index != now.index {
                log::warn!("{}: the interface is gone", served.name);
                self.let_go(id, crew);
            }
            let served = &mut self.served[id];
            if now.index == 0 {
                served.trouble = None;
            }
            let rests = served.trouble.is_some() && self.retried.elapsed() < RETRY;
            if served.index == 0 && now.index != 0 && now.up && !rests {
                self.serve_again(id, crew);
            } else if served.index != 0 && served.mac != now.mac {
                served.mac = now.mac;
                served.program.set_mac(now.mac.0);
                log::info!("{}: its address is now {}", now.name, now.mac);
            }
            self.note_mtu(id, now.mtu);
        }
    }

    /// Tries those again, now and then, that are there and could not be served.
    pub(super) fn retry(&mut self, topology: &Topology, crew: &Crew) {
        if self.served.iter().any(|served| served.trouble.is_some()) {
            self.follow(topology, crew);
        }
    }

    /// A start that failed leaves nothing attached, but for what it found.
    pub(super) fn give_up(&mut self) {
        for attached in self.served.iter_mut().filter_map(|served| served.attached.take()) {
            if !attached.taken_over() {
                detach(attached);
            }
        }
    }

    /// Detaches all programs: from now on the kernel gets everything (or, with
    /// `when_down: drop`, the program drops it).
    pub(super) fn detach_all(&mut self) {
        for served in &mut self.served {
            served.attached = None;
        }
        self.pins.say_what_stays();
    }

    /// For the report: kept up to date.
    pub(super) fn facts(&self) -> Arc<Mutex<Vec<InterfaceFacts>>> {
        Arc::clone(&self.facts)
    }

    /// Brings the report's facts up to date: the programs' counters move all the time.
    pub(super) fn note_facts(&self) {
        let fact = |served: &Served| InterfaceFacts {
            queues: if served.attached.is_some() { served.queues } else { 0 },
            xdp_mode: served.attached.as_ref().map(|attached| attached.mode().into()),
            zero_copy: self.config.zero_copy,
            fallback: served.attached.as_ref().and_then(|a| a.fallback().map(str::to_owned)),
            matched: served.program.counters().unwrap_or_default(),
        };
        let facts = self.served.iter().map(fact).collect();
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    fn attach(&mut self, id: usize, crew: &Crew) -> Result<(), PortsError> {
        let served = &mut self.served[id];
        let fact = |error| PortsError::Interface(served.name.clone(), error);
        let mac = Mac(link::mac(&served.name).map_err(fact)?);
        let queues = link::rx_queues(&served.name).map_err(fact)?;
        let few = || TooFewQueues { workers: self.workers, interface: served.name.clone(), queues };
        if self.workers > queues as usize {
            return Err(few().into());
        }
        if queues != served.queues {
            let before = served.queues;
            log::warn!("{}: {queues} queues, not {before}: restart for full depth", served.name);
        }
        switch_off(&served.name, &ALWAYS)?;
        if served.mode == AttachMode::Generic {
            switch_off(&served.name, &FOR_GENERIC)?;
        }
        (served.queues, served.mac) = (queues, mac);
        served.program.set_mac(mac.0);
        for queue in 0..queues {
            let port = Port::open(&self.umem, &served.name, queue, &self.config)?;
            served.program.set_socket(queue, &port).map_err(PortsError::Program)?;
            served.index = port.ifindex();
            let worker = queue as usize % self.workers;
            crew.handles()[worker].order(Order::Attach(id as PortId, Box::new(port)));
        }
        let pin = self.pins.of(&served.name);
        let attached = served.program.attach(&served.name, served.mode, pin.as_deref())?;
        let attached = served.attached.insert(attached);
        self.pins.settle(&served.name, attached);
        if attached.mode() == xsk::XdpMode::Generic && served.mode == AttachMode::Auto {
            switch_off(&served.name, &FOR_GENERIC)?;
        }
        log_attached(served, self.config.zero_copy);
        self.note_facts();
        Ok(())
    }

    fn serve_again(&mut self, id: usize, crew: &Crew) {
        self.retried = Instant::now();
        let trouble = self.attach(id, crew).err().map(|error| error.to_string());
        if trouble.is_some() {
            self.let_go(id, crew);
        }
        let served = &mut self.served[id];
        match &trouble {
            None => log::info!("{}: served again", served.name),
            Some(reason) if served.trouble != trouble => {
                log::error!("{}: not served: {reason}; tried again until it works", served.name);
            }
            Some(_) => {}
        }
        served.trouble = trouble;
    }

    /// Closes what is open on an interface that is gone, or that could not be served.
    fn let_go(&mut self, id: usize, crew: &Crew) {
        let served = &mut self.served[id];
        if let Some(attached) = served.attached.take() {
            detach(attached);
        }
        served.index = 0;
        for handle in crew.handles() {
            let (done, closed) = bounded(0);
            if handle.order(Order::Detach(id as PortId, done)) {
                // Ends with an error when the worker drops its end: then all frames are home.
                let _ = closed.recv();
            }
        }
        self.note_facts();
    }

    /// Says once when packets may come that no frame holds.
    fn note_mtu(&mut self, id: usize, mtu: u16) {
        let (served, largest) = (&mut self.served[id], self.largest_mtu);
        if std::mem::replace(&mut served.mtu, mtu) != mtu && u32::from(mtu) > largest {
            log::warn!(
                "{0}: its MTU is now {mtu}, and {largest} is the most that a frame holds: larger \
                 packets for services are dropped; ip link set {0} mtu {largest}, or write \
                 chunk_size: 4096",
                served.name
            );
        }
    }
}

/// Also removes its pin.
fn detach(attached: Attached) {
    if let Err(error) = attached.detach() {
        log::warn!("a pinned XDP program stays: {error}");
    }
}

fn log_attached(served: &Served, zero_copy: bool) {
    let Served { name, queues, index, mac, .. } = served;
    let Some(attached) = &served.attached else { return };
    let copy = if zero_copy { "zero-copy" } else { "copy" };
    log::info!(
        "{name}: index {index}, {mac}, {queues} queue(s), {} XDP, {copy} mode",
        attached.mode()
    );
    if let Some(reason) = attached.fallback() {
        log::warn!("{name}: no native XDP ({reason}); generic costs several times more");
    }
}

fn load(
    model: &Model,
    interface: &model::Interface,
    queues: u32,
    maps: &MatchMaps,
) -> Result<Served, PortsError> {
    let name = interface.name.clone();
    let mac = link::mac(&name).map_err(|error| PortsError::Interface(name.clone(), error))?;
    let when_down = match model.when_down {
        model::WhenDown::Pass => WhenDown::Pass,
        model::WhenDown::Drop => WhenDown::Drop,
    };
    let program = Program::load(maps, mac, when_down).map_err(PortsError::Program)?;
    let mode = match interface.mode {
        model::XdpMode::Auto => AttachMode::Auto,
        model::XdpMode::Native => AttachMode::Native,
        model::XdpMode::Generic => AttachMode::Generic,
    };
    let (attached, index, mac) = (None, 0, Mac(mac));
    Ok(Served { name, mode, queues, program, attached, index, mac, mtu: 0, trouble: None })
}

/// Generic XDP sees what GRO and LRO merged, larger than a frame.
const FOR_GENERIC: [link::Feature; 2] = [link::Feature::Gro, link::Feature::Lro];
/// A NIC that takes VLAN tags off shows the program tagged frames as if they were untagged.
const ALWAYS: [link::Feature; 1] = [link::Feature::RxVlan];

fn switch_off(name: &str, features: &[link::Feature]) -> Result<(), PortsError> {
    for feature in features {
        if link::feature(name, *feature).unwrap_or(false) {
            link::set_feature(name, *feature, false).map_err(|source| PortsError::Offload {
                interface: name.to_owned(),
                feature: format!("{feature:?}"),
                source,
            })?;
            log::info!("{name}: {feature:?} switched off");
        }
    }
    Ok(())
}

fn queues(model: &Model) -> Result<BTreeMap<String, u32>, PortsError> {
    let count = |interface: &model::Interface| {
        let name = interface.name.clone();
        match link::rx_queues(&name) {
            Ok(queues) => Ok((name, queues)),
            Err(error) => Err(PortsError::Interface(name, error)),
        }
    };
    model.interfaces.iter().map(count).collect()
}

/// One worker per queue of the interface that has the fewest, or as configured.
fn workers(model: &Model, queues: &BTreeMap<String, u32>) -> Result<usize, PortsError> {
    let Some((interface, fewest)) = queues.iter().min_by_key(|(_, queues)| **queues) else {
        return Ok(1);
    };
    let Some(cores) = &model.workers.cores else { return Ok(*fewest as usize) };
    if cores.len() > *fewest as usize {
        let (workers, interface) = (cores.len(), interface.clone());
        return Err(TooFewQueues { workers, interface, queues: *fewest }.into());
    }
    Ok(cores.len())
}

/// All interfaces or none: the frames are shared.
fn zero_copy(model: &Model) -> Result<bool, PortsError> {
    if model.zero_copy == ZeroCopy::Never {
        return Ok(false);
    }
    for interface in &model.interfaces {
        match xsk::probe_zero_copy(&interface.name, 0) {
            Ok(()) => {}
            Err(error) if model.zero_copy == ZeroCopy::Require => {
                return Err(PortsError::ZeroCopy(error));
            }
            Err(error) => {
                log::info!("copy mode: {error}");
                return Ok(false);
            }
        }
    }
    Ok(!model.interfaces.is_empty())
}

/// Deep rings for few queues; with many, shallower ones keep the cache warm.
fn ring_sizes(queues: &BTreeMap<String, u32>) -> PortConfig {
    const FEW: u32 = 4;
    let most = queues.values().copied().max().unwrap_or(1);
    let depth = if most <= FEW { 2048 } else { 1024 };
    PortConfig { rx: depth, tx: depth, fill: depth, ..PortConfig::default() }
}

/// What each worker's frames can be doing at once: lent to each of its sockets in both
/// directions, held, and in its hands.
fn frames(
    model: &Model,
    queues: &BTreeMap<String, u32>,
    workers: usize,
    config: &PortConfig,
) -> Vec<u32> {
    let sockets = |worker: usize| -> u32 {
        let of = |queues: &u32| (0..*queues).filter(|q| *q as usize % workers == worker).count();
        queues.values().map(|queues| of(queues) as u32).sum()
    };
    (0..workers)
        .map(|worker| {
            let lent = sockets(worker) * (config.fill + config.tx);
            lent + model.limits.held_frames + 2 * BURST as u32
        })
        .collect()
}

fn capacities(model: &Model, umem: &Umem) -> MatchCapacities {
    let (services, servers) = (model.limits.services, model.limits.servers);
    MatchCapacities {
        // A NAT server of a mark service has an endpoint in each protocol.
        endpoints: services + 3 * servers,
        // Addresses of the box and FullNAT's come on top.
        addresses: services + servers + 4096,
        services,
        datagrams: model.limits.fragments,
        packet_room: umem.packet_room(),
    }
}
