//! `/v1/export`: the running state as a file.

use axum::{
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Part, Refusal};
use crate::errand::{Desk, Errand};

/// As what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A configuration file of xlvs.
    #[default]
    Yaml,
    /// What `ipvsadm-save -n` writes.
    Ipvsadm,
}

/// How it is to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// `yaml` or `ipvsadm`.
    #[serde(default)]
    pub format: Format,
    /// What operators want for a while is written as if the file said so.
    #[serde(default)]
    pub effective: bool,
}

/// The endpoint.
pub fn export(desk: Desk) -> Part {
    OpenApiRouter::new().routes(routes!(whole)).with_state(desk)
}

/// The running services as a file; with the passwords of checks.
#[utoipa::path(
    get,
    path = "/v1/export",
    operation_id = "export",
    tag = "configuration",
    params(ExportQuery),
    security(("token" = ["admin"])),
    responses((status = 200, description = "The file.", content_type = "text/plain", body = String))
)]
async fn whole(
    State(desk): State<Desk>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Refusal> {
    let text = desk.ask(|back| Errand::Export(query, back)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
