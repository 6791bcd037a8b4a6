//! The daemon's log: one line a fact, to stderr.

use env_logger::{Builder, Env, TimestampPrecision};

/// Starts it, at level info unless `RUST_LOG` says otherwise.
pub(crate) fn start() {
    Builder::from_env(Env::default().default_filter_or("info"))
        .format_timestamp(Some(TimestampPrecision::Seconds))
        .format_target(false)
        .init();
}
