//! A worker's chunks, and the ledger that knows where each of them is.

use crate::{frame::Frame, umem::Shared};
use std::{fmt, ptr::NonNull, sync::Arc};

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u16);

impl State {
    /// Port numbers are below this.
    pub(crate) const PORTS: u16 = 1 << 14;
    const POOL: Self = Self(0);
    const HELD: Self = Self(1);
    const LENT_RX: u16 = 1 << 14;
    const LENT_TX: u16 = 1 << 15;

    pub(crate) const fn rx(port: u16) -> Self {
        Self(Self::LENT_RX | port)
    }

    pub(crate) const fn tx(port: u16) -> Self {
        Self(Self::LENT_TX | port)
    }
}

/// Where a worker's chunks are. The law: `pool + rx_lent + tx_lent + held == total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// All chunks of the worker.
    pub total: usize,
    /// On the free list.
    pub pool: usize,
    /// In the fill or receive ring of a port, or with its driver.
    pub rx_lent: usize,
    /// In the transmit or completion ring of a port, or with its driver.
    pub tx_lent: usize,
    /// In somebody's hands as a [`Frame`]; dropped frames stay here.
    pub held: usize,
}

impl Ledger {
    /// Whether every chunk is accounted for.
    pub const fn holds(&self) -> bool {
        self.pool + self.rx_lent + self.tx_lent + self.held == self.total
    }
}

/// The chunks of one worker: a stack of free ones (the last used is the warmest), and where
/// all the others are. Nothing is allocated after it was made.
pub struct Pool {
    shared: Arc<Shared>,
    umem: xsk_rs::Umem,
    /// Where the UMEM begins.
    base: NonNull<u8>,
    first: usize,
    /// Of each chunk, with the place of the packet that arrived in it last.
    descs: Box<[xsk_rs::FrameDesc]>,
    states: Box<[State]>,
    free: Vec<u32>,
    strays: u64,
}

// SAFETY: `base` is only the beginning of the memory that `umem` keeps mapped, which may be used
// from any thread; which of it is whose, `states` says.
unsafe impl Send for Pool {}
// SAFETY: a shared pool only reads its own words.
unsafe impl Sync for Pool {}

impl Pool {
    pub(crate) fn new(
        shared: Arc<Shared>,
        umem: xsk_rs::Umem,
        first: usize,
        descs: &[xsk_rs::FrameDesc],
    ) -> Self {
        let count = descs.len();
        let free = (0..count).rev().map(|index| index as u32).collect();
        let states = vec![State::POOL; count].into();
        let mut pool = Self {
            shared,
            umem,
            base: NonNull::dangling(),
            first,
            descs: descs.into(),
            states,
            free,
            strays: 0,
        };
        if let Some(mut desc) = descs.first().copied() {
            // SAFETY: none of these chunks is lent or held yet, and it is only looked at where it
            // lies: its address within the UMEM.
            let start = unsafe { NonNull::from(pool.umem.data_mut(&mut desc).contents_mut()) };
            // SAFETY: the chunk's address counts from the beginning of the same mapping.
            pool.base = unsafe { start.cast::<u8>().sub(desc.addr()) };
        }
        pool
    }

    /// Refuses a port of another UMEM, whose descriptors mean other memory.
    ///
    /// # Panics
    /// If it is one.
    #[inline]
    pub(crate) fn check(&self, shared: &Arc<Shared>) {
        assert!(Arc::ptr_eq(&self.shared, shared), "a pool and a port of different UMEMs");
    }

    /// An empty frame, or none if all are out.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let index = self.free.pop()? as usize;
        self.states[index] = State::HELD;
        Some(self.frame(self.descs[index].addr(), 0))
    }

    /// Brings a frame home. One of another worker's cannot come home here; it is counted as
    /// a stray and stays held in its own pool's ledger.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        match self.index_of(&frame) {
            Some(index) => _ = self.return_from(index, State::HELD),
            None => self.stray(),
        }
    }

    /// How many frames are free.
    #[inline]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Descriptors and frames that were not where they had to be. Not zero: a fault of ours.
    pub const fn strays(&self) -> u64 {
        self.strays
    }

    /// Counts every chunk where it is; reads one word per chunk.
    pub fn ledger(&self) -> Ledger {
        let mut ledger =
            Ledger { total: self.states.len(), pool: self.free.len(), ..Ledger::default() };
        for state in &self.states {
            match state.0 {
                0 => {}
                1 => ledger.held += 1,
                lent if lent & State::LENT_TX != 0 => ledger.tx_lent += 1,
                _ => ledger.rx_lent += 1,
            }
        }
        ledger
    }

    /// The index of the chunk of ours that contains `addr`.
    #[inline]
    fn index(&self, addr: usize) -> Option<usize> {
        (addr >> self.shared.chunk_size.trailing_zeros())
            .checked_sub(self.first)
            .filter(|index| *index < self.states.len())
    }

    /// The index of the chunk of ours that a frame lies in. Another UMEM lies elsewhere.
    #[inline]
    fn index_of(&self, frame: &Frame) -> Option<usize> {
        let base = self.base.as_ptr() as usize;
        self.index((frame.start.as_ptr() as usize).wrapping_sub(base))
    }

    #[inline]
    fn stray(&mut self) {
        self.strays += 1;
    }

    /// The chunk at `addr` returns from `state` to the free list; false if it was not there.
    #[inline]
    pub(crate) fn come_home(&mut self, addr: usize, state: State) -> bool {
        match self.index(addr) {
            Some(index) => self.return_from(index, state),
            None => {
                self.stray();
                false
            }
        }
    }

    #[inline]
    fn return_from(&mut self, index: usize, state: State) -> bool {
        if self.states[index] != state {
            self.stray();
            return false;
        }
        self.states[index] = State::POOL;
        self.free.push(index as u32);
        true
    }

    /// A packet arrived in a chunk that was lent to `port` for receiving.
    #[inline]
    pub(crate) fn arrive(&mut self, desc: xsk_rs::FrameDesc, port: u16) -> Option<Frame> {
        let chunk = self.shared.chunk_size as usize;
        let len = desc.lengths().data();
        match self.index(desc.addr()) {
            Some(index)
                if self.states[index] == State::rx(port)
                    && (desc.addr() & (chunk - 1)) + len <= chunk =>
            {
                self.states[index] = State::HELD;
                if self.descs[index].addr() != desc.addr() {
                    // A program or a driver has moved where packets begin.
                    self.descs[index] = desc;
                }
                Some(self.frame(desc.addr(), len))
            }
            _ => {
                self.stray();
                None
            }
        }
    }

    /// Lends up to `out.len()` free chunks to `port` for receiving; returns how many.
    #[inline]
    pub(crate) fn lend_rx(&mut self, port: u16, out: &mut [xsk_rs::FrameDesc]) -> usize {
        let count = out.len().min(self.free.len());
        for slot in &mut out[..count] {
            let Some(index) = self.free.pop() else { break };
            self.states[index as usize] = State::rx(port);
            *slot = self.descs[index as usize];
        }
        count
    }

    /// Lends a frame to `port` for sending; gives it back if it is not of this pool.
    #[inline]
    pub(crate) fn lend_tx(&mut self, frame: Frame, port: u16) -> Result<xsk_rs::FrameDesc, Frame> {
        let Some(index) = self.index_of(&frame) else {
            self.stray();
            return Err(frame);
        };
        self.states[index] = State::tx(port);
        let mut desc = self.descs[index];
        desc.set_options(0);
        // SAFETY: the descriptor is a chunk's of ours, so it lies within this UMEM, and the frame,
        // consumed here, was its only owner.
        unsafe { self.umem.data_mut(&mut desc) }.cursor().set_pos(frame.len as usize);
        Ok(desc)
    }

    /// All chunks that are lent to `port` come home; only when neither the kernel nor a
    /// driver can touch them any more. Returns how many.
    pub(crate) fn recall(&mut self, port: u16) -> usize {
        let before = self.free.len();
        for (index, state) in self.states.iter_mut().enumerate() {
            if *state == State::rx(port) || *state == State::tx(port) {
                *state = State::POOL;
                self.free.push(index as u32);
            }
        }
        self.free.len() - before
    }

    /// How many chunks are lent to `port`.
    pub(crate) fn lent_to(&self, port: u16) -> usize {
        let lent = |state: &&State| **state == State::rx(port) || **state == State::tx(port);
        self.states.iter().filter(lent).count()
    }

    /// The frame of a chunk that was just marked as held, whose packet begins at `addr`.
    #[inline]
    fn frame(&self, addr: usize, len: usize) -> Frame {
        let chunk = self.shared.chunk_size;
        // SAFETY: the caller found the address within this UMEM, and marked its chunk as held: no
        // other frame and no ring refers to it.
        let start = unsafe { self.base.add(addr) };
        Frame { start, len: len as u32, room: chunk - (addr as u32 & (chunk - 1)) }
    }
}

impl Drop for Pool {
    /// Frames may outlive their pool; then the memory must outlive the process' interest.
    fn drop(&mut self) {
        if self.states.contains(&State::HELD) {
            std::mem::forget(Arc::clone(&self.shared));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("first", &self.first).field("ledger", &self.ledger()).finish()
    }
}
