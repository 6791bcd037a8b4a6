//! Which of its addresses the kernel would send from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::state::{Address, SCOPE_LINK};

/// The IPv4 source for what leaves by interface `index` towards `target` (the gateway, or
/// the neighbour): the kernel's `inet_select_addr`. The first primary address of the
/// interface in `target`'s subnet, else its first one, else one of another interface; of
/// a scope no narrower than `scope`.
pub fn source_v4(
    addresses: &[Address],
    index: u32,
    target: Option<Ipv4Addr>,
    scope: u8,
) -> Option<Ipv4Addr> {
    let fitting = || {
        addresses.iter().filter(|a| !a.secondary && a.scope <= scope).filter_map(|a| match a.ip {
            IpAddr::V4(ip) => Some((a, ip)),
            IpAddr::V6(_) => None,
        })
    };
    let own = || fitting().filter(|(a, _)| a.index == index);
    own()
        .find(|(a, ip)| target.is_none_or(|t| common_v4(*ip, t) >= a.length))
        .or_else(|| own().next())
        .or_else(|| fitting().find(|(a, _)| a.scope != SCOPE_LINK))
        .map(|(_, ip)| ip)
}

/// The IPv6 source for what leaves by interface `index` towards `network`: rules 2, 3, 5
/// and 8 of RFC 6724 section 5 (scope, not deprecated, the outgoing interface, the longest
/// common prefix), ties to the first.
pub fn source_v6(addresses: &[Address], index: u32, network: Ipv6Addr) -> Option<Ipv6Addr> {
    let on_link = network.is_unicast_link_local();
    let mut best: Option<((bool, bool, u8), Ipv6Addr)> = None;
    for address in addresses {
        let IpAddr::V6(ip) = address.ip else { continue };
        let here = address.index == index;
        if address.tentative || ip.is_loopback() || ip.is_unicast_link_local() != on_link {
            continue;
        }
        if on_link && !here {
            continue;
        }
        let rank = (!address.deprecated, here, common_v6(ip, network).min(address.length));
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, ip));
        }
    }
    best.map(|(_, ip)| ip)
}

/// The number of leading bits that are equal.
fn common_v4(a: Ipv4Addr, b: Ipv4Addr) -> u8 {
    (u32::from(a) ^ u32::from(b)).leading_zeros() as u8
}

fn common_v6(a: Ipv6Addr, b: Ipv6Addr) -> u8 {
    (u128::from(a) ^ u128::from(b)).leading_zeros() as u8
}
