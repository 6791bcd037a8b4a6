//! `POST /v1/verify`: does everything work, or one service? `POST /v1/probe`: one request through the
//! datapath, as a client's.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use tokio::{runtime::Handle, sync::Semaphore};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
use crate::verify::{Answered, NoRequest, Request, Unknown, Verification, Verifier, Wanted};

/// One verification at a time, and a few requests.
#[derive(Clone)]
struct Counter {
    verifier: Verifier,
    /// Where the work is done: on control's runtime, whose thread may ask nft and make sockets of
    /// all kinds, whoever asks. The thread that serves TCP may not.
    home: Option<Handle>,
    turn: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// Requests at a time.
const REQUESTS: usize = 16;

/// Both endpoints.
pub fn verify(verifier: Verifier) -> Part {
    let (turn, requests) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(REQUESTS)));
    let home = Handle::try_current().ok();
    let counter = Counter { verifier, home, turn, requests };
    OpenApiRouter::new().routes(routes!(look)).routes(routes!(ask)).with_state(counter)
}

impl Counter {
    /// Does the work when its turn comes. The turn lasts as long as the work, also when who asked
    /// is gone.
    async fn at_home<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = Arc::clone(turns).acquire_owned().await;
        let Some(home) = &self.home else { return Ok(work.await) };
        let work = async move {
            let _turn = turn;
            work.await
        };
        let ended = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "xlvs ends");
        home.spawn(work).await.map_err(ended)
    }
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
    let verifier = counter.verifier.clone();
    let work = async move { verifier.verify(&wanted).await };
    let verified = counter.at_home(&counter.turn, work).await?;
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
    let verifier = counter.verifier.clone();
    let work = async move { verifier.request(&request).await };
    let answered = counter.at_home(&counter.requests, work).await?;
    let answered = answered.map_err(|error| match &error {
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
