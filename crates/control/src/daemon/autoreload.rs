//! `autoreload: true`: the own file is looked at now and then, and applied when it changed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::origin::Origin;

/// How often it is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// When files were written, and their octets.
type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Looks at the file and what it includes.
pub(super) struct Watcher {
    origin: Origin,
    /// What was applied.
    applied: Stamp,
    /// What there was at the last look: a file that is being written is another one each time.
    seen: Stamp,
}

impl Watcher {
    /// What is there now counts as applied.
    pub(super) fn new(origin: Origin) -> Self {
        let applied = stamp(&origin);
        Self { origin, seen: applied.clone(), applied }
    }

    /// True if there is something else than what was applied, and nobody writes any more.
    pub(super) fn changed(&mut self) -> bool {
        let now = stamp(&self.origin);
        let quiet = now == self.seen;
        self.seen = now;
        let changed = quiet && self.seen != self.applied;
        if changed {
            self.applied.clone_from(&self.seen);
        }
        changed
    }
}

fn stamp(origin: &Origin) -> Stamp {
    let written = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    let paths = origin.paths().into_iter();
    paths.map(|path| (path.clone(), written(&path))).collect()
}
