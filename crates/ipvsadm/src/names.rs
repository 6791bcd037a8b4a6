//! Addresses and ports as text, by number or by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::command::Protocol;

/// The longest `address:port` that ipvsadm prints.
const LONGEST: usize = 59;

/// Names of hosts and ports, as the C library has them from `/etc/hosts`, `/etc/services`, DNS.
///
/// ipvsadm takes host names for IPv4 only.
pub trait Resolver {
    /// The first IPv4 address of a host.
    fn host(&self, name: &str) -> Option<Ipv4Addr>;
    /// The port of a service's name.
    fn port(&self, name: &str, protocol: Protocol) -> Option<u16>;
    /// The name of an address.
    fn host_name(&self, address: IpAddr) -> Option<String>;
    /// The name of a port.
    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String>;
}

/// Knows no name: numbers only.
#[derive(Debug, Clone, Copy)]
pub struct NoNames;

impl Resolver for NoNames {
    fn host(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }

    fn port(&self, _: &str, _: Protocol) -> Option<u16> {
        None
    }

    fn host_name(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn port_name(&self, _: u16, _: Protocol) -> Option<String> {
        None
    }
}

/// `address:port`, with names where there are any; IPv6 stands in brackets, names too.
pub(crate) fn endpoint(
    address: IpAddr,
    port: u16,
    protocol: Option<Protocol>,
    names: &dyn Resolver,
) -> String {
    let host = names.host_name(address).unwrap_or_else(|| number(address));
    let port = protocol
        .and_then(|protocol| names.port_name(port, protocol))
        .unwrap_or_else(|| port.to_string());
    let mut text = match address {
        IpAddr::V4(_) => format!("{host}:{port}"),
        IpAddr::V6(_) => format!("[{host}]:{port}"),
    };
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// An address as the C library writes it, which differs from ours where the last 32 bits of an
/// IPv6 address alone are set: `::1.2.3.4`.
pub(crate) fn number(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if is_ipv4_compatible(v6) => {
            format!("::{}", Ipv4Addr::from(v6.to_bits() as u32))
        }
        _ => address.to_string(),
    }
}

fn is_ipv4_compatible(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    bits >> 32 == 0 && bits >> 16 != 0
}
