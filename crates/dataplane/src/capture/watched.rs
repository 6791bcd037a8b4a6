//! A worker's ports while it has a tap.

use super::{Arrival, Tap, subject::Scene};
use crate::{
    breath::Breath,
    io::{Frame, Io},
    topology::PortId,
    verdict::{Punt, Verdict},
};

/// Ports that show the tap what passes.
pub(crate) struct Watched<'a, I> {
    io: &'a mut I,
    tap: &'a mut Tap,
}

impl<'a, I> Watched<'a, I> {
    /// For one breath.
    pub(crate) const fn new(io: &'a mut I, tap: &'a mut Tap) -> Self {
        tap.begin();
        Self { io, tap }
    }
}

impl<I: Io> Io for Watched<'_, I> {
    type Frame = I::Frame;

    fn ports(&self) -> usize {
        self.io.ports()
    }

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<I::Frame>, max: usize) -> usize {
        self.io.receive(port, burst, max)
    }

    #[inline(always)]
    fn send(&mut self, port: PortId, frame: I::Frame) -> Result<(), I::Frame> {
        if !self.tap.is_busy() {
            return self.io.send(port, frame);
        }
        self.tap.leaves(port, frame.bytes());
        self.io.send(port, frame).inspect_err(|_| self.tap.is_refused())
    }

    fn punt(&mut self, port: PortId, packet: &[u8], reason: Punt) -> bool {
        let taken = self.io.punt(port, packet, reason);
        if !taken {
            self.tap.is_not_punted();
        }
        taken
    }

    fn take(&mut self) -> Option<I::Frame> {
        let frame = self.io.take();
        if frame.is_none() {
            self.tap.lacks_frame();
        }
        frame
    }

    #[inline]
    fn give(&mut self, frame: I::Frame) {
        if self.tap.is_busy() {
            self.tap.comes_home();
        }
        self.io.give(frame);
    }

    fn flush(&mut self) {
        self.io.flush();
    }

    #[inline(always)]
    fn arrives(&mut self, breath: &Breath<'_>, frame: &I::Frame, arrival: Arrival<'_>) {
        self.tap.arrives(breath, frame.bytes(), &arrival);
    }

    #[inline(always)]
    fn is_decided(&mut self, breath: &Breath<'_>, frame: &I::Frame, verdict: &Verdict) {
        if self.tap.is_busy() {
            self.tap.is_decided(breath, frame.bytes(), verdict);
        }
    }

    #[inline(always)]
    fn is_over(&mut self, breath: &Breath<'_>) {
        if self.tap.is_busy() {
            self.tap.is_over(breath);
        }
    }

    fn originates(&mut self, breath: &Breath<'_>, port: PortId, frame: &I::Frame) {
        self.tap.originates(Scene::from(breath), port, frame.bytes());
    }
}
