//! The worker threads: pinned, named, told what to do by orders.

use std::{sync::Arc, thread::JoinHandle};

use crossbeam_channel::bounded;
use dataplane::{
    clock::Clock,
    director::Director,
    engine::{Engine, Handle, Idle, Order},
    punt,
    rings::Rings,
    stats::Stats,
    worker::Worker,
};
use xsk::{Pool, Tap, Waker};

use super::{
    StartError, clock,
    privileges::{self, Task},
    probes::Probes,
    publish::Publisher,
};
use crate::model::{self, Model};

/// All workers.
pub(super) struct Crew {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    /// The core of each worker; `None` if it could not be pinned.
    pub(super) cores: Vec<Option<usize>>,
    /// The clock that all of them read.
    pub(super) clock: Clock,
}

impl Crew {
    /// Starts a worker for each pool, without ports yet, and the punt thread.
    pub(super) fn start(
        model: &Model,
        director: &Arc<Director>,
        publisher: &Publisher,
        (tap, probes): (&Arc<Tap>, Option<Probes>),
        pools: Vec<Pool>,
    ) -> Result<Self, StartError> {
        let mac = xsk::link::mac(tap.name()).map_err(StartError::Tap)?;
        let room = model.chunk_size as usize;
        let (punts, punt_thread) = punt::queue(Arc::clone(tap), mac, model.limits.punt_rate, room);
        spawn("xlvs-punt".to_owned(), move || punt_thread.run())?;
        let clock = clock();
        let cores = cores(model, pools.len());
        let workers = pools.len();
        let (mut probe_ports, probe_tap) = match probes {
            Some(probes) => {
                let (ports, tap) = probes.ports(workers, room);
                (ports, Some(tap))
            }
            None => (Vec::new(), None),
        };
        probe_ports.reverse();
        let mut crew = Self { handles: Vec::new(), threads: Vec::new(), cores, clock };
        for (number, pool) in pools.into_iter().enumerate() {
            let stats = Arc::new(Stats::new(model.limits.servers as usize));
            let (orders, receiver) = bounded(64);
            let waker = Waker::new().map_err(StartError::Thread)?;
            let engine = Engine {
                worker: Worker::new(
                    (number, workers),
                    Arc::clone(director),
                    publisher.pointer(),
                    Arc::clone(&stats),
                ),
                rings: Rings::new(pool, model.interfaces.len(), probe_ports.pop(), punts.clone()),
                clock,
                idle: match model.workers.idle {
                    model::Idle::Adaptive => Idle::Adaptive,
                    model::Idle::Poll => Idle::Poll,
                },
                orders: receiver,
                waker: waker.clone(),
            };
            let core = crew.cores[number];
            let thread = spawn(format!("xlvs-worker-{number}"), move || {
                pin(number, core);
                engine.run();
            })?;
            crew.threads.push(thread);
            crew.handles.push(Handle { orders, waker, stats });
        }
        if let (Some(tap), Some(first)) = (probe_tap, crew.handles.first()) {
            super::probes::serve(tap, first.waker.clone(), director)?;
        }
        Ok(crew)
    }

    /// The workers' handles, by number.
    pub(super) fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// The workers' counters, by number.
    pub(super) fn stats(&self) -> Vec<Arc<Stats>> {
        self.handles.iter().map(|handle| Arc::clone(&handle.stats)).collect()
    }

    /// Stops all workers and waits for them.
    pub(super) fn stop(self) {
        for handle in &self.handles {
            handle.order(Order::Stop);
        }
        for thread in self.threads {
            // A worker that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

/// The core for each worker: as configured, else the allowed ones in turn.
fn cores(model: &Model, workers: usize) -> Vec<Option<usize>> {
    // Listed before anything is pinned: afterwards a thread sees one core only.
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let wanted = model.workers.cores.as_ref().unwrap_or(&allowed);
    (0..workers).map(|number| wanted.get(number % wanted.len().max(1)).copied()).collect()
}

fn pin(number: usize, core: Option<usize>) {
    let pinned =
        core.filter(|id| core_affinity::set_for_current(core_affinity::CoreId { id: *id }));
    match (core, pinned) {
        (_, Some(core)) => log::info!("worker {number} on core {core}"),
        (Some(core), None) => log::warn!("worker {number} could not be pinned to core {core}"),
        (None, None) => log::warn!("worker {number} is not pinned: no core list"),
    }
}

/// A thread that has no capabilities, and whose panic ends the process: half a director is worse
/// than none.
pub(super) fn spawn(
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    spawn_as_control(name, || {
        privileges::limit(Task::Packets);
        run();
    })
}

/// One that has those of the thread that makes it.
pub(super) fn spawn_as_control(
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let guarded = move || {
        let _guard = EndOfProcess;
        run();
    };
    std::thread::Builder::new().name(name).spawn(guarded).map_err(StartError::Thread)
}

/// Ends the process if it is dropped by a panic. The release build aborts anyway.
struct EndOfProcess;

impl Drop for EndOfProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!("{}: panicked; xlvs ends", std::thread::current().name().unwrap_or("?"));
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::spawn;

    /// The test runs itself once more, to panic in a process of its own.
    #[test]
    fn a_panic_in_a_thread_ends_the_process() {
        const CHILD: &str = "XLVS_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let thread = spawn("worker".to_owned(), || panic!("as the test wants")).unwrap();
            let _ = thread.join();
            return;
        }
        let name = "daemon::workers::tests::a_panic_in_a_thread_ends_the_process";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
    }
}
