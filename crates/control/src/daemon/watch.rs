//! The daemon's main loop: the kernel changes, the operator asks, signals end it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use dataplane::{engine::Order, forward::Forward, topology::Topology};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::interval,
};

use super::{Daemon, StartError};
use crate::{
    api,
    report::{Facts, Report},
    topology::{Mirror, Request},
};

/// How often old snapshots are freed and the sockets' statistics read.
const UPKEEP: Duration = Duration::from_millis(500);

/// A question of the API: it is answered by the main loop, which has everything.
type Question = oneshot::Sender<Report>;

impl Daemon {
    /// Follows the kernel and answers until SIGTERM or SIGINT.
    pub(super) async fn watch(
        &mut self,
        mirror: Mirror,
        (ask, asked): (mpsc::Sender<Request>, mpsc::Receiver<Request>),
        listener: api::Listener,
    ) -> Result<(), StartError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
        let _ = ask.send(self.servers()).await;
        let (changed, mut topologies) = watch::channel(Arc::new(Topology::default()));
        let mut mirror = tokio::spawn(mirror.watch(asked, move |topology| {
            changed.send_replace(Arc::new(topology));
        }));
        let (question, mut questions) = mpsc::channel::<Question>(16);
        let api = tokio::spawn(api::serve(listener, question));
        let mut upkeep = interval(UPKEEP);
        log::info!("forwarding");
        let result = loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                ended = &mut mirror => break match ended {
                    Ok(Err(error)) => Err(error.into()),
                    _ => Ok(()),
                },
                Ok(()) = topologies.changed() => {
                    let topology = Arc::clone(&topologies.borrow_and_update());
                    self.follow(&topology);
                }
                Some(question) = questions.recv() => {
                    let _ = question.send(self.report());
                }
                _ = upkeep.tick() => self.publisher.release(&self.crew.stats()),
            }
        };
        api.abort();
        if !mirror.is_finished() {
            let _ = ask.send(Request::Stop).await;
            let _ = mirror.await;
        }
        result
    }

    /// A new topology: the workers get it, then the match maps and the ports follow.
    fn follow(&mut self, topology: &Topology) {
        self.publisher.topology(topology.clone());
        if let Err(error) = self.matched.update(&self.publisher.current()) {
            log::error!("the match maps: {error}; raise limits.services or limits.servers");
        }
        self.ports.follow(topology, &self.crew);
        for handle in self.crew.handles() {
            handle.waker.wake();
        }
    }

    /// Whom the kernel is to keep resolved.
    fn servers(&self) -> Request {
        let snapshot = self.publisher.current();
        let servers: Vec<IpAddr> = snapshot
            .services
            .servers
            .iter()
            .flatten()
            .filter(|server| server.mac.is_none() || server.forward != Forward::Dr)
            .map(|server| server.address)
            .collect();
        Request::Servers { servers, vips: snapshot.services.vips.iter().copied().collect() }
    }

    /// Everything that can be listed, as it is now.
    fn report(&self) -> Report {
        let (sender, receiver) = crossbeam_channel::bounded(self.crew.handles().len());
        for handle in self.crew.handles() {
            handle.order(Order::Report(sender.clone()));
        }
        drop(sender);
        let rings = receiver.iter().flatten().collect();
        let facts = Facts {
            started: self.started,
            ports: self.ports.facts(),
            cores: self.crew.cores.clone(),
            rings,
        };
        Report::new(&self.director, &self.publisher.current(), &self.crew.stats(), &facts)
    }
}
