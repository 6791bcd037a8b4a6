//! Hooks: programs of the operator's that run when something happens, one after the other, beside
//! control: it puts an event into a queue and goes on.
//!
//! [`queue`] is pure and says which one is next; [`runner`] is the thread that runs them.

mod queue;
mod runner;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use utoipa::ToSchema;

pub use queue::{Job, Queue};

use crate::{
    daemon::privileges::{self, Task},
    event::Event,
    model::Hook,
};

/// How many hooks wait before events of the same subject are collapsed.
const WAITING: usize = 1000;
/// How long killing the last one may take.
const LAST: Duration = Duration::from_secs(1);

impl Hook {
    /// It is to run for this event. What begins as it should is no news, nor what an earlier run
    /// knew, unless it wants to know how everything begins.
    pub fn wants(&self, event: &Event) -> bool {
        let own = self.service.is_none() || self.service == event.subject.service;
        let news = !event.initial || self.at_start || (event.old == "waiting" && event.is_bad());
        own && news && self.on.iter().any(|topic| topic.covers(event))
    }
}

/// What became of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HookCounts)]
pub struct Counts {
    /// Hooks that ran and ended with 0.
    pub succeeded: u64,
    /// Hooks that could not be started, or ended otherwise.
    pub failed: u64,
    /// Hooks whose time was over.
    pub killed: u64,
    /// Events that a later one of the same subject stood for, since too many hooks waited.
    pub collapsed: u64,
    /// Hooks that wait now, the running one included.
    pub waiting: u64,
}

/// The hooks of the box. Dropping it kills the one that runs.
pub struct Hooks {
    /// Where the present ones stand among those that are known.
    first: usize,
    count: usize,
    shared: Arc<Shared>,
    /// Breaks when the thread has ended, if there is one.
    ended: Option<mpsc::Receiver<()>>,
}

/// What the thread and its owner share.
struct Shared {
    /// The present hooks, and former ones that still wait; jobs name them by their places.
    hooks: Mutex<Vec<Arc<Hook>>>,
    queue: Mutex<Queue>,
    /// There is something in the queue, or nothing will come any more.
    bell: Notify,
    /// Nothing will come any more.
    closing: AtomicBool,
    /// The end, also of the hook that runs.
    end: Notify,
    succeeded: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
    collapsed: AtomicU64,
    running: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        Self {
            hooks: Mutex::default(),
            queue: Mutex::new(Queue::new(WAITING)),
            bell: Notify::new(),
            closing: AtomicBool::new(false),
            end: Notify::new(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            killed: AtomicU64::new(0),
            collapsed: AtomicU64::new(0),
            running: AtomicU64::new(0),
        }
    }

    fn hooks(&self) -> MutexGuard<'_, Vec<Arc<Hook>>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one; until this is asked again, it runs.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        let job = queue.pop();
        self.running.store(job.is_some().into(), Ordering::Relaxed);
        job
    }

    fn counts(&self) -> Counts {
        // With the queue in hand, so that the one that runs counts once.
        let queue = self.queue();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            succeeded: count(&self.succeeded),
            failed: count(&self.failed),
            killed: count(&self.killed),
            collapsed: count(&self.collapsed),
            waiting: queue.len() as u64 + count(&self.running),
        }
    }
}

impl Hooks {
    /// Starts the thread; without hooks there is none.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start(hooks: &[Hook]) -> io::Result<Self> {
        let mut all = Self { first: 0, count: 0, shared: Arc::new(Shared::new()), ended: None };
        all.replace(hooks)?;
        Ok(all)
    }

    /// From now on there are these; what waits for the others still runs.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made; then they are as they were.
    pub fn replace(&mut self, hooks: &[Hook]) -> io::Result<()> {
        if !hooks.is_empty() && self.ended.is_none() {
            self.ended = Some(start(&self.shared)?);
        }
        let mut known = self.shared.hooks();
        if self.shared.counts().waiting == 0 {
            known.clear();
        }
        (self.first, self.count) = (known.len(), hooks.len());
        known.extend(hooks.iter().cloned().map(Arc::new));
        Ok(())
    }

    /// Has those run that want to know of this event.
    pub fn tell(&self, event: &Event) {
        let hooks = self.shared.hooks();
        let now = hooks.iter().enumerate().skip(self.first).take(self.count);
        let wanted = now.filter(|(_, hook)| hook.wants(event));
        let mut queue = self.shared.queue();
        let collapsed = wanted.map(|(number, _)| queue.push(number, event.clone())).sum();
        drop((hooks, queue));
        self.shared.collapsed.fetch_add(collapsed, Ordering::Relaxed);
        self.shared.bell.notify_one();
    }

    /// Waits for the end of the thread, if there is one.
    fn over(&self, patience: Duration) -> Result<(), mpsc::RecvTimeoutError> {
        self.ended.as_ref().map_or(Ok(()), |ended| ended.recv_timeout(patience))
    }

    /// What became of them, whenever it is asked.
    pub fn counter(&self) -> impl Fn() -> Counts + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.counts()
    }

    /// Lets those run that wait, for at most this time; what is left is killed.
    pub fn finish(self, patience: Duration) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.bell.notify_one();
        if self.over(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            let waiting = self.shared.counts().waiting;
            log::warn!("hooks: {waiting} have not run within {} s", patience.as_secs());
        }
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.shared.end.notify_one();
        let _ = self.over(LAST);
    }
}

/// The thread that runs them, and the end of it.
fn start(shared: &Arc<Shared>) -> io::Result<mpsc::Receiver<()>> {
    let (alive, ended) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    let run = move || {
        privileges::limit(Task::Hooks);
        runtime.block_on(runner::run(&shared));
        drop(alive);
    };
    thread::Builder::new().name("xlvs-hooks".to_owned()).spawn(run)?;
    Ok(ended)
}
