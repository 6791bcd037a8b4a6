//! The daemon's ports: AF_XDP sockets, with the frames of one worker.

use xsk::{Ledger, Pool, Port};

use crate::{
    clock::Now,
    io::{Frame, Io},
    probe_port::ProbePort,
    punt::PuntQueue,
    topology::PortId,
    verdict::Punt,
};

impl Frame for xsk::Frame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.bytes()
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }

    #[inline(always)]
    fn room(&mut self) -> &mut [u8] {
        self.room()
    }

    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        self.set_len(len);
    }
}

/// One worker's sockets on all interfaces, and its frames.
pub struct Rings {
    pool: Pool,
    /// By [`PortId`]: the worker's queues of that interface; none while it is gone.
    ports: Vec<Vec<Port>>,
    /// The port behind the interfaces', where health probes come from.
    probes: Option<ProbePort>,
    punts: PuntQueue,
    now: Now,
}

impl Rings {
    /// Sockets by interface; all frames of them come from `pool`.
    pub fn new(pool: Pool, interfaces: usize, probes: Option<ProbePort>, punts: PuntQueue) -> Self {
        let ports = (0..interfaces).map(|_| Vec::new()).collect();
        Self { pool, ports, probes, punts, now: Now::default() }
    }

    /// Begins to serve a queue of an interface.
    pub fn attach(&mut self, id: PortId, mut port: Port) {
        port.refill(&mut self.pool);
        self.ports[usize::from(id)].push(port);
    }

    /// Lets go of an interface; all frames lent to it come home.
    pub fn detach(&mut self, id: PortId) {
        for port in self.ports[usize::from(id)].drain(..) {
            port.close(&mut self.pool);
        }
    }

    /// Sets the time of the coming breath.
    pub fn tick(&mut self, now: Now) {
        self.now = now;
    }

    /// The sockets, for waiting and statistics.
    pub fn sockets(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.ports
            .iter()
            .enumerate()
            .flat_map(|(id, ports)| ports.iter().map(move |port| (id as PortId, port)))
    }

    /// How many interfaces there are, present or not.
    pub fn interfaces(&self) -> PortId {
        self.ports.len() as PortId
    }

    /// Where all frames are.
    pub fn ledger(&self) -> Ledger {
        self.pool.ledger()
    }

    fn receive_probes(&mut self, burst: &mut Vec<xsk::Frame>, max: usize) -> usize {
        let Some(probes) = &self.probes else { return 0 };
        let mut received = 0;
        while received < max
            && !probes.is_empty()
            && let Some(mut frame) = self.pool.take()
        {
            let there = probes.take(|packet| {
                let length = packet.len().min(frame.room().len());
                frame.room()[..length].copy_from_slice(&packet[..length]);
                frame.set_len(length);
            });
            if !there {
                self.pool.give(frame);
                break;
            }
            burst.push(frame);
            received += 1;
        }
        received
    }

    #[cold]
    fn send_to_probes(&mut self, frame: xsk::Frame) -> Result<(), xsk::Frame> {
        if !self.probes.as_ref().is_some_and(|probes| probes.push(frame.bytes())) {
            return Err(frame);
        }
        self.pool.give(frame);
        Ok(())
    }
}

impl Io for Rings {
    type Frame = xsk::Frame;

    #[inline]
    fn ports(&self) -> usize {
        self.ports.len() + usize::from(self.probes.is_some())
    }

    #[inline]
    fn receive(&mut self, id: PortId, burst: &mut Vec<xsk::Frame>, max: usize) -> usize {
        let mut received = 0;
        let Some(ports) = self.ports.get_mut(usize::from(id)) else {
            return self.receive_probes(burst, max);
        };
        for port in ports {
            received += port.receive(&mut self.pool, burst, max - received);
        }
        received
    }

    #[inline]
    fn send(&mut self, id: PortId, frame: xsk::Frame) -> Result<(), xsk::Frame> {
        let Some(ports) = self.ports.get_mut(usize::from(id)) else {
            return self.send_to_probes(frame);
        };
        match ports.first_mut() {
            Some(port) => port.send(&mut self.pool, frame),
            None => Err(frame),
        }
    }

    fn punt(&mut self, _: PortId, packet: &[u8], _: Punt) -> bool {
        self.punts.push(packet, self.now)
    }

    fn take(&mut self) -> Option<xsk::Frame> {
        self.pool.take()
    }

    #[inline]
    fn give(&mut self, frame: xsk::Frame) {
        self.pool.give(frame);
    }

    #[inline]
    fn flush(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.flush();
            port.reclaim(&mut self.pool);
            port.refill(&mut self.pool);
        }
    }
}
