//! Every change is told: who, what, and what came of it.

use std::{convert::Infallible, fmt};

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponseParts, Response, ResponseParts},
};

use super::{Caller, Refusal};
use crate::{
    errand::Desk,
    event::{Event, Kind, Subject},
};

/// Octets of what is told at most: a request may name 1,000 servers.
const LONGEST: usize = 512;

/// What a request did, in words; goes beside the answer's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    /// What was to be done; none if nothing was to be changed.
    what: Option<String>,
    /// Why it was not, although the answer is no refusal.
    refused: Option<String>,
}

impl Deed {
    /// The request only read: it is not told.
    pub const NONE: Self = Self { what: None, refused: None };

    /// Something was done, such as `drains web 10.0.2.1:80`.
    pub fn of(what: impl Into<String>) -> Self {
        Self { what: Some(bounded(what.into())), refused: None }
    }

    /// It was not done.
    pub fn refused(self, why: impl fmt::Display) -> Self {
        Self { refused: Some(why.to_string()), ..self }
    }
}

impl IntoResponseParts for Deed {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Tells of every request that changed something, with who asked; and the log of those that were
/// refused.
pub(super) async fn tell(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let asked = format!("{} {}", request.method(), request.uri().path());
    // Who is not known has changed nothing.
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return next.run(request).await;
    };
    let response = next.run(request).await;
    let deed = response.extensions().get::<Deed>().cloned();
    let deed = deed.unwrap_or_else(|| Deed::of(asked.clone()));
    let Some(what) = deed.what else { return response };
    let refusal = response.extensions().get::<Refusal>().map(|refusal| &refusal.message);
    let status = response.status();
    match deed.refused.as_ref().or(refusal) {
        Some(why) => {
            // Some say it themselves.
            let why = why.strip_prefix(&format!("{asked}: ")).unwrap_or(why);
            log::info!("audit {caller}: {what}: refused: {}", bounded(why.to_owned()));
        }
        None if !status.is_success() => log::info!("audit {caller}: {what}: refused: {status}"),
        None => desk.tell(done(&caller, what)).await,
    }
    response
}

fn done(caller: &Caller, what: String) -> Event {
    let event = Event::new(Kind::Audit, Subject::default(), "", "done");
    Event { by: Some(caller.to_string()), reason: what, ..event }
}

/// One line of a bounded length: what a request says does not make lines of the log.
fn bounded(text: String) -> String {
    let mut text = text.replace(|letter: char| letter.is_control(), " ");
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str(" ...");
    }
    text
}
