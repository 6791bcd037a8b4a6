//! `/v1/deny`: sources that are denied for a while.

use std::time::{Duration, SystemTime};

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Caller, Deed, Part, Refusal, servers::sign};
use crate::{
    errand::{Desk, Errand},
    order::{self, DenyOrder},
    registry::Denial,
};

/// A source is to be denied.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DenyWish {
    /// A network, or an address.
    pub source: String,
    /// A service's name, or what it takes; all services if absent.
    #[serde(default)]
    pub service: Option<String>,
    /// For how many seconds; until it is deleted if absent.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Why; one line of at most 256 octets.
    #[serde(default)]
    pub reason: String,
}

/// Entries of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Denied {
    /// In the order in which they came.
    pub denied: Vec<DeniedSource>,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeniedSource {
    /// Source, service, until when, who, when and why.
    #[serde(flatten)]
    pub denial: Denial,
    /// For how many seconds it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

/// Which entries.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// A network, or an address, as it was given.
    pub source: String,
    /// A service's name, or what it takes; all entries of the source if absent.
    pub service: Option<String>,
}

impl Denied {
    fn of(denials: Vec<Denial>, warnings: Vec<String>) -> Self {
        let now = SystemTime::now();
        let entry = |denial: Denial| {
            let left_s = order::left(&denial, now).map(|left| left.as_secs());
            DeniedSource { denial, left_s }
        };
        Self { denied: denials.into_iter().map(entry).collect(), warnings }
    }
}

/// The endpoints.
pub fn deny(desk: Desk) -> Part {
    OpenApiRouter::new().routes(routes!(list, add, remove)).with_state(desk)
}

/// The sources that are denied for a while.
#[utoipa::path(
    get,
    path = "/v1/deny",
    operation_id = "denied",
    tag = "access",
    responses((status = 200, description = "All of them.", body = Denied))
)]
async fn list(State(desk): State<Desk>) -> Result<Json<Denied>, Refusal> {
    let denials = desk.ask(Errand::Denials).await?;
    Ok(Json(Denied::of(denials, Vec::new())))
}

/// Deny a source.
#[utoipa::path(
    post,
    path = "/v1/deny",
    operation_id = "deny",
    tag = "access",
    request_body = DenyWish,
    security(("token" = ["operator"])),
    responses((status = 200, description = "What is denied now.", body = Denied))
)]
async fn add(
    State(desk): State<Desk>,
    caller: Caller,
    Json(wish): Json<DenyWish>,
) -> Result<(Deed, Json<Denied>), Refusal> {
    let DenyWish { source, service, for_s, reason } = wish;
    if for_s == Some(0) {
        return Err(Refusal::invalid("for_s: 0 denies nobody; write seconds, or leave it out"));
    }
    let deed = format!("deny {source}{}", of(service.as_deref()));
    let deed = Deed::of(for_s.map_or(deed.clone(), |seconds| format!("{deed} for {seconds} s")));
    let lasts = for_s.map(Duration::from_secs);
    let order = DenyOrder { source, service, lasts, sign: sign(&caller, reason) };
    let (denials, warnings) = desk.ask(|back| Errand::Deny(order, back)).await??;
    Ok((deed, Json(Denied::of(denials, warnings))))
}

/// Deny a source no more.
#[utoipa::path(
    delete,
    path = "/v1/deny",
    operation_id = "allow",
    tag = "access",
    params(Which),
    security(("token" = ["operator"])),
    responses((status = 200, description = "What was taken away.", body = Denied))
)]
async fn remove(
    State(desk): State<Desk>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<(Deed, Json<Denied>), Refusal> {
    let Which { source, service } = which;
    let deed = Deed::of(format!("deny no more {source}{}", of(service.as_deref())));
    let who = caller.name.to_string();
    let removed = desk.ask(|back| Errand::Allow { source, service, who, back }).await??;
    Ok((deed, Json(Denied::of(removed, Vec::new()))))
}

/// ` to web`, if only to one service.
fn of(service: Option<&str>) -> String {
    service.map_or_else(String::new, |service| format!(" to {service}"))
}
