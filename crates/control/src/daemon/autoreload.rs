//! `autoreload: true`: the own file is looked at now and then, and applied when it changed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::interval,
};

use crate::origin::Origin;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at the file and what it includes, beside the daemon's loop, until it is dropped.
pub(super) struct Watcher {
    task: JoinHandle<()>,
    changes: mpsc::Receiver<()>,
}

impl Watcher {
    /// What is there at the first look counts as applied.
    pub(super) fn start(origin: Origin) -> Self {
        let (tell, changes) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut eye = Eye::new(origin);
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                // A disk may be slow, and a file large.
                let looked = spawn_blocking(move || (eye.changed(), eye)).await;
                let Ok((changed, back)) = looked else { break };
                eye = back;
                if changed && tell.send(()).await.is_err() {
                    break;
                }
            }
        });
        Self { task, changes }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next change; never, if nobody watches.
pub(super) async fn change(watcher: &mut Option<Watcher>) {
    let told = match watcher {
        Some(watcher) => watcher.changes.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending().await
    }
}

/// When a file was written, and its octets.
type Written = Option<(SystemTime, u64)>;

/// All files with that.
type Stamp = Vec<(PathBuf, Written)>;

/// What is known of the files.
struct Eye {
    origin: Origin,
    /// What the first file included when it was written then: it is not parsed at every look.
    includes: Option<(Written, Vec<String>)>,
    /// What was applied; nothing before the first look.
    applied: Option<Stamp>,
    /// What there was at the last look: a file that is being written is another one each time.
    seen: Stamp,
}

impl Eye {
    fn new(origin: Origin) -> Self {
        Self { origin, includes: None, applied: None, seen: Stamp::new() }
    }

    /// True if there is something else than what was applied, and nobody writes any more.
    fn changed(&mut self) -> bool {
        let now = self.stamp();
        let Some(applied) = &mut self.applied else {
            self.applied = Some(now.clone());
            self.seen = now;
            return false;
        };
        let quiet = now == self.seen;
        self.seen = now;
        let changed = quiet && self.seen != *applied;
        if changed {
            applied.clone_from(&self.seen);
        }
        changed
    }

    fn stamp(&mut self) -> Stamp {
        let first = written(&self.origin.path);
        if self.includes.as_ref().is_none_or(|(then, _)| *then != first) {
            self.includes = Some((first, self.origin.includes()));
        }
        let includes = self.includes.as_ref().map_or(&[][..], |(_, includes)| includes);
        let paths = self.origin.paths(includes).into_iter();
        paths.map(|path| (path.clone(), written(&path))).collect()
    }
}

fn written(path: &Path) -> Written {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a configuration, gone with it.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("xlvs-{name}-{}", std::process::id()));
            fs::create_dir_all(place.join("conf.d")).unwrap();
            Self(place)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }

        fn eye(&self) -> Eye {
            Eye::new(Origin::new(self.0.join("xlvs.yaml")))
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_change_is_told_once_nobody_writes() {
        let files = Files::new("autoreload");
        files.write("xlvs.yaml", "include: [conf.d/*.yaml]\n");
        let mut eye = files.eye();
        let mut looks = |what: &str, expected: [bool; 3]| {
            assert_eq!([0; 3].map(|_| eye.changed()), expected, "{what}");
        };
        looks("as it was", [false; 3]);
        files.write("conf.d/a.yaml", "services: []\n");
        looks("an included file more", [false, true, false]);
        files.write("conf.d/a.yaml", "services: [] # longer\n");
        looks("it is longer", [false, true, false]);
        files.write("xlvs.yaml", "include: [conf.d/b.*]\n");
        looks("another pattern", [false, true, false]);
        files.write("conf.d/b.yaml", "services: []\n");
        looks("a file of that pattern", [false, true, false]);
        files.write("conf.d/a.yaml", "services: [] # no longer included\n");
        looks("what is not included any more", [false; 3]);
        fs::remove_file(files.0.join("xlvs.yaml")).unwrap();
        looks("the file is gone", [false, true, false]);
    }
}
