//! The frames of the box. One UMEM, cut into chunks; each chunk belongs to one worker's
//! [`Pool`] for life and is in exactly one state: in the pool, lent to a port for receiving,
//! lent to a port for sending, or held as a [`crate::Frame`].
//!
//! xsk-rs describes chunks by copyable descriptors, so ownership is kept here: a state per
//! chunk, checked against every descriptor that the kernel returns. One that does not fit is
//! counted ([`Pool::strays`]) and ignored, so no chunk is ever handed out twice.

use crate::{
    carrier::Carrier,
    pool::{Pool, State},
    rings::{OpenError, Rings, Rules},
};
use std::{
    fmt, io,
    num::NonZeroU32,
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
    pub(crate) chunk_size: u32,
    huge: bool,
}

/// The sockets' common fate: the first one's flags rule all, and it must stay bound.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Set by the first socket that was bound.
    pub(crate) rules: Option<Rules>,
    /// Sockets that nobody uses any more but that must outlive all others.
    pub(crate) parked: Vec<Rings>,
    /// By which later ones come to the memory.
    pub(crate) carrier: Carrier,
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
    /// [`crate::Port`] is it; once its interface is gone another port stands in, and without
    /// one no port can be opened any more ([`OpenError::Orphaned`]).
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
        sockets.carrier.begin(rings.fd());
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
