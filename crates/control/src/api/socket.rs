//! The unix socket: who may open it is who may do everything. In a thread of its own, beside
//! control's loop and beside whoever comes over TCP.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use axum::Router;
use nix::unistd::User;

use super::{
    Caller, Role,
    group::{self, GroupError},
    listener::{Door, Patience, Who, serve},
    room::Room,
    thread::{Served, Terms},
};
use crate::daemon::privileges::Task;

/// Owner and group may connect.
const MODE: u32 = 0o660;
/// Connections at a time.
const CONNECTIONS: usize = 256;

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

    /// Answers there, until what is returned is dropped.
    ///
    /// # Errors
    /// There is no thread for it, or the runtime does not take the socket.
    pub fn start(self, router: Router) -> io::Result<Served> {
        // Verifying makes the same sockets as checks do, and asks nft.
        let terms = Terms { name: "xlvs-socket", task: Task::Control, at_once: CONNECTIONS };
        Served::start(terms, || {
            let Self { listener, name } = self;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            Ok(async move {
                let _name = name;
                // Seats of its own: who comes over TCP does not take them.
                serve(listener, router, Room::of(CONNECTIONS), Patience::default()).await;
            })
        })
    }

    /// Lets a group use it beside root.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn give(&self, group: &str) -> Result<(), GroupError> {
        group::give(self.path(), group)
    }
}

impl Door for tokio::net::UnixListener {
    type Raw = tokio::net::UnixStream;
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Raw> {
        self.accept().await.map(|(stream, _)| stream)
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn's future would borrow the door")]
    fn greet(
        &self,
        stream: Self::Raw,
    ) -> impl Future<Output = io::Result<(Self::Stream, Who)>> + Send + 'static {
        async move {
            // SO_PEERCRED: whoever connected, whatever they say.
            let name = user(stream.peer_cred()?.uid()).await;
            Ok((stream, Who::Peer(Caller { name: name.into(), role: Role::Admin })))
        }
    }
}

/// A user's name, or their number. Who keeps the names may be slow: nobody else waits.
async fn user(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    let known = tokio::task::spawn_blocking(move || User::from_uid(uid.into())).await;
    known.ok().and_then(Result::ok).flatten().map_or(format!("uid {uid}"), |user| user.name)
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
