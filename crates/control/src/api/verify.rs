//! `POST /v1/verify`: does everything work, or one service? `POST /v1/probe`: one request through the
//! datapath, as a client's.

use std::sync::Arc;

use axum::{Json, extract::State};
use tokio::sync::Semaphore;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
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
pub fn verify(verifier: Verifier) -> Part {
    let (turn, requests) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(REQUESTS)));
    OpenApiRouter::new().routes(routes!(look)).routes(routes!(ask)).with_state(Counter {
        verifier,
        turn,
        requests,
    })
}

/// Does everything work, or one service?
#[utoipa::path(
    post,
    path = "/v1/verify",
    operation_id = "verify",
    tag = "understanding",
    request_body = Wanted,
    security(("token" = ["operator"])),
    responses((status = 200, description = "What was found.", body = Verification))
)]
async fn look(
    State(counter): State<Counter>,
    Json(wanted): Json<Wanted>,
) -> Result<(Deed, Json<Verification>), Refusal> {
    let _turn = counter.turn.acquire().await;
    let verified = counter.verifier.verify(&wanted).await;
    let verified = verified.map_err(|unknown| Refusal::unknown(unknown.to_string()))?;
    Ok((Deed::NONE, Json(verified)))
}

/// One request through the datapath, as a client's.
#[utoipa::path(
    post,
    path = "/v1/probe",
    operation_id = "probe",
    tag = "understanding",
    request_body = Request,
    security(("token" = ["operator"])),
    responses((status = 200, description = "What came of it.", body = Answered))
)]
async fn ask(
    State(counter): State<Counter>,
    Json(request): Json<Request>,
) -> Result<(Deed, Json<Answered>), Refusal> {
    let _turn = counter.requests.acquire().await;
    let answered = counter.verifier.request(&request).await.map_err(|error| match &error {
        NoRequest::Unknown(Unknown::Service(_) | Unknown::Server(..)) => {
            Refusal::unknown(error.to_string())
        }
        NoRequest::Unknown(Unknown::Several(..)) | NoRequest::NotTcp(_) => {
            Refusal::invalid(error.to_string())
        }
        NoRequest::NoSources(..) | NoRequest::NoServer(..) => Refusal::conflict(error.to_string()),
    })?;
    Ok((Deed::NONE, Json(answered)))
}
