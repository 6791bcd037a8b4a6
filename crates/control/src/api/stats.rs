//! `/v1/stats`: what passed, for listings.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
use crate::{
    errand::{Desk, Errand},
    stats::Stats,
};

/// Whose counts are to be set to zero.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ZeroOrder {
    /// A service's name, or what it takes; all services if absent.
    #[serde(default)]
    pub service: Option<String>,
}

/// The services whose counts are zero now, by what they take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Zeroed {
    /// Such as `203.0.113.10:80/tcp`.
    pub services: Vec<String>,
}

/// The endpoints.
pub fn stats(desk: Desk) -> Part {
    OpenApiRouter::new().routes(routes!(all)).routes(routes!(zero)).with_state(desk)
}

/// Counts and rates of all services and their servers.
#[utoipa::path(
    get,
    path = "/v1/stats",
    operation_id = "stats",
    tag = "services",
    responses((status = 200, description = "As they are now.", body = Stats))
)]
async fn all(State(desk): State<Desk>) -> Result<Json<Stats>, Refusal> {
    Ok(Json(desk.ask(Errand::Stats).await?))
}

/// Set the counts of listings to zero. Those of `/metrics` go on.
#[utoipa::path(
    post,
    path = "/v1/stats/zero",
    operation_id = "zero_stats",
    tag = "services",
    request_body = ZeroOrder,
    security(("token" = ["operator"])),
    responses((status = 200, description = "Whose counts are zero now.", body = Zeroed))
)]
async fn zero(
    State(desk): State<Desk>,
    Json(order): Json<ZeroOrder>,
) -> Result<(Deed, Json<Zeroed>), Refusal> {
    let deed = Deed::of(format!(
        "zero the counts of {}",
        order.service.as_deref().unwrap_or("all services")
    ));
    let services = desk.ask(|back| Errand::Zero(order.service, back)).await??;
    Ok((deed, Json(Zeroed { services })))
}
