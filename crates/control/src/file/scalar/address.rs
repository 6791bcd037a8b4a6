//! Addresses and networks.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::prefix::{Prefix, masked};

use super::Wrong;

/// An address that a host can have.
pub(in super::super) fn address(text: &str) -> Result<IpAddr, Wrong> {
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
pub(in super::super) fn network(text: &str) -> Result<(IpAddr, u8), Wrong> {
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

/// `ADDRESS/LENGTH` of any length: whom a packet comes from or goes to. An address alone is
/// one host.
pub(in super::super) fn prefix(text: &str) -> Result<Prefix, Wrong> {
    let (ip, length) = text.split_once('/').map_or((text, None), |(ip, l)| (ip, Some(l)));
    let Ok(ip) = ip.parse::<IpAddr>() else {
        let remedy = "write it like 198.51.100.0/24 or \"2001:db8::/32\"";
        return Err(Wrong::new("not a network", remedy));
    };
    let bits: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let length = match length.map(str::parse) {
        None => bits,
        Some(Ok(length)) if length <= bits => length,
        Some(_) => {
            let remedy = format!("write a length from 0 to {bits}");
            return Err(Wrong::new("the prefix length is wrong", remedy));
        }
    };
    let first = masked(ip, length);
    if first != ip {
        let sentence = format!("has bits set beyond the first {length}");
        return Err(Wrong::new(sentence, format!("write {first}/{length}, or a longer prefix")));
    }
    Prefix::new(ip, length).ok_or_else(|| Wrong::new("not a network", "write ADDRESS/LENGTH"))
}

/// How much of a client's address counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// How many leading bits.
    pub length: u8,
    /// It was written as a netmask, which only IPv4 has.
    pub dotted: bool,
}

/// A prefix length, or a netmask in dots.
pub(in super::super) fn mask(text: &str) -> Result<Mask, Wrong> {
    let remedy = "write a prefix length like 24 or 64, or for IPv4 255.255.255.0";
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let ones = mask.to_bits().leading_ones();
        return match ones {
            0 => Err(Wrong::new("all clients would be one", remedy)),
            _ if ones + mask.to_bits().trailing_zeros() < 32 => {
                Err(Wrong::new("a mask with gaps", remedy))
            }
            _ => Ok(Mask { length: ones as u8, dotted: true }),
        };
    }
    match text.parse() {
        Ok(0) => Err(Wrong::new("all clients would be one", remedy)),
        Ok(length @ 1..=128) if text.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Mask { length, dotted: false })
        }
        _ => Err(Wrong::new("not a mask", remedy)),
    }
}
