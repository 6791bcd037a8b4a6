//! xlvs: xsk
