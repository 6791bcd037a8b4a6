//! `POST /v1/explain`: what would happen to these packets now. The body is a [`Question`], the
//! answer a list of [`Explanation`]s in its order. It is found out beside the control loop, one
//! question after the other, so that it takes no more than one core.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use tokio::sync::Semaphore;

use super::Refusal;
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
pub fn explain(explainer: Explainer) -> Router {
    let booth = Booth { explainer, turn: Arc::new(Semaphore::new(1)) };
    Router::new()
        .route("/v1/explain", post(answer).layer(DefaultBodyLimit::max(LARGEST)))
        .with_state(booth)
}

async fn answer(
    State(booth): State<Booth>,
    Json(question): Json<Question>,
) -> Result<Json<Vec<Explanation>>, Refusal> {
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
    explained.map_err(|error| failed(&error))?.map(Json).map_err(|error| match error {
        Unanswerable::Memory(_) => failed(&error),
        Unanswerable::Packets(_) | Unanswerable::Packet(..) => Refusal::invalid(error.to_string()),
    })
}
