//! The connection log: a thread of its own takes what the workers tell (ten times a second, so
//! that they have nobody to wake) and writes it as JSON, an object a line.
//!
//! The file is rotated by whoever likes to: as soon as its name stands for another file, or for
//! none, a new one is begun. At its `size` it is set aside as `FILE.1` by itself, so that it never
//! fills the disk.

mod line;
mod log_file;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use dataplane::{
    clock::Clock,
    connection_log::{ConnectionLog, Entry},
    director::Director,
    snapshot::Snapshot,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{daemon::give_up_capabilities, model};
use log_file::LogFile;

/// How often the queue is emptied.
const PERIOD: Duration = Duration::from_millis(100);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error(
        "connection_log.file: {}: {source}; name a file in a directory that xlvs may write to",
        path.display()
    )]
    File {
        /// Its name.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// How the log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConnectionLogCounts)]
pub struct Counts {
    /// Begins and ends that were written.
    pub written: u64,
    /// Beyond `connection_log.rate`.
    pub lost_rate: u64,
    /// The writer was too slow.
    pub lost_queue: u64,
    /// The file could not be written.
    pub lost_file: u64,
}

/// The log of a running daemon.
pub struct Logger {
    shared: Arc<Shared>,
    director: Arc<Director>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    written: AtomicU64,
    lost_file: AtomicU64,
}

impl Logger {
    /// Begins a log.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn start(
        wanted: &model::ConnectionLog,
        director: &Arc<Director>,
        snapshots: Arc<ArcSwap<Snapshot>>,
        clock: Clock,
    ) -> Result<Self, LogError> {
        let path = wanted.file.clone();
        let file =
            LogFile::open(&path, wanted.size).map_err(|source| LogError::File { path, source })?;
        let (log, entries) = ConnectionLog::new(wanted.rate);
        director.log_connections(log);
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            entries,
            file,
            director: Arc::clone(director),
            snapshots,
            clock,
            shared: Arc::clone(&shared),
            told: [0; 3],
            complained: false,
        };
        let thread = std::thread::Builder::new()
            .name("xlvs-connlog".to_owned())
            .spawn(move || {
                give_up_capabilities();
                writer.run();
            })
            .map_err(LogError::Thread)?;
        Ok(Self { shared, director: Arc::clone(director), thread })
    }

    /// Counts, whenever they are asked for.
    pub fn counter(&self) -> impl Fn() -> Counts + Send + Sync + use<> {
        let (shared, director) = (Arc::clone(&self.shared), Arc::clone(&self.director));
        move || counts(&shared, &director)
    }

    /// Writes what is there, and ends.
    pub fn finish(self) {
        self.shared.over.store(true, Ordering::Release);
        // A writer that panicked has said so.
        let _ = self.thread.join();
    }
}

fn counts(shared: &Shared, director: &Director) -> Counts {
    let lost = director.connection_log().map(ConnectionLog::lost);
    Counts {
        written: shared.written.load(Ordering::Relaxed),
        lost_rate: lost.map_or(0, |lost| lost.rate()),
        lost_queue: lost.map_or(0, |lost| lost.queue()),
        lost_file: shared.lost_file.load(Ordering::Relaxed),
    }
}

/// What the thread has.
struct Writer {
    entries: Receiver<Entry>,
    file: LogFile,
    director: Arc<Director>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    clock: Clock,
    shared: Arc<Shared>,
    /// Losses that stand in the log: beyond the rate, for a full queue, for the file.
    told: [u64; 3],
    /// The log of the daemon has the file's error.
    complained: bool,
}

impl Writer {
    fn run(mut self) {
        self.write(line::mark("start", SystemTime::now()), 0);
        loop {
            let over = self.shared.over.load(Ordering::Acquire);
            self.turn();
            if over {
                break;
            }
            std::thread::sleep(PERIOD);
        }
        self.write(line::mark("stop", SystemTime::now()), 0);
    }

    /// Writes what has come.
    fn turn(&mut self) {
        let (mut text, mut entries) = (Vec::new(), 0);
        let snapshot = self.snapshots.load_full();
        let times = line::Times::now(&self.clock);
        for entry in self.entries.try_iter().take(self.entries.len()) {
            line::entry(&mut text, &entry, &snapshot.services, times);
            entries += 1;
        }
        self.write(text, entries);
        let Counts { lost_rate, lost_queue, lost_file, .. } = counts(&self.shared, &self.director);
        let lost = [("rate", lost_rate), ("queue", lost_queue), ("file", lost_file)];
        for (at, (reason, count)) in lost.into_iter().enumerate() {
            let more = count - self.told[at];
            if more > 0 && self.write(line::lost(reason, more, SystemTime::now()), 0) {
                self.told[at] = count;
            }
        }
    }

    /// True if the file took it.
    fn write(&mut self, text: Vec<u8>, entries: u64) -> bool {
        match self.file.append(&text) {
            Ok(()) => {
                self.shared.written.fetch_add(entries, Ordering::Relaxed);
                if !text.is_empty() && std::mem::take(&mut self.complained) {
                    log::info!("connection log: {}: written again", self.file.path().display());
                }
                true
            }
            Err(error) => {
                self.shared.lost_file.fetch_add(entries, Ordering::Relaxed);
                if !std::mem::replace(&mut self.complained, true) {
                    let path = self.file.path().display();
                    log::error!("connection log: {path}: {error}; connections are not logged");
                }
                false
            }
        }
    }
}
