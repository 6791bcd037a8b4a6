//! A program of the operator's, in exec checks and hooks.

use super::{cursor::Keys, scalar};
use crate::fault::Fault;

/// `argv`: the whole path of the program, and its words.
pub(super) fn argv(
    keys: &mut Keys<'_>,
    example: &str,
    faults: &mut Vec<Fault>,
) -> Option<Vec<String>> {
    let at = keys.need("argv", faults, &format!("write argv: [{example}, word]"))?;
    let items = at.items(faults);
    let argv: Vec<String> =
        items.iter().filter_map(|item| item.text(faults)).map(str::to_owned).collect();
    if argv.first().is_none_or(|program| !program.starts_with('/')) {
        let remedy = "write its whole path first: no shell is asked";
        faults.push(at.spot().fault("no program", remedy));
        return None;
    }
    Some(argv)
}

/// `user`: as whom it runs.
pub(super) fn user(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> String {
    let user = keys.take("user").and_then(|at| at.read(faults, scalar::name));
    user.map_or_else(|| "nobody".to_owned(), |put| put.value)
}
