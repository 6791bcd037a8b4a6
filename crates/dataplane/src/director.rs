//! What all workers share and what outlives snapshots: the connection table, counts per
//! server, scheduler state, the fragment table and the rate limits.

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crossbeam_channel::Sender;

use crate::{
    admission::Admission,
    clock::Now,
    forward::{V4, V6},
    fragment::FragmentTable,
    limiter::{self, Limiter},
    snapshot::{ServerId, ServiceId, Services},
    state::State,
    stats::OwnLine,
    table::{Secret, Table, TableConfig},
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

/// The box-wide count of one server's connections, and the MTU of the tunnel to it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServerRecord {
    active: AtomicU32,
    inactive: AtomicU32,
    opened: AtomicU64,
    persistent: AtomicU32,
    /// A learned tunnel MTU in the low 16 bits, the second it ends above.
    path_mtu: AtomicU64,
}

impl ServerRecord {
    /// How long a learned MTU holds, in seconds: `net.ipv4.route.mtu_expires`.
    const PATH_MTU_SECONDS: u32 = 600;

    /// Connections in an active state: TCP's SYN_SENT, SYN_RECV, ESTABLISHED and SYNACK, SCTP's
    /// ESTABLISHED (LVS `ActiveConn`).
    pub fn active(&self) -> u32 {
        settled(&self.active)
    }

    /// Other connections, and all of UDP (LVS `InActConn`).
    pub fn inactive(&self) -> u32 {
        settled(&self.inactive)
    }

    /// Persistence templates (LVS `PersistConn`).
    pub fn persistent(&self) -> u32 {
        settled(&self.persistent)
    }

    /// Connections ever made.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The MTU learned from ICMP about our tunnel packets, while it holds.
    #[inline]
    pub fn path_mtu(&self, now: Now) -> u16 {
        let word = self.path_mtu.load(Ordering::Relaxed);
        if word == 0 || u64::from(now.seconds()) >= word >> 16 { u16::MAX } else { word as u16 }
    }

    /// Remembers a tunnel MTU. One that holds is never raised (RFC 8201 section 4): what says so
    /// is late, or forged.
    pub fn learn_path_mtu(&self, mtu: u16, now: Now) {
        if mtu > self.path_mtu(now) {
            return;
        }
        let ends = u64::from(now.seconds() + Self::PATH_MTU_SECONDS);
        self.path_mtu.store(ends << 16 | u64::from(mtu), Ordering::Relaxed);
    }

    /// What schedulers weigh.
    pub fn load(&self) -> sched::Load {
        sched::Load { active: self.active(), inactive: self.inactive(), overloaded: false }
    }

    fn count(&self, active: bool) -> &AtomicU32 {
        if active { &self.active } else { &self.inactive }
    }
}

/// The state that all workers share.
pub struct Director {
    /// IPv4 connections.
    pub v4: Table<V4>,
    /// IPv6 connections.
    pub v6: Table<V6>,
    /// Where fragments went.
    pub fragments: FragmentTable,
    /// Rate limits of what we originate.
    pub limiter: Limiter,
    limits: Limits,
    servers: Box<[ServerRecord]>,
    services: Box<[Mutex<Option<Admission>>]>,
    half_open: OwnLine<AtomicU32>,
    resolve: Sender<ResolveRequest>,
}

/// A family that has a connection table.
pub trait Family: Ip + crate::packet::Quoted {
    /// The director's table of this family.
    fn table(director: &Director) -> &Table<Self>;
}

impl Family for V4 {
    #[inline(always)]
    fn table(director: &Director) -> &Table<Self> {
        &director.v4
    }
}

impl Family for V6 {
    #[inline(always)]
    fn table(director: &Director) -> &Table<Self> {
        &director.v6
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
        Ok(Self {
            v4: Table::new(TableConfig { capacity: limits.connections_v4, secret: secret_v4 })?,
            v6: Table::new(TableConfig { capacity: limits.connections_v6, secret: secret_v6 })?,
            fragments: FragmentTable::new(limits.fragments),
            limiter: Limiter::new(limits.icmp_rate),
            servers: (0..limits.servers).map(|_| ServerRecord::default()).collect(),
            services: (0..limits.services).map(|_| Mutex::new(None)).collect(),
            half_open: OwnLine::default(),
            resolve,
            limits,
        })
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
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

    /// Takes up a configuration at once: [`Director::retire`], then [`Director::enlist`]. Only
    /// where no worker runs with an older one.
    pub fn prepare(&self, services: &Services) {
        self.retire(services);
        self.enlist(services);
    }

    /// The first half of a change of configuration: servers and services that are not in it get
    /// no more connections; weights and states of the others become its own. Control publishes
    /// the snapshot after this call.
    pub fn retire(&self, services: &Services) {
        for (id, service) in services.services.iter().enumerate() {
            let mut admission = lock(&self.services[id]);
            match (service, admission.as_mut()) {
                (Some(service), Some(admission)) => {
                    admission.retire(service.policy.scheduler, &services.candidates(service));
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
            let candidates = services.candidates(service);
            let mut admission = lock(&self.services[id]);
            match admission.as_mut() {
                Some(admission) => admission.enlist(&candidates),
                None => {
                    let (plan, grown) = (service.policy.scheduler, services.settings.compat_lvs);
                    *admission = Some(Admission::new(plan, candidates, grown));
                }
            }
        }
    }

    /// The service's admission state, locked; `None` inside if control has not prepared it.
    pub fn admission(&self, id: ServiceId) -> MutexGuard<'_, Option<Admission>> {
        lock(&self.services[id as usize])
    }

    /// Counts a connection that was made in `state`.
    pub fn opened(&self, server: ServerId, state: u8) {
        let record = self.server(server);
        record.opened.fetch_add(1, Ordering::Relaxed);
        record.count(active(state)).fetch_add(1, Ordering::Relaxed);
        self.half_open.0.fetch_add(half_open(state), Ordering::Relaxed);
    }

    /// Takes [`Director::opened`] back: the table refused the connection.
    pub fn not_opened(&self, server: ServerId, state: u8) {
        self.server(server).opened.fetch_sub(1, Ordering::Relaxed);
        self.closed(server, state);
    }

    /// Counts a connection's change of state.
    pub fn changed(&self, server: ServerId, from: u8, to: u8) {
        let (was, is) = (active(from), active(to));
        if was != is {
            let record = self.server(server);
            record.count(is).fetch_add(1, Ordering::Relaxed);
            record.count(was).fetch_sub(1, Ordering::Relaxed);
        }
        let (was, is) = (half_open(from), half_open(to));
        if was != is {
            self.half_open.0.fetch_add(is.wrapping_sub(was), Ordering::Relaxed);
        }
    }

    /// Counts a connection's end in `state`.
    pub fn closed(&self, server: ServerId, state: u8) {
        self.server(server).count(active(state)).fetch_sub(1, Ordering::Relaxed);
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
    fn a_learned_mtu_sinks_and_ends_but_is_not_raised() {
        let record = ServerRecord::default();
        let [start, late] = [Now::at_seconds(10), Now::at_seconds(700)];
        for (told, now, holds) in
            [(1400, start, 1400), (1450, start, 1400), (1300, start, 1300), (1480, late, 1480)]
        {
            record.learn_path_mtu(told, now);
            assert_eq!(record.path_mtu(now), holds);
        }
        assert_eq!(record.path_mtu(Now::at_seconds(1300)), u16::MAX);
    }

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
