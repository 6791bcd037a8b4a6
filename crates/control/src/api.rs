//! The daemon's API: HTTP/1.1 and JSON, over a unix socket, and over TCP with
//! TLS and tokens.
//!
//! # Adding an endpoint
//!
//! One file a noun, `api/<noun>.rs`, with a function that makes a [`Part`]: its routes with their
//! descriptions, of which the OpenAPI document (`GET /v1/openapi.json`) is made.
//! ```
//! use axum::{Json, extract::{Path, State}};
//! use control::{api::{Caller, Deed, Part, Refusal, schema::Address}, errand::Desk};
//! use serde::{Deserialize, Serialize};
//! use utoipa::ToSchema;
//! use utoipa_axum::{router::OpenApiRouter, routes};
//!
//! /// What is said of a server.
//! #[derive(Serialize, Deserialize, ToSchema)]
//! struct Wish {
//!     /// Its address. (Types of std::net need a `value_type`: `Address` or `Place`.)
//!     #[schema(value_type = Address)]
//!     address: std::net::IpAddr,
//! }
//!
//! pub fn wishes(desk: Desk) -> Part {
//!     OpenApiRouter::new().routes(routes!(wish)).with_state(desk)
//! }
//!
//! /// Wish for a server. (The docstring is the description; its first line the summary.)
//! #[utoipa::path(
//!     post,
//!     path = "/v1/wishes/{service}",
//!     tag = "services",
//!     params(("service" = String, Path, description = "The service's name.")),
//!     request_body = Wish,
//!     security(("token" = ["operator"])),
//!     responses((status = 200, description = "What came of it.", body = Wish))
//! )]
//! async fn wish(
//!     State(desk): State<Desk>,
//!     caller: Caller,
//!     Path(service): Path<String>,
//!     Json(wish): Json<Wish>,
//! ) -> Result<(Deed, Json<Wish>), Refusal> {
//!     if service.is_empty() {
//!         return Err(Refusal::unknown(format!("{service}: no such service; see `xlvs list`")));
//!     }
//!     // let answer = desk.ask(|back| Errand::Wish(wish, caller.name, back)).await?;
//!     # let _ = desk;
//!     Ok((Deed::of(format!("wishes for {}", wish.address)), Json(wish)))
//! }
//! ```
//! - Then `daemon/watch.rs` lists the part among those that it gives to [`assemble`].
//! - **Who may**: `security(("token" = [ROLE]))`, enforced by [`role`] as the document says it. Left
//!   away: GET is for viewers, everything else for admins. What depends on the body:
//!   [`Caller::must_be`].
//! - **Refusals**: return a [`Refusal`]; what extractors and the router refuse gets the same shape by
//!   itself. A client's fault is a 4xx, always. [`Closed`](crate::errand::Closed) becomes one by `?`.
//!   The document says of every path that it may refuse.
//! - **Audit**: every request but GETs that is not refused is told (`xlvs events`, the log) with who
//!   asked, by method and path; answer with a [`Deed`] beside the body to say it better, or
//!   [`Deed::NONE`] if nothing was changed.
//! - **Body**: at most 64 KiB ([`LARGEST_BODY`]); more by a layer on the part,
//!   `.layer(DefaultBodyLimit::max(octets))`.
//! - **Names** of types are names in the document: two types of one name need `#[schema(as = ...)]`.
//! - **Lists** over everything are looked up by [`tokio::task::spawn_blocking`], and have pages or
//!   a bound.

mod audit;
mod captures;
mod client;
pub mod config;
pub mod connections;
pub mod deny;
mod document;
mod events;
pub mod explain;
pub mod export;
pub mod group;
mod identity;
mod ipvsadm;
mod listener;
mod metrics;
mod refusal;
mod report;
pub mod role;
mod room;
pub mod schema;
pub mod servers;
mod socket;
mod stamp;
pub mod stats;
pub mod tcp;
mod thread;
pub mod tokens;
pub mod verify;
mod way;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};
use utoipa_axum::router::OpenApiRouter;

use crate::errand::Desk;

pub use audit::Deed;
pub use captures::captures;
pub use client::{FetchError, delete, fetch, fetch_within, follow, send, send_within, stream};
pub use events::events;
pub use ipvsadm::ipvsadm;
pub use listener::Patience;
pub use metrics::{Exporter, metrics};
pub use refusal::Refusal;
pub use report::{Source, report};
pub use role::{Caller, Role};
pub use socket::{ApiError, Endpoint};
pub use tcp::{Remote, TcpError};
pub use thread::Served;
pub use way::{Server, Way, WayError};

/// Routes and their descriptions.
pub type Part = OpenApiRouter;

/// Octets of a request's body, where a part does not say otherwise.
pub const LARGEST_BODY: usize = 64 << 10;

/// The whole API of these parts: their document, who may what, refusals in one shape. `desk` tells
/// of changes.
pub fn assemble(desk: Desk, parts: impl IntoIterator<Item = Part>) -> Router {
    let whole = document::Whole::default();
    let all = parts.into_iter().fold(document::part(Arc::clone(&whole)), |all, part| {
        document::assert_no_shape_is_lost(all.get_openapi(), part.get_openapi());
        all.merge(part)
    });
    let (router, mut document) = all.split_for_parts();
    document::complete(&mut document);
    let roles = Arc::new(document::Roles::of(&mut document));
    // Nothing in it refuses to be JSON.
    let _ = whole.set(document.to_json().unwrap_or_default());
    router
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(roles, role::authorise))
        .layer(middleware::from_fn(refusal::shape))
        .layer(middleware::from_fn_with_state(desk, audit::tell))
}
