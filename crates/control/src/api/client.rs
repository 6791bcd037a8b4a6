//! Asking a running daemon.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long the whole answer may take; a daemon needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no daemon.
    #[error(
        "{}: no xlvs answers here ({reason}); start one with `xlvs run`, or name its socket with --socket",
        socket.display()
    )]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// How that was seen.
        reason: &'static str,
    },
    /// Not for this user.
    #[error(
        "{}: you may not ask the xlvs here; be root, or a member of the socket's group",
        .0.display()
    )]
    Forbidden(PathBuf),
    /// It answered something else.
    #[error("{}: {path}: {status}; is it an xlvs of another version?", socket.display())]
    Status {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        path: String,
        /// The answer.
        status: StatusCode,
    },
    /// The daemon is there, but the talk broke down.
    #[error("{}: the xlvs here does not answer: {reason}; see its log", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// Asks the daemon at `socket` for `path`, such as `/v1/report`: the body of its answer.
/// Blocks, for at most five seconds; not to be called within an async runtime.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(socket: &Path, path: &str) -> Result<Vec<u8>, FetchError> {
    let broken = |reason: String| FetchError::Broken { socket: socket.to_owned(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(error.to_string()))?;
    runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, ask(socket, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(broken(format!("nothing came for {} s", PATIENCE.as_secs()))),
        }
    })
}

async fn ask(socket: &Path, path: &str) -> Result<Vec<u8>, FetchError> {
    let broken = |error: &dyn std::error::Error| FetchError::Broken {
        socket: socket.to_owned(),
        reason: error.to_string(),
    };
    let stream = UnixStream::connect(socket).await.map_err(|error| refusal(socket, &error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, "xlvs")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(FetchError::Status {
            socket: socket.to_owned(),
            path: path.to_owned(),
            status,
        });
    }
    let body = answer.into_body().collect().await.map_err(|error| broken(&error))?;
    Ok(body.to_bytes().to_vec())
}

fn refusal(socket: &Path, error: &io::Error) -> FetchError {
    let socket = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => FetchError::NoDaemon { socket, reason: "there is no socket" },
        io::ErrorKind::ConnectionRefused => {
            FetchError::NoDaemon { socket, reason: "nobody listens" }
        }
        io::ErrorKind::PermissionDenied => FetchError::Forbidden(socket),
        _ => FetchError::Broken { socket, reason: error.to_string() },
    }
}
