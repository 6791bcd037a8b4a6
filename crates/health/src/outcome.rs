//! What came of asking once.

use std::time::Duration;

/// What came of asking a question once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Good or bad.
    pub verdict: Result<Good, Bad>,
    /// How long it took.
    pub took: Duration,
}

/// A good answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Good {
    /// In words for the listing, such as `HTTP 200`; without the time.
    pub text: String,
    /// The weight that the answer gives the server (exec, file).
    pub weight: Option<u32>,
}

impl Good {
    /// A good answer in words.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), weight: None }
    }
}

/// A bad answer, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Which kind of failure.
    pub kind: Kind,
    /// In words: what happened and, where it is known, the likely cause.
    pub text: String,
}

impl Bad {
    /// A failure in words.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// Kinds of failures; names are for metrics and hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody listens: TCP reset, ICMP port unreachable.
    Refused,
    /// No way there: ICMP host or net unreachable, no route, no neighbour.
    Unreachable,
    /// The deadline passed.
    Timeout,
    /// The connection ended before the answer was complete.
    Closed,
    /// TLS: the certificate or the handshake.
    Tls,
    /// An answer that is no answer of that protocol.
    Malformed,
    /// A well-formed answer that is not the expected one.
    Wrong,
    /// The box itself could not ask: no file descriptors, no such program, no such interface.
    Local,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Closed,
        Self::Tls,
        Self::Malformed,
        Self::Wrong,
        Self::Local,
    ];

    /// The name in metrics, JSON and hooks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Tls => "tls",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
            Self::Local => "local",
        }
    }
}
