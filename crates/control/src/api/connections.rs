//! `/v1/connections`: a page of them, how many there are, their end.

use axum::{Json, extract::State};
use ipvsadm::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
use crate::{
    errand::{Desk, Errand},
    front::{Answer, Ask, Cursor, Filter, Page},
    killer::Killer,
};

/// A page of connections and persistence templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connections {
    /// Those of this part of the tables that fit.
    pub connections: Vec<Connection>,
    /// Where the next page begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// Connections.
    pub connections: u64,
    /// Persistence templates.
    pub templates: u64,
}

/// What is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillOrder {
    /// Connections that fit; without any filter `all` must be true.
    #[serde(default)]
    pub only: Filter,
    /// All connections, if no filter is given.
    #[serde(default)]
    pub all: bool,
    /// Persistence templates that fit end, too: clients are scheduled anew.
    #[serde(default)]
    pub templates: bool,
}

/// The endpoints.
pub fn connections(desk: Desk, killer: Killer) -> Part {
    let reading = OpenApiRouter::new().routes(routes!(page)).routes(routes!(count));
    let ending = OpenApiRouter::new().routes(routes!(kill)).with_state(killer);
    reading.with_state(desk).merge(ending)
}

/// A page of the connections that fit; what comes and goes meanwhile may be missing.
#[utoipa::path(
    post,
    path = "/v1/connections",
    operation_id = "connections",
    tag = "connections",
    request_body = Page,
    security(("token" = ["viewer"])),
    responses((status = 200, description = "A page.", body = Connections))
)]
async fn page(
    State(desk): State<Desk>,
    Json(page): Json<Page>,
) -> Result<(Deed, Json<Connections>), Refusal> {
    let (connections, next) = ask(&desk, page).await?;
    Ok((Deed::NONE, Json(Connections { connections, next })))
}

/// How many connections fit.
#[utoipa::path(
    post,
    path = "/v1/connections/count",
    operation_id = "count_connections",
    tag = "connections",
    request_body = Filter,
    security(("token" = ["viewer"])),
    responses((status = 200, description = "How many.", body = Count))
)]
async fn count(
    State(desk): State<Desk>,
    Json(only): Json<Filter>,
) -> Result<(Deed, Json<Count>), Refusal> {
    let mut page = Page { only, ..Page::default() };
    let mut count = Count::default();
    loop {
        let (rows, next) = ask(&desk, page.clone()).await?;
        match page.from.is_of_templates() {
            true => count.templates += rows.len() as u64,
            false => count.connections += rows.len() as u64,
        }
        match next {
            Some(next) => page.from = next,
            None => return Ok((Deed::NONE, Json(count))),
        }
    }
}

async fn ask(desk: &Desk, page: Page) -> Result<(Vec<Connection>, Option<Cursor>), Refusal> {
    match desk.ask(|back| Errand::Ipvsadm(Ask::Connections(page), back)).await? {
        Answer::Connections { rows, next } => Ok((rows, next)),
        other => Err(Refusal::conflict(format!("not a page of connections: {other:?}"))),
    }
}

/// End connections: TCP is reset, what is no TCP is forgotten.
#[utoipa::path(
    post,
    path = "/v1/connections/kill",
    operation_id = "kill_connections",
    tag = "connections",
    request_body = KillOrder,
    security(("token" = ["operator"])),
    responses((status = 200, description = "How many ended.", body = Count))
)]
async fn kill(
    State(killer): State<Killer>,
    Json(order): Json<KillOrder>,
) -> Result<(Deed, Json<Count>), Refusal> {
    let KillOrder { only, all, templates } = order;
    if all != (only == Filter::default()) {
        let text = match all {
            true => "all and a filter: which of them? Leave one away",
            false => "no filter: all connections would end; give one, or say all",
        };
        return Err(Refusal::invalid(text));
    }
    let (connections, templates) = killer.kill(&only, templates).await;
    let deed = format!("ends {connections} connections and {templates} templates: {only}");
    Ok((Deed::of(deed), Json(Count { connections, templates })))
}
