//! The ground: a client, the box, two servers, and cables past the box.
//!
//! ```text
//!              eth0 ══ in ─ box ─ out1 ══ eth0 ─ server1
//!            /                 └─ out2 ══ eth0 ─ server2
//!      client ─ direct1 ═════════════ direct ─ server1
//!            \─ direct2 ═════════════ direct ─ server2
//! ```
//!
//! Each packet is worked on by the CPU of the host that receives it (RPS), as if an interrupt of
//! a NIC of its own had brought it; veth would leave that to the sender's CPU. An XDP program
//! runs before that: in xlvs's ways the CPU of who sends to the box runs it.

use std::{
    fs, io,
    ops::Deref,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use super::{BOX, ENDS, way::Way};
use crate::{namespaces::Namespaces, process::Process};

/// What clients ask.
pub(super) const VIP: &str = "203.0.113.10";
/// The servers, each behind a device of its own.
pub(super) const SERVERS: [&str; 2] = ["10.0.1.11", "10.0.2.11"];
/// Addresses of the box for FullNAT. A closed connection keeps its local port for the two minutes
/// of TIME_WAIT, so one address would not last.
pub(super) const LOCAL: [&str; 2] = ["10.0.2.101", "10.0.2.102"];
const CLIENT: &str = "10.1.0.10";
const HOSTS: [&str; 2] = ["server1", "server2"];
/// Octets of a page, without its head.
const PAGE: usize = 1024;

const SYSCTLS: [&str; 5] = [
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.tcp_max_syn_backlog=4096",
    "net.core.somaxconn=4096",
    // By address and port.
    "net.ipv4.fib_multipath_hash_policy=1",
];

/// One standing ground with its servers running. Each window has a new one, so that no
/// connection of another window waits for its end there.
pub(super) struct Ground {
    /// They end before their namespaces do.
    _servers: Vec<Process>,
    namespaces: Namespaces,
    directory: PathBuf,
}

impl Ground {
    /// Builds it as a way needs it, and starts the servers.
    ///
    /// # Errors
    /// What `ip`, `sysctl` and `ethtool` say; a server does not start.
    pub(super) fn build(way: Way) -> io::Result<Self> {
        let namespaces = Namespaces::build(&["client", "box", "server1", "server2"])?;
        let directory = std::env::temp_dir().join(namespaces.prefix());
        fs::create_dir_all(&directory)?;
        let mut ground = Self { _servers: Vec::new(), namespaces, directory };
        ground.plug()?;
        ground.address()?;
        ground.route(way)?;
        for host in HOSTS {
            let server = ground.server(host)?;
            ground._servers.push(server);
        }
        Ok(ground)
    }

    fn plug(&self) -> io::Result<()> {
        for host in ["client", "box", "server1", "server2"] {
            self.exec(host, &[&["sysctl", "-q", "-w"], SYSCTLS.as_slice()].concat())?;
        }
        self.exec("box", &["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])?;
        // None of a window's ports is free again within it.
        let ports = "net.ipv4.ip_local_port_range=1024 65535";
        self.exec("client", &["sysctl", "-q", "-w", ports])?;
        let cables = [
            (("client", "eth0"), ("box", "in")),
            (("server1", "eth0"), ("box", "out1")),
            (("server2", "eth0"), ("box", "out2")),
            (("client", "direct1"), ("server1", "direct")),
            (("client", "direct2"), ("server2", "direct")),
        ];
        for (a, b) in cables {
            self.cable(a, b)?;
            for (host, device) in [a, b] {
                let cpu = if host == "box" { BOX } else { ENDS };
                let file = format!("/sys/class/net/{device}/queues/rx-0/rps_cpus");
                self.exec(host, &["sh", "-c", &format!("echo {:x} >{file}", 1 << cpu)])?;
            }
        }
        Ok(())
    }

    fn address(&self) -> io::Result<()> {
        let addresses = [
            ("client", "eth0", "10.1.0.10/24"),
            ("client", "direct1", "10.9.1.1/24"),
            ("client", "direct2", "10.9.2.1/24"),
            ("box", "in", "10.1.0.1/24"),
            ("box", "out1", "10.0.1.1/24"),
            ("box", "out2", "10.0.2.1/24"),
            ("server1", "eth0", "10.0.1.11/24"),
            ("server1", "direct", "10.9.1.2/24"),
            ("server2", "eth0", "10.0.2.11/24"),
            ("server2", "direct", "10.9.2.2/24"),
            // For the ways in which packets keep it as their destination.
            ("server1", "lo", "203.0.113.10/32"),
            ("server2", "lo", "203.0.113.10/32"),
        ];
        for (host, device, address) in addresses {
            self.ip(host, &format!("addr add {address} dev {device}"))?;
        }
        for local in LOCAL {
            self.ip("box", &format!("addr add {local}/32 dev out2"))?;
        }
        Ok(())
    }

    fn route(&self, way: Way) -> io::Result<()> {
        let to_vip = match way {
            Way::Direct => format!("{VIP} src {CLIENT} nexthop via 10.9.1.2 nexthop via 10.9.2.2"),
            _ => format!("{VIP} via 10.1.0.1"),
        };
        self.ip("client", &format!("route add {to_vip}"))?;
        match way {
            Way::Direct => {}
            Way::Forward => {
                let hops = SERVERS.map(|server| format!("nexthop via {server}")).join(" ");
                self.ip("box", &format!("route add {VIP} {hops}"))?;
            }
            _ => self.ip("box", &format!("addr add {VIP}/32 dev in"))?,
        }
        for (host, number) in HOSTS.iter().zip(1..) {
            let back = match way {
                Way::Direct | Way::Dr => format!("10.9.{number}.1"),
                _ => format!("10.0.{number}.1"),
            };
            self.ip(host, &format!("route add {CLIENT} via {back}"))?;
            self.ip(host, &format!("route add default via 10.0.{number}.1"))?;
        }
        Ok(())
    }

    fn server(&self, host: &str) -> io::Result<Process> {
        let home = self.home(host)?;
        let (home, page) = (home.display(), "x".repeat(PAGE));
        let http = format!(
            "http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  \
             keepalive_timeout 1h;\n  client_body_temp_path {home};\n  proxy_temp_path {home};\n  \
             fastcgi_temp_path {home};\n  uwsgi_temp_path {home};\n  scgi_temp_path {home};\n  \
             default_type text/plain;\n  \
             server {{ listen 80 backlog=4096; location / {{ return 200 '{page}'; }} }}\n}}\n"
        );
        self.nginx(host, ENDS, &http)
    }

    /// A place for a host's files.
    pub(super) fn home(&self, host: &str) -> io::Result<PathBuf> {
        let home = self.directory.join(host);
        fs::create_dir_all(&home)?;
        Ok(home)
    }

    /// Starts an nginx with one worker on a CPU; `blocks` are what it is to do.
    pub(super) fn nginx(&self, host: &str, cpu: usize, blocks: &str) -> io::Result<Process> {
        let home = self.home(host)?;
        let (file, log) = (home.join("nginx.conf"), home.join("error.log"));
        let text = format!(
            "{blocks}daemon off;\nuser root;\nworker_processes 1;\nworker_rlimit_nofile 65536;\n\
             pid {}/nginx.pid;\nevents {{ worker_connections 32768; }}\n",
            home.display()
        );
        fs::write(&file, text)?;
        let words = ["nginx", "-p", text_of(&home), "-c", text_of(&file), "-e", text_of(&log)];
        let mut server = self.start(host, cpu, &words)?;
        self.wait_for_port(host, &mut server)?;
        Ok(server)
    }

    /// Starts a program on a CPU.
    pub(super) fn start(&self, host: &str, cpu: usize, words: &[&str]) -> io::Result<Process> {
        let mut command = self.pinned(host, cpu, words);
        Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))
    }

    /// A command on a CPU; its pid is the program's own.
    pub(super) fn pinned(&self, host: &str, cpu: usize, words: &[&str]) -> std::process::Command {
        self.command(host, &[&["taskset", "-c", &cpu.to_string()], words].concat())
    }

    /// Waits until a program listens on port 80.
    pub(super) fn wait_for_port(&self, host: &str, program: &mut Process) -> io::Result<()> {
        self.until(host, || {
            program.runs()?;
            Ok(self.exec(host, &["ss", "-Hlnt"])?.contains(":80 "))
        })
    }

    /// Waits until the client gets a page.
    pub(super) fn wait_for_page(&self) -> io::Result<()> {
        let ask = ["curl", "-s", "-f", "-m", "1", "-o", "/dev/null", &format!("http://{VIP}/")];
        self.until("the way to the servers", || Ok(self.exec("client", &ask).is_ok()))
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so()? {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{what}: nobody answers after ten seconds")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Deref for Ground {
    type Target = Namespaces;

    fn deref(&self) -> &Namespaces {
        &self.namespaces
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Written by this process alone.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
