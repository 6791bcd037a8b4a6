//! Packets from thread to thread, in buffers that are made at boot and go round: full ones
//! there, empty ones back.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::memory::ROOM;

/// Packets that are under way, at most.
pub(crate) const LENGTH: usize = 512;

/// A packet's place.
struct Buffer {
    octets: Box<[u8]>,
    len: usize,
}

/// The end where packets are put in.
#[derive(Clone)]
pub(crate) struct Loader {
    empty: Receiver<Buffer>,
    full: Sender<Buffer>,
}

/// The end where they are taken out.
pub(crate) struct Unloader {
    empty: Sender<Buffer>,
    full: Receiver<Buffer>,
}

/// For packets of up to `room` octets, or a frame's room if that is more.
pub(crate) fn conveyor(room: usize) -> (Loader, Unloader) {
    let (give_empty, empty) = bounded(LENGTH);
    let (full, take_full) = bounded(LENGTH);
    for _ in 0..LENGTH {
        let octets = vec![0; room.max(ROOM)].into_boxed_slice();
        give_empty.send(Buffer { octets, len: 0 }).expect("room for all buffers");
    }
    (Loader { empty, full }, Unloader { empty: give_empty, full: take_full })
}

impl Loader {
    /// Puts a copy of a packet in; false if all buffers are under way.
    pub(crate) fn push(&self, packet: &[u8]) -> bool {
        let Ok(mut buffer) = self.empty.try_recv() else { return false };
        buffer.len = packet.len();
        buffer.octets[..packet.len()].copy_from_slice(packet);
        self.full.try_send(buffer).is_ok()
    }
}

impl Unloader {
    /// Nothing is there to be taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Hands the next packet over, if there is one.
    pub(crate) fn take(&self, with: impl FnOnce(&mut [u8])) -> bool {
        self.full.try_recv().map(|buffer| self.empty_out(buffer, with)).is_ok()
    }

    /// The same, and waits for it; false when nobody can put anything in any more.
    pub(crate) fn wait(&self, with: impl FnOnce(&mut [u8])) -> bool {
        self.full.recv().map(|buffer| self.empty_out(buffer, with)).is_ok()
    }

    fn empty_out(&self, mut buffer: Buffer, with: impl FnOnce(&mut [u8])) {
        with(&mut buffer.octets[..buffer.len]);
        let _ = self.empty.try_send(buffer);
    }
}
