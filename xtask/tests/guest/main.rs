//! Tests on kernels of Debian's in an emulated machine: for what the running kernel has not.
//!
//! The frames that go in are those of the golden tables, so nothing of them comes from
//! running xlvs. No root is needed; the kernels are fetched once, below `target/`.
#![forbid(unsafe_code)]

mod golden;
mod packet;
mod pktgen;
mod tunnel;
mod zero_copy;

use std::time::Duration;

/// An emulated kernel answers within milliseconds; the machine may be busy with others.
const PATIENCE: Duration = Duration::from_secs(10);
