//! A worker's thread: breathe while there is something to do, sleep when it is quiet.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Sender};
use xsk::{Port, PortStats, Waker, wait};

use crate::{
    capture::Tap, clock::Clock, kill::Kill, rings::Rings, stats::Stats, topology::PortId,
    worker::Worker,
};

/// The kernel's statistics of a worker's sockets: interface, queue, counters.
pub type SocketStats = Vec<(PortId, u32, PortStats)>;

/// What control tells a worker; looked at once a breath.
pub enum Order {
    /// Serve this queue of that interface.
    Attach(PortId, Box<Port>),
    /// Let go of the interface; the sender is dropped when that is done.
    Detach(PortId, Sender<()>),
    /// Send the kernel's statistics of every socket.
    Report(Sender<SocketStats>),
    /// Copy packets into this tap, or stop doing so; the one before comes back, so that the
    /// worker frees nothing.
    Capture(Option<Box<Tap>>, Sender<Option<Box<Tap>>>),
    /// End connections.
    Kill(Arc<Kill>),
    /// Return.
    Stop,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Spin for a moment, then sleep until a packet comes.
    Adaptive,
    /// Spin always.
    Poll,
}

/// Control's handle of a worker.
#[derive(Clone)]
pub struct Handle {
    /// Orders; call [`Waker::wake`] after sending one.
    pub orders: Sender<Order>,
    /// Ends the worker's sleep.
    pub waker: Waker,
    /// Its counters.
    pub stats: Arc<Stats>,
}

impl Handle {
    /// Gives an order; false if the worker is gone.
    pub fn order(&self, order: Order) -> bool {
        let sent = self.orders.send(order).is_ok();
        self.waker.wake();
        sent
    }

    /// The same without waiting for a worker that has too many orders already: then false, too.
    pub fn try_order(&self, order: Order) -> bool {
        let sent = self.orders.try_send(order).is_ok();
        self.waker.wake();
        sent
    }
}

/// Breaths without a packet before a worker sleeps: some 50 us.
const PATIENCE: u32 = 256;
/// Sleep at most, in milliseconds: the table is swept and snapshots are acknowledged then.
const SLEEP_MS: i32 = 250;
/// Sleep at most while frames are held: what they wait for is another worker's or control's.
const HELD_SLEEP_MS: i32 = 1;
/// The pause where the kernel refuses to wait: it must not become a busy loop.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
/// Breaths between two publications of the ledger.
const LEDGER_EVERY: u64 = 1024;

/// The thread's main loop. Returns on [`Order::Stop`].
pub struct Engine {
    /// The worker.
    pub worker: Worker<xsk::Frame>,
    /// Its ports.
    pub rings: Rings,
    /// The clock that all workers share.
    pub clock: Clock,
    /// What to do when it is quiet.
    pub idle: Idle,
    /// Control's orders.
    pub orders: Receiver<Order>,
    /// Control's bell.
    pub waker: Waker,
}

impl Engine {
    /// Runs until it is told to stop.
    pub fn run(mut self) {
        let (mut quiet, mut refused) = (0u32, false);
        // When the last breath began, if it moved packets.
        let mut busy = None;
        for breath in 0u64.. {
            let (now, since) = self.clock.read();
            if let Some(began) = busy {
                let took = since.saturating_sub(began);
                self.worker.stats().breath_time.note(took.as_nanos() as u64);
            }
            self.rings.tick(now);
            if !self.orders.is_empty() && !self.obey() {
                break;
            }
            let moved = self.worker.breathe(&mut self.rings, now);
            quiet = if moved > 0 { 0 } else { quiet.saturating_add(1) };
            busy = (moved > 0).then_some(since);
            if breath % LEDGER_EVERY == 0 {
                self.publish_ledger();
            }
            if self.idle == Idle::Adaptive && quiet >= PATIENCE {
                self.publish_ledger();
                refused |= self.sleep(quiet - PATIENCE, refused);
            }
        }
        for id in 0..self.rings.interfaces() {
            self.rings.detach(id);
        }
        self.publish_ledger();
    }

    /// Carries out what control ordered; false to stop.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Attach(id, port) => self.rings.attach(id, *port),
                Order::Detach(id, done) => {
                    self.rings.detach(id);
                    drop(done);
                }
                Order::Report(to) => {
                    let stats =
                        |(id, port): (PortId, &Port)| Some((id, port.queue(), port.stats().ok()?));
                    let _ = to.send(self.rings.sockets().filter_map(stats).collect());
                }
                Order::Capture(tap, back) => {
                    let _ = back.try_send(self.worker.capture(tap));
                }
                Order::Kill(kill) => self.worker.kill(kill),
                Order::Stop => return false,
            }
        }
        true
    }

    /// Waits for packets after so many quiet breaths beyond patience; true if the kernel
    /// refuses, which is said once.
    fn sleep(&self, quiet: u32, said: bool) -> bool {
        let unsent = self.rings.sockets().any(|(_, port)| port.unsent() > 0);
        let timeout = longest_sleep(self.worker.held() > 0, unsent, quiet);
        let sockets = self.rings.sockets().map(|(_, port)| port);
        let Err(error) = wait(sockets, &self.waker, timeout) else { return false };
        if !said {
            log::error!("worker: poll: {error}; it looks for packets once a millisecond");
        }
        std::thread::sleep(REFUSED_PAUSE);
        true
    }

    fn publish_ledger(&self) {
        let ledger = self.rings.ledger();
        let gauges = [ledger.total, ledger.pool, ledger.rx_lent, ledger.tx_lent, ledger.held];
        for (gauge, value) in self.worker.stats().ledger.iter().zip(gauges) {
            gauge.set(value as u64);
        }
    }
}

/// Milliseconds that a worker may sleep. Frames that a device did not take are offered again
/// soon, and less and less often while it takes none (it may be down).
fn longest_sleep(held: bool, unsent: bool, quiet: u32) -> i32 {
    if held {
        HELD_SLEEP_MS
    } else if unsent {
        (quiet / 4).clamp(1, SLEEP_MS as u32) as i32
    } else {
        SLEEP_MS
    }
}

#[cfg(test)]
mod tests {
    use super::{PATIENCE, longest_sleep};

    #[test]
    fn sleep_is_short_while_something_may_move() {
        let cases = [
            (false, false, 0, 250),
            (true, false, 9000, 1),
            (true, true, 9000, 1),
            (false, true, 0, 1),
            (false, true, 7, 1),
            (false, true, 100, 25),
            (false, true, u32::MAX - PATIENCE, 250),
        ];
        for (held, unsent, quiet, expected) in cases {
            assert_eq!(longest_sleep(held, unsent, quiet), expected, "{held} {unsent} {quiet}");
        }
    }
}
