//! Installing the Debian packages that the build, the lab and the guests need, and the fuzzer of the
//! API.
//!
//! It never asks and needs no terminal. Servers come along as programs only: their
//! services are neither started nor enabled, since the lab runs them with files of its own.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Outcome, fail};
use crate::shell;
use backports::Backports;

mod backports;
pub mod fuzzer;

/// What compiling the workspace takes.
const BUILD: &[&str] = &[
    "clang",
    "m4",
    "make",
    "gcc",
    "pkg-config",
    "libelf-dev",
    "zlib1g-dev",
    "linux-libc-dev",
    "libbpf-dev",
];

/// What the lab, the demo and the tests run.
const LAB: &[&str] = &[
    "nginx-light",
    "iperf3",
    "ethtool",
    "nftables",
    "iproute2",
    "procps",
    "kmod",
    "curl",
    "tcpdump",
    "tshark",
    "python3",
    "python3-scapy",
    "python3-venv",
    "socat",
    "valgrind",
    "iputils-ping",
    "arping",
    "dnsutils",
    "vsftpd",
    "dnsmasq-base",
    "redis-server",
    "postgresql",
    "keepalived",
    "bird2",
    "prometheus",
    "python3-prometheus-client",
];

/// What the benches run beside the lab's programs.
const BENCH: &[&str] = &["haproxy", "libnginx-mod-stream", "wrk"];

/// What building a Debian package and installing it in a tree of its own takes.
const PACKAGING: &[&str] = &["debootstrap", "dpkg-dev"];

/// What has the place of other packages (a machine has one mail server, and MariaDB or MySQL). Those
/// stay; then the lab's `kinds` cannot run.
const RIVALS: &[&str] = &["exim4-daemon-light", "mariadb-server-core", "mariadb-client-core"];

/// What booting Debian's kernels in a guest takes.
const GUEST: &[&str] =
    &["qemu-system-x86", "busybox-static", "cpio", "debian-archive-keyring", "ipvsadm"];

/// Packages that bring a service along, and its name.
const SERVICES: [(&str, &str); 9] = [
    ("nginx-light", "nginx"),
    ("haproxy", "haproxy"),
    ("vsftpd", "vsftpd"),
    ("keepalived", "keepalived"),
    ("bird2", "bird"),
    ("redis-server", "redis-server"),
    ("postgresql", "postgresql"),
    ("exim4-daemon-light", "exim4"),
    ("prometheus", "prometheus"),
];

/// invoke-rc.d asks this file whether it may start a service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, and says so; silent about nothing to do but for one line.
///
/// # Errors
/// Without apt-get, without root while something is missing, or when apt-get fails.
pub fn run() -> Outcome {
    let missing = missing();
    if missing.is_empty() {
        println!("setup: all {} packages are here", needed().count());
        return fuzzer::install();
    }
    println!("setup: missing: {}", missing.join(" "));
    if !Path::new("/usr/bin/apt-get").exists() {
        return fail("this is no Debian: install the counterparts of those packages yourself");
    }
    if !shell::is_root() {
        return fail(format!("needs root; as root: apt-get install {}", missing.join(" ")));
    }
    without_services(|| install(&missing))?;
    for (package, service) in SERVICES {
        if missing.contains(&package) {
            // Fails where there is no systemd; then nothing would start it either.
            let _ = shell::output(Command::new("systemctl").args(["disable", "--now", service]));
        }
    }
    println!("setup: installed");
    fuzzer::install()
}

fn needed() -> impl Iterator<Item = &'static str> {
    BUILD.iter().chain(LAB).chain(BENCH).chain(GUEST).chain(PACKAGING).chain(RIVALS).copied()
}

fn missing() -> Vec<&'static str> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${Status}\n"]).args(needed());
    // It ends with 1 when it does not know one of them, and lists the others all the same.
    let known = query.stdin(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
    let known = String::from_utf8_lossy(&known);
    let is_installed = |package: &str| {
        known.lines().any(|line| {
            line.split_once(' ') == Some((package, "install ok installed"))
                || line.split_once(' ') == Some((package, "hold ok installed"))
        })
    };
    needed().filter(|package| !is_installed(package)).collect()
}

fn install(packages: &[&str]) -> Outcome {
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y"]).args(words);
        shell::stream(&mut command)
    };
    let add = |packages: &[&str]| {
        apt(&[&["install", "--no-install-recommends", "--no-remove"], packages].concat())
    };
    apt(&["update"])?;
    let (rivals, mut others): (Vec<&str>, Vec<&str>) =
        packages.iter().partition(|package| RIVALS.contains(package));
    if let Some(suite) = Backports::needed(&others)? {
        apt(&[&suite.source(), ["update"].as_slice()].concat())?;
        let words = ["install", "--no-install-recommends", "--no-remove", suite.package];
        apt(&[&suite.preferred(), words.as_slice()].concat())?;
        others.retain(|package| *package != suite.package);
    }
    if !others.is_empty() {
        add(&others)?;
    }
    for package in rivals {
        if let Err(why) = add(&[package]) {
            println!("setup: without {package}, for which another package would have to go: {why}");
        }
    }
    Ok(())
}

/// Does something during which no package may start a service. A policy that is there
/// already stays as it is: it is the operator's.
fn without_services(work: impl FnOnce() -> Outcome) -> Outcome {
    if Path::new(POLICY).exists() {
        return work();
    }
    fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    let outcome = work();
    fs::remove_file(POLICY)?;
    outcome
}
