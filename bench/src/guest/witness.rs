//! What comes out, looked at: as many frames as this machine has time for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use xtask::guest::Drain;

use super::ground;

/// A thread that reads.
pub(super) struct Witness {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    forwarded: AtomicU64,
    strange: AtomicU64,
    stop: AtomicBool,
}

impl Witness {
    /// Begins.
    pub(super) fn start(drain: Drain) -> Self {
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        let read = move || {
            let wait = Duration::from_millis(100);
            while !noted.stop.load(Relaxed) {
                if drain.receive(wait, |frame| noted.note(frame)).is_err() {
                    return;
                }
            }
        };
        Self { seen, thread: Some(thread::spawn(read)) }
    }

    /// Frames as a real server should get them, and others that went to one.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.seen.forwarded.load(Relaxed), self.seen.strange.load(Relaxed))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.seen.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn note(&self, frame: &[u8]) {
        match ground::is_forwarded(frame) {
            Some(true) => drop(self.forwarded.fetch_add(1, Relaxed)),
            Some(false) => drop(self.strange.fetch_add(1, Relaxed)),
            None => {}
        }
    }
}
