//! Kernel settings under `/proc/sys/net` (Documentation/networking/ip-sysctl.rst).

use std::{fs, io, ops::RangeInclusive, path::PathBuf};

/// A setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct SysctlError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Prepares the TAP through which frames are given back to the kernel, so that it treats
/// them as if they had come in by the NIC: no reverse-path filter, forwarding as on the
/// `served` interfaces, no IPv6 address or router of its own. To be called before the
/// TAP is set up.
///
/// # Errors
/// A setting cannot be read or written. Settings of a family that this kernel does not
/// have are left out.
pub fn prepare_tap(tap: &str, served: &[String]) -> Result<(), SysctlError> {
    // The kernel takes the greater of both: beside a strict 1, only 2 (loose) helps.
    let all = read(&conf("ipv4", "all", "rp_filter"))?;
    let rp_filter = if all.as_deref() == Some("1") { "2" } else { "0" };
    write(&conf("ipv4", tap, "rp_filter"), rp_filter)?;
    write(&conf("ipv6", tap, "accept_ra"), "0")?;
    // 1: the interface gets no link-local address (IN6_ADDR_GEN_MODE_NONE).
    write(&conf("ipv6", tap, "addr_gen_mode"), "1")?;
    for family in ["ipv4", "ipv6"] {
        let mut forwards = false;
        for name in served {
            forwards |= read(&conf(family, name, "forwarding"))?.is_some_and(|value| value != "0");
        }
        write(&conf(family, tap, "forwarding"), if forwards { "1" } else { "0" })?;
    }
    Ok(())
}

/// Prepares the namespace of health probes, of which the calling thread is: no IPv6 address or
/// router of its own, and no connection outlasts its probe for a minute (`TIME_WAIT` would keep
/// its port from the next one).
///
/// # Errors
/// As [`prepare_tap`].
pub fn prepare_probes(tap: &str) -> Result<(), SysctlError> {
    write(&conf("ipv6", tap, "accept_ra"), "0")?;
    write(&conf("ipv6", tap, "addr_gen_mode"), "1")?;
    write(&PathBuf::from("/proc/sys/net/ipv4/tcp_max_tw_buckets"), "0")
}

/// The ports that the kernel takes for its own connections: FullNAT must not share them.
///
/// # Errors
/// The setting cannot be read, or does not consist of two port numbers.
pub fn ephemeral_ports() -> Result<RangeInclusive<u16>, SysctlError> {
    let path = PathBuf::from("/proc/sys/net/ipv4/ip_local_port_range");
    let text = read(&path)?.unwrap_or_default();
    let mut ports = text.split_whitespace().map(str::parse::<u16>);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
        _ => Err(SysctlError { action: "read", path, source: io::ErrorKind::InvalidData.into() }),
    }
}

fn conf(family: &str, interface: &str, key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(family).join("conf").join(interface).join(key)
}

/// The value; `None` if there is no such setting.
fn read(path: &PathBuf) -> Result<Option<String>, SysctlError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SysctlError { action: "read", path: path.clone(), source }),
    }
}

/// Writes the value, unless it stands there already or the setting does not exist.
fn write(path: &PathBuf, value: &str) -> Result<(), SysctlError> {
    match read(path)? {
        Some(present) if present != value => fs::write(path, value).map_err(|source| SysctlError {
            action: "write",
            path: path.clone(),
            source,
        }),
        _ => Ok(()),
    }
}
