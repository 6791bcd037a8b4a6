//! What all workers share and what outlives snapshots: the connection table, counts per
//! server, scheduler state, the fragment table and the rate limits.

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crossbeam_channel::Sender;

pub use crate::record::ServerRecord;
use crate::{
    access::Sources,
    admission::Admission,
    connection_log::ConnectionLog,
    defence::Defences,
    forward::{V4, V6},
    fragment::FragmentTable,
    limiter::{self, Limiter},
    policy::OnJoin,
    probe::Pins,
    record::Standing,
    snapshot::{ServerId, Service, ServiceId, Services},
    state::State,
    stateless::Stateless,
    stats::OwnLine,
    table::{Connection, Keys, Secret, Table, TableConfig},
    template::Templates,
    topology::PortId,
    wire::Ip,
};

/// How much of everything the operator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// IPv4 connections.
    pub connections_v4: usize,
    /// IPv6 connections.
    pub connections_v6: usize,
    /// IPv4 persistence templates, at most 2^24.
    pub templates_v4: usize,
    /// IPv6 persistence templates, at most 2^24.
    pub templates_v6: usize,
    /// Sources whose new connections are counted at a time, where they are limited.
    pub sources: usize,
    /// TCP connections in SYN_SENT, SYN_RECV or SYNACK, and SCTP associations in their handshake.
    pub half_open: u32,
    /// Fragmented datagrams that are remembered at a time.
    pub fragments: usize,
    /// Frames that one worker holds for a neighbour or a first fragment.
    pub held_frames: usize,
    /// ICMP errors that the box originates in a second.
    pub icmp_rate: u32,
    /// Services.
    pub services: usize,
    /// Real servers, counted once for each service that they serve.
    pub servers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_v4: 1_000_000,
            connections_v6: 250_000,
            templates_v4: 250_000,
            templates_v6: 62_500,
            sources: 65_536,
            half_open: u32::MAX,
            fragments: 16_384,
            held_frames: 64,
            icmp_rate: limiter::BOX_PER_SECOND,
            services: 1024,
            servers: 8192,
        }
    }
}

/// What a worker asks of control: to have the kernel resolve an on-link neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolveRequest {
    /// The port it is on.
    pub port: PortId,
    /// Its address.
    pub address: IpAddr,
}

/// The state that all workers share.
pub struct Director {
    /// IPv4 connections.
    pub v4: Table<V4>,
    /// IPv6 connections.
    pub v6: Table<V6>,
    /// Persistence templates of IPv4 clients.
    pub templates_v4: Templates<V4>,
    /// Persistence templates of IPv6 clients.
    pub templates_v6: Templates<V6>,
    /// Where fragments went.
    pub fragments: FragmentTable,
    /// What is done against floods now.
    pub defences: Defences,
    /// When packets last went without an entry.
    pub(crate) stateless: Stateless,
    /// Rate limits of what we originate.
    pub limiter: Limiter,
    /// How many connections each source opened lately.
    pub sources: Sources,
    /// Which servers the health probes under way are for.
    pub pins: Pins,
    limits: Limits,
    servers: Box<[ServerRecord]>,
    services: Box<[Mutex<Option<Admission>>]>,
    half_open: OwnLine<AtomicU32>,
    resolve: Sender<ResolveRequest>,
    connection_log: OnceLock<ConnectionLog>,
}

/// A family that has a connection table.
pub trait Family: Ip + crate::quote::Quoted {
    /// The director's table of this family.
    fn table(director: &Director) -> &Table<Self>;
    /// The director's persistence templates of this family.
    fn templates(director: &Director) -> &Templates<Self>;
}

impl Family for V4 {
    #[inline(always)]
    fn table(director: &Director) -> &Table<Self> {
        &director.v4
    }

    fn templates(director: &Director) -> &Templates<Self> {
        &director.templates_v4
    }
}

impl Family for V6 {
    #[inline(always)]
    fn table(director: &Director) -> &Table<Self> {
        &director.v6
    }

    fn templates(director: &Director) -> &Templates<Self> {
        &director.templates_v6
    }
}

impl Director {
    /// Allocates everything: afterwards the packet path allocates nothing.
    ///
    /// # Errors
    /// The kernel has not enough memory for the tables.
    pub fn new(limits: Limits, resolve: Sender<ResolveRequest>) -> std::io::Result<Self> {
        Self::with_secrets(limits, resolve, [Secret::random(), Secret::random()])
    }

    /// As [`Director::new`], with the secrets of the two tables' hashes given, so that a
    /// simulation can be repeated.
    ///
    /// # Errors
    /// As [`Director::new`].
    pub fn with_secrets(
        limits: Limits,
        resolve: Sender<ResolveRequest>,
        [secret_v4, secret_v6]: [Secret; 2],
    ) -> std::io::Result<Self> {
        let v4 = |capacity| TableConfig { capacity, secret: secret_v4 };
        let v6 = |capacity| TableConfig { capacity, secret: secret_v6 };
        Ok(Self {
            v4: Table::new(v4(limits.connections_v4))?,
            v6: Table::new(v6(limits.connections_v6))?,
            templates_v4: Templates::new(v4(limits.templates_v4))?,
            templates_v6: Templates::new(v6(limits.templates_v6))?,
            fragments: FragmentTable::new(limits.fragments),
            defences: Defences::default(),
            stateless: Stateless::default(),
            limiter: Limiter::new(limits.icmp_rate),
            sources: Sources::new(limits.sources),
            pins: Pins::default(),
            // The last one is no server's: see `Director::bypass`.
            servers: (0..=limits.servers).map(|_| ServerRecord::default()).collect(),
            services: (0..limits.services).map(|_| Mutex::new(None)).collect(),
            half_open: OwnLine::default(),
            connection_log: OnceLock::new(),
            resolve,
            limits,
        })
    }

    /// One for a [rehearsal](crate::rehearse): what is counted and limited is as here, from now
    /// on apart. It has no services and room for a few connections and templates, none of which
    /// is there yet; the tables hash as these do.
    ///
    /// # Errors
    /// As [`Director::new`].
    pub(crate) fn replica(
        &self,
        (connections, templates): (usize, usize),
        resolve: Sender<ResolveRequest>,
    ) -> std::io::Result<Self> {
        let limits = Limits {
            connections_v4: connections,
            connections_v6: connections,
            templates_v4: templates,
            templates_v6: templates,
            ..self.limits.clone()
        };
        let secrets = [self.v4.secret(), self.v6.secret()];
        // Small ones: they are replaced.
        let bare = Limits { fragments: 0, sources: 0, servers: 0, ..limits.clone() };
        Ok(Self {
            fragments: self.fragments.replica(),
            stateless: self.stateless.clone(),
            limiter: self.limiter.replica(),
            sources: self.sources.replica(),
            servers: self.servers.iter().map(ServerRecord::replica).collect(),
            half_open: OwnLine(AtomicU32::new(self.half_open.0.load(Ordering::Relaxed))),
            limits,
            ..Self::with_secrets(bare, resolve, secrets)?
        })
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connections are logged from now on; false if they are already.
    pub fn log_connections(&self, log: ConnectionLog) -> bool {
        self.connection_log.set(log).is_ok()
    }

    /// Where connections are logged, if they are.
    #[inline]
    pub fn connection_log(&self) -> Option<&ConnectionLog> {
        self.connection_log.get()
    }

    /// The record of a server.
    #[inline]
    pub fn server(&self, id: ServerId) -> &ServerRecord {
        &self.servers[id as usize]
    }

    /// Connections still name this server, so its id may not be given to another one.
    pub fn in_use(&self, id: ServerId) -> bool {
        let record = self.server(id);
        record.active() + record.inactive() + record.persistent() > 0
    }

    /// Connections whose handshake is not over ([`Limits::half_open`]).
    pub fn half_open(&self) -> u32 {
        settled(&self.half_open.0)
    }

    /// The id under which connections count that go to no server (`cache_bypass`): the first
    /// that no server has.
    pub fn bypass(&self) -> ServerId {
        self.limits.servers as ServerId
    }

    /// Takes up a configuration at once: [`Director::retire`], then [`Director::enlist`]. Only
    /// where no worker runs with an older one.
    pub fn prepare(&self, services: &Services) {
        self.retire(services);
        self.enlist(services);
    }

    /// The first half of a change of configuration: servers and services that are not in it get
    /// no more connections; weights, states and thresholds of the others become its own. Control
    /// publishes the snapshot after this call.
    pub fn retire(&self, services: &Services) {
        for (id, service) in services.services.iter().enumerate() {
            let mut admission = lock(&self.services[id]);
            if let Some(admission) = admission.as_mut() {
                for gone in &admission.candidates {
                    self.server(gone.id).set_standing(Standing::default());
                }
            }
            match (service, admission.as_mut()) {
                (Some(service), Some(admission)) => {
                    let wanted = services.candidates(service);
                    admission.retire(service.policy.scheduler, &wanted);
                    self.settle(admission, services, service, &wanted);
                }
                (None, Some(_)) => *admission = None,
                (_, None) => {}
            }
        }
    }

    /// The second half: servers and services that came get connections. Control calls it when
    /// every worker has the snapshot with them.
    pub fn enlist(&self, services: &Services) {
        for (id, service) in services.services.iter().enumerate() {
            let Some(service) = service else { continue };
            let wanted = services.candidates(service);
            let mut admission = lock(&self.services[id]);
            let admission = match admission.as_mut() {
                Some(admission) => {
                    admission.enlist(&wanted);
                    admission
                }
                None => {
                    let (plan, grown) = (service.policy.scheduler, services.settings.compat_lvs);
                    admission.insert(Admission::new(plan, wanted.clone(), grown))
                }
            };
            self.settle(admission, services, service, &wanted);
        }
    }

    /// Makes the records of a service's servers say what its list now says.
    fn settle(
        &self,
        admission: &mut Admission,
        services: &Services,
        service: &Service,
        wanted: &[sched::Candidate],
    ) {
        let joined = admission.joined(wanted);
        for candidate in &admission.candidates {
            let record = self.server(candidate.id);
            let known = services.servers.get(candidate.id as usize).and_then(Option::as_ref);
            let sends_away = candidate.drained && !known.is_some_and(|server| server.keeps_clients);
            let weighted = candidate.weight > 0 && !sends_away;
            record.set_standing(Standing { up: candidate.up, weighted });
            if let Some(server) = known {
                record.limit(server.upper, server.lower, services.settings.compat_lvs);
            }
            match service.policy.on_join {
                OnJoin::ResetCounts if joined => record.reset_base(),
                OnJoin::ResetCounts => {}
                OnJoin::Nothing | OnJoin::SlowStart(_) => record.clear_base(),
            }
        }
    }

    /// The service's admission state, locked; `None` inside if control has not prepared it.
    pub fn admission(&self, id: ServiceId) -> MutexGuard<'_, Option<Admission>> {
        lock(&self.services[id as usize])
    }

    /// Counts a connection that was made in `state`.
    pub fn opened(&self, server: ServerId, state: u8) {
        self.opens(server, state);
        self.server(server).made();
    }

    /// Counts a connection that is being made in `state`, until it is [`ServerRecord::made`] or
    /// [`Director::ended`].
    pub(crate) fn opens(&self, server: ServerId, state: u8) {
        self.server(server).opens(active(state));
        self.half_open.0.fetch_add(half_open(state), Ordering::Relaxed);
    }

    /// Counts a connection's change of state.
    pub fn changed(&self, server: ServerId, from: u8, to: u8) {
        if active(from) != active(to) {
            self.server(server).turns(active(to));
        }
        let (was, is) = (half_open(from), half_open(to));
        if was != is {
            self.half_open.0.fetch_add(is.wrapping_sub(was), Ordering::Relaxed);
        }
    }

    /// Counts a connection's end in `state`, and frees its template of it.
    pub fn ended<A: Family>(&self, connection: &Connection<A>, state: u8) {
        // What carries single packets was counted when it came; probes never are.
        if connection.keys == Keys::Both {
            self.closed(connection.server_id, state);
        }
        A::templates(self).release(connection.template);
    }

    /// Counts the end of a connection that was counted by [`Director::opened`].
    pub fn closed(&self, server: ServerId, state: u8) {
        self.server(server).closes(active(state));
        self.half_open.0.fetch_sub(half_open(state), Ordering::Relaxed);
    }

    /// Asks control to resolve a neighbour; a full queue is no loss, the next packet asks again.
    pub fn request_resolve(&self, request: ResolveRequest) {
        let _ = self.resolve.try_send(request);
    }
}

/// A count that two workers change. A connection can be found, and change or end, before the
/// worker that made it has counted it: for that moment the count is one too low, which must
/// not read as four billion.
fn settled(count: &AtomicU32) -> u32 {
    count.load(Ordering::Relaxed).cast_signed().max(0).cast_unsigned()
}

/// Counts in `ActiveConn`.
fn active(state: u8) -> bool {
    State::from_number(state).is_some_and(State::active)
}

fn half_open(state: u8) -> u32 {
    State::from_number(state).is_some_and(State::half_open).into()
}

/// A panicking worker ends the process, so a poisoned lock protects nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp;

    #[test]
    fn a_change_that_is_counted_before_the_opening_is_no_flood() {
        const SERVER: ServerId = 3;
        const RECV: u8 = tcp::State::SynRecv as u8;
        const ESTABLISHED: u8 = tcp::State::Established as u8;
        const FIN_WAIT: u8 = tcp::State::FinWait as u8;
        let limits = Limits { connections_v4: 1, connections_v6: 1, ..Limits::default() };
        let (sender, _) = crossbeam_channel::bounded(1);
        let director = Director::new(limits, sender).expect("memory");
        director.changed(SERVER, RECV, ESTABLISHED);
        director.changed(SERVER, ESTABLISHED, FIN_WAIT);
        assert_eq!((director.half_open(), director.server(SERVER).active()), (0, 0));
        director.opened(SERVER, RECV);
        let record = director.server(SERVER);
        assert_eq!((director.half_open(), record.active(), record.inactive()), (0, 0, 1));
    }
}
