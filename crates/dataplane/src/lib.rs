//! The datapath of xlvs: from a frame to one verdict.
#![forbid(unsafe_code)]

pub mod forward;
pub mod io;
pub mod snapshot;
pub mod table;
pub mod tcp;
pub mod topology;
pub mod verdict;
