//! The xlvs binary.
#![forbid(unsafe_code)]

fn main() {}
