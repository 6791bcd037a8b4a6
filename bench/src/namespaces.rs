//! Network namespaces of one run, joined by veth pairs of one queue; they end with it.

use std::{
    io,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

/// What the names of all runs begin with; the pid follows.
const PREFIX: &str = "bench";

/// Namespaces by the names of their hosts.
pub(crate) struct Namespaces {
    prefix: String,
    hosts: &'static [&'static str],
}

/// An end of a cable: host and device.
pub(crate) type End<'a> = (&'a str, &'a str);

impl Namespaces {
    /// Makes one for each host.
    ///
    /// # Errors
    /// What `ip` says.
    pub(crate) fn build(hosts: &'static [&'static str]) -> io::Result<Self> {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        static FIRST: Once = Once::new();
        FIRST.call_once(|| {
            sweep();
            catch_interruptions();
        });
        judge_time()?;
        let count = BUILT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}n{count}", std::process::id());
        let namespaces = Self { prefix, hosts };
        for host in hosts {
            run("ip", &["netns", "add", &namespaces.namespace(host)])?;
            namespaces.ip(host, "link set lo up")?;
        }
        Ok(namespaces)
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// What all names of this run begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A veth pair. Senders compute checksums: an AF_XDP socket would see half-made ones.
    ///
    /// # Errors
    /// What `ip` and `ethtool` say.
    pub(crate) fn cable(&self, a: End<'_>, b: End<'_>) -> io::Result<()> {
        let pair = format!(
            "link add {} numtxqueues 1 numrxqueues 1 netns {} type veth \
             peer name {} numtxqueues 1 numrxqueues 1 netns {}",
            a.1,
            self.namespace(a.0),
            b.1,
            self.namespace(b.0)
        );
        run("ip", &pair.split_whitespace().collect::<Vec<_>>())?;
        for (host, device) in [a, b] {
            self.ip(host, &format!("link set {device} up"))?;
            self.exec(host, &["ethtool", "-K", device, "tx", "off"])?;
        }
        Ok(())
    }

    /// A command in a namespace; its pid is the program's own.
    pub(crate) fn command(&self, host: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).args(words);
        command
    }

    /// Runs a program in a namespace and gives what it printed.
    ///
    /// # Errors
    /// It cannot be run, or fails.
    pub(crate) fn exec(&self, host: &str, words: &[&str]) -> io::Result<String> {
        judge_time()?;
        judge(words, self.command(host, words).stdin(Stdio::null()).output()?)
    }

    /// One line of `ip` in a namespace.
    ///
    /// # Errors
    /// What it says.
    pub(crate) fn ip(&self, host: &str, line: &str) -> io::Result<()> {
        let namespace = self.namespace(host);
        let words: Vec<&str> =
            ["-n", &namespace].into_iter().chain(line.split_whitespace()).collect();
        run("ip", &words)
    }

    /// The MAC of a device, as text.
    ///
    /// # Errors
    /// There is no such device.
    pub(crate) fn mac(&self, host: &str, device: &str) -> io::Result<String> {
        let address = self.exec(host, &["cat", &format!("/sys/class/net/{device}/address")])?;
        Ok(address.trim().to_owned())
    }

    /// Whether an XDP program takes what arrives at the box.
    ///
    /// # Errors
    /// What `ip` says.
    pub(crate) fn taken(&self) -> io::Result<bool> {
        Ok(self.exec("box", &["ip", "link", "show", "in"])?.contains("xdp"))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for host in self.hosts {
            // What was not built is not there.
            let _ = run("ip", &["netns", "del", &self.namespace(host)]);
        }
    }
}

/// Whether somebody wants an end of it.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Has SIGINT and SIGTERM end the run by an error, so that what it made is taken away again.
fn catch_interruptions() {
    let wait = || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            eprintln!("bench: taking its namespaces away");
            INTERRUPTED.store(true, Ordering::Relaxed);
            // The thread stays, and with it the handlers: a second one does not cut that short.
            std::future::pending().await
        })
    };
    thread::spawn(move || {
        if let Err(why) = wait() {
            eprintln!("bench: signals are not caught: {why}");
        }
    });
}

/// That nobody wants an end yet.
fn judge_time() -> io::Result<()> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
        false => Ok(()),
    }
}

/// Takes away what runs left that were killed, with the programs that still run in there.
fn sweep() {
    let output = |words: &[&str]| {
        let output = Command::new("ip").args(words).stdin(Stdio::null()).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    };
    let all = output(&["netns", "list"]);
    let names = all.lines().filter_map(|line| line.split_whitespace().next());
    let dead = |name: &&str| {
        owner(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    for name in names.filter(dead) {
        println!("bench: {name} was left by a run that was killed: taken away");
        for pid in output(&["netns", "pids", name]).split_whitespace() {
            // It may have ended meanwhile.
            let _ = run("kill", &[pid]);
        }
        let _ = run("ip", &["netns", "del", name]);
    }
}

/// The pid of the run that made a namespace of this name.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('n')?;
    let (count, _) = rest.split_once('-')?;
    count.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Runs a program on the machine itself.
///
/// # Errors
/// It cannot be run, or fails.
pub(crate) fn run(program: &str, words: &[&str]) -> io::Result<()> {
    judge(words, Command::new(program).args(words).stdin(Stdio::null()).output()?).map(drop)
}

/// Runs a program on some input.
///
/// # Errors
/// As [`run`].
pub(crate) fn feed(command: &mut Command, input: &str) -> io::Result<()> {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    judge(&[], child.wait_with_output()?).map(drop)
}

/// What a program printed, unless it failed.
///
/// # Errors
/// It failed: what it said.
pub(crate) fn judge(words: &[&str], output: Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}: {}", words.join(" "), output.status, said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_tells_whose_it_is() {
        let table = [
            ("bench123n0-gen", Some(123)),
            ("bench7n12-server1", Some(7)),
            ("bench7-gen", None),
            ("benchmark7n1-gen", None),
            ("xlvs7n1-gen", None),
        ];
        for (name, expected) in table {
            assert_eq!(owner(name), expected, "{name}");
        }
    }
}
