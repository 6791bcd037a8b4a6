//! The frames of the box. One UMEM, cut into chunks; each chunk belongs to one worker's
//! [`Pool`] for life and is in exactly one state: in the pool, lent to a port for receiving,
//! lent to a port for sending, or held as a [`Frame`].
//!
//! xsk-rs describes chunks by copyable descriptors, so ownership is kept here: a state per
//! chunk, checked against every descriptor that the kernel returns. One that does not fit is
//! counted ([`Pool::strays`]) and ignored, so no chunk is ever handed out twice.

use crate::rings::{OpenError, Rings, Rules};
use std::{
    fmt, io,
    num::NonZeroU32,
    ptr::NonNull,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use xsk_rs::config::{FrameSize, QueueSize};

/// Descriptors in each fill and each completion ring. They are a property of the UMEM in
/// libxdp; how many frames a port really keeps in its fill ring is [`crate::PortConfig::fill`].
pub(crate) const UMEM_RING: u32 = 2048;

/// What the kernel keeps free in front of an arriving packet, in octets (`XDP_PACKET_HEADROOM`).
pub(crate) const XDP_HEADROOM: u32 = 256;

/// How large the UMEM is and who gets what.
#[derive(Clone, Debug)]
pub struct UmemConfig {
    /// Octets of a chunk: 2048 or 4096. A packet may have 256 less.
    pub chunk_size: u32,
    /// Chunks of each worker; one [`Pool`] results for each entry.
    pub frames_per_worker: Vec<u32>,
}

/// Why there is no UMEM.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A size that the kernel would refuse.
    #[error("frame memory: {0}")]
    Config(String),
    /// The kernel refused the memory.
    #[error("frame memory of {octets} octets: {source}{}", lock_hint(.source))]
    Create {
        /// How much was asked for.
        octets: u64,
        /// What the kernel said.
        source: io::Error,
    },
}

fn lock_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => " (raise the locked-memory limit, ulimit -l, or grant CAP_IPC_LOCK)",
        Some(libc::EPERM) => " (CAP_NET_RAW is missing)",
        _ => "",
    }
}

/// The packet memory of the box; a cheap handle, to be cloned at will.
#[derive(Clone, Debug)]
pub struct Umem {
    pub(crate) shared: Arc<Shared>,
}

/// What all ports and pools of a UMEM share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) umem: xsk_rs::Umem,
    pub(crate) sockets: Mutex<Sockets>,
    chunk_size: u32,
    huge: bool,
}

/// The sockets' common fate: the first one's flags rule all, and it must stay bound.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Set by the first socket that was bound.
    pub(crate) rules: Option<Rules>,
    /// Sockets that nobody uses any more but that must outlive all others.
    pub(crate) parked: Vec<Rings>,
    /// Port numbers in use, by index.
    taken: Vec<bool>,
}

impl Sockets {
    /// The lowest free port number.
    pub(crate) fn take_id(&mut self) -> Option<u16> {
        let free = self.taken.iter().position(|taken| !taken).unwrap_or(self.taken.len());
        let id = u16::try_from(free).ok().filter(|id| *id < State::PORTS)?;
        if free == self.taken.len() {
            self.taken.push(true);
        } else {
            self.taken[free] = true;
        }
        Some(id)
    }

    /// Frees a number; only when no chunk is lent under it any more.
    pub(crate) fn give_id(&mut self, id: u16) {
        self.taken[usize::from(id)] = false;
    }
}

impl Shared {
    pub(crate) fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Umem {
    /// Maps the memory, on huge pages if there are enough, and registers it.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes out of range, [`Error::Create`] if memory or a
    /// capability is missing.
    pub fn new(config: UmemConfig) -> Result<(Self, Vec<Pool>), Error> {
        if ![2048, 4096].contains(&config.chunk_size) {
            let chunk = config.chunk_size;
            return Err(Error::Config(format!("a chunk has 2048 or 4096 octets, not {chunk}")));
        }
        let wanted: u64 = config.frames_per_worker.iter().map(|frames| u64::from(*frames)).sum();
        // Whole huge pages, or munmap would refuse the region; the surplus stays unused.
        let per_page = u64::from((2 << 20) / config.chunk_size);
        let count = u32::try_from(wanted.next_multiple_of(per_page))
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or_else(|| Error::Config(format!("{wanted} frames is none or too many")))?;
        let (umem, descs, huge) = register(config.chunk_size, count, true)?;
        let shared = Arc::new(Shared {
            umem: umem.clone(),
            sockets: Mutex::default(),
            chunk_size: config.chunk_size,
            huge,
        });
        let mut first = 0;
        let pools = config.frames_per_worker.iter().map(|frames| {
            let own = &descs[first..first + *frames as usize];
            let pool = Pool::new(Arc::clone(&shared), umem.clone(), first, own);
            first += *frames as usize;
            pool
        });
        let pools = pools.collect();
        Ok((Self { shared }, pools))
    }

    /// Octets of a chunk.
    pub fn chunk_size(&self) -> u32 {
        self.shared.chunk_size
    }

    /// The largest packet that a frame can receive, in octets.
    pub fn packet_room(&self) -> u32 {
        self.shared.chunk_size - XDP_HEADROOM
    }

    /// Whether the memory is on hugetlb pages.
    pub fn on_huge_pages(&self) -> bool {
        self.shared.huge
    }

    /// Binds the first socket of this UMEM, in copy mode, to queue 0 of `ifname`: a device
    /// that this process owns for life. All later sockets refer to it (`XDP_SHARED_UMEM`),
    /// so every served interface may vanish and come back. Without an anchor the first
    /// [`crate::Port`] is it, and no port can be opened once its interface is gone.
    ///
    /// # Errors
    /// [`OpenError::AnchorTooLate`] if a socket is bound already, else what the bind said.
    pub fn anchor(&self, ifname: &str) -> Result<(), OpenError> {
        let rules = Rules { zero_copy: false, need_wakeup: true };
        let mut sockets = self.shared.sockets();
        if sockets.rules.is_some() {
            return Err(OpenError::AnchorTooLate);
        }
        let rings = Rings::open(&self.shared.umem, ifname, 0, 64, 64, rules)?;
        sockets.rules = Some(rules);
        sockets.parked.push(rings);
        Ok(())
    }
}

/// Maps and registers `count` chunks; on huge pages if `huge` and if there are enough.
pub(crate) fn register(
    chunk: u32,
    count: NonZeroU32,
    huge: bool,
) -> Result<(xsk_rs::Umem, Vec<xsk_rs::FrameDesc>, bool), Error> {
    let bad = |error: &dyn fmt::Display| Error::Config(error.to_string());
    let ring = QueueSize::new(UMEM_RING).map_err(|error| bad(&error))?;
    let config = xsk_rs::config::UmemConfig::builder()
        .frame_size(FrameSize::new(chunk).map_err(|error| bad(&error))?)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .map_err(|error| bad(&error))?;
    if huge && let Ok((umem, descs)) = xsk_rs::Umem::new(config, count, true) {
        return Ok((umem, descs, true));
    }
    let made = xsk_rs::Umem::new(config, count, false).map_err(|error| Error::Create {
        octets: u64::from(chunk) * u64::from(count.get()),
        source: crate::rings::os_error(&error),
    })?;
    Ok((made.0, made.1, false))
}

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
    first: usize,
    descs: Box<[xsk_rs::FrameDesc]>,
    states: Box<[State]>,
    free: Vec<u32>,
    strays: u64,
}

impl Pool {
    fn new(
        shared: Arc<Shared>,
        umem: xsk_rs::Umem,
        first: usize,
        descs: &[xsk_rs::FrameDesc],
    ) -> Self {
        let count = descs.len();
        let free = (0..count).rev().map(|index| index as u32).collect();
        let states = vec![State::POOL; count].into();
        Self { shared, umem, first, descs: descs.into(), states, free, strays: 0 }
    }

    /// An empty frame, or none if all are out.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let index = self.free.pop()? as usize;
        self.states[index] = State::HELD;
        Some(self.frame(self.descs[index], 0))
    }

    /// Brings a frame home. One of another worker's cannot come home here; it is counted as
    /// a stray and stays held in its own pool's ledger.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        self.come_home(frame.desc.addr(), State::HELD);
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

    #[inline]
    fn stray(&mut self) {
        self.strays += 1;
    }

    /// The chunk at `addr` returns from `state` to the free list; false if it was not there.
    #[inline]
    pub(crate) fn come_home(&mut self, addr: usize, state: State) -> bool {
        match self.index(addr) {
            Some(index) if self.states[index] == state => {
                self.states[index] = State::POOL;
                self.free.push(index as u32);
                true
            }
            _ => {
                self.stray();
                false
            }
        }
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
                Some(self.frame(desc, len))
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
        let Some(index) = self.index(frame.desc.addr()) else {
            self.stray();
            return Err(frame);
        };
        self.states[index] = State::tx(port);
        let mut desc = frame.desc;
        desc.set_options(0);
        // SAFETY: the descriptor is a `Frame`'s, so it lies within this UMEM, and the frame,
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

    /// The frame of a chunk that was just marked as held.
    #[inline]
    fn frame(&self, mut desc: xsk_rs::FrameDesc, len: usize) -> Frame {
        let mut copy = desc;
        // SAFETY: the caller found the descriptor's chunk within this UMEM and marked it as
        // held, so no other frame and no ring refers to it.
        let mut data = unsafe { self.umem.data_mut(&mut copy) };
        let mut cursor = data.cursor();
        let room = cursor.buf_len();
        cursor.set_pos(room);
        let start = NonNull::from(data.contents_mut()).cast();
        desc.set_options(0);
        Frame { start, len: len as u32, room: room as u32, desc }
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

/// An owned packet buffer. It goes home by [`Pool::give`] or away by [`crate::Port::send`];
/// one that is dropped is lost to its pool and stays `held` in the ledger.
#[must_use = "a dropped frame is lost to its pool"]
pub struct Frame {
    start: NonNull<u8>,
    len: u32,
    room: u32,
    desc: xsk_rs::FrameDesc,
}

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
        f.debug_struct("Frame").field("addr", &self.desc.addr()).field("len", &self.len).finish()
    }
}
