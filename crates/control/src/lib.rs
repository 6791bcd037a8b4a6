//! xlvs: control
#![forbid(unsafe_code)]
