//! Who asks, and what they may.

use std::{fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Refusal, document::Roles};

/// What somebody may do; each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Use runtime verbs: drain, weigh, zero.
    Operator,
    /// Change the configuration.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == word)
    }
}

/// Who asks. An extractor: `async fn drain(caller: Caller, ..)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `root`, `uid 1000`, or `token NAME`.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// For what depends on the request's body.
    ///
    /// # Errors
    /// 403.
    pub fn must_be(&self, needed: Role) -> Result<(), Refusal> {
        if self.role >= needed {
            return Ok(());
        }
        let (has, needed) = (self.role.name(), needed.name());
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!("{self} is {has}, and this is for {needed}; use a token of that role"),
        ))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get().cloned().ok_or_else(nobody)
    }
}

/// It was not found out who asks: 401.
fn nobody() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "no valid token; send `Authorization: Bearer TOKEN` with one that `xlvs token add` made",
    )
}

/// Lets through who may.
pub(super) async fn authorise(
    State(roles): State<Arc<Roles>>,
    caller: Caller,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    // What is not there, everybody who is known may learn.
    let needed = path.map_or(Role::Viewer, |path| roles.needed(path.as_str(), request.method()));
    match caller.must_be(needed) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}
