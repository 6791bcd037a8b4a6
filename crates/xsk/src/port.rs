//! A port: one queue of one interface, with its socket. It borrows frames from a worker's
//! [`Pool`] and returns them; the pool that is passed in must be the same one each time (one
//! of another UMEM panics).

use crate::{
    frame::Frame,
    pool::{Pool, State},
    rings::{self, OpenError, Rings, Rules},
    umem::{Shared, UMEM_RING, Umem},
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr,
    sync::Arc,
};

/// Descriptors that are moved between a ring and the ledger in one go.
const BATCH: usize = 64;

/// Frames that copy mode sends in one sendto(2) at least (`TX_BATCH_SIZE` in net/xdp/xsk.c).
const COPY_BATCH: u32 = 32;

/// Sizes and wishes of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Descriptors of the receive ring; a power of two.
    pub rx: u32,
    /// Descriptors of the transmit ring; a power of two.
    pub tx: u32,
    /// Frames lent to the kernel for receiving, at most 2048: the depth of the port.
    pub fill: u32,
    /// Zero-copy or nothing; else copy mode. The first socket of the UMEM rules.
    pub zero_copy: bool,
    /// Let the kernel say when it wants a system call. The first socket rules.
    pub need_wakeup: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self { rx: 2048, tx: 2048, fill: 2048, zero_copy: false, need_wakeup: true }
    }
}

/// How packets get between the driver and our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The NIC reads and writes our memory.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// The kernel's counters of a socket (`XDP_STATISTICS`), in packets or descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Dropped by the kernel for other reasons, such as a packet larger than a frame.
    pub rx_dropped: u64,
    /// Dropped as the receive ring was full: the worker is too slow.
    pub rx_ring_full: u64,
    /// Times the fill ring was empty: too few frames.
    pub fill_ring_empty: u64,
    /// Fill descriptors that the kernel refused; not zero is a fault of ours.
    pub rx_invalid: u64,
    /// Transmit descriptors that the kernel refused; not zero is a fault of ours.
    pub tx_invalid: u64,
    /// Times the kernel found the transmit ring empty.
    pub tx_ring_empty: u64,
}

/// One queue of one interface.
#[derive(Debug)]
pub struct Port {
    rings: Rings,
    shared: Arc<Shared>,
    ifname: String,
    ifindex: u32,
    queue: u32,
    config: PortConfig,
    rules: Rules,
    /// The UMEM's first socket: stays bound as long as the UMEM lives.
    first: bool,
    id: u16,
    mode: Mode,
    gone: bool,
    /// Lent for receiving.
    filled: u32,
    /// To be put on the transmit ring by the next flush.
    staged: Vec<xsk_rs::FrameDesc>,
    /// Free places of the transmit ring beyond the staged ones, as last seen.
    tx_free: u32,
    /// Left on the transmit ring, as last seen.
    unsent: u32,
    scratch: [xsk_rs::FrameDesc; BATCH],
}

impl Port {
    /// Opens a socket on a queue. Nothing arrives before it is in a program's socket map
    /// and [`Port::refill`] has lent it frames.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        umem: &Umem,
        ifname: &str,
        queue: u32,
        config: &PortConfig,
    ) -> Result<Self, OpenError> {
        if config.fill > UMEM_RING {
            let fill = config.fill;
            return Err(OpenError::RingSize(format!("fill is {fill}, at most {UMEM_RING}")));
        }
        let missing = || OpenError::NoInterface { ifname: ifname.to_owned() };
        let name = CString::new(ifname).map_err(|_| missing())?;
        let ifindex = rings::index_of(&name).ok_or_else(missing)?;
        let shared = Arc::clone(&umem.shared);
        let wanted = Rules { zero_copy: config.zero_copy, need_wakeup: config.need_wakeup };
        let (rings, rules, first) = shared.bind(ifname, queue, (config.rx, config.tx), wanted)?;
        let id = {
            let mut sockets = shared.sockets();
            let id = sockets.take_id().ok_or(OpenError::TooManyPorts)?;
            if !first {
                sockets.carrier.add(id, rings.fd());
            }
            id
        };
        let zero_copy = rings.zero_copy().unwrap_or(rules.zero_copy);
        if !zero_copy {
            rings.send_more_at_once(config.tx);
        }
        Ok(Self {
            rings,
            shared,
            ifname: ifname.to_owned(),
            ifindex,
            queue,
            config: *config,
            rules,
            first,
            id,
            mode: if zero_copy { Mode::ZeroCopy } else { Mode::Copy },
            gone: false,
            filled: 0,
            staged: Vec::with_capacity(config.tx as usize),
            tx_free: config.tx,
            unsent: 0,
            scratch: [xsk_rs::FrameDesc::default(); BATCH],
        })
    }

    /// Moves up to `max` arrived frames to the end of `burst`; returns how many.
    #[inline]
    pub fn receive(&mut self, pool: &mut Pool, burst: &mut Vec<Frame>, max: usize) -> usize {
        pool.check(&self.shared);
        let before = burst.len();
        let mut left = max;
        while left > 0 {
            let want = left.min(BATCH);
            // SAFETY: the descriptors are of this socket's UMEM; before use each is checked
            // against the ledger by `arrive`.
            let count = unsafe { self.rings.rx.consume(&mut self.scratch[..want]) };
            for desc in &self.scratch[..count] {
                if let Some(frame) = pool.arrive(*desc, self.id) {
                    self.filled = self.filled.saturating_sub(1);
                    burst.push(frame);
                }
            }
            left -= count;
            if count < want {
                break;
            }
        }
        burst.len() - before
    }

    /// Stages a frame for sending; the next [`Port::flush`] hands it over.
    ///
    /// # Errors
    /// Gives the frame back if the ring is full, the interface is gone, the frame is empty
    /// or belongs to another pool.
    #[inline]
    pub fn send(&mut self, pool: &mut Pool, frame: Frame) -> Result<(), Frame> {
        pool.check(&self.shared);
        if self.tx_free == 0 {
            self.tx_free = self.rings.tx.nb_free_exact() - self.staged.len() as u32;
        }
        if self.tx_free == 0 || self.gone || frame.is_empty() {
            return Err(frame);
        }
        self.staged.push(pool.lend_tx(frame, self.id)?);
        self.tx_free -= 1;
        Ok(())
    }

    /// Puts the staged frames on the ring, and asks the kernel to send while it holds any.
    /// Bounded: what the kernel does not take now is kicked by the next flush.
    #[inline]
    pub fn flush(&mut self) {
        if !self.staged.is_empty() {
            // SAFETY: every staged descriptor came from `lend_tx`: within this UMEM, its
            // length within its chunk, owned by nobody else.
            let sent = unsafe { self.rings.tx.produce(&self.staged) };
            // All or nothing, and there was room; were there none, they stay staged.
            if sent == self.staged.len() {
                self.staged.clear();
            }
        }
        self.kick();
    }

    /// System calls until the ring is empty, or a call makes no progress.
    fn kick(&mut self) {
        let mut waiting = self.waiting();
        let mut rounds = waiting / COPY_BATCH + 2;
        while waiting > 0 && rounds > 0 && !self.gone {
            if self.rules.need_wakeup && !self.rings.tx.needs_wakeup() {
                return;
            }
            // SAFETY: sendto(2) without data on our own socket; it only asks the kernel to
            // look at the ring.
            let result = unsafe {
                libc::sendto(self.rings.fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0)
            };
            if result < 0 {
                self.note(&io::Error::last_os_error());
            }
            let left = self.waiting();
            if left == waiting {
                return;
            }
            waiting = left;
            rounds -= 1;
        }
    }

    /// Frames on the transmit ring that the kernel has not taken yet.
    fn waiting(&mut self) -> u32 {
        let free = self.rings.tx.nb_free_exact();
        self.tx_free = free.saturating_sub(self.staged.len() as u32);
        self.unsent = self.config.tx - free;
        self.unsent
    }

    /// An unbound socket answers ENXIO (`xsk_check_common`); an interface that is only down
    /// answers ENETDOWN and keeps its socket.
    fn note(&mut self, error: &io::Error) {
        if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::EBADF)) {
            self.gone = true;
        }
    }

    /// Brings the frames home that were sent; returns how many.
    #[inline]
    pub fn reclaim(&mut self, pool: &mut Pool) -> usize {
        pool.check(&self.shared);
        let mut reclaimed = 0;
        loop {
            // SAFETY: the descriptors are of this socket's UMEM; each is checked against the
            // ledger by `come_home`.
            let count = unsafe { self.rings.completion.consume(&mut self.scratch) };
            for desc in &self.scratch[..count] {
                reclaimed += usize::from(pool.come_home(desc.addr(), State::tx(self.id)));
            }
            if count < BATCH {
                return reclaimed;
            }
        }
    }

    /// Tops up the frames lent for receiving, and wakes the driver if it waits for them.
    #[inline]
    pub fn refill(&mut self, pool: &mut Pool) {
        pool.check(&self.shared);
        while self.filled < self.config.fill && !self.gone {
            let want = (self.config.fill - self.filled).min(BATCH as u32) as usize;
            let count = pool.lend_rx(self.id, &mut self.scratch[..want]);
            // SAFETY: the ledger just lent these chunks to this port, so nobody else uses
            // them until the kernel returns them.
            let taken = unsafe { self.rings.fill.produce(&self.scratch[..count]) };
            self.filled += taken as u32;
            for desc in &self.scratch[taken..count] {
                pool.come_home(desc.addr(), State::rx(self.id));
            }
            if taken < want {
                break;
            }
        }
        if self.rules.need_wakeup && self.rings.fill.needs_wakeup() {
            self.gone();
        }
    }

    /// Frames that the last flush left on the transmit ring, as the device took no more: do
    /// not sleep long, flush again.
    #[inline]
    pub const fn unsent(&self) -> u32 {
        self.unsent
    }

    /// Asks the kernel whether the socket is still bound, by one cheap system call (which
    /// also wakes a driver that waits for frames). True for good once the interface was
    /// removed; then [`Port::close`] and open again when it is back. About once a second.
    pub fn gone(&mut self) -> bool {
        if !self.gone {
            // SAFETY: recvfrom(2) into no buffer on our own socket.
            let result = unsafe {
                libc::recvfrom(
                    self.rings.fd(),
                    ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            if result < 0 {
                self.note(&io::Error::last_os_error());
            }
        }
        self.gone
    }

    /// The kernel's counters.
    ///
    /// # Errors
    /// What getsockopt(2) reports.
    pub fn stats(&self) -> io::Result<PortStats> {
        let stats = self.rings.rx.fd().xdp_statistics()?;
        Ok(PortStats {
            rx_dropped: stats.rx_dropped(),
            rx_ring_full: stats.rx_ring_full(),
            fill_ring_empty: stats.rx_fill_ring_empty_descs(),
            rx_invalid: stats.rx_invalid_descs(),
            tx_invalid: stats.tx_invalid_descs(),
            tx_ring_empty: stats.tx_ring_empty_descs(),
        })
    }

    /// The mode, as the kernel reported it after the bind.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The interface's name at the time of opening.
    pub fn ifname(&self) -> &str {
        &self.ifname
    }

    /// The interface's index.
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The queue.
    pub const fn queue(&self) -> u32 {
        self.queue
    }

    /// The socket, for poll(2) and the socket map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the rings are, which `self` owns.
        unsafe { BorrowedFd::borrow_raw(self.rings.fd()) }
    }

    /// Closes the socket and brings home every frame lent to it. Take it out of the path
    /// first (detach the program). Returns how many frames stay lent: not zero only where
    /// they cannot be proven free, which is the socket that carries the UMEM (it stays bound
    /// until the UMEM goes, see [`Umem::anchor`]) or a zero-copy driver that does not let go.
    pub fn close(mut self, pool: &mut Pool) -> usize {
        pool.check(&self.shared);
        let gone = self.gone();
        for desc in self.staged.drain(..) {
            pool.come_home(desc.addr(), State::tx(self.id));
        }
        self.reclaim(pool);
        let (shared, id, zero_copy) = (self.shared, self.id, self.mode == Mode::ZeroCopy);
        let stays_bound = {
            let mut sockets = shared.sockets();
            if self.first {
                sockets.carrier.first_closed();
                sockets.parked.push(self.rings);
                true
            } else {
                let carries = sockets.carrier.remove(id);
                drop(self.rings);
                carries
            }
        };
        let free =
            gone || !stays_bound && (!zero_copy || rings::queue_released(self.ifindex, self.queue));
        if !free {
            return pool.lent_to(id);
        }
        pool.recall(id);
        shared.sockets().give_id(id);
        0
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
