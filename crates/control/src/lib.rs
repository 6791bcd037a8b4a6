//! Control: from the operator's file to what the workers read.
//!
//! [`load::load`] reads the file: [`marked`] gives the YAML text places, [`mod@file`] is what an
//! operator may write, [`resolve`] finds what cannot be true together, and every [`fault`] is
//! reported at once. [`model::Model`] is what is true, [`compile::compile`] makes the datapath's
//! services of it, [`matches::match_entries`] lists what the XDP program must recognise.
//!
//! [`live`] looks at the box. [`report`] is what a running daemon tells of itself, [`api`]
//! serves it over a unix socket, [`metrics`] makes of it what Prometheus scrapes.
#![forbid(unsafe_code)]

pub mod api;
pub mod apply;
pub mod capture;
pub mod compile;
pub mod connection_log;
pub mod daemon;
pub mod diff;
pub mod errand;
pub mod event;
pub mod explain;
pub mod export;
pub mod fault;
pub mod file;
pub mod front;
pub mod hooks;
pub mod kernel;
pub mod killer;
pub mod live;
pub mod load;
pub mod marked;
pub mod matches;
pub mod merge;
pub mod metrics;
pub mod model;
pub mod netfilter;
pub mod order;
pub mod origin;
pub mod registry;
pub mod report;
pub mod resolve;
pub mod sockets;
pub mod stats;
pub mod topology;
pub mod traffic;
pub mod verify;
mod words;
