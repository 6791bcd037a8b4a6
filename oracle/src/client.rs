//! Clients that scenarios name by number, and strangers by the thousand.
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Chance;

/// A client of `open`: by number, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub u16);

impl Client {
    /// Its address and source port towards a destination of either family: 198.18.0.2:10001
    /// is number 1, and every one has another address and another port.
    pub fn towards(self, destination: IpAddr) -> SocketAddr {
        let number = self.0;
        let [high, low] = [number / 250, number % 250 + 1].map(|part| part.to_be_bytes()[1]);
        let address = match destination {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 18, high, low)),
            IpAddr::V6(_) => {
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, high.into(), low.into()))
            }
        };
        SocketAddr::new(address, 10_000 + number)
    }
}

/// Different random clients of a seed: from 198.18.0.0/15 or 2001:db8:c::/64, with port
/// 40000 or, if `ports`, any from 1024 on.
pub fn strangers(seed: u64, count: usize, ipv6: bool, ports: bool) -> Vec<SocketAddr> {
    let mut chance = Chance::new(seed);
    let mut known = HashSet::new();
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let bits = chance.bits();
        let address = if ipv6 {
            IpAddr::V6(Ipv6Addr::from((0x2001_0db8_000c_0000_u128 << 64) | u128::from(bits)))
        } else {
            let [.., high, middle, low] = bits.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(198, 18 + (high & 1), middle, low))
        };
        let port = if ports { chance.within(1024, 65_535) } else { 40_000 };
        let stranger = SocketAddr::new(address, u16::try_from(port).unwrap_or(40_000));
        if known.insert(stranger) {
            all.push(stranger);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Client, strangers};

    #[test]
    fn clients_differ_in_address_and_port() {
        let vip = "10.9.0.1".parse().unwrap();
        assert_eq!(Client(1).towards(vip), "198.18.0.2:10001".parse().unwrap());
        assert_eq!(Client(500).towards(vip), "198.18.2.1:10500".parse().unwrap());
        assert_eq!(
            Client(16).towards("fd09::1".parse().unwrap()),
            "[2001:db8:c::11]:10016".parse().unwrap()
        );
    }

    #[test]
    fn strangers_are_those_of_their_seed() {
        assert_eq!(strangers(7, 100, true, true), strangers(7, 100, true, true));
        assert_ne!(strangers(7, 100, false, true), strangers(8, 100, false, true));
    }
}
