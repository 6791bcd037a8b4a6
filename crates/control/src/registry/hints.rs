//! What traffic tells of servers: handshakes that fail have a server's checks asked at once, and
//! make it suspect where the service wants that.

use std::time::{Duration, Instant, SystemTime};

use dataplane::snapshot::{ServerId, Services};
use hashbrown::HashMap;
use health::runner::ServerReport;

use crate::model::{Model, Server};

/// Handshakes that failed at one server: SYNs that nothing came back for, and refused ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// SYNs that were sent again before anything came back.
    pub unanswered: u64,
    /// SYNs that were answered with RST.
    pub refused: u64,
}

impl Failures {
    const fn since(self, earlier: Self) -> Self {
        Self {
            unanswered: self.unanswered.wrapping_sub(earlier.unanswered),
            refused: self.refused.wrapping_sub(earlier.refused),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            unanswered: self.unanswered + other.unanswered,
            refused: self.refused + other.refused,
        }
    }

    const fn all(self) -> u64 {
        self.unanswered + self.refused
    }

    /// In words.
    pub fn why(self) -> String {
        let Self { unanswered, refused } = self;
        match (unanswered, refused) {
            (_, 0) => format!("{unanswered} SYNs unanswered within a second"),
            (0, _) => format!("{refused} SYNs refused within a second"),
            _ => format!("{unanswered} SYNs unanswered and {refused} refused within a second"),
        }
    }
}

/// A server of which traffic says that it is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Which one.
    pub server: ServerId,
    /// What was seen.
    pub failures: Failures,
    /// It gets no new connections for this long, unless its checks say that it is well.
    pub suspect: Option<Duration>,
}

/// What was counted when it was looked at last.
#[derive(Debug, Default)]
pub struct Hints {
    seen: HashMap<ServerId, Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    total: Failures,
    /// In the period before the last look.
    last: Failures,
}

impl Hints {
    /// How often [`Hints::look`] is to be called: two of these are the second that counts.
    pub const PERIOD: Duration = Duration::from_millis(500);

    /// Looks at what failed by now; `counts` gives all that ever failed under a server's id.
    pub fn look(
        &mut self,
        model: &Model,
        services: &Services,
        counts: impl Fn(ServerId) -> Failures,
    ) -> Vec<Hint> {
        let mut hints = Vec::new();
        for service in &model.services {
            let wanted = service.health.hints;
            let tells = |server: &Server| server.forward.two_way() && !server.checks.is_empty();
            if wanted.failures == 0 || !service.servers.iter().any(tells) {
                continue;
            }
            for (server, id) in super::seated(service, services) {
                let total = counts(id);
                let known = self.seen.get(&id).copied();
                let seen = known.unwrap_or(Seen { total, last: Failures::default() });
                let last = total.since(seen.total);
                let failures = seen.last.and(last);
                if tells(server) && failures.all() >= wanted.failures.into() {
                    hints.push(Hint { server: id, failures, suspect: wanted.suspect });
                    self.seen.insert(id, Seen { total, last: Failures::default() });
                } else {
                    self.seen.insert(id, Seen { total, last });
                }
            }
        }
        self.seen.retain(|id, _| services.server(*id).is_some());
        hints
    }
}

/// Servers that get no new connections until their checks have looked.
#[derive(Debug, Default)]
pub struct Suspects {
    servers: HashMap<ServerId, Suspicion>,
}

#[derive(Debug)]
struct Suspicion {
    until: Instant,
    since: SystemTime,
    why: String,
}

impl Suspects {
    /// Suspects a server from now on, for so long at most.
    pub(super) fn add(&mut self, server: ServerId, most: Duration, why: String) {
        let suspicion = Suspicion { until: Instant::now() + most, since: SystemTime::now(), why };
        self.servers.insert(server, suspicion);
    }

    /// Why a server is suspect, if it is.
    pub fn why(&self, server: ServerId) -> Option<&str> {
        self.servers.get(&server).map(|suspicion| suspicion.why.as_str())
    }

    /// True if a server is.
    pub(super) fn has(&self, server: ServerId) -> bool {
        self.servers.contains_key(&server)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = ServerId> {
        self.servers.keys().copied()
    }

    /// Lets those go whose time is over, and those whose checks have all said since that they
    /// are well; true if there were any.
    pub fn settle<'r>(&mut self, report: impl Fn(ServerId) -> Option<&'r ServerReport>) -> bool {
        let before = self.servers.len();
        let now = Instant::now();
        self.servers.retain(|id, suspicion| {
            let well = report(*id).is_some_and(|known| {
                known.checks.iter().all(|check| {
                    check.last.as_ref().is_some_and(|(good, .., at)| *good && *at > suspicion.since)
                })
            });
            suspicion.until > now && !well
        });
        self.servers.len() < before
    }
}
