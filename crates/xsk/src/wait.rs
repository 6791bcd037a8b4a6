//! Sleeping until a packet arrives, or until another thread calls.

use crate::port::Port;
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::Arc,
};

/// Ports that one [`wait`] can watch.
pub const WAIT_PORTS: usize = 63;

/// Ends another thread's [`wait`]; a cheap handle, to be cloned at will.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Makes one, by eventfd(2).
    ///
    /// # Errors
    /// What eventfd(2) reports.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes and returns integers.
        let event = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        Ok(Self { event: Arc::new(unsafe { OwnedFd::from_raw_fd(event) }) })
    }

    /// Ends the current wait, or the next one. A counter that is full already wakes.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` has the eight octets that are written.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: `count` has room for the eight octets that are read.
        unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Sleeps until a port has a packet, the waker is used, or `timeout_ms` is over; returns
/// whether there is something to do. In copy mode the kernel also sends from the transmit
/// rings meanwhile (`xsk_poll`).
///
/// # Errors
/// `InvalidInput` for more than [`WAIT_PORTS`] ports, else what poll(2) reports.
pub fn wait<'p>(
    ports: impl IntoIterator<Item = &'p Port>,
    waker: &Waker,
    timeout_ms: i32,
) -> io::Result<bool> {
    let nothing = libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 };
    let mut watched = [nothing; WAIT_PORTS + 1];
    watched[0].fd = waker.event.as_raw_fd();
    let mut count = 1;
    for port in ports {
        let Some(slot) = watched.get_mut(count) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many ports to wait for"));
        };
        slot.fd = port.fd().as_raw_fd();
        count += 1;
    }
    // SAFETY: the first `count` elements of the array are initialised; the descriptors are
    // open, since ports and waker are borrowed.
    let ready = unsafe { libc::poll(watched.as_mut_ptr(), count as libc::nfds_t, timeout_ms) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        let interrupted = error.kind() == io::ErrorKind::Interrupted;
        return if interrupted { Ok(true) } else { Err(error) };
    }
    if watched[0].revents != 0 {
        waker.clear();
    }
    Ok(ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_waker_ends_one_wait() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        assert!(wait([], &waker, 1000).unwrap());
        assert!(!wait([], &waker, 1).unwrap());
    }

    #[test]
    fn a_waker_works_across_threads() {
        let waker = Waker::new().unwrap();
        let other = waker.clone();
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || other.wake());
            assert!(wait([], &waker, 10_000).unwrap());
        });
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
