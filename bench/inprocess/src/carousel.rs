//! Frames that go round: memory laid out as a UMEM, arriving, leaving, filled anew.
//!
//! 8192 chunks of 2048 octets, packets 256 octets into them as XDP leaves them: 16 MiB. The
//! stride puts all headers into few cache sets, so they come from the last-level cache, as they
//! do behind a NIC that writes there. Filling happens outside of the timed part.

use dataplane::{
    io::{Frame, Io},
    topology::PortId,
    verdict::Punt,
};

/// Frames in a turn.
pub(crate) const FRAMES: usize = 8192;
const CHUNK: usize = 2048;
/// `XDP_PACKET_HEADROOM`.
const HEADROOM: usize = 256;

/// A chunk, aligned as in a UMEM.
#[derive(Clone)]
#[repr(align(2048))]
struct Chunk([u8; CHUNK]);

/// A frame in a chunk.
pub(crate) struct ChunkFrame {
    room: &'static mut [u8],
    len: usize,
}

impl Frame for ChunkFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }

    #[inline(always)]
    fn room(&mut self) -> &mut [u8] {
        self.room
    }

    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        assert!(len <= self.room.len());
        self.len = len;
    }
}

/// Two ports: frames arrive at the first one, unless both are said to have some.
pub(crate) struct Carousel {
    arrived: Vec<ChunkFrame>,
    home: Vec<ChunkFrame>,
    /// Frames that did not leave.
    pub(crate) dropped: usize,
    /// Frames arrive at the second port, too.
    pub(crate) both: bool,
}

impl Carousel {
    /// Memory for a bench; it stays until the process ends.
    pub(crate) fn new() -> Self {
        let chunks = Box::leak(vec![Chunk([0; CHUNK]); FRAMES].into_boxed_slice());
        let frame =
            |chunk: &'static mut Chunk| ChunkFrame { room: &mut chunk.0[HEADROOM..], len: 0 };
        Self {
            home: chunks.iter_mut().map(frame).collect(),
            arrived: Vec::with_capacity(FRAMES),
            dropped: 0,
            both: false,
        }
    }

    /// Lets all frames arrive that are at home, filled by `fill`, which tells the length.
    pub(crate) fn fill(&mut self, mut fill: impl FnMut(&mut [u8]) -> usize) {
        for mut frame in self.home.drain(..) {
            frame.len = fill(frame.room);
            self.arrived.push(frame);
        }
    }

    /// Lets so many frames arrive.
    pub(crate) fn arrive(&mut self, count: usize, mut fill: impl FnMut(&mut [u8]) -> usize) {
        for _ in 0..count {
            let Some(mut frame) = self.home.pop() else { return };
            frame.len = fill(frame.room);
            self.arrived.push(frame);
        }
    }

    /// Brings those home that arrived.
    pub(crate) fn empty(&mut self) {
        self.home.append(&mut self.arrived);
    }

    /// What has arrived.
    pub(crate) fn arrived(&mut self) -> &mut [ChunkFrame] {
        &mut self.arrived
    }
}

impl Io for Carousel {
    type Frame = ChunkFrame;

    fn ports(&self) -> usize {
        2
    }

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<ChunkFrame>, max: usize) -> usize {
        let count = if port == 0 || self.both { self.arrived.len().min(max) } else { 0 };
        burst.extend(self.arrived.drain(self.arrived.len() - count..));
        count
    }

    #[inline]
    fn send(&mut self, _: PortId, frame: ChunkFrame) -> Result<(), ChunkFrame> {
        self.home.push(frame);
        Ok(())
    }

    fn punt(&mut self, _: PortId, _: &[u8], _: Punt) -> bool {
        true
    }

    fn take(&mut self) -> Option<ChunkFrame> {
        self.home.pop()
    }

    fn give(&mut self, frame: ChunkFrame) {
        self.dropped += 1;
        self.home.push(frame);
    }

    fn flush(&mut self) {}
}
