//! xlvs: control
#![forbid(unsafe_code)]

pub mod kernel;
pub mod topology;
