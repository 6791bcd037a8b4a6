//! What the worker needs from the outside: frames in, frames out. The daemon serves it
//! with AF_XDP rings and a TAP, the simulation and the benches with memory.

use crate::{topology::PortId, verdict::Punt};

/// An owned packet buffer: exactly one place holds it at any time.
pub trait Frame {
    /// The packet, from the Ethernet header to its last octet.
    fn bytes(&self) -> &[u8];
    /// The packet, writable.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// The whole room that the packet may use; the packet starts at its first octet.
    fn room(&mut self) -> &mut [u8];
    /// Sets the packet's length, at most `room().len()`.
    fn set_len(&mut self, len: usize);
}

/// Where frames come from and go to. Implementations keep the frame ledger.
pub trait Io {
    /// Their kind of buffer.
    type Frame: Frame;
    /// How many ports there are; [`PortId`]s are below it.
    fn ports(&self) -> usize;
    /// Moves up to `max` arrived frames of a port to the end of `burst`.
    fn receive(&mut self, port: PortId, burst: &mut Vec<Self::Frame>, max: usize) -> usize;
    /// Queues a frame for sending; gives it back if the ring is full or the port is gone.
    fn send(&mut self, port: PortId, frame: Self::Frame) -> Result<(), Self::Frame>;
    /// Copies a packet to the kernel's side; false if the queue is full or over its rate.
    fn punt(&mut self, port: PortId, packet: &[u8], reason: Punt) -> bool;
    /// An empty frame, if the pool has one.
    fn take(&mut self) -> Option<Self::Frame>;
    /// Brings a frame home.
    fn give(&mut self, frame: Self::Frame);
    /// Sends what was queued: called once a breath.
    fn flush(&mut self);
}
