//! From the running parts to the shapes.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use dataplane::{
    clock::Now,
    director::Director,
    snapshot::{self, ServerId, Services, Snapshot},
    stats::{BreathTime, Counter, Stats},
    verdict::{Answer, Drop, Punt},
};
use hashbrown::HashMap;

use super::{
    Admin, Counts, Fill, Interface, Ledger, Reloads, Report, Ring, Server, ServerState, Service,
    Standing, Table, Tables, Totals, Worker, XdpMode,
};
use crate::{
    compile::ServerKey,
    model::AdminState,
    traffic::{Odometer, Traffic},
};

/// What only the daemon knows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it started.
    pub started: Instant,
    /// The same by the calendar.
    pub started_at: SystemTime,
    /// The time of the workers' clock.
    pub now: Now,
    /// By `PortId`, as in the topology; what is missing is reported as not attached.
    pub interfaces: Vec<InterfaceFacts>,
    /// By worker: the core that it is pinned to.
    pub cores: Vec<Option<usize>>,
    /// The kernel's counters of each socket.
    pub rings: Vec<Ring>,
    /// By worker: it answered when it was asked.
    pub alive: Vec<bool>,
    /// What the checks know.
    pub health: Arc<health::runner::Report>,
    /// What was decided last.
    pub outlook: Arc<Outlook>,
    /// What became of hooks.
    pub hooks: crate::hooks::Counts,
    /// How the connection log goes.
    pub connection_log: Option<crate::connection_log::Counts>,
    /// Events by kind.
    pub events: BTreeMap<String, u64>,
    /// From where servers and services count. Not older than the snapshot.
    pub odometer: Arc<Mutex<Odometer>>,
}

/// What control decided last.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// It was told to stop.
    pub stopping: bool,
    /// Managed VIPs that are taken away for want of servers.
    pub withdrawn: Vec<IpAddr>,
    /// All managed VIPs.
    pub managed: Vec<IpAddr>,
    /// What became of changed configurations.
    pub reloads: Reloads,
    /// How services stand to their quorums.
    pub standings: HashMap<snapshot::ServiceId, Standing>,
    /// Which servers operators want otherwise, by [`super::admins`].
    pub admins: HashMap<ServerId, Admin>,
}

/// How an interface is served.
#[derive(Clone, Debug, Default)]
pub struct InterfaceFacts {
    /// RX queues with a socket.
    pub queues: u32,
    /// Where the XDP program runs.
    pub xdp_mode: Option<XdpMode>,
    /// Whether its rings share memory with the NIC.
    pub zero_copy: bool,
    /// Why it is not native, or not zero-copy, where that was tried.
    pub fallback: Option<String>,
    /// What the XDP program counted.
    pub matched: xsk::MatchCounters,
}

/// The report of this moment; `stats` are the workers', in their order.
pub fn build(
    director: &Director,
    snapshot: &Snapshot,
    stats: &[Arc<Stats>],
    facts: &Facts,
) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: snapshot.generation,
        uptime_s: facts.started.elapsed().as_secs(),
        started_s: super::reloads::seconds(facts.started_at),
        stopping: facts.outlook.stopping,
        withdrawn: facts.outlook.withdrawn.clone(),
        managed: facts.outlook.managed.clone(),
        reloads: facts.outlook.reloads.clone(),
        events: facts.events.clone(),
        interfaces: interfaces(snapshot, facts),
        services: services(director, &snapshot.services, stats, facts),
        workers: stats.iter().enumerate().map(|(at, stats)| worker(at, stats, facts)).collect(),
        totals: totals(director, stats),
        tables: tables(director, &snapshot.services, facts.now),
        rings: facts.rings.clone(),
        probes: super::health::probes(&facts.health),
        hooks: facts.hooks,
        connection_log: facts.connection_log,
    }
}

fn interfaces(snapshot: &Snapshot, facts: &Facts) -> Vec<Interface> {
    let known = snapshot.topology.interfaces.iter().enumerate();
    known
        .map(|(port, interface)| {
            let served = facts.interfaces.get(port).cloned().unwrap_or_default();
            Interface {
                name: interface.name.clone(),
                index: interface.index,
                mac: interface.mac.to_string(),
                mtu: interface.mtu,
                up: interface.up,
                queues: served.queues,
                xdp_mode: served.xdp_mode,
                zero_copy: served.zero_copy,
                fallback: served.fallback,
                taken: served.matched.taken,
                passed: served.matched.passed,
                oversize: served.matched.oversize,
                no_socket: served.matched.no_socket,
            }
        })
        .collect()
}

/// Every service, those that left the file only while they have connections.
fn services(
    director: &Director,
    services: &Services,
    stats: &[Arc<Stats>],
    facts: &Facts,
) -> Vec<Service> {
    let odometer = facts.odometer.lock().unwrap_or_else(PoisonError::into_inner);
    let meter = Meter { director, stats, odometer: &odometer };
    let mut removed: BTreeMap<snapshot::ServiceId, Vec<ServerId>> = BTreeMap::new();
    for (id, server) in services.servers.iter().enumerate() {
        if let Some(server) = server.as_ref().filter(|server| server.removed) {
            removed.entry(server.service).or_default().push(id as ServerId);
        }
    }
    let mut rows = Vec::new();
    for (id, service) in services.services.iter().enumerate() {
        let Some(service) = service else { continue };
        let id = id as snapshot::ServiceId;
        let leaving = removed.get(&id).map_or(&[][..], Vec::as_slice).iter();
        let mut counts = counts(meter.odometer.gone(&service.key), [0, 0]);
        let mut servers = Vec::new();
        for &id in service.servers.iter().chain(leaving) {
            let Some(Some(server)) = services.servers.get(id as usize) else { continue };
            counts.add(&meter.now(id));
            let known = facts.health.servers.get(&id);
            let admin = facts.outlook.admins.get(&id);
            let row = self::server(server, meter.ever(service, server, id), (known, admin));
            let row = Server { templates: director.server(id).persistent(), ..row };
            if row.state != ServerState::Removed || row.counts.live() {
                servers.push(row);
            }
        }
        if services.by_key.get(&service.key) == Some(&id) || !servers.is_empty() {
            let standing = facts.outlook.standings.get(&id).copied();
            rows.push((service.key, self::service(service, servers, counts, standing)));
        }
    }
    rows.sort_by_key(|(key, _)| *key);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn service(
    service: &snapshot::Service,
    servers: Vec<Server>,
    counts: Counts,
    standing: Option<Standing>,
) -> Service {
    let endpoint = service.key.endpoint();
    Service {
        name: service.name.clone(),
        key: service.key.to_string(),
        protocol: endpoint.map_or("mark", |endpoint| endpoint.protocol.name()).to_owned(),
        address: endpoint.map(|endpoint| endpoint.address),
        port: service.key.port(),
        mark: service.key.mark(),
        scheduler: service.policy.scheduler.kind.name().to_owned(),
        standing,
        counts,
        servers,
    }
}

fn server(
    server: &snapshot::Server,
    counts: Counts,
    (known, admin): (Option<&health::runner::ServerReport>, Option<&Admin>),
) -> Server {
    let rests = admin.is_some_and(|admin| admin.state == AdminState::Maint);
    let waits = known.is_some_and(|known| known.health == health::event::Health::Waiting);
    let fails = known.is_some_and(|known| known.health == health::event::Health::Down);
    let state = match server {
        snapshot::Server { removed: true, .. } => ServerState::Removed,
        _ if rests => ServerState::Maint,
        snapshot::Server { drained: true, .. } => ServerState::Drained,
        _ if waits => ServerState::Waiting,
        snapshot::Server { up: false, .. } => ServerState::Down,
        _ if fails => ServerState::Down,
        _ if known.is_some_and(|known| known.suspect.is_some()) => ServerState::Suspect,
        snapshot::Server { standby: true, .. } => ServerState::Standby,
        _ => ServerState::Up,
    };
    Server {
        address: server.address,
        port: server.port,
        forward: server.forward.name().to_owned(),
        weight: server.weight,
        state,
        overridden: admin.and_then(|admin| admin.overridden.clone()),
        templates: 0,
        health: known.map(super::health::of),
        counts,
    }
}

/// Reads counts of servers.
struct Meter<'a> {
    director: &'a Director,
    stats: &'a [Arc<Stats>],
    odometer: &'a Odometer,
}

impl Meter<'_> {
    /// Those of an id with its owner of now.
    fn now(&self, id: ServerId) -> Counts {
        counts(self.odometer.now(id, self.raw(id)), self.live(id))
    }

    /// Those of a server, former lives included.
    fn ever(&self, service: &snapshot::Service, server: &snapshot::Server, id: ServerId) -> Counts {
        let snapshot::Server { address, port, .. } = *server;
        let key = ServerKey { service: service.key, address, port };
        counts(self.odometer.server(&key, id, self.raw(id)), self.live(id))
    }

    fn raw(&self, id: ServerId) -> Traffic {
        Traffic::raw(self.director, self.stats, id)
    }

    fn live(&self, id: ServerId) -> [u32; 2] {
        live(self.director, id)
    }
}

/// Active and inactive connections.
fn live(director: &Director, id: ServerId) -> [u32; 2] {
    let record = director.server(id);
    [record.active(), record.inactive()]
}

fn counts(traffic: Traffic, [active, inactive]: [u32; 2]) -> Counts {
    let Traffic { connections, in_packets, out_packets, in_bytes, out_bytes } = traffic;
    let (active, inactive) = (active.into(), inactive.into());
    Counts { active, inactive, connections, in_packets, in_bytes, out_packets, out_bytes }
}

impl Counts {
    const fn live(&self) -> bool {
        self.active + self.inactive > 0
    }
}

fn worker(at: usize, stats: &Stats, facts: &Facts) -> Worker {
    let [total, pool, rx_lent, tx_lent, held] =
        std::array::from_fn(|place| stats.ledger[place].value());
    Worker {
        worker: at,
        alive: facts.alive.get(at).copied().unwrap_or(true),
        core: facts.cores.get(at).copied().flatten(),
        generation: stats.snapshot.value(),
        rx_packets: stats.rx_packets.value(),
        tx_packets: stats.tx_packets.value(),
        breaths: stats.breaths.value(),
        busy_breaths: stats.busy_breaths.value(),
        busy_ns: stats.breath_time.nanos.value(),
        breath_steps: steps(&stats.breath_time),
        waiting: stats.waiting.value(),
        ledger: Ledger { total, pool, rx_lent, tx_lent, held },
    }
}

fn steps(time: &BreathTime) -> Vec<u64> {
    time.steps.iter().map(Counter::value).collect()
}

fn totals(director: &Director, stats: &[Arc<Stats>]) -> Totals {
    let sum = |pick: &dyn Fn(&Stats) -> &Counter| -> u64 {
        stats.iter().map(|stats| pick(stats).value()).sum()
    };
    let bypass = director.bypass();
    let raw = |id| counts(Traffic::raw(director, stats, id), live(director, id));
    let mut all = Counts::default();
    (0..=bypass).for_each(|id| all.add(&raw(id)));
    let by = |reason: &str, count| (reason.to_owned(), count);
    Totals {
        drops: Drop::ALL
            .iter()
            .map(|&reason| by(reason.name(), sum(&|stats| &stats.drops[reason as usize])))
            .collect(),
        punts: Punt::ALL
            .iter()
            .map(|&reason| by(reason.name(), sum(&|stats| &stats.punts[reason as usize])))
            .collect(),
        answers: Answer::ALL
            .iter()
            .map(|&kind| by(kind.name(), sum(&|stats| &stats.answers[kind as usize])))
            .collect(),
        moved_ports: sum(&|stats| &stats.moved_ports),
        bypassed: raw(bypass),
        dropped_entries: sum(&|stats| &stats.dropped_entries),
        stateless: sum(&|stats| &stats.stateless),
        opened: sum(&|stats| &stats.opened),
        all,
    }
}

fn tables(director: &Director, services: &Services, now: Now) -> Tables {
    let table = |connections: usize, capacity: usize| Table {
        connections: connections as u64,
        capacity: capacity as u64,
    };
    let fill = |now: usize, limit: usize| Fill { now: now as u64, limit: limit as u64 };
    let (limits, v4, v6) =
        (director.limits(), director.templates_v4.table(), director.templates_v6.table());
    Tables {
        ipv4: table(director.v4.len(), director.v4.capacity()),
        ipv6: table(director.v6.len(), director.v6.capacity()),
        half_open: Fill { now: director.half_open().into(), limit: limits.half_open.into() },
        templates_ipv4: fill(v4.len(), v4.capacity()),
        templates_ipv6: fill(v6.len(), v6.capacity()),
        fragments: fill(director.fragments.live(now), director.fragments.capacity()),
        services: fill(services.services.iter().flatten().count(), limits.services),
        servers: fill(services.servers.iter().flatten().count(), limits.servers),
    }
}
