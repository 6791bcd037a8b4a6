//! What comes out: forwarded frames, counted and looked at, and the guest's beats among them.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use xtask::{
    failure::{Outcome, fail},
    guest::Trunk,
};

use super::{beat::Beat, ground};

/// How long a count may stand still before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// A thread that reads all that the guest sends.
pub(super) struct Meter {
    count: Arc<Count>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Count {
    forwarded: AtomicU64,
    strange: AtomicU64,
    beats: Mutex<Vec<(Beat, u64)>>,
    stop: AtomicBool,
}

/// What is between two beats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) nanoseconds: u64,
    pub(super) packets: u64,
    pub(super) idle_milliseconds: u64,
}

impl Meter {
    /// Begins to read.
    pub(super) fn start(mut trunk: Trunk) -> Self {
        let count = Arc::new(Count::default());
        let counted = Arc::clone(&count);
        let read = move || {
            let wait = Duration::from_millis(100);
            while !counted.stop.load(Relaxed)
                && trunk.receive(wait, |frame| counted.note(frame)).is_ok()
            {}
        };
        Self { count, thread: Some(thread::spawn(read)) }
    }

    /// Frames that were forwarded as they should be.
    pub(super) fn forwarded(&self) -> u64 {
        self.count.forwarded.load(Relaxed)
    }

    /// Those for a real server that are not what it should get.
    pub(super) fn strange(&self) -> u64 {
        self.count.strange.load(Relaxed)
    }

    /// Waits until so many more frames were forwarded.
    ///
    /// # Errors
    /// None is, for a minute.
    pub(super) fn wait_for(&self, more: u64) -> Outcome {
        let aim = self.forwarded() + more;
        let (mut last, mut since) = (self.forwarded(), Instant::now());
        while self.forwarded() < aim {
            thread::sleep(Duration::from_millis(20));
            if self.forwarded() != last {
                (last, since) = (self.forwarded(), Instant::now());
            } else if since.elapsed() > PATIENCE {
                return fail(format!("only {last} of {aim} frames were forwarded"));
            }
        }
        Ok(())
    }

    /// Waits until no frame comes any more.
    pub(super) fn wait_for_silence(&self) {
        let mut last = None;
        while last != Some(self.forwarded()) {
            last = Some(self.forwarded());
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// The windows between the beats since the last call.
    pub(super) fn windows(&self) -> Vec<Window> {
        // The last beat may still be on its way.
        thread::sleep(Duration::from_millis(500));
        let mut beats = self.count.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = mem::take(&mut *beats);
        let window = |pair: &[(Beat, u64)]| Window {
            nanoseconds: pair[1].0.time - pair[0].0.time,
            packets: pair[1].1 - pair[0].1,
            idle_milliseconds: pair[1].0.idle - pair[0].0.idle,
        };
        beats.windows(2).map(window).collect()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.count.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Count {
    fn note(&self, frame: &[u8]) {
        match ground::sort(frame) {
            ground::Kind::Forwarded => drop(self.forwarded.fetch_add(1, Relaxed)),
            ground::Kind::Beat(beat) => {
                let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
                beats.push((beat, self.forwarded.load(Relaxed)));
            }
            ground::Kind::Strange => drop(self.strange.fetch_add(1, Relaxed)),
            ground::Kind::Other => {}
        }
    }
}
