//! `persistence:`, a time or a mapping.

use super::{
    cursor::{Cursor, Put},
    scalar::{self, Mask},
};
use crate::fault::Fault;

/// Clients stay with their server.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// `timeout`, in seconds.
    pub timeout: u32,
    /// `mask`; every client by itself unless given.
    pub mask: Option<Put<Mask>>,
}

/// What `ipvsadm -p` means without a number (`IPVS_SVC_PERSISTENT_TIMEOUT`).
const TIMEOUT: u32 = 360;

pub(super) fn persistence(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Persistence> {
    if !at.is_map() {
        let timeout = at.read(faults, scalar::idle_time)?.value;
        return Some(Persistence { timeout, mask: None });
    }
    let mut keys = at.keys(faults)?;
    let timeout = keys.take("timeout").and_then(|at| at.read(faults, scalar::idle_time));
    let mask = keys.take("mask").and_then(|at| at.read(faults, scalar::mask));
    keys.finish(faults, |_| false);
    Some(Persistence { timeout: timeout.map_or(TIMEOUT, |put| put.value), mask })
}
