//! What control learns.

use std::time::SystemTime;

use crate::ServerId;

/// A real server's health, by its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not known yet: its first answers are awaited. It gets no new connections.
    Waiting,
    /// It takes new connections.
    Up,
    /// It takes none.
    Down,
}

impl Health {
    /// The word in listings, JSON and hooks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A real server's health changed, or the weight that its checks give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which server.
    pub server: ServerId,
    /// Its health from now on.
    pub health: Health,
    /// The weight that exec and file checks give it; `None`: the configured one.
    pub weight: Option<u32>,
    /// Why, in words for the log and the listing, such as `http: HTTP 503`.
    pub why: String,
    /// When.
    pub at: SystemTime,
}
