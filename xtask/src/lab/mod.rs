//! The lab: clients, routers, a director and real servers as network namespaces on one
//! machine, joined by veth pairs, running real nginx, curl and iperf3.
//!
//! [`Lab::build`] makes one from a [`Topology`]; dropping it takes everything away again.
//! Several labs can stand side by side: every name carries the run's prefix.
mod client;
mod config;
mod director;
mod namespace;
mod outage;
mod process;
mod run_directory;
mod servers;
mod states;
mod topologies;
mod topology;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use client::{Client, Page, ask_from, fetch_from};
pub use config::{Config, Inside, XdpMode};
pub use director::{Director, Ledger, debug_binary};
pub use namespace::Namespace;
pub use outage::Outage;
pub use process::Process;
pub use run_directory::{destroy, list};
pub use servers::FILE_BYTES;
pub use topologies::ALL;
pub use topology::{Link, Preparation, Route, SWITCH, Topology};

use crate::failure::{Outcome, fail};
use crate::shell;
use run_directory::RunDirectory;
use topology::End;

/// A standing topology with its real servers running; the director's host is there, but
/// nothing runs on it.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    directory: RunDirectory,
}

/// What a host is told before it gets its first interface: no waiting for duplicate
/// address detection, no addresses from router advertisements, no filter on the way back.
const SYSCTLS: &[&str] = &[
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.arp_ignore=0",
    "net.ipv4.conf.all.arp_announce=0",
    "net.ipv4.ip_unprivileged_port_start=0",
];

const FORWARDING: &[&str] = &["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];

/// What an interface is told. Checksums are computed by the sender: an AF_XDP socket would
/// otherwise see the half-made sums that veth passes on in the belief that the other end is
/// the same machine. And each packet's TX queue, which on veth is the RX queue at the other
/// end, is chosen by its flow's hash, on every hop anew: a router would otherwise take the
/// queue on which the packet came, less one, and everything would end up on the first
/// (veth does not record the RX queue, skb_tx_hash reads the old TX queue as one).
const TUNE: &str = "set -e
ethtool -K $1 tx off
cpus=$(cat /sys/devices/system/cpu/possible)
mask=$(printf '%x' $(((1 << (${cpus##*-} + 1)) - 1)))
for queue in /sys/class/net/$1/queues/tx-*; do
    case $(echo /sys/class/net/$1/queues/tx-*) in *' '*) echo $mask >$queue/xps_cpus ;; esac
done
";

impl Lab {
    /// Builds it, with that many RX and TX queues on every interface, and starts what the
    /// real servers run.
    ///
    /// # Errors
    /// Without root, without the packages, or when a step fails; what stood by then is
    /// taken away.
    pub fn build(topology: &Topology, queues: u32) -> Outcome<Self> {
        if !shell::is_root() {
            return fail("the lab makes network namespaces: run it as root");
        }
        let lab = Self { topology: *topology, directory: RunDirectory::create()? };
        lab.make_hosts()?;
        for link in topology.links() {
            lab.plug(link, queues).map_err(|failure| failure.during(&format!("{link:?}")))?;
        }
        lab.add_routes()?;
        lab.give_vips()?;
        servers::start(&lab)?;
        lab.wait_for_carriers()?;
        Ok(lab)
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The run's name: the prefix of its namespaces.
    pub fn run(&self) -> &str {
        self.directory.run()
    }

    /// One of its hosts.
    pub fn host(&self, name: &str) -> Namespace {
        Namespace::of(self.run(), name)
    }

    /// The far end of the cable on the director's front interface: host and interface.
    ///
    /// # Errors
    /// When the topology has no such cable.
    pub fn before_director(&self) -> Outcome<(Namespace, &'static str)> {
        let is_front = |end: &End| end.host == "director" && end.interface == "eth0";
        for Link { a, b, .. } in self.topology.links() {
            for (front, far) in [(a, b), (b, a)] {
                if is_front(front) {
                    return Ok((self.host(far.host), far.interface));
                }
            }
        }
        fail("no cable to the director's eth0")
    }

    /// The director's host.
    pub fn director(&self) -> Namespace {
        self.host("director")
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The client beside or behind the router.
    pub fn client(&self) -> Client<'_> {
        Client::new(self, "client")
    }

    /// The client in another network, behind an MTU of 1400.
    pub fn visitor(&self) -> Client<'_> {
        Client::new(self, "visitor")
    }

    /// Leaves everything standing, the processes too, until it is destroyed by name.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn keep(mut self) -> Outcome {
        self.directory.keep()
    }

    fn make_hosts(&self) -> Outcome {
        for name in self.topology.hosts() {
            let host = self.host(name);
            shell::output(std::process::Command::new("ip").args(["netns", "add", host.name()]))?;
            let forwards = self.topology.routers.contains(&name);
            let more = if forwards { FORWARDING } else { &[] };
            host.run(&format!("sysctl -q -w {} {}", SYSCTLS.join(" "), more.join(" ")))?;
            let mut lines = vec!["link set lo up".to_owned()];
            if name == SWITCH {
                lines.push("link add br0 type bridge stp_state 0 mcast_snooping 0".to_owned());
                lines.push("link set br0 up".to_owned());
            }
            host.batch(&lines)?;
        }
        Ok(())
    }

    /// Takes an interface away, with the other end of its cable, and brings both back after
    /// that time, with their addresses, MACs and number of queues. Routes by gateways on it
    /// are gone.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn unplug_for(&self, host: &str, interface: &str, time: Duration) -> Outcome {
        let is_it = |end: &End| end.host == host && end.interface == interface;
        let Some(link) = self.topology.links().find(|link| is_it(&link.a) || is_it(&link.b)) else {
            return fail(format!("{host} has no {interface}"));
        };
        let ends = [&link.a, &link.b].map(|end| (self.host(end.host), end.interface));
        let macs = [ends[0].0.mac(ends[0].1)?, ends[1].0.mac(ends[1].1)?];
        let listed = ends[0].0.run(&format!("ls /sys/class/net/{}/queues", ends[0].1))?;
        let queues = listed.lines().filter(|line| line.starts_with("rx-")).count();
        ends[0].0.run(&format!("ip link delete {}", ends[0].1))?;
        std::thread::sleep(time);
        self.plug(link, u32::try_from(queues).unwrap_or(1))?;
        for ((host, interface), mac) in ends.iter().zip(macs) {
            host.run(&format!("ip link set {interface} address {mac}"))?;
        }
        self.wait_for_carriers()
    }

    /// One cable: both ends in their namespaces, up, with addresses.
    fn plug(&self, link: &Link, queues: u32) -> Outcome {
        let Link { a, b, mtu } = link;
        let there = self.host(b.host);
        let shape = format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}");
        self.host(a.host).batch(&[format!(
            "link add {} {shape} type veth peer name {} {shape} netns {}",
            a.interface,
            b.interface,
            there.name()
        )])?;
        for end in [a, b] {
            self.bring_up(end)?;
        }
        Ok(())
    }

    fn bring_up(&self, end: &End) -> Outcome {
        let End { host, interface, addresses } = end;
        let mut lines: Vec<String> = addresses
            .iter()
            .map(|address| {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                format!("address add {address} dev {interface} {nodad}")
            })
            .collect();
        if *host == SWITCH {
            lines.push(format!("link set {interface} master br0"));
        }
        lines.push(format!("link set {interface} up"));
        let host = self.host(host);
        host.batch(&lines)?;
        shell::feed(host.command("sh").args(["-s", interface]), TUNE).map(drop)
    }

    fn add_routes(&self) -> Outcome {
        for name in self.topology.hosts() {
            let routes = self.topology.routes().filter(|route| route.host == name);
            let lines: Vec<String> =
                routes.map(|route| format!("route add {} via {}", route.to, route.via)).collect();
            self.host(name).batch(&lines)?;
        }
        Ok(())
    }

    /// The VIPs as ordinary addresses of the director's front interface. For IPv6 they are
    /// deprecated at once, so that the kernel speaks for itself by its own address.
    fn give_vips(&self) -> Outcome {
        let [v4, v6] = self.topology.vips;
        self.director().batch(&[
            format!("address add {v4}/32 dev eth0"),
            format!("address add {v6}/128 dev eth0 nodad preferred_lft 0"),
        ])
    }

    /// Takes the VIPs from the director's host again, for a test of who puts them there.
    ///
    /// # Errors
    /// When they are gone already.
    pub fn withdraw_vips(&self) -> Outcome {
        let [v4, v6] = self.topology.vips;
        self.director().batch(&[
            format!("address del {v4}/32 dev eth0"),
            format!("address del {v6}/128 dev eth0"),
        ])
    }

    /// The kernel lets an interface, and a bridge's port, carry packets only some time after
    /// it was told to: up to a second, in which they would be lost.
    fn wait_for_carriers(&self) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(5);
        for name in self.topology.hosts() {
            let host = self.host(name);
            loop {
                let ports =
                    if name == SWITCH { host.run("bridge -o link show")? } else { String::new() };
                let links = host.run("ip -o link show")?;
                let is_down = |line: &&str| {
                    line.contains("NO-CARRIER")
                        || line.contains("state DOWN")
                        || line.contains("LOWERLAYERDOWN")
                };
                let is_closed = |line: &&str| !line.contains("state forwarding");
                let Some(line) = links.lines().find(is_down).or(ports.lines().find(is_closed))
                else {
                    break;
                };
                if Instant::now() > deadline {
                    return fail(format!("{}: not up: {line}", host.name()));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// The last lines of every log, for a test that failed.
    fn show_logs(&self) {
        let Ok(entries) = fs::read_dir(self.directory.path()) else { return };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.sort();
        for log in logs.iter().filter(|path| path.extension().is_some_and(|end| end == "log")) {
            show_tail(log);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

fn show_tail(log: &Path) {
    let words = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = words.lines().collect();
    if lines.is_empty() {
        return;
    }
    eprintln!("--- the end of {}", log.display());
    for line in &lines[lines.len().saturating_sub(40)..] {
        eprintln!("{line}");
    }
}
