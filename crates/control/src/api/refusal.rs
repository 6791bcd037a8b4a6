//! Why a request is not done: one shape for all of it.

use axum::{
    Extension, Json,
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::errand::Closed;

/// Why a request is not done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The status of HTTP, again: 4xx the request is at fault, 5xx the director is.
    pub status: u16,
    /// What is wrong, where, and what to do; for people. Several faults are a line each.
    pub message: String,
}

impl Refusal {
    /// With a status of its own.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status: status.as_u16(), message: message.into() }
    }

    /// What is asked cannot be understood, or cannot be true.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// There is no such thing.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// It cannot be done as things stand now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }
}

impl From<Closed> for Refusal {
    fn from(closed: Closed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, closed.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        // Beside the body for who tells of it ([`super::audit`]).
        (status, Extension(self.clone()), Json(self)).into_response()
    }
}

/// Octets of a text that becomes a message; extractors say less.
const LONGEST: usize = 4096;

/// Gives what the router and the extractors refuse the shape that everything has.
pub(super) async fn shape(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let status = response.status();
    let shaped = response.headers().get(header::CONTENT_TYPE).is_some_and(is_json);
    if shaped || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let said = to_bytes(body, LONGEST).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let mut refused = Refusal::new(status, message(&asked, status, &said)).into_response();
    for name in [header::ALLOW, header::WWW_AUTHENTICATE, header::CONNECTION] {
        if let Some(value) = parts.headers.get(&name) {
            refused.headers_mut().insert(name, value.clone());
        }
    }
    refused
}

fn is_json(kind: &axum::http::HeaderValue) -> bool {
    kind.as_bytes().starts_with(b"application/json")
}

/// In words, with a remedy.
fn message(asked: &str, status: StatusCode, said: &str) -> String {
    match status {
        StatusCode::NOT_FOUND if said.is_empty() => {
            format!("{asked}: there is no such path; GET /v1/openapi.json lists all")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            format!("{asked}: not this method; GET /v1/openapi.json lists what each path takes")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            format!("{asked}: the body is too large; send less at once")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            format!("{asked}: the body is not said to be JSON; send Content-Type: application/json")
        }
        _ if said.is_empty() => {
            let reason = status.canonical_reason().unwrap_or("refused");
            format!("{asked}: {reason}; see GET /v1/openapi.json")
        }
        _ => format!("{asked}: {said}; GET /v1/openapi.json has the shape"),
    }
}
