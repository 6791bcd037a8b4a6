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

/// A month, the most that ipvsadm takes (`MAX_TIMEOUT`).
const TIMEOUT_MOST: u32 = 31 * 86_400;

pub(super) fn persistence(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Persistence> {
    let seconds = |text: &str| scalar::seconds(text, TIMEOUT_MOST);
    if !at.is_map() {
        let timeout = at.read(faults, seconds)?.value;
        return Some(Persistence { timeout, mask: None });
    }
    let mut keys = at.keys(faults)?;
    let timeout = keys.take("timeout").and_then(|at| at.read(faults, seconds));
    let mask = keys.take("mask").and_then(|at| at.read(faults, scalar::mask));
    keys.finish(faults, |_| false);
    Some(Persistence { timeout: timeout.map_or(TIMEOUT, |put| put.value), mask })
}
