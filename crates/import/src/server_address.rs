//! Addresses and ports as the file of xlvs has them.

use std::net::IpAddr;

/// `10.0.2.11:80`, `[fd00::11]:80`, or the address alone.
pub(crate) fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
        (address, None) => address.to_string(),
    }
}

/// Why xlvs takes an address neither for a VIP nor for a server.
pub(crate) fn unusable(address: IpAddr) -> Option<&'static str> {
    let v4 = |from: u8, to: u8| match address {
        IpAddr::V4(v4) => (from..=to).contains(&v4.octets()[0]),
        IpAddr::V6(_) => false,
    };
    let v6 = |is: fn(&std::net::Ipv6Addr) -> bool| match &address {
        IpAddr::V6(v6) => is(v6),
        IpAddr::V4(_) => false,
    };
    let kinds = [
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (address.is_unspecified() || v4(0, 0), "no address of a host"),
        (v4(240, 255), "a reserved address"),
        (v6(|v6| v6.is_unicast_link_local()), "a link-local address"),
        (v6(|v6| v6.to_ipv4_mapped().is_some()), "an IPv4 address in IPv6 form"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, why)| why)
}
