//! Where a run keeps its files, who owns it, and how it is torn down whatever happens.
//!
//! A shell waits at the end of a pipe whose other end only the owner holds. When the owner
//! lets go of it, or dies of anything at all, the shell ends the run's processes, deletes
//! its namespaces and its directory. So there is one teardown for the good end, a panic,
//! Ctrl-C and SIGKILL.
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::failure::{Outcome, fail};

const HOME: &str = "/run/xlvs-lab";
const REAP: &str = include_str!("reap.sh");

/// The name, the directory and the reaper of one lab.
#[derive(Debug)]
pub(super) struct RunDirectory {
    run: String,
    path: PathBuf,
    reaper: Child,
}

impl RunDirectory {
    /// A new one, under a name that no other run has, after sweeping up after dead ones.
    ///
    /// # Errors
    /// When /run is not writable.
    pub(super) fn create() -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep()?;
        let pid = std::process::id();
        let run = format!("xlvs-{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(HOME).join(&run);
        // A kept lab of an earlier process with this pid.
        if path.exists() {
            reap(&run, &path)?;
        }
        // The reaper stands before the first thing that it would have to remove.
        let reaper = reaper(&run, &path)?;
        fs::create_dir_all(&path)?;
        fs::write(path.join("owner"), format!("{pid} {}", start_time(pid).unwrap_or_default()))?;
        Ok(Self { run, path, reaper })
    }

    /// The prefix of all namespaces of the run.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// The directory for configuration, logs and pages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves everything standing, until `cargo xtask lab destroy`.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub(super) fn keep(&mut self) -> Outcome {
        fs::write(self.path.join("kept"), "")?;
        if let Some(mut stdin) = self.reaper.stdin.take() {
            stdin.write_all(b"keep\n")?;
        }
        Ok(())
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
    }
}

/// The runs that are there: name, and whether it was kept.
///
/// # Errors
/// When the directory is there but unreadable.
pub fn list() -> Outcome<Vec<(String, bool)>> {
    if !Path::new(HOME).exists() {
        return Ok(Vec::new());
    }
    let mut runs = Vec::new();
    for entry in fs::read_dir(HOME)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        runs.push((name, entry.path().join("kept").exists()));
    }
    runs.sort();
    Ok(runs)
}

/// Tears down a kept run.
///
/// # Errors
/// When there is none of that name, or it belongs to a living process.
pub fn destroy(run: &str) -> Outcome {
    match list()?.into_iter().find(|(name, _)| name == run) {
        None => fail(format!("no lab {run:?}; `cargo xtask lab list` shows them")),
        Some((_, false)) => fail(format!("{run} belongs to a running process; end that")),
        Some((_, true)) => reap(run, &Path::new(HOME).join(run)),
    }
}

/// Removes what dead runs left behind: only when even the reaper was killed.
fn sweep() -> Outcome {
    for (run, kept) in list()? {
        let path = Path::new(HOME).join(&run);
        let Ok(owner) = fs::read_to_string(path.join("owner")) else { continue };
        if !kept && !is_alive(&owner) {
            reap(&run, &path)?;
        }
    }
    Ok(())
}

fn reap(run: &str, path: &Path) -> Outcome {
    let mut reaper = reaper(run, path)?;
    drop(reaper.stdin.take());
    reaper.wait()?;
    Ok(())
}

fn reaper(run: &str, path: &Path) -> Outcome<Child> {
    let mut sh = Command::new("sh");
    // A process group of its own: Ctrl-C on the terminal is for the owner alone.
    sh.args(["-c", REAP, "reap", run]).arg(path).process_group(0);
    Ok(sh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Whether the process that wrote `pid start-time` still runs; the start time tells it from
/// a later one with the same pid.
fn is_alive(owner: &str) -> bool {
    let Some((pid, started)) = owner.split_once(' ') else { return false };
    let Ok(pid) = pid.parse() else { return false };
    start_time(pid).is_some_and(|time| time == started)
}

/// Field 22 of /proc/PID/stat (proc(5)): ticks since boot.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets and may hold blanks.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{is_alive, start_time};

    #[test]
    fn a_run_is_dead_when_its_pid_is_gone_or_belongs_to_another_process() {
        let me = std::process::id();
        let started = start_time(me).unwrap();
        for (owner, alive) in [
            (format!("{me} {started}"), true),
            (format!("{me} {started}0"), false),
            ("4194305 1".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_alive(&owner), alive, "{owner:?}");
        }
    }
}
