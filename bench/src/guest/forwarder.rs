//! Who forwards in the guest, and how each is started and ended there.

use std::path::Path;

use dataplane::forward::Forward;
use serde_json::Value;
use xtask::{
    failure::Outcome,
    guest::{Guest, Initramfs},
};

use super::{flood, ground};
use crate::rig::{config, ground::VIP};

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarder {
    /// The bare AF_XDP loop, zero-copy.
    L2fwd,
    /// The same with the least that a balancer does.
    Least(Forward),
    /// The kernel, by its routes.
    Route,
    /// The kernel's IPVS.
    Ipvs(Forward),
    /// xlvs, zero-copy.
    Xlvs(Forward),
}

/// All, in the table's order.
pub(super) const ALL: [Forwarder; 11] = [
    Forwarder::L2fwd,
    Forwarder::Least(Forward::Nat),
    Forwarder::Least(Forward::Dr),
    Forwarder::Route,
    Forwarder::Xlvs(Forward::Nat),
    Forwarder::Ipvs(Forward::Nat),
    Forwarder::Xlvs(Forward::Dr),
    Forwarder::Ipvs(Forward::Dr),
    Forwarder::Xlvs(Forward::Tun),
    Forwarder::Ipvs(Forward::Tun),
    Forwarder::Xlvs(Forward::FullNat),
];

/// What xlvs says of its work so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breaths {
    all: u64,
    busy: u64,
    frames: u64,
}

impl Forwarder {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::L2fwd => "l2fwd",
            Self::Least(_) => "least",
            Self::Route => "route",
            Self::Ipvs(_) => "ipvs",
            Self::Xlvs(_) => "xlvs",
        }
    }

    /// The forwarding method of a load balancer.
    pub(super) const fn mode(self) -> &'static str {
        match self {
            Self::L2fwd | Self::Route => "",
            Self::Least(mode) | Self::Ipvs(mode) | Self::Xlvs(mode) => mode.name(),
        }
    }

    /// Octets of a frame that goes out.
    pub(super) const fn octets(self) -> u64 {
        const OUTER: u64 = 20;
        match self {
            Self::Ipvs(Forward::Tun) | Self::Xlvs(Forward::Tun) => flood::OCTETS as u64 + OUTER,
            _ => flood::OCTETS as u64,
        }
    }

    /// Whether it chooses servers for connections.
    pub(super) const fn has_connections(self) -> bool {
        matches!(self, Self::Ipvs(_) | Self::Xlvs(_))
    }

    /// A guest's system with what any of them needs.
    pub(super) fn system(bench: &Path, xlvs: &Path) -> Initramfs {
        Initramfs::default()
            .modules(&["tun", "ip_vs", "ip_vs_rr"])
            .programs(&["ipvsadm", "ethtool"])
            .file(bench, "/usr/sbin/bench")
            .file(xlvs, "/usr/sbin/xlvs")
    }

    /// Starts it in a guest that has only its network yet.
    pub(super) fn start(self, guest: &mut Guest, connections: u64) -> Outcome {
        guest.run(&ground::commands(self == Self::Route))?;
        let script = match self {
            Self::Route => return Ok(()),
            Self::Ipvs(mode) => ipvs(mode),
            Self::L2fwd => process(&bare()),
            Self::Least(mode) => process(&format!("{} --least {}", bare(), mode.name())),
            Self::Xlvs(mode) => {
                let limits =
                    format!("limits: {{connections: {connections}}}\nzero_copy: require\n");
                let yaml = config::yaml(mode, 0, &limits);
                let run = "xlvs run /run/xlvs.yaml --socket /run/xlvs.sock --state /run/xlvs.state";
                format!("cat >/run/xlvs.yaml <<'END'\n{yaml}END\n{}", process(run))
            }
        };
        guest.run(&script).map(drop)
    }

    /// What xlvs says; nothing of the others.
    pub(super) fn breaths(self, guest: &mut Guest) -> Outcome<Option<Breaths>> {
        if !matches!(self, Self::Xlvs(_)) {
            return Ok(None);
        }
        let words = guest.run("xlvs list --json --socket /run/xlvs.sock")?;
        let report: Value = serde_json::from_str(&words)?;
        let worker = &report["workers"][0];
        let count = |key: &str| worker[key].as_u64().unwrap_or_default();
        let breaths = Breaths {
            all: count("breaths"),
            busy: count("busy_breaths"),
            frames: count("rx_packets"),
        };
        Ok(Some(breaths))
    }
}

impl Breaths {
    /// Of all breaths since `before`, those that found nothing, and the frames of the others.
    pub(super) fn since(self, before: Self) -> (f64, f64) {
        let (all, busy) = (self.all - before.all, self.busy - before.busy);
        let frames = self.frames - before.frames;
        (1.0 - busy as f64 / all.max(1) as f64, frames as f64 / busy.max(1) as f64)
    }
}

/// The command line of the bare loop.
fn bare() -> String {
    format!("bench l2fwd in out {} --cpu 0 --zero-copy", ground::SINK)
}

/// Runs a program in the background until its XDP program is there.
fn process(command: &str) -> String {
    format!(
        "modprobe tun
        {command} >/run/log 2>&1 &
        pid=$!
        until ip link show dev in | grep -q xdp; do
            kill -0 $pid || {{ cat /run/log; exit 1; }}
            sleep 0.1
        done
        sleep 0.5"
    )
}

/// As many buckets as it can have: its own default has 4096.
fn ipvs(mode: Forward) -> String {
    let vip = format!("{}.{}.{}.{}:80", VIP[0], VIP[1], VIP[2], VIP[3]);
    let method = match mode {
        Forward::Nat | Forward::FullNat => "-m",
        Forward::Dr => "-g",
        Forward::Tun => "-i",
    };
    let servers = (11..21).map(|n| format!("ipvsadm -a -u {vip} -r 10.0.2.{n}:80 {method}\n"));
    let servers: String = servers.collect();
    format!("modprobe ip_vs conn_tab_bits=20\nipvsadm -A -u {vip} -s rr\n{servers}")
}
