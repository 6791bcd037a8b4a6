//! `GET /v1/events`: a line of JSON for each event, the kept ones first; with `follow` those that
//! come, too. `after=N`: only those with a greater number.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream::{Stream, unfold};

use crate::event::{Chronicle, Line};

/// The stream of events.
pub fn events(chronicle: Arc<Chronicle>) -> Router {
    Router::new().route("/v1/events", get(answer)).with_state(chronicle)
}

async fn answer(State(chronicle): State<Arc<Chronicle>>, RawQuery(query): RawQuery) -> Response {
    let Some((after, follows)) = read(query.as_deref().unwrap_or_default()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let body = match follows {
        true => Body::from_stream(follow(chronicle, after)),
        false => Body::from(text(&chronicle.after(after))),
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// `after=7&follow`.
fn read(query: &str) -> Option<(u64, bool)> {
    let (mut after, mut follows) = (0, false);
    for word in query.split('&').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("after", number)) => after = number.parse().ok()?,
            None if word == "follow" => follows = true,
            _ => return None,
        }
    }
    Some((after, follows))
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
