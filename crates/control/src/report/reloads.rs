//! What became of changed configurations.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of a configuration that was given to the running daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Success,
    /// It was refused, and all goes on as before.
    Failure,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Success, Self::Failure];

    /// The word in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// How often configurations came, and how the last one fared. The one that the daemon began with
/// counts as a success that is no reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reloads {
    /// By [`Outcome::name`]; what never came is there, as 0.
    pub count: BTreeMap<String, u64>,
    /// What became of the last one.
    pub last: String,
    /// When the configuration in force came into force, in seconds since 1970.
    pub last_success_s: f64,
}

impl Reloads {
    /// The daemon begins with a configuration.
    pub fn begin(at: SystemTime) -> Self {
        Self {
            count: Outcome::ALL.iter().map(|one| (one.name().to_owned(), 0)).collect(),
            last: Outcome::Success.name().to_owned(),
            last_success_s: seconds(at),
        }
    }

    /// A configuration came, and this became of it.
    pub fn note(&mut self, outcome: Outcome, at: SystemTime) {
        *self.count.entry(outcome.name().to_owned()).or_default() += 1;
        outcome.name().clone_into(&mut self.last);
        if outcome == Outcome::Success {
            self.last_success_s = seconds(at);
        }
    }
}

/// Seconds since 1970; 0 before.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_leaves_the_time_of_what_is_in_force() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut reloads = Reloads::begin(at(5));
        let rows = [
            (Outcome::Failure, 6, "failure", 5.0, [0, 1]),
            (Outcome::Success, 7, "success", 7.0, [1, 1]),
            (Outcome::Failure, 8, "failure", 7.0, [1, 2]),
        ];
        for (outcome, when, last, success, [successes, failures]) in rows {
            reloads.note(outcome, at(when));
            assert_eq!((reloads.last.as_str(), reloads.last_success_s), (last, success));
            let counts = (reloads.count["success"], reloads.count["failure"]);
            assert_eq!(counts, (successes, failures));
        }
    }
}
