//! A running l2fwd or xlvs, in the box.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    BOX,
    ground::{Ground, run},
};

/// It is ended by its own pid.
pub(super) struct Forwarder {
    child: Child,
    /// Its configuration; its socket's name differs by the ending.
    file: Option<PathBuf>,
}

impl Forwarder {
    /// Starts the bare loop.
    ///
    /// # Errors
    /// It ends, or attaches no XDP program within ten seconds.
    pub(super) fn l2fwd(ground: &Ground) -> io::Result<Self> {
        let here = std::env::current_exe()?.to_string_lossy().into_owned();
        let (mac, cpu) = (ground.mac("sink", "sink0")?, BOX.to_string());
        Self::start(ground, &[&here, "l2fwd", "in", "out", &mac, "--cpu", &cpu], None)
    }

    /// Starts xlvs, by default the one beside this program, with a configuration.
    ///
    /// # Errors
    /// As [`Self::l2fwd`].
    pub(super) fn xlvs(ground: &Ground, xlvs: Option<&Path>, yaml: &str) -> io::Result<Self> {
        let xlvs = binary(xlvs)?.to_string_lossy().into_owned();
        let file = std::env::temp_dir().join(format!("bench{}.yaml", std::process::id()));
        fs::write(&file, yaml)?;
        let socket = file.with_extension("sock");
        let (name, socket) = (file.to_string_lossy(), socket.to_string_lossy());
        let state = file.with_extension("state");
        let state = state.to_string_lossy();
        let words = [xlvs.as_str(), "run", &*name, "--socket", &*socket, "--state", &*state];
        Self::start(ground, &words, Some(file.clone()))
    }

    /// Starts it and waits until packets would reach it.
    fn start(ground: &Ground, words: &[&str], file: Option<PathBuf>) -> io::Result<Self> {
        let mut command = ground.command("box", words);
        let child =
            command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut forwarder = Self { child, file };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !ground.taken()? {
            if let Some(status) = forwarder.child.try_wait()? {
                return Err(io::Error::other(format!("the forwarder ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("no XDP program after ten seconds"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        // The workers' sockets are filled by now; their first breath is not measured.
        thread::sleep(Duration::from_millis(300));
        Ok(forwarder)
    }

    /// Binds the main thread, which is an xlvs's control, to a CPU. Its workers stay on theirs.
    ///
    /// # Errors
    /// What taskset says.
    pub(super) fn bind_control(&self, cpu: usize) -> io::Result<()> {
        run("taskset", &["-p", "-c", &cpu.to_string(), &self.child.id().to_string()])
    }

    /// Where an xlvs answers.
    pub(super) fn socket(&self) -> PathBuf {
        self.file.as_deref().unwrap_or(Path::new("")).with_extension("sock")
    }

    /// Asks it to end, waits, and sees that its XDP program is gone.
    pub(super) fn end(mut self, ground: &Ground) -> io::Result<()> {
        self.ask();
        self.child.wait()?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while ground.taken()? {
            if Instant::now() > deadline {
                return Err(io::Error::other("an XDP program stayed behind"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The CPU time that it has used, all its threads together.
    pub(super) fn cpu_seconds(&self) -> io::Result<f64> {
        ticks(&fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?)
    }

    /// The CPU time of an xlvs's first worker alone.
    pub(super) fn worker_seconds(&self) -> io::Result<f64> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            if stat.contains("(xlvs-worker-0)") {
                return ticks(&stat);
            }
        }
        Err(io::Error::other("it has no worker"))
    }

    fn ask(&self) {
        // If it has ended already, that is what was wanted.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.ask();
            let _ = self.child.wait();
        }
        if let Some(file) = &self.file {
            // It was written by this process, so only its owner may have removed it.
            let _ = fs::remove_file(file);
        }
    }
}

/// The xlvs that is named, or the one beside this program.
pub(crate) fn binary(named: Option<&Path>) -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let beside = here.parent().unwrap_or(Path::new("")).join("xlvs");
    Ok(named.unwrap_or(&beside).to_owned())
}

/// The seconds that /proc/pid/stat tells.
fn ticks(stat: &str) -> io::Result<f64> {
    /// `USER_HZ`, its unit on x86-64 and arm64.
    const TICKS: f64 = 100.0;
    // utime and stime are the 14th and 15th field; the 2nd, in parentheses, may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}
