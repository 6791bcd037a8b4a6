//! The oracle's language: scenarios that are played to a kernel with IPVS and to xlvs alike,
//! and the transcripts of what the kernel did.
//!
//! - [`ground`]: the one network in which every scenario takes place.
//! - [`scenario`]: the files below `tests/oracle/scenarios`, and what they expand to.
//! - [`step`]: one line of a scenario: a command, a packet, a pick, a wait.
//! - [`order`] and [`packet`]: a packet in words, and in octets.
//! - [`recording`]: the transcripts below `tests/oracle/recorded`; [`difference`]: how they compare.
//!
//! Nothing here opens a socket or reads a clock: who plays a scenario does that.
#![forbid(unsafe_code)]

mod chance;
mod client;
pub mod difference;
pub mod ground;
pub mod order;
pub mod packet;
pub mod recording;
pub mod scenario;
mod sequences;
mod states;
pub mod step;

pub use chance::Chance;
pub use client::{Client, strangers};
pub use difference::difference;
pub use recording::Recording;
pub use scenario::Scenario;
pub use step::Step;

use std::fmt;

/// What a scenario file, a step or a recording says wrongly, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// An `Err` with a message.
pub(crate) fn fault<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(message.into()))
}
