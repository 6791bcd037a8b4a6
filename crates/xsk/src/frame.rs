//! A packet buffer in somebody's hands.

use std::{fmt, ptr::NonNull, slice};

/// An owned packet buffer. It goes home by [`Pool::give`] or away by [`crate::Port::send`];
/// one that is dropped is lost to its pool and stays `held` in the ledger.
#[must_use = "a dropped frame is lost to its pool"]
pub struct Frame {
    /// `room` octets from here are this frame's alone.
    pub(crate) start: NonNull<u8>,
    pub(crate) len: u32,
    pub(crate) room: u32,
}

/// It is handed on by value some six times: two registers, and nothing to be copied.
const _: () = assert!(size_of::<Frame>() == 16);

// SAFETY: a frame is the only owner of its octets (the pool's state says held), and the
// memory outlives it: the pool keeps it mapped, or leaks it if the pool goes first.
unsafe impl Send for Frame {}
// SAFETY: a shared frame only reads.
unsafe impl Sync for Frame {}

impl Frame {
    /// The packet, from the Ethernet header to its last octet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len <= room`, and `room` octets from `start` are this frame's alone.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }

    /// The packet, writable.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes any other access.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }

    /// All that the packet may use: from its first octet to the end of the chunk.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes_mut`.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.room as usize) }
    }

    /// The packet's length, in octets.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// How long the packet may become, in octets.
    #[inline]
    pub const fn room_len(&self) -> usize {
        self.room as usize
    }

    /// Whether there is no packet in it.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the packet's length.
    ///
    /// # Panics
    /// If it exceeds the room.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.room as usize, "{len} octets in a frame of {}", self.room);
        self.len = len as u32;
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("start", &self.start).field("len", &self.len).finish()
    }
}
