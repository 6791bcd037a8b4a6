//! The way back to the kernel: packets that turn out not to be ours are copied to a bounded
//! queue, from which one thread writes them into a TAP. The kernel does with them what it
//! would have done had they come in by the NIC.

use std::sync::Arc;

use xsk::Tap;

use crate::{
    clock::Now,
    conveyor::{self, Loader, Unloader},
    limiter::Bucket,
    memory::ROOM,
    wire::ethernet,
};

/// The workers' end.
#[derive(Clone)]
pub struct PuntQueue {
    loader: Loader,
    rate: Arc<Bucket>,
}

/// The thread's end.
pub struct PuntThread {
    unloader: Unloader,
    tap: Arc<Tap>,
    tap_mac: [u8; 6],
}

/// A queue into the TAP with this MAC, for `per_second` packets a second from all workers.
pub fn queue(
    tap: Arc<Tap>,
    tap_mac: [u8; 6],
    per_second: u32,
    room: usize,
) -> (PuntQueue, PuntThread) {
    let (loader, unloader) = conveyor::conveyor(conveyor::LENGTH, room.max(ROOM));
    let burst = per_second.min(conveyor::LENGTH as u32);
    let rate = Arc::new(Bucket::new(per_second, burst));
    (PuntQueue { loader, rate }, PuntThread { unloader, tap, tap_mac })
}

impl PuntQueue {
    /// Queues a copy; false if the queue is full or over its rate.
    pub fn push(&self, packet: &[u8], now: Now) -> bool {
        self.rate.take(now) && self.loader.push(packet)
    }
}

impl PuntThread {
    /// Writes packets to the TAP until all queues are gone.
    pub fn run(self) {
        let mut refused = false;
        while self.unloader.wait(|packet| self.write(packet, &mut refused)) {}
    }

    fn write(&self, packet: &mut [u8], refused: &mut bool) {
        // To the NIC's own address it came; to the TAP's it must go on. Broadcasts stay.
        if packet[0] & 1 == 0 {
            packet[ethernet::DESTINATION].copy_from_slice(&self.tap_mac);
        }
        if let Err(error) = self.tap.write(packet)
            && !std::mem::replace(refused, true)
        {
            log::warn!("punt: {}: {error}; packets for the kernel are lost", self.tap.name());
        }
        // What the kernel itself sends into the TAP (router solicitations) is nobody's.
        let _ = self.tap.drain();
    }
}
