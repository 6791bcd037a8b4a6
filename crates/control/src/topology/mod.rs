//! The mirror of the kernel's forwarding state.
//!
//! [`mirror`] listens to netlink and keeps [`state::Kernel`] true; [`build`] turns it
//! into the [`dataplane::topology::Topology`] that the workers read. What reads (state,
//! build, source) is pure; what talks to the kernel is in `mirror`, `monitor` and `dump`.

pub mod build;
mod decode;
mod dump;
pub mod hops;
mod kept;
pub mod mirror;
mod monitor;
mod probed;
mod routes;
pub mod source;
pub mod state;
mod wanted;

pub use build::{Statics, build};
pub use mirror::{Mirror, MirrorError, Request, Settings};
pub use probed::Probed;

/// How much of the kernel's state is mirrored; each with a counter when exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Routes of the main table, both families together.
    pub routes: usize,
    /// Neighbours on served interfaces; at most 65534, the number of hop ids.
    pub neighbours: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { routes: 16_384, neighbours: 8_192 }
    }
}
