//! How a service stands, in the words of events.

use dataplane::snapshot::ServiceId;
use health::pool::Decision;

/// Whether it has its quorum, and who takes its new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// `met`, `lost`, or `waiting` for servers' first answers.
    pub quorum: &'static str,
    /// `up`, `sorry`, `forced`, `down`, or `waiting`.
    pub serves: &'static str,
}

/// A service's stand changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which service.
    pub service: ServiceId,
    /// How it stood; `None` if it is new.
    pub before: Option<Stand>,
    /// How it stands.
    pub now: Stand,
}

impl Stand {
    /// That of a decision.
    pub fn of(decision: &Decision) -> Self {
        let quorum = match (decision.waiting, decision.quorum) {
            (true, _) => "waiting",
            (false, true) => "met",
            (false, false) => "lost",
        };
        let serves = match decision {
            Decision { waiting: true, .. } => "waiting",
            Decision { sorry: true, .. } => "sorry",
            Decision { all_down: true, .. } => "forced",
            Decision { uses, .. } if uses.contains(&true) => "up",
            _ => "down",
        };
        Self { quorum, serves }
    }
}
