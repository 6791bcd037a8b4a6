//! `/v1/config`: another configuration while the box runs, and the way back.

use std::time::Duration;

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
use crate::{
    apply::{self, Applied, Loaded, Terms},
    errand::{Desk, Errand},
    origin::{Origin, Text},
};

/// Octets of the largest configuration: 1,000 services of 1,000 servers.
const LARGEST: usize = 128 << 20;

/// A configuration is to be put into force.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyOrder {
    /// The configuration: the first file, then those that it includes, in order. If absent, the
    /// daemon reads its own file again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<Text>>,
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Services, servers and edits that were made at runtime go, too.
    #[serde(default)]
    pub prune: bool,
    /// It goes back by itself unless it is confirmed within so many seconds, at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
}

#[derive(Clone)]
struct Office {
    desk: Desk,
    origin: Origin,
}

/// The endpoints. `origin` is the daemon's own file.
pub fn config(desk: Desk, origin: Origin) -> Part {
    OpenApiRouter::new()
        .routes(routes!(apply))
        .layer(DefaultBodyLimit::max(LARGEST))
        .routes(routes!(confirm))
        .routes(routes!(rollback))
        .with_state(Office { desk, origin })
}

/// Put a configuration into force: all of it, or nothing.
#[utoipa::path(
    post,
    path = "/v1/config/apply",
    operation_id = "apply",
    tag = "configuration",
    request_body = ApplyOrder,
    responses((status = 200, description = "What changed, or would.", body = Applied))
)]
async fn apply(
    State(Office { desk, origin }): State<Office>,
    Json(order): Json<ApplyOrder>,
) -> Result<(Deed, Json<Applied>), Refusal> {
    let ApplyOrder { files, dry_run, prune, confirm_within_s } = order;
    let terms = Terms { dry_run, prune, confirm: confirm_within_s.map(Duration::from_secs) };
    let deed = if dry_run { Deed::NONE } else { Deed::of("applies a configuration") };
    let read = move || match files {
        Some(files) => apply::sent(&files, &origin),
        None => apply::reread(&origin),
    };
    let read: Result<Loaded, String> = tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| Refusal::conflict("reading it broke off; see the log"))?;
    let read = read.map(Box::new);
    let applied = desk.ask(|back| Errand::Apply(read, terms, back)).await?;
    applied.map(|applied| (deed, Json(applied))).map_err(Refusal::invalid)
}

/// Keep a change that would go back by itself.
#[utoipa::path(
    post,
    path = "/v1/config/confirm",
    operation_id = "confirm",
    tag = "configuration",
    responses((status = 200, description = "What is kept.", body = Applied))
)]
async fn confirm(State(office): State<Office>) -> Result<(Deed, Json<Applied>), Refusal> {
    let deed = Deed::of("confirms the configuration");
    let confirmed = office.desk.ask(Errand::Confirm).await?;
    confirmed.map(|kept| (deed, Json(kept))).map_err(Refusal::conflict)
}

/// Go back to the configuration before this one.
#[utoipa::path(
    post,
    path = "/v1/config/rollback",
    operation_id = "rollback",
    tag = "configuration",
    responses((status = 200, description = "What changed.", body = Applied))
)]
async fn rollback(State(office): State<Office>) -> Result<(Deed, Json<Applied>), Refusal> {
    let deed = Deed::of("goes back to the configuration before");
    let applied = office.desk.ask(Errand::RollBack).await?;
    applied.map(|applied| (deed, Json(applied))).map_err(Refusal::conflict)
}
