//! LVS schedulers, pure: no I/O, no clock, no packets.
#![forbid(unsafe_code)]

/// Which scheduler a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
}
