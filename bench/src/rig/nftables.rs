//! The kernel as the forwarder: its routing, connection tracking and NAT.

use std::{fs, io};

use dataplane::forward::Forward;

use super::ground::{Ground, LOCAL_ADDRESSES, PORT};
use crate::namespaces::feed;

/// Connections that the kernel may track: more than the rig has flows.
const TRACKED: (&str, &str) = ("nf_conntrack_max", "4194304");
/// Chains of its hash table.
const BUCKETS: (&str, &str) = ("nf_conntrack_buckets", "1048576");

/// nftables' rules in the box, until they are ended; and what the machine's settings were before.
pub(super) struct Nftables {
    before: Vec<(&'static str, String)>,
}

impl Nftables {
    /// Lets the kernel forward: DNAT to ten servers by the flow's hash, with FullNAT SNAT as well;
    /// on the generator's CPU, or on `cpu` (RPS).
    ///
    /// # Errors
    /// A mode that it has not; what `nft` says.
    pub(super) fn start(ground: &Ground, mode: Forward, cpu: Option<usize>) -> io::Result<Self> {
        if !mode.two_way() {
            let told = "nftables has nat and fullnat only: --modes nat,fullnat";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let mut before = Vec::new();
        for (name, value) in [TRACKED, BUCKETS] {
            before.push((name, fs::read_to_string(setting(name))?));
            fs::write(setting(name), value)?;
        }
        let nftables = Self { before };
        let mask = cpu.map_or(0, |cpu| 1 << cpu);
        for line in [
            "echo 1 > /proc/sys/net/ipv4/ip_forward".to_owned(),
            "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter".to_owned(),
            "echo 0 > /proc/sys/net/ipv4/conf/in/rp_filter".to_owned(),
            format!("echo {mask:x} > /sys/class/net/in/queues/rx-0/rps_cpus"),
            // The generator's frames need a NAPI to arrive at.
            "ethtool -K in gro on".to_owned(),
        ] {
            ground.exec("box", &["sh", "-c", &line])?;
        }
        feed(&mut ground.command("box", &["nft", "-f", "-"]), &rules(mode))?;
        Ok(nftables)
    }

    /// Takes the rules away, and the connections with them.
    ///
    /// # Errors
    /// What `nft` says.
    pub(super) fn end(self, ground: &Ground) -> io::Result<()> {
        ground.exec("box", &["nft", "delete table ip bench"])?;
        ground.exec("box", &["ethtool", "-K", "in", "gro", "off"]).map(drop)
    }
}

impl Drop for Nftables {
    fn drop(&mut self) {
        for (name, value) in &self.before {
            // It could be written a moment ago.
            let _ = fs::write(setting(name), value);
        }
    }
}

/// Where the machine keeps it: the same for all namespaces.
fn setting(name: &str) -> String {
    format!("/proc/sys/net/netfilter/{name}")
}

fn rules(mode: Forward) -> String {
    let servers: Vec<String> = (0..10).map(|n| format!("{n} : 10.0.2.{}", n + 11)).collect();
    let (first, last) = (LOCAL_ADDRESSES.start, LOCAL_ADDRESSES.end - 1);
    let source = match mode {
        Forward::FullNat => format!("oif out snat to 10.0.2.{first}-10.0.2.{last}"),
        _ => String::new(),
    };
    format!(
        "table ip bench {{\n\
         chain in {{ type nat hook prerouting priority dstnat;\n\
         ip daddr 203.0.113.10 udp dport {PORT} dnat to jhash ip saddr . udp sport mod 10 \
         map {{ {} }}\n}}\n\
         chain out {{ type nat hook postrouting priority srcnat;\n{source}\n}}\n}}\n",
        servers.join(", ")
    )
}
