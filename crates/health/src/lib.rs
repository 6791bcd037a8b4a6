//! Health: whether real servers can take connections.
//!
//! Read in this order:
//! - [`check`]: what an operator asks for: a [`Probe`](check::Probe), how often, how many
//!   times in a row ([`Timing`](check::Timing)), of whom ([`Target`](check::Target)).
//! - [`probe`]: asks one [`Question`](check::Question) once, by a total deadline, and gives an
//!   [`Outcome`](outcome::Outcome). All I/O is there.
//! - [`streak`], [`member`]: pure: outcomes in, up or down out: rise and fall, several checks of a
//!   server, damping.
//! - [`pool`]: pure: which servers of a service are in use: tiers, quorum, sorry server, and
//!   what happens when all are down.
//! - [`process`]: runs a program of the operator's, for exec checks and hooks.
//! - [`runner`]: the thread: asks each question when it is due, once for all who ask it, and
//!   emits an [`Event`](event::Event) for each change. Nobody else looks at an outcome.
#![forbid(unsafe_code)]

pub mod check;
pub mod event;
pub mod member;
pub mod outcome;
pub mod pool;
pub mod probe;
pub mod process;
pub mod runner;
pub mod streak;

/// The index of a real server: the id that the compiled services give it.
pub type ServerId = u32;
