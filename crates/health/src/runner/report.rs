//! What is known of everybody, for listings, JSON and metrics.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use super::Lateness;
use crate::{ServerId, event::Health};

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By server.
    pub servers: HashMap<ServerId, ServerReport>,
    /// Probes that ended.
    pub probes: u64,
    /// Those of them that failed, by the name of their failure's kind.
    pub failures: HashMap<&'static str, u64>,
    /// Probes under way.
    pub in_flight: usize,
    /// How late probes began.
    pub lateness: Lateness,
}

/// A server.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// What it is.
    pub health: Health,
    /// Since when.
    pub since: SystemTime,
    /// Why, as its last event said.
    pub why: String,
    /// Its checks pause.
    pub paused: bool,
    /// It is held down because it comes and goes.
    pub held: bool,
    /// Why its traffic makes it suspect: of that the runner knows nothing.
    pub suspect: Option<String>,
    /// How often it came up, and went down, since it is asked; what it began as does not count.
    pub turns: Turns,
    /// Its checks, in order.
    pub checks: Vec<CheckReport>,
}

/// How often a server's health turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// From down to up.
    pub up: u64,
    /// From up to down.
    pub down: u64,
}

/// What a check has been answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers, failures among them.
    pub answers: u64,
    /// Failures, by the name of their kind.
    pub failures: BTreeMap<&'static str, u64>,
}

/// A check of a server.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// What it says.
    pub health: Health,
    /// Good answers in a row, and bad ones.
    pub row: (u32, u32),
    /// The last answer: whether it was good, in words, how long it took, when it came.
    pub last: Option<(bool, String, Duration, SystemTime)>,
    /// What it has been answered since its server is asked.
    pub tally: Tally,
    /// From now until the next probe; `None` while one is under way or the check pauses.
    pub next: Option<Duration>,
}
