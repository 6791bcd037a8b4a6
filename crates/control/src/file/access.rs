//! `access:`, who may open connections.

use dataplane::policy::Access;

use super::{cursor::Cursor, list, scalar};
use crate::fault::Fault;

pub(super) fn access(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Access {
    let mut access = Access::default();
    let Some(mut keys) = at.keys(faults) else { return access };
    for (key, prefixes) in [("allow", &mut access.allow), ("deny", &mut access.deny)] {
        let at = keys.take(key);
        let read = |at: &Cursor<'_>, faults: &mut Vec<Fault>| at.read(faults, scalar::prefix);
        let spot = at.as_ref().map(Cursor::spot);
        let before = faults.len();
        *prefixes = list(at, faults, read).into_iter().map(|put| put.value).collect();
        if let Some(spot) = spot.filter(|_| prefixes.is_empty() && faults.len() == before) {
            let remedy = "write prefixes, or remove the key";
            faults.push(spot.fault("an empty list would do nothing", remedy));
        }
    }
    let rate = keys.take("new_connections").and_then(|at| at.number(faults, 1, 1_000_000));
    access.new_connections = rate.map(|put| put.value);
    keys.finish(faults, |_| false);
    access
}
