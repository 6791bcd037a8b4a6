//! The daemon's ports: AF_XDP sockets, with the frames of one worker.

use xsk::{Ledger, Pool, Port};

use crate::{
    clock::Now,
    io::{Frame, Io},
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
    punts: PuntQueue,
    now: Now,
}

impl Rings {
    /// Sockets by interface; all frames of them come from `pool`.
    pub fn new(pool: Pool, interfaces: usize, punts: PuntQueue) -> Self {
        let ports = (0..interfaces).map(|_| Vec::new()).collect();
        Self { pool, ports, punts, now: Now::default() }
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
}

impl Io for Rings {
    type Frame = xsk::Frame;

    #[inline]
    fn ports(&self) -> usize {
        self.ports.len()
    }

    #[inline]
    fn receive(&mut self, id: PortId, burst: &mut Vec<xsk::Frame>, max: usize) -> usize {
        let mut received = 0;
        for port in &mut self.ports[usize::from(id)] {
            received += port.receive(&mut self.pool, burst, max - received);
        }
        received
    }

    #[inline]
    fn send(&mut self, id: PortId, frame: xsk::Frame) -> Result<(), xsk::Frame> {
        match self.ports[usize::from(id)].first_mut() {
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
