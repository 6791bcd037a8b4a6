//! xlvs: health
#![forbid(unsafe_code)]
