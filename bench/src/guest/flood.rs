//! What goes in: UDP of many flows, as fast as the guest takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
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
const OCTETS: usize = 60;

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
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Outcome<Trunk>>,
}

impl Flood {
    /// Begins.
    pub(super) fn start(trunk: Trunk, flows: Flows) -> Self {
        let (stop, sent) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let template = Template::<V4>::new(Protocol::Udp, 0);
            let mut frames = Frames::default();
            while !stopped.load(Relaxed) {
                let first = count.load(Relaxed);
                frames.clear();
                for number in first..first + SHEAF {
                    frames.push(OCTETS, |room| {
                        template.write(flows.flow(number), room);
                    });
                }
                trunk.send(&frames)?;
                count.store(first + SHEAF, Relaxed);
            }
            Ok(trunk)
        });
        Self { stop, sent, thread }
    }

    /// Ends it, and tells how many frames there were.
    ///
    /// # Errors
    /// The guest is gone.
    pub(super) fn stop(self) -> Outcome<(Trunk, u64)> {
        self.stop.store(true, Relaxed);
        match self.thread.join() {
            Ok(trunk) => Ok((trunk?, self.sent.load(Relaxed))),
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
