//! The face of ipvsadm 1.31: its command line in, its listings out.
//!
//! Pure: no sockets, no files, no clock. [`parse`] turns words into a [`Command`], which travels
//! to the daemon as JSON; what the daemon answers (a [`Listing`], connections, a [`Denial`])
//! becomes the text and the exit code that ipvsadm would give. Names of hosts and ports come
//! through a [`Resolver`].
//!
//! The truth is Debian's ipvsadm 1.31 with popt 1.19: its texts are an interface, so they are
//! kept letter by letter, spelling and all. Where this crate departs on purpose:
//! - `--fullnat` selects FullNAT, which ipvsadm does not have. It is not in the help text.
//! - [`save`] writes thresholds (`-x`, `-y`), which ipvsadm loses.
//! - [`restore`] gives all rules or none, skips lines that begin with `#`, and refuses commands
//!   that are no rules; ipvsadm stops in the middle of the file.
//! - A persistence mask is a prefix: 255.0.255.0 is refused, and so is `-M 24` for IPv4, which
//!   ipvsadm takes for 0.0.0.24.
//! - `-b ,` is refused; ipvsadm crashes.
//! - A mark above 2147483647 is shown as it was written; ipvsadm shows it negative.
#![forbid(unsafe_code)]

mod command;
pub mod help;
pub mod listing;
mod names;
mod parse;
mod refusal;
pub mod restore;
pub mod save;
pub mod schema;

pub use command::{
    Checksum, Command, DaemonRole, Forward, ListSpec, ListWhat, Protocol, SchedulerFlag, ServerRef,
    ServerSpec, ServiceRef, ServiceSpec, SyncDaemon, Timeouts, Tunnel, View,
};
pub use listing::{Connection, Counters, Endpoint, ListedServer, ListedService, Listing};
pub use names::{NoNames, Resolver};
pub use parse::{Program, parse};
pub use refusal::{Denial, Refusal};
