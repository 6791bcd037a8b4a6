//! `POST /v1/captures`: begins a capture, and answers with its stream until it ends, or until the
//! one who asked is gone. `GET /v1/captures`: how it goes, or how the last one went.

use std::convert::Infallible;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream::unfold;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Deed, Part, Refusal};
use crate::capture::{Captures, Form, Refused, Tally, Wanted};

/// Captures.
pub fn captures(captures: Captures) -> Part {
    OpenApiRouter::new().routes(routes!(begin, tally)).with_state(captures)
}

/// Capture packets: the answer is the stream of them, until its end, or until the reader is gone.
#[utoipa::path(
    post,
    path = "/v1/captures",
    operation_id = "capture",
    tag = "packets",
    request_body = Wanted,
    security(("token" = ["operator"])),
    responses((status = 200, description = "Packets.", content(
        (Vec<u8> = "application/x-pcapng"),
        (String = "application/x-ndjson"),
    )))
)]
async fn begin(
    State(captures): State<Captures>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Refusal> {
    let kind = match wanted.form {
        Form::Pcapng => "application/x-pcapng",
        Form::Json => "application/x-ndjson",
    };
    // A worker that is slow to take its tap is waited for.
    let begun = tokio::task::spawn_blocking(move || captures.start(&wanted)).await;
    let panicked = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "see the log of xlvs");
    let pieces = begun.map_err(panicked)?.map_err(refusal)?;
    let stream = unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let deed = Deed::of("captures packets");
    Ok((deed, [(header::CONTENT_TYPE, kind)], Body::from_stream(stream)).into_response())
}

fn refusal(refused: Refused) -> Refusal {
    let why = refused.to_string();
    match refused {
        Refused::Wrong(_) => Refusal::invalid(why),
        Refused::Busy => Refusal::conflict(why),
        Refused::Thread(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// How the capture goes, or how the last one went.
#[utoipa::path(
    get,
    path = "/v1/captures",
    operation_id = "captured",
    tag = "packets",
    responses((status = 200, description = "Counts.", body = Tally))
)]
async fn tally(State(captures): State<Captures>) -> Json<Tally> {
    Json(captures.tally())
}
