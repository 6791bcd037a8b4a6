//! Ending connections on an operator's word: which ones the workers are to look for, and how many
//! they found.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use dataplane::{
    engine::{Handle, Order},
    forward::Protocol,
    kill::{Doomed, Kill},
    snapshot::{Services, Snapshot},
};
use tokio::sync::Mutex;

use crate::front::{Filter, key};

/// Whom the orders go to. One at a time: others wait.
#[derive(Clone)]
pub struct Killer {
    snapshots: Arc<ArcSwap<Snapshot>>,
    workers: Vec<Handle>,
    turn: Arc<Mutex<()>>,
}

/// How often it is asked whether the workers are through.
const LOOK: Duration = Duration::from_millis(5);
/// Ten million connections take a busy worker seconds; longer than this, it has been stopped from
/// outside.
const PATIENCE: Duration = Duration::from_secs(60);

impl Killer {
    /// That of these workers.
    pub fn new(snapshots: Arc<ArcSwap<Snapshot>>, workers: Vec<Handle>) -> Self {
        Self { snapshots, workers, turn: Arc::default() }
    }

    /// Ends the connections that a filter lets through, and the persistence templates if they are to
    /// end, too; how many. It takes as long as the workers need for their tables, a bounded part in
    /// each breath.
    pub async fn kill(&self, only: &Filter, templates: bool) -> (u64, u64) {
        let _turn = self.turn.lock().await;
        let doomed = doomed(&self.snapshots.load().services, only, templates);
        let kill = Arc::new(Kill::new(doomed, self.workers.len()));
        for worker in &self.workers {
            worker.order(Order::Kill(Arc::clone(&kill)));
        }
        let through = async {
            while !kill.is_done() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, through).await.is_err() {
            log::warn!("not every worker is through: some of the connections may go on");
        }
        kill.ended()
    }
}

/// A filter in the datapath's words.
pub fn doomed(services: &Services, only: &Filter, templates: bool) -> Doomed {
    let service = only.service.as_ref().map(key);
    let fits = |server: &dataplane::snapshot::Server| {
        let of = services.services.get(server.service as usize).and_then(Option::as_ref);
        only.server.is_none_or(|address| address == server.address)
            && service.is_none_or(|key| of.is_some_and(|of| of.key == key))
            && only.name.as_ref().is_none_or(|name| of.is_some_and(|of| of.name == *name))
    };
    let chosen = only.server.is_some() || service.is_some() || only.name.is_some();
    Doomed {
        client: only.client,
        vip: only.vip,
        servers: chosen
            .then(|| services.servers.iter().map(|s| s.as_ref().is_some_and(fits)).collect()),
        protocol: only.protocol.map(|protocol| match protocol {
            ipvsadm::Protocol::Tcp => Protocol::Tcp,
            ipvsadm::Protocol::Udp => Protocol::Udp,
            ipvsadm::Protocol::Sctp => Protocol::Sctp,
        }),
        state: only.state.clone(),
        templates,
    }
}
