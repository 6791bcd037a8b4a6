//! Keeps the workers' topology equal to what the kernel has.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dataplane::topology::{PortId, Topology};
use rtnetlink::Handle;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Limits,
    build::{Statics, build},
    dump,
    hops::HopIds,
    kept::Kept,
    monitor::{Heard, Monitor},
    probed::Probed,
    state::{Effect, Keeper, Kernel},
    wanted::wanted,
};
use crate::kernel::neighbours;

/// How long changes are gathered before one topology shows them all.
const GATHER: Duration = Duration::from_millis(4);

/// Routes are read once more so long after the last sign that they may have changed: the
/// kernel tells of an interface before it takes its routes away (`dev_close_many`).
const SETTLE: Duration = Duration::from_millis(120);

/// After reading routes they rest four times as long as that took, but no longer than
/// this, if reading was not longer still: a large table must not take all the time.
const REST: Duration = Duration::from_millis(300);

/// What is to be mirrored.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The served interfaces in file order; the index is the [`PortId`].
    pub interfaces: Vec<String>,
    /// Real servers with a `mac:`.
    pub statics: Statics,
    /// Where health probes by way of services come from.
    pub probed: Option<Probed>,
    /// How much.
    pub limits: Limits,
}

/// What others ask of the mirror while it runs.
#[derive(Clone, Debug)]
pub enum Request {
    /// The real servers and the VIPs; instead of those given before.
    Servers {
        /// Those with `mac:`.
        statics: Statics,
        /// The others' addresses; those on the link are kept resolved.
        servers: Vec<IpAddr>,
        /// The VIPs, which a real server may have too.
        vips: Vec<IpAddr>,
    },
    /// A worker has packets for a neighbour that it found no hop for.
    Resolve(PortId, IpAddr),
    /// Take back the managed neighbours and return.
    Stop,
}

/// Why there is no mirror.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No netlink socket, or no subscription.
    #[error("cannot listen to the kernel's routes and neighbours: {0}")]
    Subscribe(#[source] io::Error),
    /// A dump failed.
    #[error("cannot read the kernel's routes and neighbours: {0}")]
    Read(#[source] io::Error),
    /// The socket failed.
    #[error("the kernel's notifications broke off: {0}")]
    Listen(#[source] io::Error),
}

/// What the mirror has counted, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Topologies published.
    pub published: AtomicU64,
    /// Times that the kernel left notifications out and everything was read again.
    pub overruns: AtomicU64,
    /// Routes of the main table beyond the limit, at present.
    pub routes_refused: AtomicU64,
    /// Neighbours beyond the limit, at present.
    pub neighbours_refused: AtomicU64,
}

/// The mirror; made by [`Mirror::open`], kept going by [`Mirror::watch`].
pub struct Mirror {
    settings: Settings,
    handle: Handle,
    connection: JoinHandle<()>,
    monitor: Monitor,
    kernel: Kernel,
    ids: HopIds,
    counters: Arc<Counters>,
    servers: Vec<IpAddr>,
    kept: Kept,
    due: Due,
    /// It was said that a route's nexthop object is not known.
    object_said: bool,
}

/// When what is to be done next; `None`: nothing to do.
#[derive(Debug, Default)]
struct Due {
    publish: Option<Instant>,
    routes: Option<Instant>,
    settle: Option<Instant>,
    tend: Option<Instant>,
    /// Routes are not read before this.
    routes_rest: Option<Instant>,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Mirror {
    /// Subscribes to the kernel's notifications, then reads its state, so that nothing
    /// falls between. Needs a tokio runtime; the network namespace is the thread's.
    ///
    /// # Errors
    /// Netlink refuses.
    pub async fn open(settings: Settings) -> Result<Self, MirrorError> {
        let monitor = Monitor::subscribe().map_err(MirrorError::Subscribe)?;
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(MirrorError::Subscribe)?;
        let connection = tokio::spawn(connection);
        let kernel =
            dump::everything(&handle, settings.limits.routes).await.map_err(MirrorError::Read)?;
        Ok(Self {
            ids: HopIds::new(settings.limits.neighbours),
            settings,
            handle,
            connection,
            monitor,
            kernel,
            counters: Arc::default(),
            servers: Vec::new(),
            kept: Kept::default(),
            due: Due::default(),
            object_said: false,
        })
    }

    /// What is counted.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The kernel's state, as now known.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The netlink connection, for other requests; it lives as long as the mirror.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The topology as now known.
    pub fn topology(&mut self) -> Topology {
        let Settings { interfaces, statics, probed, .. } = &self.settings;
        build(&self.kernel, &mut self.ids, interfaces, (statics, probed.as_ref()))
    }

    /// Calls `on_change` with the present topology, and again within milliseconds of each
    /// change, until [`Request::Stop`] or until all senders of requests are gone.
    ///
    /// # Errors
    /// Netlink fails.
    pub async fn watch(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut on_change: impl FnMut(Topology),
    ) -> Result<(), MirrorError> {
        self.publish(&mut on_change);
        loop {
            // Not biased: a flood of questions must not keep the kernel's news waiting.
            tokio::select! {
                () = at(self.due.first()) => self.on_time(&mut on_change).await?,
                request = requests.recv() => match request {
                    None | Some(Request::Stop) => break,
                    Some(request) => self.request(request).await,
                },
                heard = self.monitor.next() => {
                    self.hear(heard.map_err(MirrorError::Listen)?).await?;
                }
            }
        }
        self.kept.release(&self.handle, &self.kernel).await;
        Ok(())
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), MirrorError> {
        match heard {
            Heard::Overrun => self.start_over().await?,
            Heard::Event(event) => match self.kernel.apply(event) {
                Effect::Nothing => {}
                Effect::Changed => self.due.publish_soon(),
                Effect::RoutesUncertain => {
                    self.due.publish_soon();
                    self.due.read_routes_soon();
                }
            },
        }
        Ok(())
    }

    async fn start_over(&mut self) -> Result<(), MirrorError> {
        let overruns = self.counters.overruns.fetch_add(1, Ordering::Relaxed) + 1;
        log::warn!("netlink: the kernel left notifications out; reading all again ({overruns})");
        self.kernel = dump::everything(&self.handle, self.settings.limits.routes)
            .await
            .map_err(MirrorError::Read)?;
        self.due.publish_soon();
        Ok(())
    }

    async fn on_time(&mut self, on_change: &mut impl FnMut(Topology)) -> Result<(), MirrorError> {
        let now = Instant::now();
        if passed(&mut self.due.routes, now) | passed(&mut self.due.settle, now) {
            self.read_routes().await?;
        }
        if passed(&mut self.due.publish, now) {
            self.publish(on_change);
        }
        if passed(&mut self.due.tend, now) {
            self.due.tend = self.kept.tend(&self.handle, &self.kernel).await;
        }
        Ok(())
    }

    async fn read_routes(&mut self) -> Result<(), MirrorError> {
        let begun = Instant::now();
        let routes = dump::routes(&self.handle).await.map_err(MirrorError::Read)?;
        if self.kernel.replace_routes(routes) {
            self.due.publish = Some(begun);
        }
        let took = begun.elapsed();
        self.due.routes_rest = Some(Instant::now() + (took * 4).min(REST).max(took));
        Ok(())
    }

    fn publish(&mut self, on_change: &mut impl FnMut(Topology)) {
        let topology = self.topology();
        self.count();
        self.report_objects();
        let wanted = wanted(&topology, self.ids.lines(), &self.servers);
        self.kept.want(wanted.into_iter().take(self.settings.limits.neighbours).collect());
        self.due.tend = Some(Instant::now());
        on_change(topology);
    }

    /// Notes what the limits refused; one log line when it begins, one when it ends.
    fn count(&self) {
        self.counters.published.fetch_add(1, Ordering::Relaxed);
        let Limits { routes, neighbours } = self.settings.limits;
        let counted = [
            (&self.counters.routes_refused, self.kernel.refused_routes, "routes", routes),
            (
                &self.counters.neighbours_refused,
                self.ids.refused() as u64,
                "neighbours",
                neighbours,
            ),
        ];
        for (counter, now, what, limit) in counted {
            match (counter.swap(now, Ordering::Relaxed), now) {
                (0, 1..) => log::error!(
                    "limits.{what}: {now} {what} beyond the limit of {limit} are not seen; raise it"
                ),
                (1.., 0) => log::info!("limits.{what}: all {what} are within {limit} again"),
                _ => {}
            }
        }
    }

    /// Says once that the kernel keeps to itself where a route leads.
    fn report_objects(&mut self) {
        let unknown = || self.kernel.routes.values().flatten().find_map(|route| route.object);
        if !self.object_said
            && let Some(object) = unknown()
        {
            self.object_said = true;
            log::warn!(
                "a route uses nexthop object {object}, which the kernel does not spell out: its \
                 traffic is dropped; set net.ipv4.nexthop_compat_mode to 1"
            );
        }
    }

    async fn request(&mut self, request: Request) {
        match request {
            Request::Servers { statics, servers, vips } => {
                self.settings.statics = statics;
                self.servers = servers;
                self.kept.know_vips(vips);
                self.due.publish_soon();
            }
            Request::Resolve(port, ip) => {
                let name = self.settings.interfaces.get(usize::from(port));
                let Some(index) = name.and_then(|name| self.kernel.index_of(name)) else { return };
                let known = self.kernel.neighbours.get(&(index, ip));
                if known.is_some_and(|n| n.mac.is_some() || n.keeper != Keeper::Ageing) {
                    return;
                }
                if let Err(error) = neighbours::resolve(&self.handle, index, ip).await {
                    log::debug!("neighbour {ip}: the kernel does not resolve it: {error}");
                }
            }
            Request::Stop => {}
        }
    }
}

impl Due {
    fn first(&self) -> Option<Instant> {
        [self.publish, self.routes, self.settle, self.tend].into_iter().flatten().min()
    }

    fn publish_soon(&mut self) {
        self.publish.get_or_insert_with(|| Instant::now() + GATHER);
    }

    fn read_routes_soon(&mut self) {
        let now = Instant::now();
        let soon = (now + GATHER).max(self.routes_rest.unwrap_or(now));
        self.routes.get_or_insert(soon);
        self.settle = Some(soon.max(now + SETTLE));
    }
}

/// True if the moment has come; it is done with then.
fn passed(moment: &mut Option<Instant>, now: Instant) -> bool {
    moment.take_if(|moment| *moment <= now).is_some()
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
