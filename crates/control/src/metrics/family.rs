//! What a family of metrics is.

/// A family: all that is said about it, and the names of its samples' labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the `_total` of counters and the `_info` of infos.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Every sample has these, in this order.
    pub labels: &'static [&'static str],
    /// With what it is left out.
    pub group: Group,
}

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// The same, where what counts may begin anew within the daemon's life (a socket, a server's
    /// checks): here it goes on ([`super::Ratchets`]).
    RestartingCounter,
    /// A number.
    Gauge,
    /// A constant 1; the labels tell.
    Info,
    /// Counts by upper bounds, with their sum.
    Histogram,
    /// A count and a sum, with quantiles.
    Summary,
}

impl Kind {
    /// The word in a `TYPE` line of OpenMetrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter | Self::RestartingCounter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }

    /// What a sample's name has behind the family's.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Counter | Self::RestartingCounter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram | Self::Summary => "",
        }
    }
}

impl Family {
    /// The unit that its name ends with, if it has one.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"]
            .into_iter()
            .find(|unit| self.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
    }

    /// The name of its series, as queries have it: without the parts of histograms and summaries.
    pub fn series(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

/// Families that are scraped, or left out, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What counts for the box.
    Director,
    /// By worker.
    Workers,
    /// By interface and queue.
    Interfaces,
    /// By service.
    Services,
    /// By server.
    Servers,
    /// By a server's check.
    Checks,
    /// As node_exporter names what a kernel's IPVS counts.
    NodeIpvs,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Director,
        Self::Workers,
        Self::Interfaces,
        Self::Services,
        Self::Servers,
        Self::Checks,
        Self::NodeIpvs,
    ];

    /// The word in `collect=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Workers => "workers",
            Self::Interfaces => "interfaces",
            Self::Services => "services",
            Self::Servers => "servers",
            Self::Checks => "checks",
            Self::NodeIpvs => "node_ipvs",
        }
    }
}
