//! What the worker needs from the outside: frames in, frames out. The daemon serves it
//! with AF_XDP rings and a TAP, the simulation and the benches with memory.

use crate::{
    breath::Breath,
    capture::Arrival,
    topology::PortId,
    verdict::{Punt, Verdict},
};

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

    /// A packet is about to be decided about. This and what follows is for
    /// [captures](crate::capture); ports without one have no use for it.
    #[inline(always)]
    fn arrives(&mut self, _: &Breath<'_>, _: &Self::Frame, _: Arrival<'_>) {}
    /// It is decided about; what it causes to be sent comes next.
    #[inline(always)]
    fn is_decided(&mut self, _: &Breath<'_>, _: &Self::Frame, _: &Verdict) {}
    /// All that it caused has happened.
    #[inline(always)]
    fn is_over(&mut self, _: &Breath<'_>) {}
    /// What is sent next is caused by no packet.
    #[inline(always)]
    fn originates(&mut self, _: &Breath<'_>, _: PortId, _: &Self::Frame) {}
}
