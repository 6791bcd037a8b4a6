//! `GET /v1/events`: a line of JSON for each event, the kept ones first; with `follow` those that
//! come, too. `after=N`: only those with a greater number.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream::{Stream, unfold};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Part, Refusal};
use crate::event::{Chronicle, Line};

/// The stream of events.
pub fn events(chronicle: Arc<Chronicle>) -> Part {
    OpenApiRouter::new().routes(routes!(stream)).with_state(chronicle)
}

/// What happened lately, and what happens: one event a line.
///
/// The last 1,000 are kept; where some of them are not any more, a line says how many.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "events",
    tag = "director",
    params(
        ("after" = Option<u64>, Query, description = "Only events with a greater number."),
        ("follow" = Option<bool>, Query, description = "Go on with each as it comes; the word alone means true."),
    ),
    responses((
        status = 200,
        description = "Lines of JSON.",
        content_type = "application/x-ndjson",
        body = Line,
    ))
)]
async fn stream(
    State(chronicle): State<Arc<Chronicle>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let (after, follows) = read(query.as_deref().unwrap_or_default())?;
    let body = match follows {
        true => Body::from_stream(follow(chronicle, after)),
        false => Body::from(text(&chronicle.after(after))),
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `after=7&follow`.
fn read(query: &str) -> Result<(u64, bool), Refusal> {
    let (mut after, mut follows) = (0, false);
    for word in query.split('&').filter(|word| !word.is_empty()) {
        let wrong = || {
            let message = format!("{word}: not understood; write after=NUMBER, follow, or both");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        };
        match word.split_once('=') {
            Some(("after", number)) => after = number.parse().map_err(|_| wrong())?,
            Some(("follow", yes)) => follows = yes.parse().map_err(|_| wrong())?,
            None if word == "follow" => follows = true,
            _ => return Err(wrong()),
        }
    }
    Ok((after, follows))
}

/// Each part is what there is when the reader has taken the one before.
fn follow(chronicle: Arc<Chronicle>, after: u64) -> impl Stream<Item = Result<String, Infallible>> {
    let bell = chronicle.bell();
    unfold((chronicle, bell, after), |(chronicle, mut bell, after)| async move {
        loop {
            bell.borrow_and_update();
            let lines = chronicle.after(after);
            if let Some(Line::Event(last)) = lines.last() {
                return Some((Ok(text(&lines)), (chronicle, bell, last.sequence)));
            }
            bell.changed().await.ok()?;
        }
    })
}

fn text(lines: &[Line]) -> String {
    // Nothing in them refuses to be JSON.
    let lines = lines.iter().filter_map(|line| serde_json::to_string(line).ok());
    lines.map(|line| line + "\n").collect()
}
