//! `connection_log:`.

use std::path::PathBuf;

use super::{
    cursor::{Cursor, Put},
    scalar,
};
use crate::fault::Fault;

/// What is written, over the defaults.
#[derive(Clone, Debug)]
pub struct ConnectionLog {
    /// `file`.
    pub file: PathBuf,
    /// `rate`.
    pub rate: u32,
    /// `size`, in octets.
    pub size: u32,
    /// `services`; `None`: all.
    pub services: Option<Vec<Put<String>>>,
}

/// Lines a second unless `rate` says another number.
const RATE: u32 = 10_000;
/// Octets unless `size` says another number: 256 MiB, and as many that were set aside.
const SIZE: u32 = 256 << 20;
/// A smaller file would be set aside all the time.
const SMALLEST: u32 = 1 << 20;

pub(super) fn connection_log(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<ConnectionLog> {
    let mut keys = at.keys(faults)?;
    let example = "write file: /var/log/xlvs/connections.jsonl";
    let file = keys.need("file", faults, example).and_then(|at| {
        let text = at.text(faults)?;
        if !text.starts_with('/') {
            faults.push(at.spot().fault(format!("{text:?}: no whole path"), example));
            return None;
        }
        Some(PathBuf::from(text))
    });
    let rate = keys.take("rate").and_then(|at| at.number(faults, 1, 1_000_000));
    let size = keys.take("size").and_then(|at| at.number(faults, SMALLEST, u32::MAX));
    let services = keys.take("services").map(|at| {
        let items = at.one_or_more(faults);
        items.iter().filter_map(|item| item.read(faults, scalar::name)).collect()
    });
    keys.finish(faults, |_| false);
    Some(ConnectionLog {
        file: file?,
        rate: rate.map_or(RATE, |put| put.value),
        size: size.map_or(SIZE, |put| put.value),
        services,
    })
}
