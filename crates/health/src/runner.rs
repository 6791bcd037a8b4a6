//! The thread that asks: each question when it is due, once for all who ask it as often, and
//! an event for each change.
//!
//! Control talks to it by [`Runner`]; the loop is [`round::Round`], which owns all state. A
//! question asked of the same target with the same interval is one [`agenda::Item`] with
//! subscribers; rise and fall are each subscriber's own.

mod agenda;
mod lateness;
mod report;
mod round;

use std::{future::Future, io, pin::Pin, sync::Arc, thread::JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot};

pub use self::{
    lateness::Lateness,
    report::{CheckReport, Report, ServerReport, Tally, Turns},
};
use crate::{
    ServerId,
    check::Question,
    event::Event,
    member::Member,
    outcome::Outcome,
    probe::{self, Net},
};

/// Who asks a question: the network, or a test.
pub trait Prober: Send + Sync + 'static {
    /// Asks, by the question's own deadline.
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;
}

impl Prober for Net {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        let net = self.clone();
        Box::pin(async move { probe::ask(&net, &question).await })
    }
}

/// Probes in flight at a time, at most: 10,000 servers that are silent for all of a timeout. What
/// is due beyond waits, and is late.
const IN_FLIGHT: u64 = 16_384;
/// Descriptors of a probe, and those that are left to all others.
const DESCRIPTORS: u64 = 2;
const SPARE: u64 = 512;

enum Order {
    Set(Vec<Member>),
    Raise(ServerId),
    Pause(Vec<ServerId>),
    Report(oneshot::Sender<Report>),
}

/// The thread's handle; dropping it ends the thread and all probes.
pub struct Runner {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread, which does `begin` first. Events come in order, and none is lost however
    /// slowly they are read.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start(
        net: Net,
        begin: impl FnOnce() + Send + 'static,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Event>)> {
        Self::begin(Arc::new(net), begin)
    }

    /// The same with another prober.
    ///
    /// # Errors
    /// As [`Runner::start`].
    pub fn with(prober: Arc<dyn Prober>) -> io::Result<(Self, mpsc::UnboundedReceiver<Event>)> {
        Self::begin(prober, || {})
    }

    fn begin(
        prober: Arc<dyn Prober>,
        begin: impl FnOnce() + Send + 'static,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Event>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, ordered) = mpsc::unbounded_channel();
        let (events, heard) = mpsc::unbounded_channel();
        let in_flight = in_flight();
        let run = move || {
            begin();
            runtime.block_on(round::Round::new(prober, in_flight, events).run(ordered));
            // A file on a disk that hangs does not hold the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("xlvs-health".to_owned()).spawn(run)?;
        Ok((Self { orders: Some(orders), thread: Some(thread) }, heard))
    }

    /// Replaces the list. Members that are the same keep what is known of them and their place in
    /// time; one whose checks changed keeps its health until its new checks have said otherwise.
    /// The first event of a new member tells how it begins.
    pub fn set(&self, members: Vec<Member>) {
        self.order(Order::Set(members));
    }

    /// Asks all checks of a server at once.
    pub fn raise(&self, server: ServerId) {
        self.order(Order::Raise(server));
    }

    /// These servers, and no others, are not asked for now; they keep their health.
    pub fn pause(&self, servers: Vec<ServerId>) {
        self.order(Order::Pause(servers));
    }

    /// What is known of everybody. `None` if the thread is gone.
    pub async fn report(&self) -> Option<Report> {
        let (give, take) = oneshot::channel();
        self.order(Order::Report(give));
        take.await.ok()
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that is gone has panicked, which ends the process.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many probes the limit of open files leaves room for, once it is as high as it may be: a probe
/// without a descriptor would say that its server is down.
fn in_flight() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = files.saturating_sub(SPARE) / DESCRIPTORS;
    room.clamp(64, IN_FLIGHT) as usize
}
