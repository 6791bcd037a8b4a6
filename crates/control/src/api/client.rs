//! Asking a running daemon.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, body::Bytes, client::conn::http1, header, http::request::Builder,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
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
    /// It is there and says nothing.
    #[error("{}: the xlvs here does not answer: {reason}; see its log", socket.display())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How that was seen.
        reason: String,
    },
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
    fetch_within(socket, path, PATIENCE)
}

/// As [`fetch`], within another time than five seconds.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch_within(socket: &Path, path: &str, patience: Duration) -> Result<Vec<u8>, FetchError> {
    exchange(socket, Request::get(path), Vec::new(), patience)
}

/// Sends the daemon at `socket` something, as JSON; otherwise as [`fetch`].
///
/// # Errors
/// See [`FetchError`].
pub fn send<T: Serialize>(socket: &Path, path: &str, what: &T) -> Result<Vec<u8>, FetchError> {
    let json = serde_json::to_vec(what).map_err(|error| FetchError::Broken {
        socket: socket.to_owned(),
        reason: error.to_string(),
    })?;
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    exchange(socket, request, json, PATIENCE)
}

fn exchange(
    socket: &Path,
    request: Builder,
    body: Vec<u8>,
    patience: Duration,
) -> Result<Vec<u8>, FetchError> {
    let broken = |reason: String| FetchError::Broken { socket: socket.to_owned(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(error.to_string()))?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(patience, ask(socket, request, body));
        asked.await.unwrap_or_else(|_| {
            let reason = format!("nothing came for {} s", patience.as_secs_f32());
            Err(FetchError::Silent { socket: socket.to_owned(), reason })
        })
    })
}

async fn ask(socket: &Path, request: Builder, body: Vec<u8>) -> Result<Vec<u8>, FetchError> {
    let broken = |error: &dyn std::error::Error| FetchError::Broken {
        socket: socket.to_owned(),
        reason: error.to_string(),
    };
    let stream = UnixStream::connect(socket).await.map_err(|error| refusal(socket, &error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let request = request
        .header(header::HOST, "xlvs")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(&error))?;
    let path = request.uri().to_string();
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(FetchError::Status { socket: socket.to_owned(), path, status });
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
        // Nobody takes connections from the queue.
        io::ErrorKind::WouldBlock => {
            FetchError::Silent { socket, reason: "too many wait for an answer".to_owned() }
        }
        io::ErrorKind::PermissionDenied => FetchError::Forbidden(socket),
        _ => FetchError::Broken { socket, reason: error.to_string() },
    }
}
