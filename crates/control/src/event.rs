//! What happened: the shape of an event in the log, in `xlvs events` and in hooks.

mod chronicle;
mod fields;

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use crate::api::schema::{Address, Place};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use chronicle::{Chronicle, Gap, KEPT, Line};

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Rises by one with each event since the daemon started; the first is 1.
    pub sequence: u64,
    /// When, in UTC.
    #[serde(with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub time: SystemTime,
    /// Of what kind.
    pub kind: Kind,
    /// What it happened to.
    #[serde(flatten)]
    pub subject: Subject,
    /// What it was.
    #[schema(value_type = String)]
    pub old: Cow<'static, str>,
    /// What it is.
    #[schema(value_type = String)]
    pub new: Cow<'static, str>,
    /// Nothing was known before, or first answers were awaited: it begins, it does not change.
    pub initial: bool,
    /// Why, in words; may be empty.
    pub reason: String,
    /// Who asked for it, of kind `audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How its service is now.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// Kinds of events, each with the states that it may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = EventKind)]
pub enum Kind {
    /// A server's checks: `up`, `down`.
    Server,
    /// The weight that its checks, or the operator, give a server: a number.
    Weight,
    /// The operator drains a server: `on`, `off`.
    Drain,
    /// The operator has a server in maintenance: `on`, `off`.
    Maint,
    /// The operator denies a source: `added`, `removed`, `expired`.
    Deny,
    /// A service's quorum: `met`, `lost`.
    Quorum,
    /// Who takes a service's new connections: `up` (its servers), `sorry` (the sorry server),
    /// `forced` (servers that are down, by `all_down`), `down` (nobody).
    Service,
    /// A managed VIP: `announced`, `withdrawn`.
    Vip,
    /// The configuration: `applied`, `refused`, `confirmed`, `reverted`.
    Config,
    /// Somebody changed something through the API, `by` and what is the reason: `done`.
    Audit,
    /// The daemon: `forwarding`, `stopping`.
    Director,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Server,
        Self::Weight,
        Self::Drain,
        Self::Maint,
        Self::Deny,
        Self::Quorum,
        Self::Service,
        Self::Vip,
        Self::Config,
        Self::Audit,
        Self::Director,
    ];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Weight => "weight",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Deny => "deny",
            Self::Quorum => "quorum",
            Self::Service => "service",
            Self::Vip => "vip",
            Self::Config => "config",
            Self::Audit => "audit",
            Self::Director => "director",
        }
    }

    /// The states that a hook may ask for.
    pub const fn states(self) -> &'static [&'static str] {
        match self {
            Self::Server => &["up", "down"],
            Self::Weight => &[],
            Self::Drain | Self::Maint => &["on", "off"],
            Self::Deny => &["added", "removed", "expired"],
            Self::Quorum => &["met", "lost"],
            Self::Service => &["up", "sorry", "forced", "down"],
            Self::Vip => &["announced", "withdrawn"],
            Self::Config => &["applied", "refused", "confirmed", "reverted"],
            Self::Audit => &["done"],
            Self::Director => &["forwarding", "stopping"],
        }
    }

    /// It happens to the box, not to a service.
    pub const fn is_of_the_box(self) -> bool {
        matches!(self, Self::Vip | Self::Config | Self::Audit | Self::Director)
    }
}

/// Events of a kind, in any state or in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The kind.
    pub kind: Kind,
    /// The state, one of [`Kind::states`].
    pub state: Option<&'static str>,
}

impl Topic {
    /// An event belongs to it.
    pub fn covers(&self, event: &Event) -> bool {
        self.kind == event.kind && self.state.is_none_or(|state| state == event.new)
    }
}

/// What an event happened to; with its kind, what later events replace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Subject {
    /// The service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    pub vip: Option<IpAddr>,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tcp`, `udp` or `sctp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The mark, instead of VIP, port and protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Place>)]
    pub server: Option<SocketAddr>,
    /// The network that is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl fmt::Display for Subject {
    /// `web 203.0.113.10:80/tcp 10.0.2.12:80`, as far as it is there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match (self.vip, self.port, &self.protocol) {
            (Some(vip), Some(port), Some(protocol)) => {
                Some(format!("{}/{protocol}", SocketAddr::new(vip, port)))
            }
            (vip, ..) => vip.map(|vip| vip.to_string()),
        };
        let mark = self.mark.map(|mark| format!("mark {mark}"));
        let server = self.server.map(|server| server.to_string());
        let words = [self.service.clone(), place, mark, server, self.source.clone()];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventCounts)]
pub struct Counts {
    /// Its servers that are up.
    pub up: usize,
    /// All its servers.
    pub servers: usize,
    /// The configured weight of up, undrained servers in the tiers in use, as of its last decision.
    pub weight: u64,
    /// The weight that it needs.
    pub quorum: u64,
}

impl Event {
    /// One of this moment; its sequence number comes with the chronicle.
    pub fn new(
        kind: Kind,
        subject: Subject,
        old: impl Into<Cow<'static, str>>,
        new: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            sequence: 0,
            time: SystemTime::now(),
            kind,
            subject,
            old: old.into(),
            new: new.into(),
            initial: false,
            reason: String::new(),
            by: None,
            counts: None,
        }
    }

    /// Its name: `server.down`, `weight`.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Weight => self.kind.name().to_owned(),
            kind => format!("{}.{}", kind.name(), self.new),
        }
    }

    /// Somebody ought to look.
    pub fn is_bad(&self) -> bool {
        match self.kind {
            Kind::Server => self.new == "down",
            Kind::Quorum => self.new == "lost",
            Kind::Service => self.new != "up",
            Kind::Vip => self.new == "withdrawn",
            Kind::Weight
            | Kind::Drain
            | Kind::Maint
            | Kind::Deny
            | Kind::Audit
            | Kind::Director => false,
            Kind::Config => self.new == "refused",
        }
    }

    /// How loud the log tells it: what begins as it should is no news.
    pub fn level(&self) -> log::Level {
        match (self.is_bad(), self.initial, self.kind) {
            (true, ..) => log::Level::Warn,
            (_, true, Kind::Quorum | Kind::Service) => log::Level::Debug,
            _ => log::Level::Info,
        }
    }

    /// The time as RFC 3339 has it, in UTC, to the millisecond.
    pub fn when(&self) -> String {
        time::text(self.time)
    }
}

impl fmt::Display for Event {
    /// A line of `xlvs events`, but for time and number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, subject, old, new, reason, by, .. } = self;
        if let Some(by) = by {
            return write!(f, "{} {by}: {reason}", kind.name());
        }
        let subject = subject.to_string();
        let space = if subject.is_empty() { "" } else { " " };
        // What is done has no state before it.
        let arrow = if old.is_empty() { "" } else { " -> " };
        write!(f, "{}{space}{subject}: {old}{arrow}{new}", kind.name())?;
        if reason.is_empty() { Ok(()) } else { write!(f, " ({reason})") }
    }
}

/// A time as RFC 3339 has it, in UTC, to the millisecond.
pub fn rfc3339(time: SystemTime) -> String {
    time::text(time)
}

/// Times in JSON: RFC 3339, UTC.
pub(crate) mod time {
    use super::{SystemTime, Timestamp};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn text(time: SystemTime) -> String {
        Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
    }

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(*time))
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        text.parse::<Timestamp>().map(SystemTime::from).map_err(D::Error::custom)
    }
}

/// The same, where there may be none.
pub(crate) mod maybe_time {
    use super::{SystemTime, Timestamp, time};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.serialize_str(&time::text(*time)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let read = |text: String| text.parse::<Timestamp>().map(SystemTime::from);
        text.map(read).transpose().map_err(D::Error::custom)
    }
}
