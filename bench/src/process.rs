//! A program that was started, known by its pid, and the CPU time that it took.

use std::{
    fs, io,
    process::{Child, Command},
};

/// It ends with this value.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.spawn()? })
    }

    /// What the kernel calls it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn runs(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("a program ended: {status}"))),
        }
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            // If it ends meanwhile, that is what was wanted.
            let _ = Command::new("kill").arg(self.pid().to_string()).status();
            self.child.wait()?;
        }
        Ok(())
    }

    /// The CPU time that it and its children have used, all threads together.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let pid = self.pid();
        let mut seconds = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace() {
            seconds += ticks(&fs::read_to_string(format!("/proc/{child}/stat"))?)?;
        }
        Ok(seconds)
    }

    /// The CPU time of its thread of that name alone.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn thread_seconds(&self, name: &str) -> io::Result<f64> {
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            if stat.contains(&format!("({name})")) {
                return ticks(&stat);
            }
        }
        Err(io::Error::other(format!("no thread {name}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = self.end();
    }
}

/// The seconds that /proc/pid/stat tells.
fn ticks(stat: &str) -> io::Result<f64> {
    // utime and stime are the 14th and 15th field; the 2nd, in parentheses, may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}

/// `USER_HZ`, the unit of CPU times in `/proc` on x86-64 and arm64.
pub(crate) const TICKS: f64 = 100.0;
