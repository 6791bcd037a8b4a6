//! What goes in: UDP of many flows, as fast as the guest takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use dataplane::forward::{Protocol, V4};
use xtask::{
    failure::{Outcome, fail},
    guest::{Frames, Trunk},
};

use crate::flows::Template;

/// Frames that are written together.
const SHEAF: u64 = 512;
/// 64 octets on the wire.
pub(super) const OCTETS: usize = 60;

/// Which flows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flows {
    /// So many in turns.
    Cycle(u64),
    /// Each frame is of one that was never there; the first has this number.
    New(u64),
}

/// A thread that writes frames until it is stopped.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<Trunk>>,
}

impl Flood {
    /// Begins.
    pub(super) fn start(mut trunk: Trunk, flows: Flows) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let template = Template::<V4>::new(Protocol::Udp, 0);
            let mut frames = Frames::default();
            let mut first = 0;
            while !stopped.load(Relaxed) {
                frames.clear();
                for number in first..first + SHEAF {
                    frames.push(OCTETS, |room| {
                        template.write(flows.flow(number), room);
                    });
                }
                trunk.send(&frames)?;
                first += SHEAF;
            }
            Ok(trunk)
        });
        Self { stop, thread }
    }

    /// Ends it.
    ///
    /// # Errors
    /// The guest is gone.
    pub(super) fn stop(self) -> Outcome<Trunk> {
        self.stop.store(true, Relaxed);
        match self.thread.join() {
            Ok(trunk) => trunk,
            Err(_) => fail("the flood panicked"),
        }
    }
}

impl Flows {
    fn flow(self, number: u64) -> u64 {
        match self {
            Self::Cycle(flows) => number % flows,
            Self::New(first) => first + number,
        }
    }
}
