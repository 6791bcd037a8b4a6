//! `metrics: {listen: ...}`: TCP addresses where `/metrics` is served, and nothing else. Read-only
//! and without secrets, but also without encryption: for the management network.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

/// Scrapers at a time on all addresses; one more is refused.
const CONNECTIONS: usize = 16;
/// A request's header must be there by then.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// All of a connection: one question, and an answer that was taken.
const TIME: Duration = Duration::from_secs(30);
/// The pause after accept() failed, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "metrics: listen: cannot listen on {address}: {source}; choose an address of this box and a port that is free, or remove it"
)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Sockets that nobody serves yet.
#[derive(Debug, Default)]
pub struct Bound(Vec<(SocketAddr, TcpListener)>);

impl Bound {
    /// Takes these addresses. Needs no runtime: a daemon can bind before it touches anything.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind<'a>(
        addresses: impl IntoIterator<Item = &'a SocketAddr>,
    ) -> Result<Self, ListenError> {
        let one = |&address: &SocketAddr| match bind(address) {
            Ok(socket) => Ok((address, socket)),
            Err(source) => Err(ListenError { address, source }),
        };
        addresses.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The addresses that are listened on. Dropping it ends that.
#[derive(Debug)]
pub struct Listeners {
    router: Router,
    room: Arc<Semaphore>,
    tasks: HashMap<SocketAddr, JoinHandle<()>>,
}

impl Listeners {
    /// Serves `router` on these sockets. To be called within a runtime.
    pub fn new(router: Router, bound: Bound) -> Self {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut listeners = Self { router, room, tasks: HashMap::new() };
        listeners.serve(bound);
        listeners
    }

    /// Listens on these addresses and no others; connections on those that stay go on. To be
    /// called within a runtime.
    ///
    /// # Errors
    /// [`ListenError`]; then nothing has changed.
    pub fn follow(&mut self, addresses: &[SocketAddr]) -> Result<(), ListenError> {
        let new = addresses.iter().filter(|address| !self.tasks.contains_key(*address));
        let bound = Bound::bind(new)?;
        self.tasks.retain(|address, task| {
            let stays = addresses.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        self.serve(bound);
        Ok(())
    }

    fn serve(&mut self, bound: Bound) {
        for (address, socket) in bound.0 {
            log::info!("metrics on http://{address}/metrics");
            let served = serve(socket, self.router.clone(), Arc::clone(&self.room));
            self.tasks.insert(address, tokio::spawn(served));
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn serve(socket: TcpListener, router: Router, room: Arc<Semaphore>) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return log::error!("metrics: {error}"),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!("metrics: accept: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Who comes when there is no room is refused by the connection's end.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).keep_alive(false);
            // What goes wrong with a scraper is the scraper's to tell.
            let _ = timeout(TIME, http.serve_connection(TokioIo::new(stream), service)).await;
            drop(place);
        });
    }
}
