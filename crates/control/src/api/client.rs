//! Asking a running daemon.

use std::{future::Future, io, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{Refusal, Way};

/// How long the whole answer may take; a daemon needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no daemon.
    #[error(
        "{way}: no xlvs answers here ({reason}); start one with `xlvs run`, or name its socket with --socket"
    )]
    NoDaemon {
        /// Where it was asked.
        way: Way,
        /// How that was seen.
        reason: &'static str,
    },
    /// Not for this user.
    #[error("{0}: you may not ask the xlvs here; be root, or a member of the socket's group")]
    Forbidden(Way),
    /// It is there and says nothing.
    #[error("{way}: the xlvs here does not answer: {reason}; see its log")]
    Silent {
        /// Where it was asked.
        way: Way,
        /// How that was seen.
        reason: String,
    },
    /// It answered something else.
    #[error("{way}: {path}: {status}; is it an xlvs of another version?")]
    Status {
        /// Where it was asked.
        way: Way,
        /// What was asked for.
        path: String,
        /// The answer.
        status: StatusCode,
    },
    /// It refuses, and says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The daemon is there, but the talk broke down.
    #[error("{way}: the xlvs here does not answer: {reason}; see its log")]
    Broken {
        /// Where it was asked.
        way: Way,
        /// What happened.
        reason: String,
    },
}

/// Asks the daemon at `way` for `path`, such as `/v1/report`: the body of its answer.
/// Blocks, for at most five seconds; not to be called within an async runtime.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(way: impl Into<Way>, path: &str) -> Result<Vec<u8>, FetchError> {
    fetch_within(way, path, PATIENCE)
}

/// As [`fetch`], within another time than five seconds.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch_within(
    way: impl Into<Way>,
    path: &str,
    patience: Duration,
) -> Result<Vec<u8>, FetchError> {
    exchange(&way.into(), Request::get(path), Vec::new(), patience)
}

/// Sends the daemon at `way` something, as JSON; otherwise as [`fetch`].
///
/// # Errors
/// See [`FetchError`].
pub fn send<T: Serialize>(
    way: impl Into<Way>,
    path: &str,
    what: &T,
) -> Result<Vec<u8>, FetchError> {
    send_within(way, path, what, PATIENCE)
}

/// As [`send`], of what takes its time.
///
/// # Errors
/// See [`FetchError`].
pub fn send_within<T: Serialize>(
    way: impl Into<Way>,
    path: &str,
    what: &T,
    patience: Duration,
) -> Result<Vec<u8>, FetchError> {
    let way: &Way = &way.into();
    let json = serde_json::to_vec(what).map_err(|error| broken(way, &error))?;
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    exchange(way, request, json, patience)
}

/// Deletes what is at `path`; otherwise as [`fetch`].
///
/// # Errors
/// See [`FetchError`].
pub fn delete(way: impl Into<Way>, path: &str) -> Result<Vec<u8>, FetchError> {
    exchange(&way.into(), Request::delete(path), Vec::new(), PATIENCE)
}

/// Asks for a stream of lines, and hands each over until the stream ends or `take` has enough
/// (false). Only the beginning has to come within five seconds; otherwise as [`fetch`].
///
/// # Errors
/// See [`FetchError`]; [`FetchError::Broken`] also if the daemon ends.
pub fn follow(
    way: impl Into<Way>,
    path: &str,
    take: &mut dyn FnMut(&str) -> bool,
) -> Result<(), FetchError> {
    let way: &Way = &way.into();
    let broken = |error: &dyn std::error::Error| broken(way, error);
    runtime(way)?.block_on(async {
        let begun = ask(way, Request::get(path), Vec::new());
        let mut body = in_time(way, PATIENCE, begun).await?;
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !take(&String::from_utf8_lossy(&line[..end])) {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

/// Sends something, as JSON, and hands over the pieces of the answer as they come, until it ends,
/// `take` has enough (false), or SIGINT comes. Otherwise as [`follow`].
///
/// # Errors
/// See [`FetchError`].
pub fn stream<T: Serialize>(
    way: impl Into<Way>,
    path: &str,
    what: &T,
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(), FetchError> {
    let way: &Way = &way.into();
    let broken = |error: &dyn std::error::Error| broken(way, error);
    let json = serde_json::to_vec(what).map_err(|error| broken(&error))?;
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    runtime(way)?.block_on(async {
        let mut body = in_time(way, PATIENCE, ask(way, request, json)).await?;
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                Ok(()) = tokio::signal::ctrl_c() => return Ok(()),
            };
            let Some(frame) = frame else { return Ok(()) };
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            if !take(&data) {
                return Ok(());
            }
        }
    })
}

fn exchange(
    way: &Way,
    request: Builder,
    body: Vec<u8>,
    patience: Duration,
) -> Result<Vec<u8>, FetchError> {
    let whole = async {
        let answer = ask(way, request, body).await?;
        let body = answer.collect().await.map_err(|error| broken(way, &error))?;
        Ok(body.to_bytes().to_vec())
    };
    runtime(way)?.block_on(in_time(way, patience, whole))
}

fn runtime(way: &Way) -> Result<Runtime, FetchError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(|error| broken(way, &error))
}

async fn in_time<T>(
    way: &Way,
    patience: Duration,
    asked: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
        let reason = format!("nothing came for {} s", patience.as_secs_f32());
        Err(FetchError::Silent { way: way.clone(), reason })
    })
}

/// The body of the answer.
async fn ask(way: &Way, request: Builder, body: Vec<u8>) -> Result<Incoming, FetchError> {
    let broken = |error: &dyn std::error::Error| broken(way, error);
    let stream = way.connect().await.map_err(|error| refusal(way, &error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let request = match way.authorization().map_err(|error| broken(&error))? {
        Some(token) => request.header(header::AUTHORIZATION, token),
        None => request,
    };
    let request = request
        .header(header::HOST, way.host())
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(&error))?;
    let path = request.uri().to_string();
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    if status != StatusCode::OK {
        if let Ok(Ok(Refusal { message, .. })) = answer.into_body().collect().await.map(read) {
            return Err(FetchError::Refused(message));
        }
        return Err(FetchError::Status { way: way.clone(), path, status });
    }
    Ok(answer.into_body())
}

fn read(body: http_body_util::Collected<Bytes>) -> serde_json::Result<Refusal> {
    serde_json::from_slice(&body.to_bytes())
}

fn broken(way: &Way, error: &dyn std::error::Error) -> FetchError {
    FetchError::Broken { way: way.clone(), reason: error.to_string() }
}

fn refusal(way: &Way, error: &io::Error) -> FetchError {
    let way = way.clone();
    match error.kind() {
        io::ErrorKind::NotFound => FetchError::NoDaemon { way, reason: "there is no socket" },
        io::ErrorKind::ConnectionRefused => FetchError::NoDaemon { way, reason: "nobody listens" },
        // Nobody takes connections from the queue.
        io::ErrorKind::WouldBlock => {
            FetchError::Silent { way, reason: "too many wait for an answer".to_owned() }
        }
        io::ErrorKind::PermissionDenied => FetchError::Forbidden(way),
        _ => FetchError::Broken { way, reason: error.to_string() },
    }
}
