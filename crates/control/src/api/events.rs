//! `GET /v1/events`: a line of JSON for each event, the kept ones first; with `follow` those that
//! come, too. `after=N`: only those with a greater number. With `Accept: text/event-stream` the same
//! as server-sent events, which follow unless `follow=false`; who comes back says by
//! `Last-Event-ID` what it had.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures_util::stream::{Stream, StreamExt, iter, unfold};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Part, Refusal};
use crate::event::{Chronicle, Line};

/// How often a quiet stream of server-sent events says something: proxies close silent ones.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// The stream of events.
pub fn events(chronicle: Arc<Chronicle>) -> Part {
    OpenApiRouter::new().routes(routes!(stream)).with_state(chronicle)
}

/// What happened lately, and what happens: one event a line.
///
/// The last 1,000 are kept; where some of them are not any more, a line says how many. With
/// `Accept: text/event-stream`: server-sent events, each with its number as `id`, its kind as
/// `event` and the line as `data`; they follow unless `follow=false`, and `Last-Event-ID` stands
/// for `after`.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "events",
    tag = "director",
    params(
        ("after" = Option<u64>, Query, description = "Only events with a greater number."),
        ("follow" = Option<bool>, Query, description = "Go on with each as it comes; the word alone means true."),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, of server-sent events."),
    ),
    responses((status = 200, description = "Events.", content(
        (Line = "application/x-ndjson"),
        (String = "text/event-stream"),
    )))
)]
async fn stream(
    State(chronicle): State<Arc<Chronicle>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Asked { after, follows } = Asked::read(query.as_deref().unwrap_or_default())?;
    if headers.get_all(header::ACCEPT).iter().any(is_event_stream) {
        let had = headers.get("last-event-id").map(number).transpose()?;
        let after = after.or(had).unwrap_or(0);
        return Ok(sent(chronicle, after, follows.unwrap_or(true)));
    }
    let after = after.unwrap_or(0);
    let body = match follows.unwrap_or(false) {
        true => Body::from_stream(
            follow(chronicle, after).map(|lines| Ok::<_, Infallible>(text(&lines))),
        ),
        false => Body::from(text(&chronicle.after(after))),
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// What the query says.
#[derive(Default)]
struct Asked {
    after: Option<u64>,
    follows: Option<bool>,
}

impl Asked {
    /// `after=7&follow`.
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut asked = Self::default();
        for word in query.split('&').filter(|word| !word.is_empty()) {
            let wrong = || {
                let message =
                    format!("{word}: not understood; write after=NUMBER, follow, or both");
                Refusal::new(StatusCode::BAD_REQUEST, message)
            };
            match word.split_once('=') {
                Some(("after", number)) => asked.after = Some(number.parse().map_err(|_| wrong())?),
                Some(("follow", yes)) => asked.follows = Some(yes.parse().map_err(|_| wrong())?),
                None if word == "follow" => asked.follows = Some(true),
                _ => return Err(wrong()),
            }
        }
        Ok(asked)
    }
}

fn is_event_stream(accepted: &HeaderValue) -> bool {
    accepted.to_str().is_ok_and(|kinds| kinds.contains("text/event-stream"))
}

/// A `Last-Event-ID` of ours.
fn number(had: &HeaderValue) -> Result<u64, Refusal> {
    had.to_str().ok().and_then(|had| had.parse().ok()).ok_or_else(|| {
        let message =
            "Last-Event-ID: not the number of an event; leave it away to get all kept ones";
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })
}

/// As server-sent events.
fn sent(chronicle: Arc<Chronicle>, after: u64, follows: bool) -> Response {
    let each = |lines: Vec<Line>| iter(lines).map(|line| Ok::<_, Infallible>(as_sent(&line)));
    match follows {
        true => Sse::new(follow(chronicle, after).flat_map(each))
            .keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE))
            .into_response(),
        false => Sse::new(each(chronicle.after(after))).into_response(),
    }
}

fn as_sent(line: &Line) -> sse::Event {
    // Nothing in them refuses to be JSON, which has no line ends.
    let sent = sse::Event::default().data(serde_json::to_string(line).unwrap_or_default());
    match line {
        Line::Event(event) => sent.id(event.sequence.to_string()).event(event.kind.name()),
        Line::Gap(gap) => sent.id(gap.until.to_string()).event("gap"),
    }
}

/// Each part is what there is when the reader has taken the one before.
fn follow(chronicle: Arc<Chronicle>, after: u64) -> impl Stream<Item = Vec<Line>> {
    let bell = chronicle.bell();
    unfold((chronicle, bell, after), |(chronicle, mut bell, after)| async move {
        loop {
            bell.borrow_and_update();
            let lines = chronicle.after(after);
            if let Some(Line::Event(last)) = lines.last() {
                let last = last.sequence;
                return Some((lines, (chronicle, bell, last)));
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
