//! The box and its network.

use std::{fmt::Write, fs, path::Path};

use super::{archive::Archive, program};

/// Files as they are.
const FILES: [(&str, &str); 12] = [
    ("machine/kernel.txt", "/proc/version"),
    ("machine/distribution.txt", "/etc/os-release"),
    ("machine/processors.txt", "/proc/cpuinfo"),
    ("machine/memory.txt", "/proc/meminfo"),
    ("machine/load.txt", "/proc/loadavg"),
    ("machine/interrupts.txt", "/proc/interrupts"),
    ("machine/softirqs.txt", "/proc/softirqs"),
    ("machine/softnet_stat.txt", "/proc/net/softnet_stat"),
    ("machine/pressure-cpu.txt", "/proc/pressure/cpu"),
    ("network/dev.txt", "/proc/net/dev"),
    ("network/snmp.txt", "/proc/net/snmp"),
    ("network/netstat.txt", "/proc/net/netstat"),
];

/// What programs print.
const PROGRAMS: [(&str, &str); 15] = [
    ("network/links.txt", "ip -details -statistics link show"),
    ("network/addresses.txt", "ip address show"),
    ("network/rules.txt", "ip rule show"),
    ("network/rules-ipv6.txt", "ip -6 rule show"),
    ("network/routes.txt", "ip route show table all"),
    ("network/routes-ipv6.txt", "ip -6 route show table all"),
    ("network/neighbours.txt", "ip -statistics neighbour show"),
    ("network/sockets.txt", "ss --no-header --listening --tcp --udp --numeric"),
    ("network/xdp-sockets.txt", "ss --no-header --xdp --extended --numeric"),
    ("network/bpf.txt", "bpftool net show"),
    ("network/bpf-links.txt", "bpftool link show"),
    ("network/netfilter.txt", "nft list ruleset"),
    ("network/pins.txt", "find /sys/fs/bpf/xlvs"),
    ("machine/uptime.txt", "uptime"),
    ("machine/topology.txt", "lscpu"),
];

/// What ethtool prints of each interface.
const ETHTOOL: [&str; 7] = ["-i", "-k", "-l", "-g", "-x", "-c", "-S"];

/// Settings, and directories of settings.
const SETTINGS: [&str; 14] = [
    "kernel/unprivileged_bpf_disabled",
    "kernel/sched_rt_runtime_us",
    "vm/nr_hugepages",
    "vm/overcommit_memory",
    "net/core/bpf_jit_enable",
    "net/core/netdev_max_backlog",
    "net/core/netdev_budget",
    "net/core/rmem_max",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/neigh/default",
    "net/ipv6/neigh/default",
    "net/ipv6/conf/all/forwarding",
];

/// Of each interface.
const OF_INTERFACES: [&str; 9] = [
    "ipv4/conf/{}/rp_filter",
    "ipv4/conf/{}/arp_ignore",
    "ipv4/conf/{}/arp_announce",
    "ipv4/conf/{}/arp_notify",
    "ipv4/conf/{}/forwarding",
    "ipv4/conf/{}/send_redirects",
    "ipv6/conf/{}/disable_ipv6",
    "ipv6/conf/{}/accept_ra",
    "ipv6/conf/{}/forwarding",
];

/// Words of the kernel's command line that matter here; others may be secrets.
const BOOT: [&str; 8] = [
    "isolcpus",
    "nohz_full",
    "rcu_nocbs",
    "hugepages",
    "default_hugepagesz",
    "hugepagesz",
    "mitigations",
    "iommu",
];

pub(super) fn collect(archive: &mut Archive, interfaces: &[String]) {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    for (part, path) in FILES {
        archive.add(part, read(path));
    }
    archive.add("machine/boot.txt", read("/proc/cmdline").map(|line| boot(&line)));
    for (part, line) in PROGRAMS {
        archive.add(part, program::run(&line.split(' ').collect::<Vec<_>>()));
    }
    for interface in interfaces.iter().filter(|name| *name != "lo") {
        for option in ETHTOOL {
            let part = format!("network/{interface}/ethtool{option}.txt");
            archive.add(&part, program::run(&["ethtool", option, interface]));
        }
    }
    archive.add("machine/settings.txt", Ok(settings(interfaces)));
}

fn boot(line: &str) -> String {
    let wanted = |word: &&str| BOOT.iter().any(|name| word.contains(name));
    line.split_whitespace().filter(wanted).collect::<Vec<_>>().join("\n")
}

fn settings(interfaces: &[String]) -> String {
    let mut text = String::new();
    let names = ["all".to_owned(), "default".to_owned()];
    let of_interfaces = names.iter().chain(interfaces).flat_map(|interface| {
        OF_INTERFACES.map(|name| format!("net/{}", name.replace("{}", interface)))
    });
    for name in SETTINGS.map(ToOwned::to_owned).into_iter().chain(of_interfaces) {
        setting(&mut text, &Path::new("/proc/sys").join(name));
    }
    text
}

fn setting(text: &mut String, path: &Path) {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.for_each(|entry| setting(text, &entry.path()));
    }
    // Some can only be written; kernels lack some.
    if let Ok(value) = fs::read_to_string(path) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} = {}", path.display(), value.trim());
    }
}
