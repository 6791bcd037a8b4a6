//! The daemon's main loop: the kernel changes, the operator asks, signals end it.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use dataplane::{
    engine::{Handle, Order},
    snapshot::Snapshot,
    topology::Topology,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    Daemon, StartError, apply, autoreload,
    signals::{Signals, Wish},
    statics,
};
use crate::{
    api,
    capture::Captures,
    connection_log::Logger,
    errand::Desk,
    explain::Explainer,
    killer::Killer,
    metrics,
    registry::Hints,
    report::{self, Facts, Ring},
    topology::{Mirror, MirrorError, Request},
    traffic,
    verify::Verifier,
};

/// How often old snapshots are freed, the sockets' statistics read, and traffic's hints heeded.
const UPKEEP: Duration = Hints::PERIOD;

/// How often servers in slow start get their next share.
const RAMP: Duration = Duration::from_secs(1);

impl Daemon {
    /// Follows the kernel and answers until SIGTERM or SIGINT; a second one ends the grace.
    pub(super) async fn watch(
        &mut self,
        mirror: Mirror,
        asked: mpsc::Receiver<Request>,
        (endpoint, remote, scraped): (api::Endpoint, api::Remote, metrics::Bound),
        mut signals: Signals,
    ) -> Result<(), StartError> {
        let _ = self.ask.send(self.servers()).await;
        let (changed, mut topologies) = watch::channel(Arc::new(Topology::default()));
        let mut mirror = tokio::spawn(mirror.watch(asked, move |topology| {
            changed.send_replace(Arc::new(topology));
        }));
        let (desk, mut errands) = Desk::open();
        let scrape = api::metrics(self.exporter());
        self.listeners = Some(metrics::Listeners::new(scrape.clone().into(), scraped));
        let parts = [
            api::report(self.source()),
            api::servers::servers(desk.clone()),
            api::deny::deny(desk.clone()),
            api::stats::stats(desk.clone()),
            api::export::export(desk.clone()),
            api::connections::connections(desk.clone(), self.killer()),
            scrape,
            api::config::config(desk.clone(), self.configured.origin.clone()),
            api::ipvsadm(desk.clone()),
            api::events(Arc::clone(&self.chronicle)),
            api::captures(self.captures()),
            api::verify::verify(self.verifier(desk.clone())),
            api::explain::explain(self.explainer()),
        ];
        let router = api::assemble(desk.clone(), parts);
        let remote = remote.start(router.clone(), api::Patience::default())?;
        let local = endpoint.start(router).map_err(StartError::Thread)?;
        let mut measure = interval(traffic::PERIOD);
        let mut upkeep = interval(UPKEEP);
        let mut watcher = None;
        let mut ramp = interval(RAMP);
        ramp.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell_director("starting", "forwarding", String::new());
        self.supervisor.ready();
        let mut end = None;
        let result = loop {
            tokio::select! {
                biased;
                wish = signals.next() => match (wish, end) {
                    (Wish::Reload, _) => self.reload(&desk),
                    (Wish::End, None) => end = Some(self.withdraw().await),
                    (Wish::End, Some(_)) => break Ok(()),
                },
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                    break Ok(());
                }
                ended = &mut mirror => break match ended {
                    Ok(Err(error)) => Err(error.into()),
                    Ok(Ok(())) => Err(MirrorError::Listen(io::ErrorKind::BrokenPipe.into()).into()),
                    Err(panic) => Err(StartError::Runtime(io::Error::other(panic))),
                },
                Ok(()) = topologies.changed() => {
                    let topology = Arc::clone(&topologies.borrow_and_update());
                    self.follow(&topology);
                    if end.is_none() {
                        self.vips.restore(&topology).await;
                        self.follow_quorums().await;
                    }
                }
                Some(errand) = errands.recv() => self.run(errand).await,
                Some(event) = self.found.recv() => self.hear(event).await,
                () = apply::at(self.configured.trial()) => self.revert().await,
                () = autoreload::change(&mut watcher), if end.is_none() => self.reload(&desk),
                _ = measure.tick() => self.measure(),
                _ = ramp.tick(), if self.registry.ramps() => self.publish().await,
                _ = upkeep.tick() => {
                    self.look_after(&mut watcher);
                    self.publisher.release(&self.crew.stats());
                    self.ports.retry(&self.publisher.current().topology, &self.crew);
                    self.ports.note_facts();
                    self.release().await;
                    self.look_at_checks().await;
                    self.heed_traffic().await;
                    self.end_orders().await;
                    self.tell_supervisor();
                }
            }
        };
        drop((local, remote));
        drop(self.listeners.take());
        if !mirror.is_finished() {
            let _ = self.ask.send(Request::Stop).await;
            let _ = mirror.await;
        }
        result
    }

    /// Has the configuration watched as long as it says so.
    fn look_after(&self, watcher: &mut Option<autoreload::Watcher>) {
        match (self.registry.model.autoreload, &watcher) {
            (true, None) => {
                *watcher = Some(autoreload::Watcher::start(self.configured.origin.clone()));
            }
            (false, Some(_)) => *watcher = None,
            _ => {}
        }
    }

    /// Withdraws managed VIPs, so that no new clients come; returns when to stop. Until then
    /// everything goes on.
    async fn withdraw(&mut self) -> Instant {
        self.stopping = true;
        self.show();
        self.withdraw_vips().await;
        let grace = self.registry.model.stop_grace;
        self.supervisor.stopping(grace);
        let reason = format!("forwarding goes on for {} s", grace.as_secs_f32());
        self.tell_director("forwarding", "stopping", reason);
        for vip in self.registry.model.vips.iter().filter(|vip| vip.managed) {
            if !self.withdrawn.contains(&vip.address) {
                let states = ["announced", "withdrawn"];
                self.tell_vip(vip.address, states, "xlvs stops".to_owned());
            }
        }
        Instant::now() + grace
    }

    /// Control's loop turns; and how it is, in a line.
    fn tell_supervisor(&mut self) {
        self.supervisor.beat();
        if !self.supervisor.listens() || self.stopping {
            return;
        }
        let current = self.publisher.current();
        let servers = current.services.servers.iter().flatten();
        let (up, all) =
            servers.fold((0, 0), |(up, all), server| (up + usize::from(server.up), all + 1));
        let services = self.registry.model.services.len();
        self.supervisor.say(format!("forwarding: services {services}, servers up {up} of {all}"));
    }

    /// A new topology: the workers get it, then the match maps and the ports follow.
    fn follow(&mut self, topology: &Topology) {
        self.publisher.topology(topology.clone());
        self.matched.follow(&self.publisher.current());
        self.follow_vips(topology);
        self.ports.follow(topology, &self.crew);
        self.wake();
    }

    /// Wakes the workers that sleep.
    pub(super) fn wake(&self) {
        for handle in self.crew.handles() {
            handle.waker.wake();
        }
    }

    /// Whom the kernel is to keep resolved.
    pub(super) fn servers(&self) -> Request {
        let snapshot = self.publisher.current();
        let statics = statics(&snapshot.services);
        let servers: Vec<IpAddr> = snapshot
            .services
            .servers
            .iter()
            .flatten()
            .filter(|server| server.mac.is_none())
            .map(|server| server.address)
            .collect();
        let vips = snapshot.services.vips.iter().copied().collect();
        Request::Servers { servers, statics, vips }
    }

    /// Where captures are begun.
    fn captures(&self) -> Captures {
        let room = self.registry.model.chunk_size as usize;
        Captures::new(self.crew.handles().to_vec(), self.publisher.pointer(), room)
    }

    /// Who says what would happen to packets.
    fn explainer(&self) -> Explainer {
        Explainer {
            director: Arc::clone(&self.director),
            snapshots: self.publisher.pointer(),
            clock: self.crew.clock,
        }
    }

    /// Who verifies, and makes requests through the datapath.
    fn verifier(&self, desk: Desk) -> Verifier {
        let (net, way) = (self.net.clone(), self.way.clone());
        Verifier { explainer: self.explainer(), net, way, desk }
    }

    /// Who ends connections.
    fn killer(&self) -> Killer {
        Killer::new(self.publisher.pointer(), self.crew.handles().to_vec())
    }

    /// What answers scrapers.
    fn exporter(&self) -> api::Exporter {
        api::Exporter {
            source: self.source(),
            collector: Arc::default(),
            node_ipvs: Arc::clone(&self.node_ipvs),
        }
    }

    /// Where the API's answers come from: everything that can be listed, as it is then.
    fn source(&self) -> api::Source {
        let director = Arc::clone(&self.director);
        let snapshots = self.publisher.pointer();
        let (handles, stats) = (self.crew.handles().to_vec(), self.crew.stats());
        let (started, started_at, clock) = (self.started, self.started_at, self.crew.clock);
        let (cores, chronicle) = (self.crew.cores.clone(), Arc::clone(&self.chronicle));
        let odometer = Arc::clone(&self.registry.odometer);
        let interfaces = self.ports.facts();
        let hooks = self.hooks.counter();
        let logged = self.logger.as_ref().map(Logger::counter);
        let (checked, outlook) = (Arc::clone(&self.checked), Arc::clone(&self.outlook));
        Arc::new(move || {
            let (rings, alive) = rings(&snapshots.load(), &handles);
            let facts = Facts {
                started,
                started_at,
                now: clock.tick(),
                interfaces: interfaces.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                cores: cores.clone(),
                rings,
                alive,
                health: checked.load_full(),
                outlook: outlook.load_full(),
                hooks: hooks(),
                connection_log: logged.as_ref().map(|logged| logged()),
                events: chronicle.counts(),
                odometer: Arc::clone(&odometer),
            };
            // An id may get another owner between a look at who has it and at what it counted.
            let mut snapshot = snapshots.load_full();
            for _ in 0..LOOKS {
                let report = report::build(&director, &snapshot, &stats, &facts);
                let looked = std::mem::replace(&mut snapshot, snapshots.load_full());
                if looked.generation == snapshot.generation {
                    return report;
                }
            }
            report::build(&director, &snapshot, &stats, &facts)
        })
    }
}

/// The kernel's counters of all sockets; each worker reads those of its own. And which of the
/// workers answered: all are asked at once, so the silent ones cost one wait together.
fn rings(snapshot: &Snapshot, handles: &[Handle]) -> (Vec<Ring>, Vec<bool>) {
    let ask = |handle: &Handle| {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        handle.order(Order::Report(sender));
        receiver
    };
    let asked: Vec<_> = handles.iter().map(ask).collect();
    let deadline = std::time::Instant::now() + ANSWER_TIME;
    let (mut rings, mut alive) = (Vec::new(), Vec::new());
    for (worker, answer) in asked.into_iter().enumerate() {
        let stats = answer.recv_deadline(deadline);
        alive.push(stats.is_ok());
        for (port, queue, stats) in stats.unwrap_or_default() {
            let interface = &snapshot.topology.interfaces[usize::from(port)];
            rings.push(Ring::new(&interface.name, queue, worker, &stats));
        }
    }
    rings.sort_by(|a, b| (&a.interface, a.queue).cmp(&(&b.interface, b.queue)));
    (rings, alive)
}

/// How often a report is made anew because it was overtaken by a publication.
const LOOKS: usize = 3;

/// How long a worker may take to answer: it looks once a breath.
const ANSWER_TIME: Duration = Duration::from_millis(400);
