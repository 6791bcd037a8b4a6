//! The connection log: each connection's begin and end, for those who must be able to say who was
//! behind a local address and port.
//!
//! Workers put entries of fixed size into a bounded queue, at most so many a second, and never
//! wait: what finds no room is counted by its name. Without a log a connection asks for one when it
//! begins and when it ends; packets in between do not.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    breath::Breath,
    clock::Now,
    forward::{Address, Protocol},
    limiter::Bucket,
    link::Link,
    packet::Packet,
    sctp::{self, chunk},
    snapshot::{ServiceId, Services},
    state::State,
    table::{Connection, ConnectionRef, Found, Keys, Way},
    tcp,
    wire::tcp as flag,
};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Both sides closed it, or one did and the other was silent from then on.
    Fin,
    /// One side reset or aborted it.
    Reset,
    /// It was idle for as long as it may be.
    Expired,
    /// Its client opened another one from the same port.
    Replaced,
    /// Its server was removed or is down.
    ServerGone,
    /// `drop_entry` made room.
    DropEntry,
    /// It was one datagram only.
    OnePacket,
    /// The operator ended it.
    Killed,
}

impl End {
    /// Its word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::ServerGone => "server_gone",
            Self::DropEntry => "drop_entry",
            Self::OnePacket => "one_packet",
            Self::Killed => "killed",
        }
    }
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was made.
    Begin,
    /// It ended, in this state (its number).
    End(End, u8),
}

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Now,
    /// What.
    pub event: Event,
    /// The connection.
    pub link: Link,
    /// Its place in the table of its family: begin and end have the same, no other connection has.
    pub place: ConnectionRef,
    /// The service.
    pub service: Option<ServiceId>,
}

/// What was not logged.
#[derive(Debug, Default)]
pub struct Lost {
    rate: AtomicU64,
    queue: AtomicU64,
}

impl Lost {
    /// Entries beyond the rate.
    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Entries that found the queue full: the writer is slow.
    pub fn queue(&self) -> u64 {
        self.queue.load(Ordering::Relaxed)
    }
}

/// Where entries go.
pub struct ConnectionLog {
    queue: Sender<Entry>,
    rate: Bucket,
    lost: Lost,
}

/// Entries that may wait for the writer, at least and at most.
const LENGTH: [usize; 2] = [4096, 1 << 18];

impl ConnectionLog {
    /// A log of `rate` entries a second, and where they come out. Its reader may look ten times
    /// a second: nobody wakes it.
    pub fn new(rate: u32) -> (Self, Receiver<Entry>) {
        let length = (rate as usize / 4).clamp(LENGTH[0], LENGTH[1]);
        let (queue, entries) = bounded(length);
        (Self { queue, rate: Bucket::new(rate, rate), lost: Lost::default() }, entries)
    }

    /// What was not logged.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Tells that a connection ended in this state. One that was closed before has been told of.
    pub fn end<A: Address>(
        &self,
        services: &Services,
        connection: (&Connection<A>, ConnectionRef),
        (end, state): (End, u8),
        at: Now,
    ) {
        if is_closed(state) {
            return;
        }
        let end = if end == End::Expired && is_half_closed(state) { End::Fin } else { end };
        self.tell(services, connection, Event::End(end, state), at);
    }

    /// Tells of a connection of a service that is logged.
    fn tell<A: Address>(
        &self,
        services: &Services,
        (connection, place): (&Connection<A>, ConnectionRef),
        event: Event,
        at: Now,
    ) {
        let service = services.service_of(connection.server_id);
        if connection.keys == Keys::Probe || !services.logs(service) {
            return;
        }
        if !self.rate.take(at) {
            self.lost.rate.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let link = Link::new(services, connection, Way::Forward);
        let service = services.server(connection.server_id).map(|server| server.service);
        if self.queue.try_send(Entry { at, event, link, place, service }).is_err() {
            self.lost.queue.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Breath<'_> {
    /// A connection begins.
    #[inline]
    pub(crate) fn log_begin<A: Address>(&self, connection: &Connection<A>, place: ConnectionRef) {
        if let Some(log) = self.director.connection_log() {
            log.tell(&self.snapshot.services, (connection, place), Event::Begin, self.now);
        }
    }

    /// A connection ended in this state. One that was closed before has been told of.
    #[inline]
    pub(crate) fn log_end<A: Address>(
        &self,
        connection: &Connection<A>,
        place: ConnectionRef,
        state: u8,
        end: End,
    ) {
        if let Some(log) = self.director.connection_log() {
            log.end(&self.snapshot.services, (connection, place), (end, state), self.now);
        }
    }

    /// A packet changed the connection's state: it may be closed by that, or opened anew.
    #[inline]
    pub(crate) fn log_change<A: Address>(&self, packet: &Packet<A>, found: &Found<A>, next: u8) {
        let before = found.meta.state();
        match (is_closed(before), is_closed(next)) {
            (false, true) => {
                let end = if breaks_off(packet) { End::Reset } else { End::Fin };
                self.log_end(&found.connection, found.reference(), before, end);
            }
            (true, false) => self.log_begin(&found.connection, found.reference()),
            _ => {}
        }
    }

    /// Why a connection is over whose time may have come, or whose server may be gone.
    pub(crate) fn why_over<A: crate::director::Family>(&self, found: &Found<A>) -> End {
        if self.late(found) {
            End::Expired
        } else if self.gone(found) {
            End::ServerGone
        } else {
            End::Replaced
        }
    }
}

/// Nothing more is said in it; its entry stays for what is late.
fn is_closed(state: u8) -> bool {
    use tcp::State::{Close, TimeWait};
    match State::from_number(state) {
        Some(State::Tcp(state)) => matches!(state, TimeWait | Close),
        Some(State::Sctp(state)) => state == sctp::State::Closed,
        Some(State::Udp) => false,
        None => state == tcp::RESETTING,
    }
}

/// One side has closed it.
fn is_half_closed(state: u8) -> bool {
    use sctp::State::{ShutdownAckSent, ShutdownReceived, ShutdownSent};
    use tcp::State::{CloseWait, FinWait, LastAck};
    match State::from_number(state) {
        Some(State::Tcp(state)) => matches!(state, FinWait | CloseWait | LastAck),
        Some(State::Sctp(state)) => {
            matches!(state, ShutdownSent | ShutdownReceived | ShutdownAckSent)
        }
        Some(State::Udp) | None => false,
    }
}

/// A TCP reset, or SCTP's ABORT.
fn breaks_off<A>(packet: &Packet<A>) -> bool {
    match packet.tuple.protocol {
        Protocol::Tcp => packet.flags & flag::RST != 0,
        Protocol::Sctp => packet.flags == chunk::ABORT,
        Protocol::Udp => false,
    }
}
