//! `POST /v1/verify`: does everything work, or one service? `POST /v1/probe`: one request through the
//! datapath, as a client's.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use tokio::sync::Semaphore;

use super::Refusal;
use crate::verify::{Answered, NoRequest, Request, Unknown, Verification, Verifier, Wanted};

/// One verification at a time, and a few requests.
#[derive(Clone)]
struct Counter {
    verifier: Verifier,
    turn: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// Requests at a time.
const REQUESTS: usize = 16;

/// Both endpoints.
pub fn verify(verifier: Verifier) -> Router {
    let (turn, requests) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(REQUESTS)));
    Router::new()
        .route("/v1/verify", post(look))
        .route("/v1/probe", post(ask))
        .with_state(Counter { verifier, turn, requests })
}

async fn look(
    State(counter): State<Counter>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Verification>, Refusal> {
    let _turn = counter.turn.acquire().await;
    let verified = counter.verifier.verify(&wanted).await;
    verified.map(Json).map_err(|unknown| Refusal::unknown(unknown.to_string()))
}

async fn ask(
    State(counter): State<Counter>,
    Json(request): Json<Request>,
) -> Result<Json<Answered>, Refusal> {
    let _turn = counter.requests.acquire().await;
    counter.verifier.request(&request).await.map(Json).map_err(|error| match &error {
        NoRequest::Unknown(Unknown::Service(_) | Unknown::Server(..)) => {
            Refusal::unknown(error.to_string())
        }
        NoRequest::Unknown(Unknown::Several(..)) | NoRequest::NotTcp(_) => {
            Refusal::invalid(error.to_string())
        }
        NoRequest::NoSources(..) | NoRequest::NoServer(..) => {
            Refusal::new(StatusCode::CONFLICT, error.to_string())
        }
    })
}
