//! `POST /v1/ipvsadm`: what `xlvs ipvsadm` asks.

use ::ipvsadm::{Command, save};
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Caller, Deed, Part, Refusal, Role};
use crate::{
    errand::{Desk, Errand},
    front::{Answer, Ask},
};

/// Octets of the largest question: a restored table of 100,000 servers.
const LARGEST: usize = 32 << 20;

/// How many commands of one change are told.
const TOLD: usize = 4;

/// The front that speaks as ipvsadm does.
pub fn ipvsadm(desk: Desk) -> Part {
    OpenApiRouter::new()
        .routes(routes!(ipvsadm_ask))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(desk)
}

/// Ask as ipvsadm does.
///
/// Listings are for viewers, zeroing for operators, changes for admins. A change that ipvsadm would
/// refuse is answered with `denied`, and none of the commands is done.
#[utoipa::path(
    post,
    path = "/v1/ipvsadm",
    operation_id = "ipvsadm",
    tag = "services",
    request_body = Ask,
    security(("token" = ["viewer"])),
    responses((status = 200, description = "What ipvsadm would say.", body = Answer))
)]
async fn ipvsadm_ask(
    State(desk): State<Desk>,
    caller: Caller,
    Json(ask): Json<Ask>,
) -> Result<(Deed, Json<Answer>), Refusal> {
    caller.must_be(needed(&ask))?;
    let deed = deed(&ask);
    let answer = desk.ask(|back| Errand::Ipvsadm(ask, back)).await?;
    let deed = match &answer {
        Answer::Denied { denial, .. } => deed.refused(denial),
        _ => deed,
    };
    Ok((deed, Json(answer)))
}

const fn needed(ask: &Ask) -> Role {
    match ask {
        Ask::List | Ask::Timeouts | Ask::Connections(_) => Role::Viewer,
        Ask::Zero(_) => Role::Operator,
        Ask::Change(_) => Role::Admin,
    }
}

/// `ipvsadm -A ..; -a ..`, and how many more.
fn words(commands: &[Command]) -> String {
    let told = commands.iter().filter_map(save::words).take(TOLD).collect::<Vec<_>>();
    let more = commands.len().saturating_sub(TOLD);
    let more = if more == 0 { String::new() } else { format!("; and {more} more commands") };
    format!("ipvsadm {}{more}", told.join("; "))
}

fn deed(ask: &Ask) -> Deed {
    match ask {
        Ask::List | Ask::Timeouts | Ask::Connections(_) => Deed::NONE,
        Ask::Zero(which) => Deed::of(words(&[Command::Zero(*which)])),
        Ask::Change(commands) => Deed::of(words(commands)),
    }
}
