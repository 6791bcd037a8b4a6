//! A TAP device of our own: what is written to it arrives in the kernel as if from a wire.
//! It goes when this process goes.

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    time::Duration,
};

use crate::{
    link::{InterfaceRequest, set_up, set_up_without_arp},
    rings::index_of,
};

/// A TAP device.
#[derive(Debug)]
pub struct Tap {
    device: File,
    name: String,
    index: u32,
}

impl Tap {
    /// Makes a device; a `%d` in the name becomes the lowest free number.
    ///
    /// # Errors
    /// What /dev/net/tun reports: `NotFound` without the tun driver, `EPERM` without
    /// `CAP_NET_ADMIN`, `EBUSY` if the name is taken.
    pub fn open(name_template: &str) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let mut request = InterfaceRequest::new(name_template)?;
        request.set_flags((libc::IFF_TAP | libc::IFF_NO_PI) as i16);
        request.call(device.as_fd(), libc::TUNSETIFF)?;
        let name = request.name();
        let text = std::ffi::CString::new(name.as_str()).unwrap_or_default();
        let index = index_of(&text).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { device, name, index })
    }

    /// The name that it got.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Sets it administratively up.
    ///
    /// # Errors
    /// What the ioctl reports.
    pub fn set_up(&self) -> io::Result<()> {
        set_up(&self.name)
    }

    /// Sets it up, so that the kernel asks for no neighbours there: all frames go to the device's
    /// own hardware address (`IFF_NOARP`).
    ///
    /// # Errors
    /// What the ioctl reports.
    pub fn set_up_without_arp(&self) -> io::Result<()> {
        set_up_without_arp(&self.name)
    }

    /// Sets its hardware address, so that frames to that address are for this host.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for one that no host may have.
    pub fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        crate::link::set_mac(&self.name, mac)
    }

    /// Hands a frame to the kernel.
    ///
    /// # Errors
    /// `EIO` while the device is down, `EINVAL` for a frame shorter than an Ethernet header.
    pub fn write(&self, frame: &[u8]) -> io::Result<()> {
        (&self.device).write(frame).map(drop)
    }

    /// A frame that the kernel sent out by the device, if there is one.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.device).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for a frame of the kernel's; false if none came in this time.
    ///
    /// # Errors
    /// What poll(2) reports.
    pub fn wait(&self, most: Duration) -> io::Result<bool> {
        let fd = self.device.as_raw_fd();
        let mut watched = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one element, as said; the descriptor is open, since the device is borrowed.
        let ready = unsafe { libc::poll(&raw mut watched, 1, most.as_millis() as libc::c_int) };
        let error = io::Error::last_os_error();
        match ready {
            0.. => Ok(ready > 0),
            _ if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            _ => Err(error),
        }
    }

    /// Throws away what the kernel sent out by the device; returns how many frames.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn drain(&self) -> io::Result<usize> {
        let mut buffer = [0; 2048];
        let mut count = 0;
        while self.read(&mut buffer)?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// The text of a C string in a buffer.
pub(crate) fn text_of(octets: &[u8]) -> String {
    CStr::from_bytes_until_nul(octets).unwrap_or_default().to_string_lossy().into_owned()
}
