//! The cable of a guest's NIC: what is sent here arrives there, octet by octet.
//!
//! QEMU's `dgram` network is a pair of unix sockets on which a datagram is a frame, from
//! the Ethernet header, without checksum. So it takes no namespace, no TAP and no root.
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::{Outcome, fail};

/// This end of the cable.
#[derive(Debug)]
pub struct Wire {
    socket: UnixDatagram,
    far: PathBuf,
}

/// The longest frame that a NIC with an MTU of 9000 sends, and some more.
const FRAME: usize = 10_000;

impl Wire {
    /// Lays the cable of NIC number `nic` in the machine's directory.
    pub(super) fn lay(directory: &Path, nic: usize) -> Outcome<Self> {
        let socket = UnixDatagram::bind(directory.join(Self::near(nic)))?;
        Ok(Self { socket, far: directory.join(Self::far(nic)) })
    }

    /// The QEMU option that plugs it in; the paths are from the machine's directory.
    pub(super) fn option(nic: usize) -> String {
        let (near, far) = (Self::near(nic), Self::far(nic));
        format!(
            "dgram,id=cable{nic},local.type=unix,local.path={far},remote.type=unix,remote.path={near}"
        )
    }

    fn near(nic: usize) -> String {
        format!("nic{nic}.here")
    }

    fn far(nic: usize) -> String {
        format!("nic{nic}.guest")
    }

    /// Sends a frame to the guest. The NIC drops it unless it is for its own MAC or a group.
    ///
    /// # Errors
    /// When the machine is gone, or takes nothing for 10 s.
    pub fn send(&self, frame: &[u8]) -> Outcome {
        self.socket.set_write_timeout(Some(Duration::from_secs(10)))?;
        match self.socket.send_to(frame, &self.far) {
            Ok(_) => Ok(()),
            Err(error) => fail(format!("the guest's NIC takes no frame: {error}")),
        }
    }

    /// The next frame that the guest sends and that is wanted; others are passed over: a
    /// kernel also asks for neighbours and joins groups. `None` when none comes in time.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(
        &self,
        at_most: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Outcome<Option<Vec<u8>>> {
        let deadline = Instant::now() + at_most;
        let mut frame = vec![0; FRAME];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut frame) {
                Ok(length) if wanted(&frame[..length]) => {
                    frame.truncate(length);
                    return Ok(Some(frame));
                }
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
