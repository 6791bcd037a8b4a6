//! Why a step did not work, in words for the person at the terminal.
use std::fmt;

/// A message that says what failed and, where known, what to do.
///
/// It prints alike with `{}` and `{:?}`, so that a test's `unwrap` shows it in full.
pub struct Failure(String);

/// What a step gives back.
pub type Outcome<T = ()> = Result<T, Failure>;

/// An `Err` with a message.
pub fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Failure(message.into()))
}

impl Failure {
    /// Says what was being attempted, in front of what went wrong.
    pub fn during(self, attempt: &str) -> Self {
        Self(format!("{attempt}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("not the JSON expected: {error}"))
    }
}
