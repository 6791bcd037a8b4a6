//! `/v1/servers`: states and weights of servers while the box runs.

use std::{net::SocketAddr, time::SystemTime};

use crate::api::schema::Place;
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Caller, Deed, Part, Refusal};
use crate::{
    compile::ServerKey,
    errand::{Desk, Errand},
    model::AdminState,
    order::{Refused, ServerOrder, ServerOutcome},
    registry::{Sign, Wish},
};

/// Servers are to be in a state.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateOrder {
    /// Which: `SERVICE/ADDRESS:PORT`, `SERVICE/ADDRESS` or `SERVICE/NAME`; all of them or none.
    pub servers: Vec<String>,
    /// They are named without their service, and are meant in every one that has them.
    #[serde(default)]
    pub all: bool,
    /// `ready`, `drain`, `drain_persistent` (clients with a template still come), or `maint`.
    pub state: String,
    /// Why; one line of at most 256 octets.
    #[serde(default)]
    pub reason: String,
}

/// Servers are to have a weight.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightOrder {
    /// As in [`StateOrder::servers`].
    pub servers: Vec<String>,
    /// As in [`StateOrder::all`].
    #[serde(default)]
    pub all: bool,
    /// 0 to 65535; null: what the file says.
    pub weight: Option<u32>,
    /// As in [`StateOrder::reason`].
    #[serde(default)]
    pub reason: String,
}

/// Servers by their names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServersNamed {
    /// As in [`StateOrder::servers`].
    pub servers: Vec<String>,
    /// As in [`StateOrder::all`].
    #[serde(default)]
    pub all: bool,
}

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct ServerName {
    /// What its service takes, such as `203.0.113.10:80/tcp`, or `mark 10`.
    pub service: String,
    /// Its address and port.
    #[schema(value_type = Place)]
    pub server: SocketAddr,
}

impl From<&ServerKey> for ServerName {
    fn from(key: &ServerKey) -> Self {
        let server = SocketAddr::new(key.address, key.port);
        Self { service: key.service.to_string(), server }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServersDone {
    /// All servers that were named.
    pub servers: Vec<ServerName>,
    /// Those that were not so before.
    pub changed: Vec<ServerName>,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// The endpoints.
pub fn servers(desk: Desk) -> Part {
    OpenApiRouter::new()
        .routes(routes!(find))
        .routes(routes!(state))
        .routes(routes!(weight))
        .with_state(desk)
}

/// Which servers a name stands for.
#[utoipa::path(
    post,
    path = "/v1/servers/find",
    operation_id = "find_servers",
    tag = "servers",
    request_body = ServersNamed,
    security(("token" = ["viewer"])),
    responses((status = 200, description = "The servers.", body = Vec<ServerName>))
)]
async fn find(
    State(desk): State<Desk>,
    Json(which): Json<ServersNamed>,
) -> Result<(Deed, Json<Vec<ServerName>>), Refusal> {
    let ServersNamed { servers, all } = which;
    let found = desk.ask(|back| Errand::Find(servers, all, back)).await??;
    Ok((Deed::NONE, Json(found.iter().map(ServerName::from).collect())))
}

/// Drain servers, put them into maintenance, or have them serve again.
#[utoipa::path(
    post,
    path = "/v1/servers/state",
    operation_id = "set_server_state",
    tag = "servers",
    request_body = StateOrder,
    security(("token" = ["operator"])),
    responses((status = 200, description = "What was done.", body = ServersDone))
)]
async fn state(
    State(desk): State<Desk>,
    caller: Caller,
    Json(order): Json<StateOrder>,
) -> Result<(Deed, Json<ServersDone>), Refusal> {
    let StateOrder { servers, all, state, reason } = order;
    let Some(known) = AdminState::from_name(&state) else {
        let words = AdminState::WORDS.map(|(word, _)| word).join(", ");
        return Err(Refusal::invalid(format!(
            "{state}: no state of a server; write one of {words}"
        )));
    };
    let sign = sign(&caller, reason);
    let deed = deed(&state, &servers, &sign);
    let order = ServerOrder { servers, all, wish: Wish::State(known), sign };
    Ok((deed, done(&desk, order).await?))
}

/// Give servers another weight, or the file's again.
#[utoipa::path(
    post,
    path = "/v1/servers/weight",
    operation_id = "set_server_weight",
    tag = "servers",
    request_body = WeightOrder,
    security(("token" = ["operator"])),
    responses((status = 200, description = "What was done.", body = ServersDone))
)]
async fn weight(
    State(desk): State<Desk>,
    caller: Caller,
    Json(order): Json<WeightOrder>,
) -> Result<(Deed, Json<ServersDone>), Refusal> {
    let WeightOrder { servers, all, weight, reason } = order;
    let wish = weight.map_or(Wish::FileWeight, Wish::Weight);
    let sign = sign(&caller, reason);
    let words = weight.map_or("the file's weight".to_owned(), |weight| format!("weight {weight}"));
    let deed = deed(&words, &servers, &sign);
    Ok((deed, done(&desk, ServerOrder { servers, all, wish, sign }).await?))
}

/// `drain web/10.0.2.1:80 (disk)`.
fn deed(what: &str, servers: &[String], sign: &Sign) -> Deed {
    let why = if sign.why.is_empty() { String::new() } else { format!(" ({})", sign.why) };
    Deed::of(format!("{what} {}{why}", servers.join(" ")))
}

async fn done(desk: &Desk, order: ServerOrder) -> Result<Json<ServersDone>, Refusal> {
    if order.servers.is_empty() {
        return Err(Refusal::invalid(
            "no server is named; write servers: [\"SERVICE/ADDRESS:PORT\"]",
        ));
    }
    let outcome = desk.ask(|back| Errand::Servers(order, back)).await??;
    let ServerOutcome { servers, changed, warnings } = outcome;
    let names = |keys: &[ServerKey]| keys.iter().map(ServerName::from).collect();
    Ok(Json(ServersDone { servers: names(&servers), changed: names(&changed), warnings }))
}

/// Who orders something, now.
pub(super) fn sign(caller: &Caller, why: String) -> Sign {
    Sign { who: caller.name.to_string(), when: SystemTime::now(), why }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::Unknown(_) => Self::unknown(message),
            Refused::Wrong(_) => Self::invalid(message),
            Refused::Full(_) => Self::conflict(message),
        }
    }
}
