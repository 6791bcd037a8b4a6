//! One bound AF_XDP socket: its four rings, how it is opened, and why that may fail.

use crate::umem::{Shared, register};
use std::{
    ffi::CString,
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd, RawFd},
    thread,
    time::{Duration, Instant},
};
use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};

/// How long a bind waits for a socket that was closed on the same queue just before: the
/// kernel lets a queue go in a deferred work item (`xp_release_deferred`).
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Frames that copy mode sends in one sendto(2) where the kernel lets us choose (6.17 and later):
/// those of a few bursts, so that one call is enough.
const SEND_AT_ONCE: u32 = 256;
/// `XDP_MAX_TX_SKB_BUDGET` (include/uapi/linux/if_xdp.h), which libc does not have yet.
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// What the first socket of a UMEM decides for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) zero_copy: bool,
    pub(crate) need_wakeup: bool,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such interface (in this network namespace).
    #[error("{ifname}: no such interface")]
    NoInterface {
        /// As given.
        ifname: String,
    },
    /// A ring size that is not a power of two, or too large for the UMEM's rings.
    #[error("ring size: {0}")]
    RingSize(String),
    /// The kernel refused.
    #[error("{ifname} queue {queue}: {source}{}", bind_hint(.source, *.zero_copy))]
    Bind {
        /// The interface.
        ifname: String,
        /// Its queue.
        queue: u32,
        /// Whether zero-copy was asked for.
        zero_copy: bool,
        /// What the kernel said.
        source: io::Error,
    },
    /// This UMEM already serves that queue.
    #[error("{ifname} queue {queue}: this process has a socket there already")]
    Twice {
        /// The interface.
        ifname: String,
        /// Its queue.
        queue: u32,
    },
    /// One UMEM cannot mix zero-copy and copy sockets; the first one decided.
    #[error("the box runs in {} mode: one frame memory cannot mix", if *.zero_copy { "zero-copy" } else { "copy" })]
    MixedModes {
        /// What the first socket is.
        zero_copy: bool,
    },
    /// The interface that brought the memory in is gone, and no other one has it.
    #[error(
        "{ifname}: the frame memory went with the last zero-copy interface; restart to serve it"
    )]
    Orphaned {
        /// The interface that cannot have the memory.
        ifname: String,
    },
    /// An anchor must be the first socket.
    #[error("a socket is bound already, so the anchor comes too late")]
    AnchorTooLate,
    /// More sockets than the ledger can name.
    #[error("too many ports")]
    TooManyPorts,
    /// No memory for a probe.
    #[error(transparent)]
    Umem(#[from] crate::umem::Error),
}

fn bind_hint(error: &io::Error, zero_copy: bool) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => " (another AF_XDP socket has this queue)",
        Some(libc::EPERM) => " (CAP_NET_RAW is missing)",
        Some(libc::EOPNOTSUPP) if zero_copy => " (the driver has no AF_XDP zero-copy)",
        Some(libc::EINVAL) if zero_copy => {
            " (the driver refuses zero-copy on this queue, or there is no such queue)"
        }
        Some(libc::EINVAL) => " (no such queue?)",
        Some(libc::ENOBUFS) => " (raise the locked-memory limit, ulimit -l)",
        _ => "",
    }
}

/// The OS error under an error of xsk-rs.
pub(crate) fn os_error(error: &dyn std::error::Error) -> io::Error {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

/// A bound socket. Dropping it closes it, but for the first one of a UMEM, whose descriptor
/// libxdp keeps until the UMEM goes.
#[derive(Debug)]
pub(crate) struct Rings {
    pub(crate) tx: xsk_rs::TxQueue,
    pub(crate) rx: xsk_rs::RxQueue,
    pub(crate) fill: xsk_rs::FillQueue,
    pub(crate) completion: xsk_rs::CompQueue,
}

impl Rings {
    /// Binds a socket, waiting a moment if the queue is just being let go.
    pub(crate) fn open(
        umem: &xsk_rs::Umem,
        ifname: &str,
        queue: u32,
        rx: u32,
        tx: u32,
        rules: Rules,
    ) -> Result<Self, OpenError> {
        let patience = Instant::now() + BUSY_PATIENCE;
        loop {
            match Self::bind(umem, ifname, queue, rx, tx, rules) {
                Err(OpenError::Bind { source, .. })
                    if source.raw_os_error() == Some(libc::EBUSY) && Instant::now() < patience =>
                {
                    thread::sleep(Duration::from_millis(5));
                }
                settled => return settled,
            }
        }
    }

    fn bind(
        umem: &xsk_rs::Umem,
        ifname: &str,
        queue: u32,
        rx: u32,
        tx: u32,
        rules: Rules,
    ) -> Result<Self, OpenError> {
        let missing = || OpenError::NoInterface { ifname: ifname.to_owned() };
        let name = CString::new(ifname).map_err(|_| missing())?;
        if index_of(&name).is_none() {
            return Err(missing());
        }
        let size = |size| QueueSize::new(size).map_err(|e| OpenError::RingSize(e.to_string()));
        let mut flags = if rules.zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        flags.set(BindFlags::XDP_USE_NEED_WAKEUP, rules.need_wakeup);
        let config = SocketConfig::builder()
            .rx_queue_size(size(rx)?)
            .tx_queue_size(size(tx)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags)
            .build();
        // SAFETY: the contract asks for INHIBIT_PROG_LOAD where a queue is bound twice; it
        // is always set.
        let made = unsafe { xsk_rs::Socket::new(config, umem, &Interface::new(name), queue) };
        let (tx, rx, rest) = made.map_err(|error| OpenError::Bind {
            ifname: ifname.to_owned(),
            queue,
            zero_copy: rules.zero_copy,
            source: os_error(&error),
        })?;
        let twice = || OpenError::Twice { ifname: ifname.to_owned(), queue };
        let (fill, completion) = rest.ok_or_else(twice)?;
        Ok(Self { tx, rx, fill, completion })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// Lets one system call send more frames of a transmit ring of this size. A kernel that does not
    /// know the option sends 32.
    pub(crate) fn send_more_at_once(&self, ring: u32) {
        let budget = SEND_AT_ONCE.min(ring);
        // SAFETY: the option is one u32, which lives for the call and whose size is told.
        unsafe {
            libc::setsockopt(
                self.fd(),
                libc::SOL_XDP,
                MAX_TX_SKB_BUDGET,
                (&raw const budget).cast(),
                size_of::<u32>() as libc::socklen_t,
            );
        }
    }

    /// Whether the kernel runs it without copies: the flags of `XDP_OPTIONS`.
    pub(crate) fn zero_copy(&self) -> io::Result<bool> {
        let mut flags: u32 = 0;
        let mut len = size_of::<u32>() as libc::socklen_t;
        // SAFETY: `struct xdp_options` is one u32, and `len` tells the kernel so.
        let result = unsafe {
            libc::getsockopt(
                self.fd(),
                libc::SOL_XDP,
                libc::XDP_OPTIONS,
                (&raw mut flags).cast(),
                &raw mut len,
            )
        };
        if result == 0 { Ok(flags & 1 != 0) } else { Err(io::Error::last_os_error()) }
    }
}

/// The index of an interface of this thread's network namespace.
pub(crate) fn index_of(name: &CString) -> Option<u32> {
    // SAFETY: `name` is a C string.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|index| *index != 0)
}

/// The name that an interface has now, if it still exists.
pub(crate) fn name_of(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE octets that the call asks for.
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) }.is_null() {
        return None;
    }
    let text = std::ffi::CStr::from_bytes_until_nul(&name).ok()?;
    text.to_str().ok().map(str::to_owned)
}

/// Tries a zero-copy socket on a queue, and lets it go again. Binding resets the queue.
///
/// # Errors
/// Why this interface refuses; the message names it.
pub fn probe_zero_copy(ifname: &str, queue: u32) -> Result<(), OpenError> {
    let rules = Rules { zero_copy: true, need_wakeup: true };
    bind_alone(ifname, queue, rules)
}

/// Binds a socket with a small UMEM of its own, and closes it.
fn bind_alone(ifname: &str, queue: u32, rules: Rules) -> Result<(), OpenError> {
    let count = NonZeroU32::MIN.saturating_add(63);
    let (umem, _descs, _huge) = register(2048, count, false)?;
    Rings::open(&umem, ifname, queue, 64, 64, rules).map(drop)
}

/// Waits until nobody has the queue: then a driver that received into our memory has let go
/// of it, since the kernel clears the queue only after the driver gave up its buffers
/// (`xp_clear_dev`). False if that could not be seen within [`BUSY_PATIENCE`].
pub(crate) fn queue_released(index: u32, queue: u32) -> bool {
    let Some(ifname) = name_of(index) else { return true };
    let rules = Rules { zero_copy: false, need_wakeup: true };
    bind_alone(&ifname, queue, rules).is_ok()
}

impl Shared {
    /// Binds the socket of a port; says whether it is the first one, which rules and must stay.
    pub(crate) fn bind(
        &self,
        ifname: &str,
        queue: u32,
        (rx, tx): (u32, u32),
        wanted: Rules,
    ) -> Result<(Rings, Rules, bool), OpenError> {
        let mut sockets = self.sockets();
        let decided = sockets.rules;
        if let Some(rules) = decided
            && rules.zero_copy != wanted.zero_copy
        {
            return Err(OpenError::MixedModes { zero_copy: rules.zero_copy });
        }
        let rules = decided.unwrap_or(wanted);
        let open = || Rings::open(&self.umem, ifname, queue, rx, tx, rules);
        let rings = match open() {
            Err(OpenError::Bind { source, .. }) if source.raw_os_error() == Some(libc::EBADF) => {
                if !sockets.carrier.hand_over() {
                    return Err(OpenError::Orphaned { ifname: ifname.to_owned() });
                }
                open()?
            }
            settled => settled?,
        };
        if decided.is_none() {
            sockets.rules = Some(rules);
            sockets.carrier.begin(rings.fd());
        }
        Ok((rings, rules, decided.is_none()))
    }
}
