//! Every change is told: who, what, and what came of it.

use std::{convert::Infallible, fmt};

use axum::response::{IntoResponseParts, ResponseParts};

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
        Self { what: Some(what.into()), refused: None }
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
