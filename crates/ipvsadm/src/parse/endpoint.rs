//! Addresses and ports as ipvsadm reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number;
use crate::command::Protocol;
use crate::names::Resolver;

/// An address, and a port if one was given.
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

/// `host`, `host:port`, an IPv6 address, `[IPv6 address]:port`.
///
/// Brackets need a port behind them; around anything but an IPv6 address they swallow it, as in
/// ipvsadm. A port's name needs the protocol.
pub(super) fn parse(
    text: &str,
    protocol: Option<Protocol>,
    names: &dyn Resolver,
) -> Option<Endpoint> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, bracketed) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, Some(rest.strip_prefix(':')?))
        }
        None => (text, None),
    };
    if let Ok(v6) = host.parse::<Ipv6Addr>() {
        let port = bracketed.map(|text| port(text, protocol, names).ok_or(())).transpose().ok()?;
        return Some(Endpoint { address: v6.into(), port });
    }
    let (host, after) = match host.rsplit_once(':') {
        Some((host, after)) => (host, Some(after)),
        None => (host, None),
    };
    let address = ipv4(host, names)?.into();
    let port = after.map(|text| port(text, protocol, names).ok_or(())).transpose().ok()?;
    Some(Endpoint { address, port })
}

fn port(text: &str, protocol: Option<Protocol>, names: &dyn Resolver) -> Option<u16> {
    number::within(text, 0, u16::MAX.into()).or_else(|| names.port(text, protocol?))
}

/// An IPv4 address by number, in any form that `inet_aton` takes, or by name.
pub(super) fn ipv4(text: &str, names: &dyn Resolver) -> Option<Ipv4Addr> {
    aton(text).or_else(|| names.host(text))
}

/// `inet_aton`: one to four numbers, the last of which fills what is left; decimal, octal with
/// a leading 0, or hexadecimal with 0x. A blank ends the address, whatever follows it.
fn aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(number::is_space).next()?;
    let mut parts = text.split('.').map(part).collect::<Option<Vec<u32>>>()?;
    let last = parts.pop()?;
    if parts.len() > 3 || parts.iter().any(|part| *part > u8::MAX.into()) {
        return None;
    }
    let left = 32 - 8 * parts.len() as u32;
    if u64::from(last) >> left != 0 {
        return None;
    }
    let head = parts.iter().fold(0, |bits, part| bits << 8 | u64::from(*part));
    Some(Ipv4Addr::from_bits((head << left) as u32 | last))
}

fn part(text: &str) -> Option<u32> {
    if !text.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}
