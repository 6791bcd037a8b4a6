//! The way back to the kernel: packets that turn out not to be ours are copied to a bounded
//! queue, from which one thread writes them into a TAP. The kernel does with them what it
//! would have done had they come in by the NIC.
//!
//! Buffers are made at boot and go round: full ones to the thread, empty ones back.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use xsk::Tap;

use crate::{clock::Now, limiter::Bucket, memory::ROOM, wire::ethernet};

/// Packets that wait for the thread, at most.
const QUEUE: usize = 512;

/// A copied packet.
struct Buffer {
    octets: Box<[u8]>,
    len: usize,
}

/// The workers' end.
#[derive(Clone)]
pub struct PuntQueue {
    empty: Receiver<Buffer>,
    full: Sender<Buffer>,
    rate: Arc<Bucket>,
}

/// The thread's end.
pub struct PuntThread {
    empty: Sender<Buffer>,
    full: Receiver<Buffer>,
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
    let (give_empty, empty) = bounded(QUEUE);
    let (full, take_full) = bounded(QUEUE);
    for _ in 0..QUEUE {
        let octets = vec![0; room.max(ROOM)].into_boxed_slice();
        give_empty.send(Buffer { octets, len: 0 }).expect("room for all buffers");
    }
    let rate = Arc::new(Bucket::new(per_second, per_second.min(QUEUE as u32)));
    let queue = PuntQueue { empty, full, rate };
    (queue, PuntThread { empty: give_empty, full: take_full, tap, tap_mac })
}

impl PuntQueue {
    /// Queues a copy; false if the queue is full or over its rate.
    pub fn push(&self, packet: &[u8], now: Now) -> bool {
        if !self.rate.take(now) {
            return false;
        }
        let Ok(mut buffer) = self.empty.try_recv() else { return false };
        buffer.len = packet.len();
        buffer.octets[..packet.len()].copy_from_slice(packet);
        self.full.try_send(buffer).is_ok()
    }
}

impl PuntThread {
    /// Writes packets to the TAP until all queues are gone.
    pub fn run(self) {
        let mut refused = false;
        for mut buffer in &self.full {
            let packet = &mut buffer.octets[..buffer.len];
            // To the NIC's own address it came; to the TAP's it must go on. Broadcasts stay.
            if packet[0] & 1 == 0 {
                packet[ethernet::DESTINATION].copy_from_slice(&self.tap_mac);
            }
            if let Err(error) = self.tap.write(packet)
                && !std::mem::replace(&mut refused, true)
            {
                log::warn!("punt: {}: {error}; packets for the kernel are lost", self.tap.name());
            }
            // What the kernel itself sends into the TAP (router solicitations) is nobody's.
            let _ = self.tap.drain();
            let _ = self.empty.try_send(buffer);
        }
    }
}
