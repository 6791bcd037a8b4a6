//! The datapath of xlvs: from a frame to one verdict.
//!
//! Read it along the walk of a packet. A [`worker`] breathes: it receives a burst from each
//! port, [`packet`] parses each frame once, the [`table`] is asked in two stages so that
//! its memory comes in time, and [`breath`] decides: a connection is found, or [`admit`]
//! makes one: which service ([`lookup`]), who may ([`access`]), which server
//! ([`template`], [`admission`]). The packet is observed ([`tcp`]), its way out found ([`route`] over the
//! mirrored [`topology`]), its headers changed ([`rewrite`], [`tunnel`], [`split`]). ICMP
//! errors go through [`icmp`], our own come from [`answer`], fragments follow their first
//! one by [`fragment`]; [`gone`] tells which connections are over, [`reset`] ends TCP ones. Every packet ends in one [`verdict`]. The worker sees one
//! [`snapshot`] a breath; what outlives it is in the [`director`], what is done against floods in [`defence`] and [`patrol`]; where frames come
//! from and go to is behind [`io`]; [`capture`] copies packets for an operator, [`connection_log`] tells of connections.
#![forbid(unsafe_code)]

pub mod access;
pub mod admission;
pub mod admit;
pub mod answer;
pub mod breath;
pub mod capture;
pub mod clock;
pub mod connection_log;
mod conveyor;
pub mod defence;
pub mod director;
pub mod effort;
pub mod engine;
pub mod forward;
pub mod fragment;
pub mod gone;
pub mod icmp;
pub mod ids;
pub mod io;
pub mod kill;
pub mod limiter;
pub mod link;
pub mod lookup;
pub mod mark;
pub mod memory;
mod one_packet;
pub mod packet;
pub mod patrol;
pub mod policy;
pub mod prefix;
pub mod probe;
pub mod probe_port;
pub mod punt;
mod purge;
pub mod quote;
pub mod record;
pub mod rehearse;
pub mod reset;
pub mod rewrite;
pub mod rings;
pub mod route;
pub mod sctp;
pub mod snapshot;
mod source_ports;
pub mod split;
pub mod state;
mod stateless;
pub mod stats;
pub mod table;
pub mod tcp;
pub mod template;
pub mod topology;
pub mod tunnel;
pub mod verdict;
pub mod waiting;
pub mod wire;
pub mod worker;
