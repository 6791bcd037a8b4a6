//! The small languages within one value: addresses, endpoints, ranges, durations.

mod address;
mod endpoint;
mod time;

use std::path::PathBuf;

use dataplane::{snapshot::MssClamp, topology::Mac};

pub use self::address::Mask;
pub(super) use self::{
    address::{address, mask, network, prefix},
    endpoint::{listen, port_or_ports, ports, server},
    time::{duration, idle_time, seconds, sysctl_seconds},
};

/// Why a text is not what it should be, and what to write instead.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) sentence: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), remedy: remedy.into() }
    }
}

/// The kernel's limit for interface names is IFNAMSIZ (16) with the closing zero.
pub(super) fn interface(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| !c.is_whitespace() && c != '/' && c != ':';
    if (1..=15).contains(&text.len()) && text.chars().all(allowed) && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("not an interface name", "write a name of ip link, 1 to 15 letters"))
}

/// A file: the daemon runs in another directory than the operator.
pub(super) fn whole_path(text: &str) -> Result<PathBuf, Wrong> {
    if text.starts_with('/') {
        return Ok(PathBuf::from(text));
    }
    Err(Wrong::new("not a whole path", "write it from / on"))
}

/// A name that the operator gives: it appears in listings, logs and labels.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::new("an empty name", "write a name"));
    }
    if text.len() > 64 || text.chars().any(|c| c.is_control()) {
        return Err(Wrong::new("not a name", "write at most 64 letters in one line"));
    }
    Ok(text.to_owned())
}

/// A unicast MAC address.
pub(super) fn mac(text: &str) -> Result<Mac, Wrong> {
    let pair = |pair: &str| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
    let octets: Option<Vec<u8>> = text.split(':').map(pair).collect();
    let Some(octets) = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok()) else {
        return Err(Wrong::new("not a MAC address", "write it like \"52:54:00:12:34:56\""));
    };
    if octets[0] & 1 == 1 {
        let sentence = "a multicast MAC address, which no single server has";
        return Err(Wrong::new(sentence, "write the MAC of the server's interface"));
    }
    if octets == [0; 6] {
        return Err(Wrong::new("an empty MAC address", "write the MAC of the server's interface"));
    }
    Ok(Mac(octets))
}

/// `off`, `path` or a number of octets. The least is the kernel's smallest send MSS (88,
/// `TCP_MIN_MSS`), the most fits an MTU of 65535.
pub(super) fn mss_clamp(text: &str) -> Result<MssClamp, Wrong> {
    match (text, text.parse()) {
        ("off", _) => Ok(MssClamp::Off),
        ("path", _) => Ok(MssClamp::Path),
        (_, Ok(octets @ 88..=65_495)) => Ok(MssClamp::Octets(octets)),
        _ => Err(Wrong::new(
            "not an MSS clamp",
            "write off, path or a number of octets from 88 to 65495",
        )),
    }
}

/// A packet mark, or its mask: 32 bits in decimal, or in hexadecimal as iptables prints it.
pub(super) fn mark(text: &str) -> Result<u32, Wrong> {
    let number = match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| Wrong::new("not a mark", "write a number of 32 bits, like 10 or 0xa"))
}
