//! A process that was started in a lab, known by its pid.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::failure::{Outcome, fail};
use crate::shell;

/// A running program and the file with its words. Forgetting one does not end it: the
/// lab's teardown does.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(super) fn new(child: Child, log: &Path) -> Self {
        Self { child, log: log.to_owned() }
    }

    /// What the kernel calls it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed so far.
    pub fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As `waitpid`.
    pub fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When it has ended and been waited for.
    pub fn signal(&self, signal: &str) -> Outcome {
        let pid = self.pid().to_string();
        shell::output(Command::new("kill").args(["-s", signal, &pid])).map(drop)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait(&mut self, at_most: Duration) -> Outcome<ExitStatus> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        fail(format!("pid {} did not end within {at_most:?}:\n{}", self.pid(), self.words()))
    }

    /// Asks it to end (SIGTERM), and makes it end (SIGKILL) where that does not help.
    ///
    /// # Errors
    /// When only SIGKILL helped.
    pub fn stop(mut self) -> Outcome<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal("TERM")?;
        let asked = self.wait(Duration::from_secs(10));
        if asked.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        asked
    }
}
