//! Control: from the operator's file to what the workers read.
//!
//! [`model::Model`] is what is true, [`compile::compile`] makes the datapath's services of it,
//! [`matches::match_entries`] lists what the XDP program must recognise.
#![forbid(unsafe_code)]

pub mod compile;
pub mod matches;
pub mod model;
