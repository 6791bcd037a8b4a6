//! Packets from thread to thread, in buffers that are made at boot and go round: full ones
//! there, empty ones back. Neither end waits for the other, unless it says so.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Packets that are under way, at most, where nobody says another number.
pub(crate) const LENGTH: usize = 512;

/// A packet's place, and what is to be known of it.
pub(crate) struct Buffer<N = ()> {
    octets: Box<[u8]>,
    len: usize,
    pub(crate) note: N,
}

impl<N> Buffer<N> {
    /// Its octets.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// Takes a copy of a packet, as much of it as fits into `limit` octets and the buffer.
    pub(crate) fn fill(&mut self, packet: &[u8], limit: usize) {
        self.len = packet.len().min(limit).min(self.octets.len());
        self.octets[..self.len].copy_from_slice(&packet[..self.len]);
    }

    /// Goes on where [`Buffer::fill`] stopped, in the same packet.
    pub(crate) fn fill_up(&mut self, packet: &[u8]) {
        let len = packet.len().min(self.octets.len());
        if let Some(rest) = packet.get(self.len..len) {
            self.octets[self.len..len].copy_from_slice(rest);
            self.len = len;
        }
    }
}

/// The end where packets are put in.
#[derive(Clone)]
pub(crate) struct Loader<N = ()> {
    empty: Receiver<Buffer<N>>,
    full: Sender<Buffer<N>>,
}

/// The end where they are taken out.
pub(crate) struct Unloader<N = ()> {
    empty: Sender<Buffer<N>>,
    full: Receiver<Buffer<N>>,
}

/// For up to `length` packets of up to `room` octets.
pub(crate) fn conveyor<N: Default>(length: usize, room: usize) -> (Loader<N>, Unloader<N>) {
    let (give_empty, empty) = bounded(length);
    let (full, take_full) = bounded(length);
    for _ in 0..length {
        let octets = vec![0; room].into_boxed_slice();
        let buffer = Buffer { octets, len: 0, note: N::default() };
        assert!(give_empty.send(buffer).is_ok(), "room for all buffers");
    }
    (Loader { empty, full }, Unloader { empty: give_empty, full: take_full })
}

impl Loader {
    /// Puts a copy of a packet in; false if all buffers are under way.
    pub(crate) fn push(&self, packet: &[u8]) -> bool {
        let Some(mut buffer) = self.empty() else { return false };
        buffer.fill(packet, packet.len());
        self.load(buffer)
    }
}

impl<N> Loader<N> {
    /// An empty buffer, if there is one.
    pub(crate) fn empty(&self) -> Option<Buffer<N>> {
        self.empty.try_recv().ok()
    }

    /// Puts a full one in; false if nobody takes any out any more.
    pub(crate) fn load(&self, buffer: Buffer<N>) -> bool {
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
        self.give_back(buffer);
    }
}

impl<N> Unloader<N> {
    /// Takes the next buffer out, if there is one; it is to be given back.
    pub(crate) fn unload(&self) -> Option<Buffer<N>> {
        self.full.try_recv().ok()
    }

    /// Makes a buffer one that may be filled.
    pub(crate) fn give_back(&self, buffer: Buffer<N>) {
        let _ = self.empty.try_send(buffer);
    }
}
