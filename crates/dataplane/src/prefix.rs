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

/// A set of networks, asked in logarithmic time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet {
    /// First and last addresses of ranges that do not overlap, in order.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl PrefixSet {
    /// The set of these.
    pub fn new(prefixes: &[Prefix]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match prefix.address {
                IpAddr::V4(first) => {
                    let hosts = u32::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
                    v4.push((u32::from(first), u32::from(first) | hosts));
                }
                IpAddr::V6(first) => {
                    let hosts = u128::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
                    v6.push((u128::from(first), u128::from(first) | hosts));
                }
            }
        }
        Self { v4: disjoint(v4), v6: disjoint(v6) }
    }

    /// It has nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => within(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => within(&self.v6, u128::from(ip)),
        }
    }
}

/// Prefixes overlap only as a whole: the wider one comes first and covers the others.
fn disjoint<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
    ranges.dedup_by(|narrow, wide| narrow.1 <= wide.1);
    ranges.into_boxed_slice()
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
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

    /// The set says what its members say, also where they overlap.
    #[test]
    fn a_set_is_its_members() {
        let mut seed = 7u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        let mut address = |v6: bool| -> IpAddr {
            let n = random() as u32 & 0x0000_ff0f;
            if v6 { Ipv6Addr::from(u128::from(n) << 96).into() } else { Ipv4Addr::from(n).into() }
        };
        for round in 0..200u32 {
            let length = |v6: bool, n: u32| if v6 { n * 7 % 129 } else { n * 5 % 33 } as u8;
            let prefixes: Vec<Prefix> = (0..round % 20)
                .map(|n| (n % 3 == 0, n + round))
                .filter_map(|(v6, n)| Prefix::new(address(v6), length(v6, n)))
                .filter(|prefix| prefix.length() > 0 || round % 7 == 0)
                .collect();
            let set = PrefixSet::new(&prefixes);
            assert_eq!(set.is_empty(), prefixes.is_empty());
            for n in 0..100 {
                let address = address(n % 2 == 0);
                let expected = prefixes.iter().any(|prefix| prefix.contains(address));
                assert_eq!(set.contains(address), expected, "{address} in {prefixes:?}");
            }
        }
    }
}
