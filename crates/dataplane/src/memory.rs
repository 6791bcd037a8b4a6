//! Ports in memory: the same worker, without a network. Tests, the simulation and the
//! benches put frames in, breathe, and take out what was sent.

use std::collections::VecDeque;

use crate::{
    io::{Frame, Io},
    topology::PortId,
    verdict::Punt,
};

/// Octets that a frame may use: a 2048-octet chunk less the headroom of XDP.
pub const ROOM: usize = 2048 - 256;

/// A frame in ordinary memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFrame {
    room: Box<[u8]>,
    len: usize,
}

impl Frame for MemoryFrame {
    fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= self.room.len(), "{len} octets in a room of {}", self.room.len());
        self.len = len;
    }
}

/// A packet that was punted, and why.
pub type Punted = (PortId, Vec<u8>, Punt);

/// Ports, pool and punt queue in memory.
#[derive(Debug)]
pub struct MemoryIo {
    pool: Vec<MemoryFrame>,
    total: usize,
    arrived: Vec<VecDeque<MemoryFrame>>,
    sent: VecDeque<(PortId, MemoryFrame)>,
    punted: VecDeque<Punted>,
    /// Frames that may be on their way out at a time.
    pub tx_limit: usize,
    /// Punts that are taken before the queue is full.
    pub punt_limit: usize,
}

impl MemoryIo {
    /// `ports` ports and a pool of `frames` frames.
    pub fn new(ports: usize, frames: usize) -> Self {
        let frame = || MemoryFrame { room: vec![0; ROOM].into_boxed_slice(), len: 0 };
        Self {
            pool: (0..frames).map(|_| frame()).collect(),
            total: frames,
            arrived: (0..ports).map(|_| VecDeque::with_capacity(frames)).collect(),
            sent: VecDeque::with_capacity(frames),
            punted: VecDeque::new(),
            tx_limit: usize::MAX,
            punt_limit: usize::MAX,
        }
    }

    /// A frame arrives; false if the pool is empty, as a NIC would drop it then.
    pub fn arrive(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let Some(mut frame) = self.pool.pop() else { return false };
        frame.room[..bytes.len()].copy_from_slice(bytes);
        frame.len = bytes.len();
        self.arrived[usize::from(port)].push_back(frame);
        true
    }

    /// The next frame that was sent; its buffer goes home.
    pub fn take_sent(&mut self) -> Option<(PortId, Vec<u8>)> {
        let (port, frame) = self.sent.pop_front()?;
        let bytes = frame.bytes().to_vec();
        self.pool.push(frame);
        Some((port, bytes))
    }

    /// The next packet that was punted.
    pub fn take_punted(&mut self) -> Option<Punted> {
        self.punted.pop_front()
    }

    /// Brings all sent frames home without looking at them; returns how many.
    pub fn discard_sent(&mut self) -> usize {
        let sent = self.sent.len();
        self.pool.extend(self.sent.drain(..).map(|(_, frame)| frame));
        sent
    }

    /// Frames that are neither in the pool, nor arrived, nor sent: those that the worker holds.
    pub fn outstanding(&self) -> usize {
        let arrived: usize = self.arrived.iter().map(VecDeque::len).sum();
        self.total - self.pool.len() - arrived - self.sent.len()
    }
}

impl Io for MemoryIo {
    type Frame = MemoryFrame;

    fn ports(&self) -> usize {
        self.arrived.len()
    }

    fn receive(&mut self, port: PortId, burst: &mut Vec<MemoryFrame>, max: usize) -> usize {
        let queue = &mut self.arrived[usize::from(port)];
        let count = queue.len().min(max);
        burst.extend(queue.drain(..count));
        count
    }

    fn send(&mut self, port: PortId, frame: MemoryFrame) -> Result<(), MemoryFrame> {
        if self.sent.len() >= self.tx_limit {
            return Err(frame);
        }
        self.sent.push_back((port, frame));
        Ok(())
    }

    fn punt(&mut self, port: PortId, packet: &[u8], reason: Punt) -> bool {
        if self.punted.len() >= self.punt_limit {
            return false;
        }
        self.punted.push_back((port, packet.to_vec(), reason));
        true
    }

    fn take(&mut self) -> Option<MemoryFrame> {
        self.pool.pop()
    }

    fn give(&mut self, frame: MemoryFrame) {
        self.pool.push(frame);
    }

    fn flush(&mut self) {}
}
