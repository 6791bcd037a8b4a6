//! Ports in memory: the same worker, without a network. Tests, the simulation and the
//! benches put frames in, breathe, and take out what was sent.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering},
};

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
    /// The number of the [`MemoryIo`] that it belongs to for life.
    home: u32,
    /// It was empty when the worker took it; else a packet arrived in it.
    taken: bool,
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

/// What became of the frames that the worker took from the pool: for parts of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Sent.
    pub sent: u64,
    /// Refused because the port was full.
    pub refused: u64,
}

/// Ports, pool and punt queue in memory.
#[derive(Debug)]
pub struct MemoryIo {
    home: u32,
    pool: Vec<MemoryFrame>,
    total: usize,
    arrived: Vec<VecDeque<MemoryFrame>>,
    sent: VecDeque<(PortId, MemoryFrame)>,
    punted: VecDeque<Punted>,
    parts: Parts,
    /// Frames that may be on their way out at a time.
    pub tx_limit: usize,
    /// Punts that are taken before the queue is full.
    pub punt_limit: usize,
    /// Punts are copied for [`MemoryIo::take_punted`]; else only taken, without an allocation.
    pub keep_punts: bool,
}

impl MemoryIo {
    /// `ports` ports and a pool of `frames` frames.
    pub fn new(ports: usize, frames: usize) -> Self {
        static HOMES: AtomicU32 = AtomicU32::new(0);
        let home = HOMES.fetch_add(1, Ordering::Relaxed);
        let room = || vec![0; ROOM].into_boxed_slice();
        let frame = || MemoryFrame { room: room(), len: 0, home, taken: false };
        Self {
            home,
            pool: (0..frames).map(|_| frame()).collect(),
            total: frames,
            arrived: (0..ports).map(|_| VecDeque::with_capacity(frames)).collect(),
            sent: VecDeque::with_capacity(frames),
            punted: VecDeque::new(),
            parts: Parts::default(),
            tx_limit: usize::MAX,
            punt_limit: usize::MAX,
            keep_punts: true,
        }
    }

    /// A frame arrives; false if the pool is empty, as a NIC would drop it then.
    pub fn arrive(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let Some(mut frame) = self.pool.pop() else { return false };
        frame.room[..bytes.len()].copy_from_slice(bytes);
        frame.len = bytes.len();
        frame.taken = false;
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

    /// The frames that were sent and not taken yet, oldest first.
    pub fn sent(&self) -> impl Iterator<Item = (PortId, &[u8])> {
        self.sent.iter().map(|(port, frame)| (*port, frame.bytes()))
    }

    /// What became of the frames that the worker took from the pool.
    pub fn parts(&self) -> Parts {
        self.parts
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
        assert_eq!(frame.home, self.home, "a frame of another worker");
        if self.sent.len() >= self.tx_limit {
            self.parts.refused += u64::from(frame.taken);
            return Err(frame);
        }
        self.parts.sent += u64::from(frame.taken);
        self.sent.push_back((port, frame));
        Ok(())
    }

    fn punt(&mut self, port: PortId, packet: &[u8], reason: Punt) -> bool {
        if self.punted.len() >= self.punt_limit {
            return false;
        }
        if self.keep_punts {
            self.punted.push_back((port, packet.to_vec(), reason));
        }
        true
    }

    fn take(&mut self) -> Option<MemoryFrame> {
        let mut frame = self.pool.pop()?;
        frame.taken = true;
        Some(frame)
    }

    fn give(&mut self, frame: MemoryFrame) {
        assert_eq!(frame.home, self.home, "a frame of another worker");
        self.pool.push(frame);
    }

    fn flush(&mut self) {}
}
