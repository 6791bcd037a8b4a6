//! What the director tells of itself.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Part, Refusal};
use crate::report::{Report, Service, Status};

/// Where answers come from: called for each question.
pub type Source = Arc<dyn Fn() -> Report + Send + Sync>;

/// The report, and parts of it.
pub fn report(source: Source) -> Part {
    OpenApiRouter::new()
        .routes(routes!(whole))
        .routes(routes!(services))
        .routes(routes!(status))
        .with_state(source)
}

/// Everything: interfaces, services with their servers, workers, counters, tables.
#[utoipa::path(
    get,
    path = "/v1/report",
    operation_id = "report",
    tag = "director",
    responses((status = 200, description = "As it is now.", body = Report))
)]
async fn whole(State(source): State<Source>) -> Result<Response, Refusal> {
    look(source, |report| report).await
}

/// The services with their servers, counts and health.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "services",
    responses((status = 200, description = "By protocol, address and port.", body = Vec<Service>))
)]
async fn services(State(source): State<Source>) -> Result<Response, Refusal> {
    look(source, |report| report.services).await
}

/// Whether the director is well, in short.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "director",
    responses((status = 200, description = "As it is now.", body = Status))
)]
async fn status(State(source): State<Source>) -> Result<Response, Refusal> {
    look(source, |report| report.status()).await
}

/// How many look at once: each asks all workers, whose time is the packets'.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// Beside the API's thread: a worker that does not answer is waited for, and a report of many
/// servers takes its time to be written.
async fn look<T: Serialize>(
    source: Source,
    part: impl FnOnce(Report) -> T + Send + 'static,
) -> Result<Response, Refusal> {
    let _turn = LOOKS.acquire().await;
    let written = move || Json(part(source())).into_response();
    tokio::task::spawn_blocking(written).await.map_err(|error| {
        let message = format!("the report cannot be made: {error}; see the log of xlvs");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })
}
