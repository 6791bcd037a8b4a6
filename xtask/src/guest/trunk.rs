//! A cable for floods: thousands of frames in one system call, with back-pressure.
//!
//! QEMU's `stream` network is a unix socket on which each frame follows its length (four
//! octets, big-endian). QEMU stops reading while the NIC has no buffers, so nothing is lost on
//! the way in, and whoever floods it waits.
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::failure::Outcome;

/// This end of the cable.
#[derive(Debug)]
pub struct Trunk {
    socket: UnixStream,
    /// Read, and not yet given away: less than a frame.
    rest: Vec<u8>,
    room: Box<[u8]>,
}

/// What QEMU writes into, before the machine is there.
#[derive(Debug)]
pub(super) struct Socket(UnixListener);

/// Frames as they go onto a trunk.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
}

/// In front of each frame.
const LENGTH: usize = 4;

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

impl Socket {
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
        let (socket, _) = self.0.accept()?;
        Ok(Trunk { socket, rest: Vec::new(), room: vec![0; 1 << 18].into() })
    }
}

impl Trunk {
    /// Sends frames; waits as long as the guest takes none.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn send(&self, frames: &Frames) -> Outcome {
        Ok((&self.socket).write_all(&frames.octets)?)
    }

    /// Calls `each` for the frames that have come; waits at most so long for the first one.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn receive(&mut self, at_most: Duration, mut each: impl FnMut(&[u8])) -> Outcome {
        self.socket.set_read_timeout(Some(at_most))?;
        let count = match self.socket.read(&mut self.room) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(error) => return Err(error.into()),
        };
        self.rest.extend_from_slice(&self.room[..count]);
        let mut at = 0;
        while let Some(frame) = first(&self.rest[at..]) {
            each(frame);
            at += LENGTH + frame.len();
        }
        self.rest.drain(..at);
        Ok(())
    }
}

/// The first frame, if all of it is there.
fn first(octets: &[u8]) -> Option<&[u8]> {
    let (length, rest) = octets.split_first_chunk::<LENGTH>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::{Frames, first};

    #[test]
    fn a_frame_is_given_when_all_of_it_is_there() {
        let mut frames = Frames::default();
        frames.push(3, |room| room.copy_from_slice(b"abc"));
        frames.push(1, |room| room.copy_from_slice(b"d"));
        for (length, expected) in
            [(0, None), (3, None), (4, None), (6, None), (7, Some("abc")), (12, Some("abc"))]
        {
            let found = first(&frames.octets[..length]);
            assert_eq!(found, expected.map(str::as_bytes), "{length}");
        }
        assert_eq!(first(&frames.octets[7..]), Some(&b"d"[..]));
    }
}
