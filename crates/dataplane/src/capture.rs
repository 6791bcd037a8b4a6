//! Captures: copies of packets as they came in and as they left, with what became of them.
//!
//! tcpdump on the box sees nothing of what XDP redirects, so workers copy themselves. A worker has
//! at most one [`Tap`], and without one a breath asks for it once. With one it breathes through
//! [`Watched`] ports, which see each packet before it is decided about, the verdict, and all that
//! is sent for it: parts, answers and resets too. What passes the [`Filter`] is copied into
//! buffers that control made ([`tap`]), and taken out at the [`Well`]; where there is no
//! empty one, or the breath's share is spent, a packet is counted as missed and nobody waits.

mod filter;
mod record;
mod subject;
mod tap;
mod watched;

pub use filter::{Ends, Filter, Net};
pub use record::{Fate, Note, Side};
pub use tap::{Counts, SHARE, Tap, Well, tap};
pub(crate) use watched::Watched;

use crate::packet::Parsed;
use crate::table::Probe;

/// A packet that is about to be decided about.
pub struct Arrival<'a> {
    /// What it holds.
    pub parsed: &'a Parsed,
    /// The table's first look at its tuple, if there was one.
    pub probe: Option<&'a Probe>,
    /// How long it was held, in milliseconds.
    pub waited_ms: u64,
}
