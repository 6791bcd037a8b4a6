//! The mirror under test.

use std::{
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use control::topology::{Limits, Mirror, Request, Settings, Statics, mirror::Counters};
use dataplane::topology::Topology;

/// What the issue allows from a kernel event to the workers.
pub(crate) const ALLOWED: Duration = Duration::from_secs(1);

/// The mirror, running in a thread of this namespace.
pub(crate) struct Watch {
    latest: Arc<(Mutex<Topology>, Condvar)>,
    requests: tokio::sync::mpsc::Sender<Request>,
    thread: Option<thread::JoinHandle<()>>,
    pub(crate) counters: Arc<Counters>,
}

impl Watch {
    pub(crate) fn start(interfaces: &[&str]) -> Self {
        Self::with(interfaces, Limits::default(), |_| ())
    }

    /// `on_change` is called before the topology is seen, in the mirror's thread.
    pub(crate) fn with(
        interfaces: &[&str],
        limits: Limits,
        on_change: impl Fn(&Topology) + Send + 'static,
    ) -> Self {
        let settings = Settings {
            interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(),
            statics: Statics::default(),
            probed: None,
            limits,
        };
        let latest = Arc::new((Mutex::new(Topology::default()), Condvar::new()));
        let (requests, asked) = tokio::sync::mpsc::channel(16);
        let (send_counters, counters) = mpsc::channel();
        let shared = latest.clone();
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime").block_on(async {
                let mirror = Mirror::open(settings).await.expect("netlink");
                send_counters.send(mirror.counters()).expect("the test");
                let publish = |topology: Topology| {
                    on_change(&topology);
                    *shared.0.lock().unwrap() = topology;
                    shared.1.notify_all();
                };
                mirror.watch(asked, publish).await.expect("netlink");
            });
        });
        let counters = counters.recv().expect("the mirror");
        let watch = Self { latest, requests, thread: Some(thread), counters };
        watch.until("the first topology", |t| t.route_generation > 0);
        watch
    }

    pub(crate) fn ask(&self, request: Request) {
        self.requests.blocking_send(request).expect("the mirror");
    }

    /// Waits until the topology is as `expected`; at most a second.
    pub(crate) fn until(&self, what: &str, expected: impl FnMut(&Topology) -> bool) -> Topology {
        self.within(ALLOWED, what, expected)
    }

    pub(crate) fn within(
        &self,
        allowed: Duration,
        what: &str,
        mut expected: impl FnMut(&Topology) -> bool,
    ) -> Topology {
        let begun = Instant::now();
        let mut topology = self.latest.0.lock().unwrap();
        while !expected(&topology) {
            let left = allowed.checked_sub(begun.elapsed());
            let left =
                left.unwrap_or_else(|| panic!("{what}: not after {allowed:?}: {topology:#?}"));
            topology = self.latest.1.wait_timeout(topology, left).unwrap().0;
        }
        println!("{what}: {:?}", begun.elapsed());
        topology.clone()
    }

    /// Stops the mirror and waits for it.
    pub(crate) fn stop(mut self) {
        self.ask(Request::Stop);
        self.thread.take().expect("once").join().expect("a clean end");
    }
}
