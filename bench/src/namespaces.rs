//! Network namespaces of one run, joined by veth pairs of one queue; they end with it.

use std::{
    io,
    io::Write,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

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
        let count = BUILT.fetch_add(1, Ordering::Relaxed);
        let namespaces = Self { prefix: format!("bench{}n{count}", std::process::id()), hosts };
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
