//! A running l2fwd or xlvs, in the box.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use control::api::fetch;
use dataplane::forward::Forward;

use super::{BOX, ground::Ground};
use crate::{
    namespaces::{Namespaces, run},
    process::Process,
};

/// It is ended by its own pid.
pub(crate) struct Forwarder {
    process: Process,
    /// Its configuration; its socket's name differs by the ending.
    file: Option<PathBuf>,
}

impl Forwarder {
    /// Starts the bare loop, on demand with the least that a forwarding method does.
    ///
    /// # Errors
    /// It ends, or attaches no XDP program within ten seconds.
    pub(super) fn l2fwd(ground: &Ground, least: Option<Forward>) -> io::Result<Self> {
        let here = std::env::current_exe()?.to_string_lossy().into_owned();
        let (mac, cpu) = (ground.mac("sink", "sink0")?, BOX.to_string());
        let words = [&here, "l2fwd", "in", "out", &mac, "--cpu", &cpu];
        let least = least.map(|mode| ["--least", mode.name()]);
        let words: Vec<&str> = words.into_iter().chain(least.into_iter().flatten()).collect();
        Self::start(ground, &words, None)
    }

    /// Starts xlvs, by default the one beside this program, with a configuration.
    ///
    /// # Errors
    /// As [`Self::l2fwd`].
    pub(crate) fn xlvs(ground: &Namespaces, xlvs: Option<&Path>, yaml: &str) -> io::Result<Self> {
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
    fn start(ground: &Namespaces, words: &[&str], file: Option<PathBuf>) -> io::Result<Self> {
        let mut command = ground.command("box", words);
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null());
        let mut forwarder = Self { process: Process::start(&mut command)?, file };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !ground.taken()? {
            forwarder.process.runs()?;
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
    pub(crate) fn bind_control(&self, cpu: usize) -> io::Result<()> {
        run("taskset", &["-p", "-c", &cpu.to_string(), &self.process.pid().to_string()])
    }

    /// Where an xlvs answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.file.as_deref().unwrap_or(Path::new("")).with_extension("sock")
    }

    /// Starts a capture at this xlvs of a client that is not there; it ends with the xlvs.
    ///
    /// # Errors
    /// It does not begin within five seconds.
    pub(super) fn watch(&self, ground: &Ground, xlvs: Option<&Path>) -> io::Result<Watch> {
        let xlvs = binary(xlvs)?.to_string_lossy().into_owned();
        let socket = self.socket();
        let socket = socket.to_string_lossy();
        let words =
            [&*xlvs, "capture", "--socket", &*socket, "--client", "198.51.100.1", "-w", "-"];
        let mut command = ground.command("box", &words);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        // The head of the file comes when the workers have their taps.
        let begun =
            child.stdout.take().map(|mut out| io::Read::read(&mut out, &mut [0; 64]).map(|_| out));
        let out = begun.transpose()?.ok_or_else(|| io::Error::other("no output"))?;
        Ok(Watch { child, _out: out })
    }

    /// Asks it to end, waits, and sees that its XDP program is gone.
    pub(crate) fn end(mut self, ground: &Namespaces) -> io::Result<()> {
        self.process.end()?;
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
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        self.process.cpu_seconds()
    }

    /// How long an xlvs's first worker had packets in its hands, by its own clock.
    ///
    /// # Errors
    /// It does not answer, or has no such figure.
    pub(super) fn busy_seconds(&self) -> io::Result<Option<f64>> {
        const FIGURE: &str = "xlvs_worker_breath_duration_seconds_sum{worker=\"0\"} ";
        if self.file.is_none() {
            return Ok(None);
        }
        let metrics = fetch(&self.socket(), "/metrics").map_err(io::Error::other)?;
        let metrics = String::from_utf8_lossy(&metrics);
        let figure = metrics.lines().find_map(|line| line.strip_prefix(FIGURE));
        let seconds = figure.and_then(|figure| figure.parse().ok());
        seconds.map(Some).ok_or_else(|| io::Error::other(format!("/metrics without {FIGURE}")))
    }

    /// The CPU time of an xlvs's first worker alone.
    pub(super) fn worker_seconds(&self) -> io::Result<f64> {
        self.process.thread_seconds("xlvs-worker-0")
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // It was written by this process, so only its owner may have removed it.
            let _ = fs::remove_file(file);
        }
    }
}

/// A capture under way.
pub(super) struct Watch {
    child: Child,
    /// Open as long as it goes on.
    _out: ChildStdout,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The xlvs that is named, or the one beside this program.
pub(crate) fn binary(named: Option<&Path>) -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let beside = here.parent().unwrap_or(Path::new("")).join("xlvs");
    Ok(named.unwrap_or(&beside).to_owned())
}
