//! The ground: three namespaces, two veth pairs.
//!
//! ```text
//!   gen ─ gen0 ══ in ─ box ─ out ══ sink0 ─ sink
//! ```
//!
//! One queue each. What reaches the sink is dropped there as early as possible: by nftables at
//! ingress, or by an XDP program.

use std::{
    fs, io,
    io::Write,
    process::{Command, Output, Stdio},
};

/// What the generator sends to.
pub(crate) const VIP: [u8; 4] = [203, 0, 113, 10];
/// The service's port.
pub(super) const PORT: u16 = 80;
/// The first client; the low 16 bits vary.
pub(super) const CLIENT: [u8; 4] = [10, 1, 0, 0];

/// How the sink drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sink {
    /// In nftables' ingress hook: the kernel makes no XDP buffer of what was sent.
    Plain,
    /// In an XDP program, for which veth copies each packet once more.
    Xdp,
}

/// The namespaces of one run; they end with it.
pub(super) struct Ground {
    prefix: String,
}

impl Ground {
    /// Builds it.
    ///
    /// # Errors
    /// What `ip`, `ethtool`, `nft` or `clang` say.
    pub(super) fn build(sink: Sink) -> io::Result<Self> {
        let ground = Self { prefix: format!("bench{}", std::process::id()) };
        for host in ["gen", "box", "sink"] {
            run("ip", &["netns", "add", &ground.namespace(host)])?;
            ground.ip(host, "link set lo up")?;
        }
        ground.cable("gen", "gen0", "in")?;
        ground.cable("sink", "sink0", "out")?;
        ground.ip("box", "addr add 203.0.113.1/24 dev in")?;
        ground.ip("box", "addr add 203.0.113.10/32 dev in")?;
        ground.ip("box", "addr add 10.0.2.1/24 dev out")?;
        let mac = ground.mac("sink", "sink0")?;
        for server in 11..21 {
            ground.ip(
                "box",
                &format!("neigh add 10.0.2.{server} lladdr {mac} dev out nud permanent"),
            )?;
        }
        match sink {
            Sink::Plain => ground.drop_by_nftables()?,
            Sink::Xdp => ground.drop_by_xdp()?,
        }
        Ok(ground)
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// A veth pair from a host to the box.
    fn cable(&self, host: &str, theirs: &str, ours: &str) -> io::Result<()> {
        let (host_ns, box_ns) = (self.namespace(host), self.namespace("box"));
        let pair = format!(
            "link add {theirs} numtxqueues 1 numrxqueues 1 netns {host_ns} type veth \
             peer name {ours} numtxqueues 1 numrxqueues 1 netns {box_ns}"
        );
        run("ip", &pair.split_whitespace().collect::<Vec<_>>())?;
        for (end, device) in [(host, theirs), ("box", ours)] {
            self.ip(end, &format!("link set {device} up"))?;
            self.exec(end, &["ethtool", "-K", device, "tx", "off"])?;
        }
        Ok(())
    }

    fn drop_by_nftables(&self) -> io::Result<()> {
        let rules = "add table netdev bench\n\
            add chain netdev bench early { type filter hook ingress device sink0 priority 0; policy drop; }\n";
        feed(&mut self.command("sink", &["nft", "-f", "-"]), rules)
    }

    fn drop_by_xdp(&self) -> io::Result<()> {
        const PROGRAM: &str =
            "__attribute__((section(\"xdp\"), used)) int drop(void *packet) { return 1; }\n";
        let object = std::env::temp_dir().join(format!("{}-drop.o", self.prefix));
        let path = object.to_string_lossy().into_owned();
        let clang = ["-O2", "-target", "bpf", "-c", "-x", "c", "-o", &path, "-"];
        feed(Command::new("clang").args(clang), PROGRAM)?;
        let attached = self.ip("sink", &format!("link set sink0 xdpdrv obj {path} sec xdp"));
        fs::remove_file(object)?;
        attached
    }

    /// A command in a namespace; its pid is the program's own.
    pub(super) fn command(&self, host: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).args(words);
        command
    }

    /// Runs a program in a namespace and gives what it printed.
    pub(super) fn exec(&self, host: &str, words: &[&str]) -> io::Result<String> {
        judge(words, self.command(host, words).stdin(Stdio::null()).output()?)
    }

    fn ip(&self, host: &str, line: &str) -> io::Result<()> {
        let namespace = self.namespace(host);
        let words: Vec<&str> =
            ["-n", &namespace].into_iter().chain(line.split_whitespace()).collect();
        run("ip", &words)
    }

    /// The MAC of a device, as text.
    pub(super) fn mac(&self, host: &str, device: &str) -> io::Result<String> {
        let address = self.exec(host, &["cat", &format!("/sys/class/net/{device}/address")])?;
        Ok(address.trim().to_owned())
    }

    /// Packets that the box has sent to the sink.
    pub(super) fn left(&self) -> io::Result<u64> {
        let count = self.exec("box", &["cat", "/sys/class/net/out/statistics/tx_packets"])?;
        count.trim().parse().map_err(io::Error::other)
    }

    /// Whether an XDP program takes what arrives.
    pub(super) fn taken(&self) -> io::Result<bool> {
        Ok(self.exec("box", &["ip", "link", "show", "in"])?.contains("xdp"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for host in ["gen", "box", "sink"] {
            // What was not built is not there.
            let _ = run("ip", &["netns", "del", &self.namespace(host)]);
        }
    }
}

/// A MAC in colons.
pub(super) fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let octets: Result<Vec<u8>, _> = text.split(':').map(|o| u8::from_str_radix(o, 16)).collect();
    octets.ok().and_then(|octets| octets.try_into().ok()).ok_or_else(|| format!("no MAC: {text}"))
}

/// Runs a program on the machine itself.
pub(super) fn run(program: &str, words: &[&str]) -> io::Result<()> {
    judge(words, Command::new(program).args(words).stdin(Stdio::null()).output()?).map(drop)
}

fn feed(command: &mut Command, input: &str) -> io::Result<()> {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    judge(&[], child.wait_with_output()?).map(drop)
}

fn judge(words: &[&str], output: Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}: {}", words.join(" "), output.status, said.trim())))
}
