//! Persistence templates (`ip_vs_sched_persist`): a client's first connection leaves one, and
//! its later connections go where that one went. They lie in a table of the same kind as
//! connections, in which a template is a connection without ports of its own.

use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    director::{Director, Family},
    effort::Effort,
    forward::{Address, Forward, Protocol, ServiceKey, Tuple},
    lookup::FTP,
    packet::Packet,
    policy::Persistence,
    prefix::masked,
    snapshot::{Server, ServerId, Service, ServiceId},
    table::{
        Connection, ConnectionRef, Expired, Found, InsertError, Keys, SweepCursor, Table,
        TableConfig, TemplateRef,
    },
};

/// How long a template goes on whose time is over while it still controls connections, in
/// seconds (`ip_vs_conn_expire`).
const REARMED: u32 = 60;

/// What a template is for. Its number stands in the place of the client's port, so that no two
/// services share a template; listings show port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A service of a VIP, on the template's virtual port; 0 for one that takes all of them.
    Endpoint = 0,
    /// A mark: the template's virtual address is the mark, of whatever protocol (`IP`).
    Mark = 1,
    /// An FTP service: control and data connections go together, so its virtual port is 0.
    Ftp = FTP,
}

/// The states of a template, as the octet in its entry.
const NONE: u8 = 0;
const ASSURED: u8 = 1;

/// The name of a template's state in `ipvsadm -Lc`.
pub const fn state_name(state: u8) -> &'static str {
    if state == ASSURED { "ASSURED" } else { "NONE" }
}

impl Kind {
    /// What a template is for.
    pub const fn of<A>(template: &Connection<A>) -> Self {
        match template.cport {
            1 => Self::Mark,
            FTP => Self::Ftp,
            _ => Self::Endpoint,
        }
    }
}

/// The templates of one family.
pub struct Templates<A> {
    table: Table<A>,
    /// For each entry its generation (32) and how many connections it controls (32).
    controls: Box<[AtomicU64]>,
}

impl<A: Address> Templates<A> {
    /// Takes all the memory that they will ever use.
    ///
    /// # Errors
    /// As [`Table::new`].
    pub fn new(config: TableConfig) -> io::Result<Self> {
        let capacity = config.capacity.clamp(1, TemplateRef::MAX);
        let table = Table::new(TableConfig { capacity, ..config })?;
        Ok(Self { table, controls: (0..capacity).map(|_| AtomicU64::new(0)).collect() })
    }

    /// The table that they lie in.
    pub const fn table(&self) -> &Table<A> {
        &self.table
    }

    /// The connections that a template controls (`n_control`).
    pub fn controlled(&self, template: ConnectionRef) -> u32 {
        let word = self.controls[template.id as usize].load(Relaxed);
        if (word >> 32) as u32 == template.generation { word as u32 } else { 0 }
    }

    /// The template that a connection refers to, if it is still there.
    pub(crate) fn of(&self, template: TemplateRef) -> Option<Found<A>> {
        if !template.is_some() {
            return None;
        }
        let word = self.controls[template.id() as usize].load(Relaxed);
        let place = ConnectionRef { id: template.id(), generation: (word >> 32) as u32 };
        template.is(place).then(|| self.table.get(place)).flatten()
    }

    /// Puts a template of other templates in, as it is there.
    pub(crate) fn adopt(&self, others: &Self, found: &Found<A>) -> Option<ConnectionRef> {
        let place = self
            .table
            .insert(&found.connection, found.meta.state(), found.meta.timeout(), found.stamp)
            .ok()?;
        let controlled = others.controlled(found.reference());
        let word = u64::from(place.generation) << 32 | u64::from(controlled);
        self.controls[place.id as usize].store(word, Relaxed);
        Some(place)
    }

    /// Another connection is controlled by the template.
    pub(crate) fn control(&self, template: ConnectionRef) -> TemplateRef {
        let more = |word: u64| (word >> 32 == template.generation.into()).then_some(word + 1);
        let _ = self.controls[template.id as usize].fetch_update(Relaxed, Relaxed, more);
        TemplateRef::new(template)
    }

    /// A connection that was controlled ended. The template may have gone before.
    pub(crate) fn release(&self, template: TemplateRef) {
        if !template.is_some() {
            return;
        }
        let less = |word: u64| {
            let place = ConnectionRef { id: template.id(), generation: (word >> 32) as u32 };
            (template.is(place) && word as u32 > 0).then(|| word - 1)
        };
        let _ = self.controls[template.id() as usize].fetch_update(Relaxed, Relaxed, less);
    }

    /// A connection that it controls was established, or answered: floods do not do that.
    pub(crate) fn assure(&self, template: TemplateRef) {
        if !template.is_some() {
            return;
        }
        let word = self.controls[template.id() as usize].load(Relaxed);
        let place = ConnectionRef { id: template.id(), generation: (word >> 32) as u32 };
        if !template.is(place) {
            return;
        }
        let Some(mut found) = self.table.get(place) else { return };
        // A packet of a connection is no use of its template, whose time goes on as it was.
        while found.meta.state() == NONE {
            let (timeout, stamp) = (found.meta.timeout(), found.stamp);
            match self.table.transition(&found, ASSURED, timeout, stamp) {
                Ok(()) => return,
                Err(seen) if seen.generation() == place.generation => found.meta = seen,
                Err(_) => return,
            }
        }
    }

    /// True if it controls nothing and is not assured.
    pub(crate) fn is_idle(&self, found: &Found<A>) -> bool {
        found.meta.state() == NONE && self.controlled(found.reference()) == 0
    }

    /// True while its time is not over, or connections keep it alive.
    fn holds(&self, found: &Found<A>, now: u32) -> bool {
        now <= due(found) || self.controlled(found.reference()) > 0
    }

    /// Starts its time again; false if it is gone.
    fn renew(&self, found: &Found<A>, timeout: u32, now: u32) -> bool {
        let mut found = *found;
        loop {
            match self.table.transition(&found, found.meta.state(), timeout, now) {
                Ok(()) => return true,
                Err(seen) if seen.generation() == found.meta.generation() => found.meta = seen,
                Err(_) => return false,
            }
        }
    }

    fn insert(
        &self,
        template: &Connection<A>,
        timeout: u32,
        now: u32,
    ) -> Result<ConnectionRef, InsertError> {
        let place = self.table.insert(template, NONE, timeout, now)?;
        let word = u64::from(place.generation) << 32;
        self.controls[place.id as usize].store(word, Relaxed);
        Ok(place)
    }

    /// As [`Table::sweep`]; one that still controls connections goes on for a minute.
    pub(crate) fn sweep(
        &self,
        cursor: &mut SweepCursor,
        now: u32,
        paced: (usize, &mut Effort),
        ended: &mut impl FnMut(Expired<A>),
    ) {
        let kept = |found: &Found<A>| {
            let controls = self.controlled(found.reference()) > 0;
            if controls {
                let from = if due(found) + REARMED > now { due(found) } else { now };
                // Whoever was faster used it, or ended it.
                let _ = self.table.transition(found, found.meta.state(), REARMED, from);
            }
            controls
        };
        self.table.sweep_but(cursor, now, paced, &kept, ended);
    }
}

fn due<A>(found: &Found<A>) -> u32 {
    found.stamp.saturating_add(found.meta.timeout())
}

/// The key of the template for a packet to a service.
pub(crate) fn key<A: Address>(
    service: &ServiceKey,
    persistence: &Persistence,
    packet: &Packet<A>,
) -> Tuple<A> {
    let tuple = packet.tuple;
    let network = masked(tuple.src.ip(), persistence.prefix);
    let (kind, dst, dport, protocol) = match service {
        ServiceKey::Mark { mark, .. } => (Kind::Mark, mark_address(*mark), 0, Protocol::Tcp),
        ServiceKey::Endpoint(at) if at.port == FTP => (Kind::Ftp, tuple.dst, 0, tuple.protocol),
        ServiceKey::Endpoint(at) => (Kind::Endpoint, tuple.dst, at.port, tuple.protocol),
    };
    Tuple {
        src: A::from_ip(network).unwrap_or(tuple.src),
        sport: kind as u16,
        dst,
        dport,
        protocol,
    }
}

/// A mark as an address, as the kernel shows it: 0.0.0.7; in IPv6 its first 32 bits.
fn mark_address<A: Address>(mark: u32) -> A {
    let high = if A::IPV6 { 32 } else { 0 };
    A::from_words([u64::from(mark) << high, 0])
}

/// The director's part.
impl Director {
    /// The server that the client's template names, if it may have new connections, and the
    /// template, whose time starts again: as long as it had, or another time. A template that is
    /// not to be followed ends.
    ///
    /// Called under the service's lock.
    pub(crate) fn follow_template<A: Family>(
        &self,
        key: &Tuple<A>,
        (id, service): (ServiceId, &Service),
        server_of: impl Fn(ServerId) -> Option<ServiceId>,
        (timeout, now): (Option<u32>, u32),
    ) -> Option<(ServerId, ConnectionRef)> {
        let templates = A::templates(self);
        let found = templates.table.find(key)?;
        let server = found.connection.server_id;
        let standing = self.server(server).standing();
        let quiescent = service.policy.lifecycle.expire_quiescent_template && !standing.weighted;
        let right = standing.up && !quiescent && server_of(server) == Some(id);
        let timeout = timeout.unwrap_or(found.meta.timeout());
        if right && templates.holds(&found, now) && templates.renew(&found, timeout, now) {
            return Some((server, found.reference()));
        }
        self.end_template(&found);
        None
    }

    /// Leaves a template behind: the client's next connections go to this server.
    ///
    /// # Errors
    /// The table is full.
    pub(crate) fn leave_template<A: Family>(
        &self,
        key: &Tuple<A>,
        (server_id, server): (ServerId, &Server),
        (timeout, now): (u32, u32),
    ) -> Result<ConnectionRef, InsertError> {
        let template = Connection {
            client: key.src,
            cport: key.sport,
            vip: key.dst,
            vport: key.dport,
            server: A::from_ip(server.address).unwrap_or(key.dst),
            // Where all ports go to the server, each keeps its number.
            rport: if key.dport == 0 { 0 } else { server.port },
            local: key.src,
            lport: 0,
            protocol: key.protocol,
            // It has the client's key only.
            forward: Forward::Dr,
            server_id,
            flags: 0,
            keys: Keys::Both,
            template: TemplateRef::NONE,
        };
        let place = A::templates(self).insert(&template, timeout, now)?;
        self.server(server_id).templates(1);
        Ok(place)
    }

    /// Ends a template, whatever it still controls.
    pub fn end_template<A: Family>(&self, found: &Found<A>) {
        if A::templates(self).table.remove(found) {
            self.server(found.connection.server_id).templates(-1);
        }
    }
}

/// Where clients of one template go, for listings: the address that stands for the service, and
/// the service's protocol, if it has one.
pub fn virtual_service<A: Address>(template: &Connection<A>) -> (Option<Protocol>, IpAddr, u16) {
    let protocol = (Kind::of(template) != Kind::Mark).then_some(template.protocol);
    (protocol, template.vip.ip(), template.vport)
}
