//! How many connections there may be at a time. Who comes when all seats are taken gets that of
//! the connection which is idle for longest; if none is idle, the new one is closed.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::task::AbortHandle;

/// Seats of one kind of connection.
#[derive(Debug)]
pub(super) struct Room {
    seats: usize,
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

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Room {
    pub(super) fn of(seats: usize) -> Arc<Self> {
        Arc::new(Self { seats, taken: Mutex::default() })
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
