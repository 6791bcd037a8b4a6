//! Storms: SYN floods, connections that all end at once, snapshots in a row, and how long a
//! breath gets at most. IPv4 and TCP; a worker, its own breath, established connections all the
//! while.

mod breath;
mod expiry;
mod flood;
mod memory;
mod stage;
mod swap;

use std::io;

use crate::Session;

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    flood::run(session)?;
    expiry::run(session)?;
    swap::run(session)?;
    breath::run(session)?;
    memory::run(session)
}

/// Established connections.
const ESTABLISHED: u64 = 64_000;
