//! Signals, heard from the beginning: one that comes during the start is obeyed after it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, which end the daemon, and SIGHUP, which does not.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on none of them has its default effect. Needs a tokio runtime.
    ///
    /// # Errors
    /// What sigaction(2) reports.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one that ends the daemon. May be cancelled: none is lost by it.
    pub(super) async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    log::warn!("SIGHUP: the file is read at the start only; restart to apply it");
                }
            }
        }
    }
}
