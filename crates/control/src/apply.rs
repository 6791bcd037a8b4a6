//! A configuration that takes the place of the one in force: how it is wanted, and what comes of it.
//! [`merge`](crate::merge) decides what is to run; the daemon does it in `daemon/apply.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    diff::{Change, changes},
    live,
    model::Model,
    origin::{self, Origin, Text},
};

/// How a configuration is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only tell what would change.
    pub dry_run: bool,
    /// The file is all that there is: what commands made goes.
    pub prune: bool,
    /// It goes back by itself unless it is confirmed within this time.
    pub confirm: Option<Duration>,
}

/// A configuration that was read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub model: Model,
    /// Where it is from, for the log.
    pub from: String,
    /// It is the file that the daemon reads when it starts.
    pub own: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Nothing was done: it was to be told only.
    pub dry_run: bool,
    /// What is now otherwise than before; nothing if it was all so already.
    pub changes: Vec<Change>,
    /// What differs from the file, since commands made it so.
    pub beside: Vec<Change>,
    /// What commands had made that the file overrules.
    pub overruled: Vec<Change>,
    /// What else the operator should know, a sentence each.
    pub notes: Vec<String>,
    /// In how many seconds it goes back by itself, unless it is confirmed.
    pub confirm_within_s: Option<u64>,
}

/// How long a change may wait for its confirmation.
pub const LONGEST_TRIAL: Duration = Duration::from_secs(24 * 3600);

/// What holds for as long as the daemon runs: memory, sockets, programs and the log are made of it.
const FIXED: [&str; 10] = [
    "interfaces",
    "workers",
    "zero_copy",
    "chunk_size",
    "limits",
    "compat",
    "when_down",
    "probe_sources",
    "connection_log",
    "api",
];

/// What of a new file takes a restart.
pub fn fixed(base: &Model, new: &Model) -> Vec<Change> {
    let all = changes(
        &Model { services: Vec::new(), ..base.clone() },
        &Model { services: Vec::new(), ..new.clone() },
    );
    let is_fixed = |change: &Change| FIXED.contains(&change.key.as_deref().unwrap_or_default());
    all.into_iter().filter(is_fixed).collect()
}

/// Reads and checks the daemon's own file, against this box. Blocks.
///
/// # Errors
/// What is wrong, for people: a line each.
pub fn reread(origin: &Origin) -> Result<Loaded, String> {
    let around = live::surroundings().map_err(|error| error.to_string())?;
    let model = origin.load(Some(&around)).map_err(|faults| faults.to_string())?;
    Ok(Loaded { model, from: origin.path.display().to_string(), own: true })
}

/// Checks what somebody sent, for the box that `origin` is for. Blocks.
///
/// # Errors
/// As [`reread`].
pub fn sent(texts: &[Text], origin: &Origin) -> Result<Loaded, String> {
    let Some(first) = texts.first() else {
        return Err("no files; send at least one".to_owned());
    };
    let around = live::surroundings().map_err(|error| error.to_string())?;
    let model = origin::understood(texts, origin.name.as_deref(), Some(&around));
    let model = model.map_err(|faults| faults.to_string())?;
    let own = origin
        .texts()
        .is_ok_and(|own| own.iter().map(|text| &text.text).eq(texts.iter().map(|text| &text.text)));
    Ok(Loaded { model, from: first.path.display().to_string(), own })
}
