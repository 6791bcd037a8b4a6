//! Captures: what the workers' taps copy becomes a stream for an operator.
//!
//! [`Captures::start`] reads what is [`wanted`], makes the queues, and gives each worker its
//! [`Tap`](dataplane::capture::Tap). A thread of its own ([`session`]) takes the copies out a
//! hundred times a second, so that no worker has to wake anybody, and writes them as [`pcapng`] or
//! as lines ([`words`]). When the one who reads is gone, or a limit is reached, it takes the taps
//! back and frees them.

mod pcapng;
mod session;
mod wanted;
mod words;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use dataplane::{
    capture::{Well, tap},
    engine::{Handle, Order},
    snapshot::Snapshot,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

pub use session::Line;
pub use wanted::{Form, Wanted};

use session::{Session, Taps};

/// Octets of the copies that may be under way, of all workers together.
const MEMORY: usize = 32 << 20;
/// Copies of one worker that may be under way, at least and at most.
const LENGTH: [usize; 2] = [64, 4096];
/// Pieces of the stream that its reader has not taken yet.
const PIECES: usize = 16;

/// Why a capture did not start.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// What is wanted cannot be read, or does not exist.
    #[error("{0}")]
    Wrong(String),
    /// There is one already.
    #[error("another capture runs; there can be one at a time: end it, or wait for its end")]
    Busy,
    /// There is no thread for it.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// How a capture went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CaptureTally)]
pub struct Tally {
    /// It goes on.
    pub running: bool,
    /// Packets that were captured.
    pub packets: u64,
    /// Copies of them: one for each side.
    pub copies: u64,
    /// Octets that were written.
    pub octets: u64,
    /// Packets that passed the filter, but found the queue to the writer full: the reader is slow.
    pub missed_queue: u64,
    /// Packets that passed the filter, but came after the share of time that a worker has for
    /// captures in one breath.
    pub missed_share: u64,
}

/// Where captures are started.
#[derive(Clone)]
pub struct Captures {
    handles: Vec<Handle>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    /// Octets of the largest frame.
    room: usize,
    taken: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
}

impl Captures {
    /// For these workers, whose frames have at most `room` octets.
    pub fn new(handles: Vec<Handle>, snapshots: Arc<ArcSwap<Snapshot>>, room: usize) -> Self {
        Self { handles, snapshots, room, taken: Arc::default(), tally: Arc::default() }
    }

    /// Starts one; what it captures comes out of the channel, until its limits are reached. It
    /// ends when the channel is dropped.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn start(&self, wanted: &Wanted) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let snapshot = self.snapshots.load_full();
        let filter = wanted.filter(&snapshot).map_err(Refused::Wrong)?;
        let limits = wanted.limits().map_err(Refused::Wrong)?;
        let lease = Lease::take(&self.taken).ok_or(Refused::Busy)?;
        let snap = wanted.snap.map_or(self.room, |snap| (snap as usize).min(self.room));
        let length = MEMORY / (self.handles.len().max(1) * snap);
        let length = length.clamp(LENGTH[0], LENGTH[1]);
        let ends = (0..self.handles.len()).map(|at| tap(at as u16, filter.clone(), length, snap));
        let (taps, wells): (Vec<_>, Vec<Well>) = ends.unzip();
        let taps = Taps::give(&self.handles, taps);
        let (pieces, stream) = mpsc::channel(PIECES);
        *lock(&self.tally) = Tally { running: true, ..Tally::default() };
        let session = Session {
            form: wanted.form,
            snap: snap as u32,
            limits,
            began: Instant::now(),
            wells,
            snapshots: Arc::clone(&self.snapshots),
            pieces,
            tally: Arc::clone(&self.tally),
        };
        let run = move || {
            crate::daemon::give_up_capabilities();
            let _held = (taps, lease);
            session.run();
        };
        let thread = std::thread::Builder::new().name("xlvs-capture".to_owned());
        thread.spawn(run).map_err(Refused::Thread)?;
        log::info!("capture: begun, {wanted}");
        Ok(stream)
    }

    /// How the capture goes that runs, or how the last one went.
    pub fn tally(&self) -> Tally {
        *lock(&self.tally)
    }
}

/// The right to be the only one.
struct Lease(Arc<AtomicBool>);

impl Lease {
    fn take(taken: &Arc<AtomicBool>) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taps {
    fn order(handle: &Handle, tap: Option<Box<dataplane::capture::Tap>>) {
        let (back, came) = crossbeam_channel::bounded(1);
        if handle.order(Order::Capture(tap, back)) {
            // A worker that does not answer keeps it; whatever it had is freed here.
            drop(came.recv_timeout(session::PATIENCE));
        }
    }
}
