//! Networks: an address and how much of it counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network in prefix notation (RFC 4632 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network of an address; nothing if the length is beyond the family's.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (length <= bits).then(|| Self { address: masked(address, length), length })
    }

    /// One host.
    pub const fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// It is one address only.
    pub const fn is_host(&self) -> bool {
        self.length == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// The address is of this family and within.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.length) == self.address
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The leading bits of an address, the others 0. A length beyond the family's keeps all.
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_within_its_networks() {
        let rows = [
            ("10.1.2.3", 0, "0.0.0.0", "255.1.1.1", true),
            ("10.1.2.3", 24, "10.1.2.0", "10.1.2.255", true),
            ("10.1.2.3", 24, "10.1.2.0", "10.1.3.0", false),
            ("10.1.2.3", 32, "10.1.2.3", "10.1.2.3", true),
            ("2001:db8::9", 64, "2001:db8::", "2001:db8::ffff", true),
            ("2001:db8::9", 0, "::", "ff02::1", true),
            ("::", 0, "::", "1.1.1.1", false),
        ];
        for (address, length, first, other, within) in rows {
            let prefix = Prefix::new(address.parse().unwrap(), length).unwrap();
            assert_eq!(prefix.address().to_string(), first);
            assert_eq!(prefix.contains(other.parse().unwrap()), within, "{other} in {prefix}");
        }
        assert_eq!(Prefix::new("1.2.3.4".parse().unwrap(), 33), None);
    }
}
