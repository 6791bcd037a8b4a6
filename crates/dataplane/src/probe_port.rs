//! The port behind which the sockets of health probes are: a TAP in a network namespace of their
//! own. Two threads read and write it; workers put packets on one conveyor and take them off
//! another.

use std::{io, sync::Arc, time::Duration};

use xsk::{Tap, Waker};

use crate::{
    conveyor::{self, Loader, Unloader},
    memory::ROOM,
};

/// A worker's side of the port.
pub struct ProbePort {
    /// What probes send; one worker takes it.
    arrivals: Option<Unloader>,
    departures: Loader,
}

/// The threads' side.
pub struct ProbeTap {
    /// Reads the TAP.
    pub reader: ProbeReader,
    /// Writes it.
    pub writer: ProbeWriter,
}

/// What the reading thread has.
pub struct ProbeReader {
    arrivals: Loader,
    tap: Arc<Tap>,
}

/// What the writing thread has.
pub struct ProbeWriter {
    departures: Unloader,
    tap: Arc<Tap>,
}

/// A port for each of `workers` workers (at least one), in front of this TAP, for frames of so
/// many octets. The first worker takes what probes send.
pub fn open(tap: Arc<Tap>, workers: usize, room: usize) -> (Vec<ProbePort>, ProbeTap) {
    let room = room.max(ROOM);
    let (arrivals, taken) = conveyor::conveyor(conveyor::LENGTH, room);
    let (departures, unloader) = conveyor::conveyor(conveyor::LENGTH, room);
    let mut taken = Some(taken);
    let port = |_| ProbePort { arrivals: taken.take(), departures: departures.clone() };
    let ports = (0..workers).map(port).collect();
    let reader = ProbeReader { arrivals, tap: Arc::clone(&tap) };
    (ports, ProbeTap { reader, writer: ProbeWriter { departures: unloader, tap } })
}

impl ProbePort {
    /// No probe's packet is to be taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.as_ref().is_none_or(Unloader::is_empty)
    }

    /// Hands over the next packet of a probe, if there is one.
    pub(crate) fn take(&self, with: impl FnOnce(&[u8])) -> bool {
        self.arrivals.as_ref().is_some_and(|arrivals| arrivals.take(|packet| with(packet)))
    }

    /// Sends a copy to the probes' sockets; false if there is no room.
    pub(crate) fn push(&self, packet: &[u8]) -> bool {
        self.departures.push(packet)
    }
}

/// The reading thread looks so often whether the process goes on.
const PATIENCE: Duration = Duration::from_millis(250);

impl ProbeReader {
    /// Reads until `ended` says so, and wakes the worker that takes the packets.
    ///
    /// # Errors
    /// The TAP cannot be read.
    pub fn run(self, worker: &Waker, ended: impl Fn() -> bool) -> io::Result<()> {
        let mut packet = vec![0; crate::memory::ROOM];
        while !ended() {
            if !self.tap.wait(PATIENCE)? {
                continue;
            }
            while let Some(length) = self.tap.read(&mut packet)? {
                // Without room it is lost, as on a wire: sockets send it again.
                self.arrivals.push(&packet[..length]);
            }
            worker.wake();
        }
        Ok(())
    }
}

impl ProbeWriter {
    /// Writes until all ports are gone.
    pub fn run(self) {
        while self.departures.wait(|packet| {
            // What the namespace does not take is lost, as on a wire.
            let _ = self.tap.write(packet);
        }) {}
    }
}
