//! `POST /v1/explain`: what would happen to these packets now. The body is a [`Question`], the
//! answer a list of [`Explanation`]s in its order. It is found out beside the control loop, one
//! question after the other, so that it takes no more than one core.

use std::sync::Arc;

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
};
use tokio::sync::Semaphore;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
use crate::explain::{Explainer, Explanation, Question, Unanswerable};

/// Octets of the largest question: 1000 frames in hexadecimal digits.
const LARGEST: usize = 8 << 20;

/// Who explains, one at a time.
#[derive(Clone)]
struct Booth {
    explainer: Explainer,
    turn: Arc<Semaphore>,
}

/// The endpoint.
pub fn explain(explainer: Explainer) -> Part {
    let booth = Booth { explainer, turn: Arc::new(Semaphore::new(1)) };
    OpenApiRouter::new()
        .routes(routes!(answer))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(booth)
}

/// What would happen to packets now.
#[utoipa::path(
    post,
    path = "/v1/explain",
    operation_id = "explain",
    tag = "understanding",
    request_body = Question,
    security(("token" = ["operator"])),
    responses((status = 200, description = "An account for each packet.", body = Vec<Explanation>))
)]
async fn answer(
    State(booth): State<Booth>,
    Json(question): Json<Question>,
) -> Result<(Deed, Json<Vec<Explanation>>), Refusal> {
    // Never closed.
    let turn = booth.turn.acquire_owned().await.ok();
    let explain = move || {
        let _turn = turn;
        booth.explainer.explain(&question)
    };
    let explained = tokio::task::spawn_blocking(explain).await;
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let explained = explained.map_err(|error| failed(&error))?.map_err(|error| match error {
        Unanswerable::Memory(_) => failed(&error),
        Unanswerable::Packets(_) | Unanswerable::Packet(..) => Refusal::invalid(error.to_string()),
    })?;
    Ok((Deed::NONE, Json(explained)))
}
