//! The daemon's socket: HTTP over a unix socket, answers in JSON.
//!
//! `GET /v1/report` is the whole [`Report`], `/v1/services` its services, `/v1/status` the
//! [`Status`](crate::report::Status). `POST /v1/ipvsadm` takes an [`Ask`] and answers with an
//! [`Answer`]. [`events`] streams what happens, [`metrics()`] is for Prometheus. Who may open the socket is who may ask: owner and group.

mod captures;
mod client;
pub mod config;
pub mod connections;
pub mod deny;
mod events;
pub mod explain;
pub mod export;
mod metrics;
mod refusal;
pub mod servers;
pub mod stats;
pub mod verify;

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{get, post},
};

pub use captures::captures;
pub use client::{FetchError, delete, fetch, fetch_within, follow, send, send_within, stream};
pub use events::events;
pub use metrics::{Exporter, metrics};
pub use refusal::Refusal;

use crate::{
    errand::{Closed, Desk, Errand},
    front::{Answer, Ask},
    report::{Report, Service, Status},
};

/// Where answers come from: called for each question.
pub type Source = Arc<dyn Fn() -> Report + Send + Sync>;

/// Octets of the largest question: a restored table of 100,000 servers.
const LARGEST: usize = 32 << 20;

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// Why the socket is not there.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody answers there.
    #[error(
        "{}: another xlvs runs here; stop it, or choose another place with --socket",
        .0.display()
    )]
    Taken(PathBuf),
    /// Something else has the name.
    #[error("{}: is there and is no socket; remove it, or choose another place with --socket", .0.display())]
    NoSocket(PathBuf),
    /// The kernel refused.
    #[error("{}: cannot {action}: {source}; choose another place with --socket", path.display())]
    Refused {
        /// The socket, or its directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bound socket that nobody serves yet. It is removed from the file system in the end.
#[derive(Debug)]
pub struct Endpoint {
    listener: UnixListener,
    name: Name,
}

/// The socket's name in the file system, to be removed as long as it is this socket's.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    inode: u64,
}

impl Drop for Name {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("{}: not removed: {error}", self.path.display());
        }
    }
}

impl Endpoint {
    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.name.path
    }

    /// Makes the socket, and its directory if need be. One that a dead process left is
    /// replaced. Needs no runtime: a daemon can bind before it touches anything else, and so
    /// learns that it is not alone.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn bind(path: &Path) -> Result<Self, ApiError> {
        let refused =
            |action| move |source| ApiError::Refused { path: path.to_owned(), action, source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(refused("make its directory"))?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ApiError::Taken(path.to_owned()),
            _ => refused("bind the socket")(source),
        })?;
        let inode = fs::symlink_metadata(path).map_err(refused("look at it"))?.ino();
        let name = Name { path: path.to_owned(), inode };
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .map_err(refused("set its mode"))?;
        listener.set_nonblocking(true).map_err(refused("bind the socket"))?;
        Ok(Self { listener, name })
    }

    /// Answers until the future is dropped. To be polled within a tokio runtime.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub async fn serve(self, router: Router) -> io::Result<()> {
        let Self { listener, name: _name } = self;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        axum::serve(listener, router).await
    }
}

/// What may be changed, and who does it.
pub fn commands(desk: Desk) -> Router {
    Router::new()
        .route("/v1/ipvsadm", post(ipvsadm).layer(DefaultBodyLimit::max(LARGEST)))
        .with_state(desk)
}

async fn ipvsadm(
    State(desk): State<Desk>,
    Json(ask): Json<Ask>,
) -> Result<Json<Answer>, StatusCode> {
    let answer = desk.ask(|back| Errand::Ipvsadm(ask, back)).await;
    answer.map(Json).map_err(|Closed| StatusCode::SERVICE_UNAVAILABLE)
}

/// What is asked and who answers.
pub fn router(source: Source) -> Router {
    Router::new()
        .route("/v1/report", get(report))
        .route("/v1/services", get(services))
        .route("/v1/status", get(status))
        .with_state(source)
}

type Told<T> = Result<Json<T>, StatusCode>;

async fn report(State(source): State<Source>) -> Told<Report> {
    look(source).await.map(Json)
}

async fn services(State(source): State<Source>) -> Told<Vec<Service>> {
    Ok(Json(look(source).await?.services))
}

async fn status(State(source): State<Source>) -> Told<Status> {
    Ok(Json(look(source).await?.status()))
}

/// Beside control's thread: a worker that does not answer is waited for.
async fn look(source: Source) -> Result<Report, StatusCode> {
    let looked = tokio::task::spawn_blocking(move || source()).await;
    looked.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> Result<(), ApiError> {
    let refused =
        |action| move |source| ApiError::Refused { path: path.to_owned(), action, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused("look at it")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ApiError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ApiError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(refused("remove what a dead process left"))?;
            log::info!("{}: replaced what a dead process left", path.display());
            Ok(())
        }
        Err(error) => Err(refused("see who listens there")(error)),
    }
}
