//! `xlvs run`: puts the parts together, keeps them together, takes them apart.
//!
//! Start, in an order in which nothing is half done when a step fails: read the file, take
//! the socket of the API (so there is one daemon), look at the box, learn the kernel's
//! state, publish the first snapshot, take memory and sockets ([`ports`]), start the
//! workers, fill the match maps ([`matched`]), attach the XDP programs, add managed VIPs.
//! Then [`watch`] follows the kernel and the operator until the end, which is the same
//! backwards.

mod apply;
mod autoreload;
mod change;
mod health;
mod hints;
mod matched;
mod memory;
mod notes;
mod orders;
mod pins;
mod ports;
pub(crate) mod privileges;
mod probes;
mod publish;
mod signals;
mod supervisor;
mod tell;
mod watch;
mod workers;

pub(crate) use pins::PINS;
use privileges::Task;

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use ::health::{
    event::Event,
    probe::{Net, ServicePath},
    runner::{Report, Runner},
};
use arc_swap::ArcSwap;
use dataplane::{
    clock::Clock,
    director::{Director, Limits, ResolveRequest},
    snapshot::Services,
    topology::PortId,
};
use hashbrown::{HashMap, HashSet};
use ipvsadm::Resolver;
use tokio::sync::mpsc;

use crate::{
    api,
    compile::ServerKey,
    connection_log::{LogError, Logger},
    event::Chronicle,
    fault::Faults,
    front::{self, RulesError},
    hooks::Hooks,
    kernel::{
        addresses::{AddressError, Addresses, ManagedAddress},
        sysctl::{self, SysctlError},
    },
    live::{self, LiveError, Severity},
    metrics,
    model::{Model, Vip},
    origin::Origin,
    registry::Registry,
    report::{Outlook, Reloads},
    topology::{self, Mirror, MirrorError, Request},
};

/// What `xlvs run` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub file: PathBuf,
    /// The box's name in `boxes:`, in place of its host name.
    pub name: Option<String>,
    /// Rules that `ipvsadm-save` wrote, to be done on top of the configuration.
    pub rules: Option<PathBuf>,
    /// Where the API listens.
    pub socket: PathBuf,
    /// Where is kept what operators ordered.
    pub state: PathBuf,
}

/// Why the daemon did not start, or could not go on; each sentence names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file has faults.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// The rules are refused.
    #[error("{0}")]
    Rules(#[from] RulesError),
    /// This box cannot be read.
    #[error("{0}")]
    Unread(#[from] LiveError),
    /// This box lacks something: a line for each finding.
    #[error("{0}")]
    Box(String),
    /// The runtime could not be made.
    #[error("cannot start the control thread: {0}")]
    Runtime(#[source] io::Error),
    /// The API socket.
    #[error("{0}")]
    Api(#[from] api::ApiError),
    /// The API's group.
    #[error("{0}")]
    Group(#[from] api::group::GroupError),
    /// The API over TCP.
    #[error("{0}")]
    Tcp(#[from] api::TcpError),
    /// An address for scrapers.
    #[error("{0}")]
    Metrics(#[from] metrics::ListenError),
    /// The TAP for packets that go back to the kernel.
    #[error(
        "cannot make the TAP device for punted packets: {0}; load the tun driver (modprobe tun) and grant CAP_NET_ADMIN"
    )]
    Tap(#[source] io::Error),
    /// The namespace of probes.
    #[error(
        "probe_sources: no network namespace for probes: {0}; grant CAP_SYS_ADMIN, or write via: direct and remove probe_sources"
    )]
    Probes(#[source] io::Error),
    /// Its settings.
    #[error("{0}")]
    Sysctl(#[from] SysctlError),
    /// The connection tables.
    #[error("no memory for {0} IPv4 and {1} IPv6 connections: {2}; lower limits.connections")]
    Tables(u32, u32, #[source] io::Error),
    /// UMEM, sockets and programs.
    #[error("{0}")]
    Ports(#[from] ports::PortsError),
    /// The kernel's state.
    #[error("{0}")]
    Mirror(#[from] MirrorError),
    /// A managed VIP.
    #[error("{0}")]
    Vip(#[from] AddressError),
    /// The connection log.
    #[error("{0}")]
    ConnectionLog(#[from] LogError),
    /// A thread could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// For a thread beside the daemon's own: it will need no capabilities.
pub fn give_up_capabilities() {
    privileges::limit(Task::Packets);
}

/// Runs the director until SIGTERM or SIGINT. `names` are those that rules may use.
///
/// # Errors
/// See [`StartError`]; then nothing stays attached.
pub fn run(options: &Options, names: &dyn Resolver) -> Result<(), StartError> {
    // Before the file is read: at a reload it is read with no more than control keeps.
    privileges::limit(Task::Start);
    let origin = Origin { path: options.file.clone(), name: options.name.clone() };
    let model = origin.load(Some(&live::surroundings()?))?;
    log::info!("{}: services {}", options.file.display(), model.services.len());
    let configured = apply::Configured::new(origin, Arc::new(model.clone()));
    let mut registry = Registry::new(model);
    if let Some(rules) = &options.rules {
        let before = registry.model.services.len();
        let done = front::load(&mut registry, rules, names, live::sockets)?;
        let servers = change::own_servers(&done);
        for warning in front::warnings(&registry.model, &done).iter().chain(&servers) {
            log::warn!("{}: {warning}", rules.display());
        }
        let more = registry.model.services.len().saturating_sub(before);
        log::info!("{}: {more} services more", rules.display());
    }
    let endpoint = api::Endpoint::bind(&options.socket)?;
    if let Some(group) = &registry.model.api.group {
        endpoint.give(group)?;
    }
    let remote = api::Remote::bind(&registry.model.api)?;
    let notes = notes::Notes::within(&options.state, &options.socket);
    recall(&mut registry, &notes);
    let metrics = metrics::Bound::bind(&registry.model.metrics.listen)?;
    look_at_the_box(&registry.model)?;
    privileges::bound(&registry.model);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?
        .block_on(start(registry, (endpoint, remote), (metrics, notes, configured)))
}

/// What operators ordered in an earlier run holds again, but for what the file says otherwise by now.
fn recall(registry: &mut Registry, notes: &notes::Notes) {
    let noted = notes.read();
    registry.overrides = noted.servers;
    registry.denials = noted.denied;
    registry.denials.expire(SystemTime::now());
    let settled = registry.overrides.settle(&registry.model, &registry.model);
    for one in &settled {
        log::info!("{one}");
    }
    if !settled.is_empty()
        && let Err(warning) = notes.write(&registry.overrides, &registry.denials)
    {
        log::error!("{warning}");
    }
}

/// Refuses a box on which xlvs cannot run, before anything is touched.
fn look_at_the_box(model: &Model) -> Result<(), StartError> {
    let findings = live::check(model, &[]);
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Warning) {
        log::warn!("{}: {}; {}", finding.subject, finding.sentence, finding.remedy);
    }
    let errors = findings.iter().filter(|finding| finding.is_error());
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    if errors.is_empty() { Ok(()) } else { Err(StartError::Box(errors.join("\n"))) }
}

/// Everything that the running daemon consists of.
struct Daemon {
    registry: Registry,
    /// What the mirror of the kernel is asked.
    ask: mpsc::Sender<Request>,
    started: Instant,
    started_at: SystemTime,
    director: Arc<Director>,
    publisher: publish::Publisher,
    crew: workers::Crew,
    ports: ports::Ports,
    matched: matched::Matched,
    vips: Addresses,
    /// What probes make their sockets with.
    net: Net,
    /// The way through services, if there are probe sources.
    way: Option<Arc<dyn ServicePath>>,
    /// Asks the servers.
    health: Runner,
    /// What it finds, until it is published.
    found: mpsc::UnboundedReceiver<Event>,
    memory: memory::Memory,
    /// Where is kept what operators ordered.
    notes: notes::Notes,
    /// Why servers' administrative states changed, until that is told.
    reasons: HashMap<ServerKey, String>,
    /// Managed VIPs that are taken away for want of servers.
    withdrawn: HashSet<IpAddr>,
    /// What the checks knew when they were asked last.
    checked: Arc<ArcSwap<Report>>,
    /// It was told to stop.
    stopping: bool,
    /// The configuration, and the way back.
    configured: apply::Configured,
    /// What became of changed configurations.
    reloads: Reloads,
    /// `metrics.node_ipvs`, for who answers scrapers.
    node_ipvs: Arc<AtomicBool>,
    /// `metrics.listen`, once it is served.
    listeners: Option<metrics::Listeners>,
    /// What listings tell of what was decided.
    outlook: Arc<ArcSwap<Outlook>>,
    /// What happened lately.
    chronicle: Arc<Chronicle>,
    hooks: Hooks,
    /// systemd.
    supervisor: supervisor::Supervisor,
    /// Writes the connection log, if there is one.
    logger: Option<Logger>,
}

async fn start(
    mut registry: Registry,
    (endpoint, remote): (api::Endpoint, api::Remote),
    (metrics, notes, configured): (metrics::Bound, notes::Notes, apply::Configured),
) -> Result<(), StartError> {
    let signals = signals::Signals::listen().map_err(StartError::Runtime)?;
    let memory = memory::Memory::beside(endpoint.path());
    registry.board.recall(memory.read());
    let services = registry.compile(&Services::default());
    // What was ordered in an earlier run is no news.
    drop(registry.board.rested());
    let model = &registry.model;
    let tap = Arc::new(open_tap(model)?);
    let (resolve, resolve_requests) = crossbeam_channel::bounded(256);
    let director = Arc::new(director(model, resolve)?);
    director.prepare(&services);
    let probes = probes::open(&model.probe_sources, &director)?;
    // The namespace stands: what comes now needs no more than control keeps.
    privileges::limit(Task::Control);
    let hooks = Hooks::start(&model.hooks).map_err(StartError::Thread)?;
    let way = probes.as_ref().map(probes::Probes::way);
    let net = Net::new(way.clone());
    let limit = || privileges::limit(Task::Health);
    let (health, found) = Runner::start(net.clone(), limit).map_err(StartError::Thread)?;

    let settings = topology::Settings {
        interfaces: model.interfaces.iter().map(|interface| interface.name.clone()).collect(),
        statics: statics(&services),
        probed: probes.as_ref().map(|probes| topology::Probed {
            port: model.interfaces.len() as PortId,
            mac: probes.mac,
            sources: model.probe_sources.clone(),
        }),
        limits: topology::Limits {
            routes: model.limits.routes as usize,
            neighbours: model.limits.neighbours as usize,
        },
    };
    let mut mirror = Mirror::open(settings).await?;
    // A connection of its own: VIPs are withdrawn also when the mirror broke down.
    let (connection, handle, _) = rtnetlink::new_connection().map_err(MirrorError::Subscribe)?;
    tokio::spawn(connection);
    let vips = Addresses::new(handle);
    let publisher = publish::Publisher::new(services, mirror.topology(), model.largest_mtu());

    let (mut ports, pools) = ports::Ports::open(model, &tap)?;
    let crew = workers::Crew::start(model, &director, &publisher, (&tap, probes), pools)?;
    // Before the first packet.
    let log = |wanted| Logger::start(wanted, &director, publisher.pointer(), crew.clock);
    let logger = model.connection_log.as_ref().map(log).transpose()?;
    let matched = ports.fill(&publisher)?;
    ports.attach_all(&crew)?;
    let supervisor = supervisor::Supervisor::start(crew.handles())?;

    let (ask, asked) = mpsc::channel(1024);
    let node_ipvs = model.metrics.node_ipvs;
    let mut daemon = Daemon {
        registry,
        ask: ask.clone(),
        started: Instant::now(),
        started_at: SystemTime::now(),
        director,
        publisher,
        crew,
        ports,
        matched,
        vips,
        net,
        way,
        health,
        found,
        memory,
        notes,
        reasons: HashMap::new(),
        withdrawn: HashSet::new(),
        checked: Arc::default(),
        stopping: false,
        configured,
        reloads: Reloads::begin(SystemTime::now()),
        node_ipvs: Arc::new(node_ipvs.into()),
        listeners: None,
        outlook: Arc::default(),
        chronicle: Arc::default(),
        hooks,
        supervisor,
        logger,
    };
    daemon.ask_servers();
    daemon.show();
    daemon.tell_turns();
    let added = daemon.add_vips().await;
    bridge(resolve_requests, ask)?;
    let result = match added {
        Ok(()) => daemon.watch(mirror, asked, (endpoint, remote, metrics), signals).await,
        Err(error) => {
            daemon.ports.give_up();
            Err(error.into())
        }
    };
    daemon.withdraw_vips().await;
    daemon.stop();
    result
}

impl Daemon {
    /// Adds managed VIPs, but those whose services are known to be below their quorum.
    async fn add_vips(&mut self) -> Result<(), AddressError> {
        let vips = self.registry.model.vips.clone();
        for vip in vips.iter().filter(|vip| vip.managed) {
            self.add_vip(vip).await?;
        }
        Ok(())
    }

    async fn add_vip(&mut self, vip: &Vip) -> Result<(), AddressError> {
        let services = Arc::clone(&self.publisher.current().services);
        let wanted = managed(vip);
        if self.registry.board.withdraws(&self.registry.model, &services, vip) {
            self.vips.clear(&wanted).await?;
            let reason = "its services are below quorum".to_owned();
            self.tell_vip(vip.address, ["unknown", "withdrawn"], reason);
            self.withdrawn.insert(vip.address);
            return Ok(());
        }
        self.vips.add(&wanted).await?;
        let reason = format!("on {}", wanted.interface);
        self.tell_vip(wanted.address, ["unknown", "announced"], reason);
        Ok(())
    }

    /// Takes managed VIPs away, those that are still there.
    async fn withdraw_vips(&mut self) {
        for error in self.vips.remove_all().await {
            log::warn!("{error}");
        }
    }

    /// Detaches, then stops the workers: the kernel gets what comes meanwhile.
    fn stop(mut self) {
        self.ports.detach_all();
        self.crew.stop();
        if let Some(logger) = self.logger {
            logger.finish();
        }
        self.hooks.finish(HOOKS_TIME);
        log::info!("stopped");
    }
}

/// How long hooks may run on at the end.
const HOOKS_TIME: Duration = Duration::from_secs(5);

/// A managed VIP as an address of the box.
fn managed(vip: &Vip) -> ManagedAddress {
    let interface = vip.interface.clone().expect("resolve: a managed vip has one");
    ManagedAddress { address: vip.address, length: vip.prefix, interface }
}

/// Server addresses with a `mac:`.
fn statics(services: &Services) -> topology::Statics {
    services.servers.iter().flatten().filter_map(|s| Some((s.address, s.mac?))).collect()
}

fn open_tap(model: &Model) -> Result<xsk::Tap, StartError> {
    let tap = xsk::Tap::open("xlvs%d").map_err(StartError::Tap)?;
    let served: Vec<String> = model.interfaces.iter().map(|i| i.name.clone()).collect();
    sysctl::prepare_tap(tap.name(), &served)?;
    tap.set_up().map_err(StartError::Tap)?;
    Ok(tap)
}

fn director(
    model: &Model,
    resolve: crossbeam_channel::Sender<ResolveRequest>,
) -> Result<Director, StartError> {
    let from = &model.limits;
    let limits = Limits {
        connections_v4: from.connections as usize,
        connections_v6: from.connections_ipv6 as usize,
        half_open: from.half_open,
        fragments: from.fragments as usize,
        held_frames: from.held_frames as usize,
        icmp_rate: from.icmp_rate,
        services: from.services as usize,
        servers: from.servers as usize,
        templates_v4: from.templates as usize,
        templates_v6: from.templates_ipv6 as usize,
        sources: from.sources as usize,
    };
    Director::new(limits, resolve)
        .map_err(|error| StartError::Tables(from.connections, from.connections_ipv6, error))
}

/// Hands the workers' questions for neighbours to the mirror.
fn bridge(
    workers: crossbeam_channel::Receiver<ResolveRequest>,
    mirror: mpsc::Sender<Request>,
) -> Result<(), StartError> {
    let run = move || {
        for request in workers {
            if mirror.blocking_send(Request::Resolve(request.port, request.address)).is_err() {
                break;
            }
        }
    };
    workers::spawn("xlvs-resolve".to_owned(), run).map(drop)
}

/// The clock of the box: one for all workers.
fn clock() -> Clock {
    Clock::start()
}
