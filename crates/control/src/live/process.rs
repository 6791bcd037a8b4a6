//! What this process may do: capabilities, cores, the TAP driver.

use std::{fs, io, path::Path};

use super::Finding;

/// Bits of linux/capability.h.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;

/// The state of this thread, which the other ones inherit.
const STATUS: &str = "/proc/thread-self/status";

/// The driver of TAP devices.
const TUN: &str = "/dev/net/tun";

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// The effective capabilities, if they could be read.
    capabilities: Option<u64>,
    tun: bool,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string(STATUS).unwrap_or_default();
        let capabilities =
            field(&status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        Self { capabilities, tun: Path::new(TUN).exists() }
    }
}

pub(super) fn judge(process: &Process) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has = |bit: u32| process.capabilities.is_none_or(|bits| bits & 1 << bit != 0);
    let needed = [
        ("CAP_NET_ADMIN", has(NET_ADMIN), "to attach the XDP program and to add addresses"),
        ("CAP_NET_RAW", has(NET_RAW), "for AF_XDP sockets"),
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN), "to load the XDP program"),
    ];
    for (name, held, purpose) in needed {
        if !held {
            findings.push(Finding::error(
                "capabilities",
                format!("{name} is missing, which xlvs needs {purpose}"),
                format!("run as root, or write AmbientCapabilities={name} in its systemd unit"),
            ));
        }
    }
    if !process.tun {
        findings.push(Finding::error(
            TUN,
            "is missing: packets that are the kernel's go back to it by a TAP device",
            "modprobe tun; in a container, pass the device in",
        ));
    }
    findings
}

/// The cores that this thread may run on.
///
/// # Errors
/// The status cannot be read, or does not say.
pub(super) fn cores() -> io::Result<Vec<usize>> {
    let status = fs::read_to_string(STATUS)?;
    field(&status, "Cpus_allowed_list")
        .and_then(core_list)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Cpus_allowed_list"))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

/// `0-3,8`.
fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().ok();
        cores.extend(number(first)?..=number(last)?);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        let cases: [(&str, Option<&[usize]>); 4] = [
            ("0", Some(&[0])),
            ("0-3,8", Some(&[0, 1, 2, 3, 8])),
            ("2,5-6", Some(&[2, 5, 6])),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(core_list(text).as_deref(), expected, "{text:?}");
        }
        assert!(!cores().unwrap().is_empty());
    }

    #[test]
    fn capabilities_are_missed_by_name() {
        let all = u64::MAX;
        let cases: [(Option<u64>, bool, &[&str]); 7] = [
            (Some(all), true, &[]),
            (None, true, &[]),
            (Some(0), true, &["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"]),
            (Some(all & !(1 << BPF)), true, &[]),
            (Some(all & !(1 << BPF) & !(1 << SYS_ADMIN)), true, &["CAP_BPF"]),
            (Some(all & !(1 << NET_RAW)), true, &["CAP_NET_RAW"]),
            (Some(all), false, &["TAP device"]),
        ];
        for (capabilities, tun, expected) in cases {
            let findings = judge(&Process { capabilities, tun });
            assert_eq!(findings.len(), expected.len(), "{findings:?}");
            for (finding, part) in findings.iter().zip(expected) {
                assert!(finding.is_error() && finding.sentence.contains(part), "{finding}");
            }
        }
    }
}
