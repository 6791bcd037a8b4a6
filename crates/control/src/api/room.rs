//! How many connections there may be at a time. Who comes when all seats are taken gets that of
//! the connection which is idle for longest; if none is idle, the new one is closed. And how much
//! memory the answers have that clients have not taken yet.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};

/// Octets of an answer that every seat may have; only larger ones are counted.
const SMALL: u64 = 64 << 10;
/// KiB of all large answers together, until their clients have taken them.
const ANSWERS: u32 = 256 << 10;

/// Seats of one kind of connection.
#[derive(Debug)]
pub(super) struct Room {
    seats: usize,
    /// A permit for each KiB.
    answers: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by: HashMap<u64, Occupant>,
}

#[derive(Debug)]
struct Occupant {
    /// Ends the connection; none until it is begun.
    end: Option<AbortHandle>,
    /// Requests that are being answered.
    busy: usize,
    idle_since: Instant,
}

/// One connection's; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    number: u64,
}

/// The room that an answer has, if it is a large one.
#[derive(Debug)]
pub(super) struct Kept(#[expect(dead_code, reason = "for its end")] Option<OwnedSemaphorePermit>);

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Room {
    pub(super) fn of(seats: usize) -> Arc<Self> {
        let answers = Arc::new(Semaphore::new(ANSWERS as usize));
        Arc::new(Self { seats, answers, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a connection as a task of its own, if there is a seat for it. To be called within a
    /// runtime.
    pub(super) fn seat<F>(self: &Arc<Self>, connection: impl FnOnce(Arc<Seat>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(seat) = self.take() else { return };
        let number = seat.number;
        let task = tokio::spawn(connection(Arc::new(seat)));
        if let Some(occupant) = self.taken().by.get_mut(&number) {
            occupant.end = Some(task.abort_handle());
        }
    }

    fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.by.len() >= self.seats {
            let idle = taken.by.iter().filter(|(_, occupant)| occupant.busy == 0);
            let (&oldest, _) = idle.min_by_key(|(_, occupant)| occupant.idle_since)?;
            if let Some(end) = taken.by.remove(&oldest).and_then(|occupant| occupant.end) {
                end.abort();
            }
        }
        let number = taken.next;
        taken.next += 1;
        taken.by.insert(number, Occupant { end: None, busy: 0, idle_since: Instant::now() });
        Some(Seat { room: Arc::clone(self), number })
    }
}

/// Ends all connections of a room when it is dropped.
#[derive(Debug)]
pub(super) struct Host(pub(super) Arc<Room>);

impl Drop for Host {
    fn drop(&mut self) {
        for occupant in self.0.taken().by.values() {
            occupant.end.iter().for_each(AbortHandle::abort);
        }
    }
}

impl Seat {
    /// Until it is dropped, the connection is not idle.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        if let Some(occupant) = self.room.taken().by.get_mut(&self.number) {
            occupant.busy += 1;
        }
        Busy(Arc::clone(self))
    }

    /// Room for an answer of that many octets, until what is returned is dropped; none if answers
    /// that nobody takes have all of it. One that is larger than all has to be alone.
    pub(super) fn hold(&self, octets: u64) -> Option<Kept> {
        if octets <= SMALL {
            return Some(Kept(None));
        }
        let wanted = u32::try_from(octets.div_ceil(1024)).unwrap_or(ANSWERS).min(ANSWERS);
        let room = Arc::clone(&self.room.answers).try_acquire_many_owned(wanted).ok()?;
        Some(Kept(Some(room)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.taken().by.remove(&self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(occupant) = self.0.room.taken().by.get_mut(&self.0.number) {
            occupant.busy -= 1;
            occupant.idle_since = Instant::now();
        }
    }
}
