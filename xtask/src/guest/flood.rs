//! Cables for floods. One end of a guest takes frames as fast as it can ([`Trunk`]), the other end
//! loses what nobody looks at ([`Drain`]): neither holds the guest up.
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::failure::Outcome;

/// Into a NIC, thousands of frames in one system call.
///
/// QEMU's `stream` network is a unix socket on which each frame follows its length (four octets,
/// big-endian). QEMU stops reading while the NIC has no buffers, so nothing is lost, and whoever
/// floods it waits.
#[derive(Debug)]
pub struct Trunk(UnixStream);

/// Frames as they go onto a trunk.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
}

/// Where QEMU connects to, before the machine runs.
#[derive(Debug)]
pub(super) struct TrunkSocket(UnixListener);

/// Out of a NIC: one UDP datagram on loopback for each frame, so that the machine never waits for
/// who reads.
#[derive(Debug)]
pub struct Drain {
    socket: UdpSocket,
    /// QEMU wants an address of its own, too.
    far: SocketAddr,
}

/// The longest frame of which all is read.
const FRAME: usize = 2048;

impl Frames {
    /// Adds a frame of so many octets, which `write` fills in.
    pub fn push(&mut self, octets: usize, write: impl FnOnce(&mut [u8])) {
        let length = u32::try_from(octets).unwrap_or(u32::MAX);
        self.octets.extend(length.to_be_bytes());
        let start = self.octets.len();
        self.octets.resize(start + octets, 0);
        write(&mut self.octets[start..]);
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.octets.clear();
    }
}

impl TrunkSocket {
    /// For NIC number `nic`, in the machine's directory.
    pub(super) fn lay(directory: &Path, nic: usize) -> Outcome<Self> {
        Ok(Self(UnixListener::bind(directory.join(Self::name(nic)))?))
    }

    /// The QEMU option that plugs it in; the path is from the machine's directory.
    pub(super) fn option(nic: usize) -> String {
        let path = Self::name(nic);
        format!("stream,id=cable{nic},server=off,addr.type=unix,addr.path={path}")
    }

    fn name(nic: usize) -> String {
        format!("nic{nic}.trunk")
    }

    /// The trunk, once the machine runs.
    pub(super) fn accept(&self) -> Outcome<Trunk> {
        Ok(Trunk(self.0.accept()?.0))
    }
}

impl Trunk {
    /// Sends frames; waits as long as the guest takes none.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn send(&mut self, frames: &Frames) -> Outcome {
        Ok(self.0.write_all(&frames.octets)?)
    }
}

impl Drain {
    pub(super) fn lay() -> Outcome<Self> {
        let free = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let far = free()?.local_addr()?;
        Ok(Self { socket: free()?, far })
    }

    /// The QEMU option that plugs it in.
    pub(super) fn option(&self, nic: usize) -> Outcome<String> {
        let end = |name: &str, address: SocketAddr| {
            let (host, port) = (address.ip(), address.port());
            format!("{name}.type=inet,{name}.host={host},{name}.port={port}")
        };
        let (near, far) = (self.socket.local_addr()?, self.far);
        Ok(format!("dgram,id=cable{nic},{},{}", end("local", far), end("remote", near)))
    }

    /// Another handle of it.
    pub(super) fn share(&self) -> Outcome<Self> {
        Ok(Self { socket: self.socket.try_clone()?, far: self.far })
    }

    /// Calls `each` for a frame; waits at most so long for one.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(&self, at_most: Duration, each: impl FnOnce(&[u8])) -> Outcome {
        self.socket.set_read_timeout(Some(at_most))?;
        let mut frame = [0; FRAME];
        match self.socket.recv(&mut frame) {
            Ok(length) => each(&frame[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    #[test]
    fn a_frame_follows_its_length() {
        let mut frames = Frames::default();
        frames.push(3, |room| room.copy_from_slice(b"abc"));
        frames.push(1, |room| room.copy_from_slice(b"d"));
        assert_eq!(frames.octets, b"\0\0\0\x03abc\0\0\0\x01d");
        frames.clear();
        assert!(frames.octets.is_empty());
    }
}
