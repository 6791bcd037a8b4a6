//! The small languages within one value: addresses, endpoints, ranges, durations.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
    time::Duration,
};

use dataplane::{
    forward::{Endpoint, Protocol},
    snapshot::MssClamp,
    topology::Mac,
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

/// An address that a host can have.
pub(super) fn address(text: &str) -> Result<IpAddr, Wrong> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let Ok(ip) = bare.parse() else {
        let sentence = match text.split_once('/') {
            Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => {
                return Err(Wrong::new(
                    "a prefix where one address is expected",
                    format!("write {ip}"),
                ));
            }
            _ => "not an IP address",
        };
        return Err(Wrong::new(sentence, "write it like 10.0.2.11 or \"fd00:2::11\""));
    };
    if let Some(kind) = not_a_host(ip) {
        return Err(Wrong::new(
            format!("{kind}, not the address of a host"),
            "write a unicast address",
        ));
    }
    Ok(ip)
}

fn not_a_host(ip: IpAddr) -> Option<&'static str> {
    let checks = [
        (ip.is_unspecified(), "the unspecified address"),
        (ip.is_loopback(), "a loopback address"),
        (ip.is_multicast(), "a multicast address"),
    ];
    if let Some((_, kind)) = checks.into_iter().find(|(is, _)| *is) {
        return Some(kind);
    }
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("an address of this network (0/8)"),
        IpAddr::V4(ip) if ip.octets()[0] >= 240 => Some("a broadcast or reserved address"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 form"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    }
}

/// `ADDRESS/LENGTH`; an address alone is a /32 or /128.
pub(super) fn network(text: &str) -> Result<(IpAddr, u8), Wrong> {
    let (ip, length) = text.split_once('/').map_or((text, None), |(ip, l)| (ip, Some(l)));
    let ip = address(ip)?;
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    match length.map(str::parse) {
        None => Ok((ip, bits)),
        Some(Ok(length)) if (1..=bits).contains(&length) => Ok((ip, length)),
        Some(_) => Err(Wrong::new(
            "the prefix length is wrong",
            format!("write a length from 1 to {bits}, for a VIP mostly {ip}/{bits}"),
        )),
    }
}

/// `ADDRESS:PORT/PROTOCOL`: one element of `listen:`.
pub(super) fn listen(text: &str) -> Result<Endpoint, Wrong> {
    let (endpoint, protocol) = match text.rsplit_once('/') {
        Some((endpoint, protocol)) => (endpoint, Some(protocol)),
        None => (text, None),
    };
    let (ip, port) = split_port(endpoint);
    let address = address(ip).map_err(|wrong| match wrong.sentence.as_str() {
        "not an IP address" => Wrong::new(
            wrong.sentence,
            "write it like 203.0.113.10:80/tcp or \"[2001:db8::10]:80/tcp\"",
        ),
        _ => wrong,
    })?;
    let shown = if address.is_ipv4() { address.to_string() } else { format!("[{address}]") };
    let Some(port) = port else {
        let quote = if address.is_ipv6() { ", in quotes" } else { "" };
        return Err(Wrong::new("no port", format!("write it like {shown}:80/tcp{quote}")));
    };
    let protocol = match protocol {
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        None => {
            return Err(Wrong::new("no protocol", format!("add /tcp or /udp: {shown}:{port}/tcp")));
        }
        Some(_) => return Err(Wrong::new("the protocol is not supported", "write /tcp or /udp")),
    };
    match port_number(port)? {
        0 => Err(Wrong::new(
            "port 0, all ports, needs persistence, which comes with a later release",
            "write one element for each port",
        )),
        port => Ok(Endpoint { protocol, address, port }),
    }
}

/// `ADDRESS` or `ADDRESS:PORT`: where a real server is.
pub(super) fn server(text: &str) -> Result<(IpAddr, Option<u16>), Wrong> {
    if let Some((endpoint, "tcp" | "udp")) = text.rsplit_once('/') {
        return Err(Wrong::new(
            "a server takes the protocol of its service",
            format!("write {endpoint}"),
        ));
    }
    let (ip, port) = split_port(text);
    let address = address(ip).map_err(|wrong| match wrong.sentence.as_str() {
        "not an IP address" => Wrong::new(
            wrong.sentence,
            "write it like 10.0.2.11:80 or \"[fd00:2::11]:80\"; names are not looked up",
        ),
        _ => wrong,
    })?;
    match port.map(port_number).transpose()? {
        Some(0) => Err(Wrong::new("port 0", "leave :0 out to keep the client's port")),
        port => Ok((address, port)),
    }
}

/// Splits off what follows the last colon, but leaves an IPv6 address whole, in brackets or not.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.ends_with(']') || text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    text.rsplit_once(':').map_or((text, None), |(ip, port)| (ip, Some(port)))
}

fn port_number(text: &str) -> Result<u16, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| Wrong::new("the port is wrong", "write a number from 1 to 65535"))
}

/// `LOW-HIGH`: ports.
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let bounds = text.split_once('-').map(|(low, high)| (port_number(low), port_number(high)));
    match bounds {
        Some((Ok(low), Ok(high))) if 0 < low && low <= high => Ok(low..=high),
        _ => Err(Wrong::new("not a range of ports", "write it like 10000-32767, lower end first")),
    }
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

/// A number with a unit: `ms`, `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let remedy = "write a number with a unit, like 500ms, 30s, 15m, 2h or 1d";
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let Ok(number) = number.parse::<u64>() else {
        return Err(Wrong::new("not a duration", remedy));
    };
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(Wrong::new("a duration without a unit", remedy)),
        _ => return Err(Wrong::new("not a duration", remedy)),
    };
    let total = number.checked_mul(milliseconds);
    total.map(Duration::from_millis).ok_or_else(|| Wrong::new("too long", remedy))
}

/// A duration in whole seconds, of which there are 1 to 65535: an idle time.
pub(super) fn idle_time(text: &str) -> Result<u16, Wrong> {
    let time = duration(text)?;
    match u16::try_from(time.as_secs()) {
        Ok(seconds) if seconds > 0 && time.subsec_millis() == 0 => Ok(seconds),
        _ => Err(Wrong::new("out of range", "write whole seconds, from 1s to 65535s")),
    }
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
