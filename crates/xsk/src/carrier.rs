//! The socket by which all others come to the UMEM.
//!
//! A socket that shares a UMEM names a bound one that has it (`XDP_SHARED_UMEM`). libxdp
//! always names the descriptor with which the UMEM was registered: the first socket's. In
//! copy mode that is an anchor and stays. In zero-copy it is a NIC's, and once that
//! interface is removed its socket can never be bound again: every later bind fails with
//! EBADF (`xsk_bind` in net/xdp/xsk.c). Any other bound socket of the UMEM would serve, so
//! one is put under the first one's number.

use std::{io, os::fd::RawFd, ptr};

/// Which sockets there are, and which one carries the UMEM.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    /// The descriptor that libxdp names: the first socket's.
    number: Option<RawFd>,
    /// The open ports' sockets, by port number; the first one is not among them.
    others: Vec<(u16, RawFd)>,
    /// The port whose socket `number` means now, other than the first.
    stand_in: Option<u16>,
    /// Whether the first one's port still uses its descriptor.
    first_in_use: bool,
}

impl Carrier {
    /// The first socket: a port's, or an anchor that stays.
    pub(crate) fn begin(&mut self, number: RawFd) {
        self.number = Some(number);
        self.first_in_use = true;
    }

    /// A later port's socket.
    pub(crate) fn add(&mut self, id: u16, socket: RawFd) {
        self.others.push((id, socket));
    }

    /// The first port lets go of its socket, whose descriptor stays.
    pub(crate) fn first_closed(&mut self) {
        self.first_in_use = false;
    }

    /// A later port is about to close its socket; says whether the kernel keeps that all the
    /// same, since it carries the UMEM.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        self.others.retain(|(other, _)| *other != id);
        let carries = self.stand_in == Some(id);
        if carries {
            self.stand_in = None;
        }
        carries
    }

    /// Lets another bound socket carry the UMEM. False if there is none, or while the first
    /// one's port would mistake that for its own.
    pub(crate) fn hand_over(&mut self) -> bool {
        let Some(number) = self.number.filter(|_| !self.first_in_use) else { return false };
        let Some(&(id, socket)) = self.others.iter().find(|(_, socket)| is_bound(*socket)) else {
            return false;
        };
        // SAFETY: both are open descriptors of this process: `socket` belongs to a port that
        // has not closed it (`remove` comes first), `number` to the UMEM, which closes it at
        // its end. Nobody reads or writes by `number` any more; libxdp only names it.
        let done = unsafe { libc::dup3(socket, number, libc::O_CLOEXEC) } == number;
        if done {
            self.stand_in = Some(id);
        }
        done
    }
}

/// An unbound socket answers ENXIO (`xsk_check_common`).
fn is_bound(socket: RawFd) -> bool {
    // SAFETY: recvfrom(2) into no buffer on our own socket.
    let result = unsafe {
        let (buffer, from, length) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        libc::recvfrom(socket, buffer, 0, libc::MSG_DONTWAIT, from, length)
    };
    result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENXIO)
}
