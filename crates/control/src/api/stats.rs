//! `/v1/stats`: what passed, for listings.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::{
    errand::{Desk, Errand},
    stats::Stats,
};

/// Whose counts are to be set to zero.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroOrder {
    /// A service's name, or what it takes; all services if absent.
    #[serde(default)]
    pub service: Option<String>,
}

/// The services whose counts are zero now, by what they take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zeroed {
    /// Such as `203.0.113.10:80/tcp`.
    pub services: Vec<String>,
}

/// The endpoints.
pub fn stats(desk: Desk) -> Router {
    Router::new().route("/v1/stats", get(all)).route("/v1/stats/zero", post(zero)).with_state(desk)
}

/// Counts and rates of all services and their servers.
async fn all(State(desk): State<Desk>) -> Result<Json<Stats>, Refusal> {
    Ok(Json(desk.ask(Errand::Stats).await?))
}

/// Set the counts of listings to zero. Those of `/metrics` go on.
async fn zero(
    State(desk): State<Desk>,
    Json(order): Json<ZeroOrder>,
) -> Result<Json<Zeroed>, Refusal> {
    let services = desk.ask(|back| Errand::Zero(order.service, back)).await??;
    Ok(Json(Zeroed { services }))
}
