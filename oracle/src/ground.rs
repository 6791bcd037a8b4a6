//! The network of every scenario: a director between clients, behind a gateway, and servers.
//!
//! ```text
//! clients 198.18.0.0/15, 2001:db8:c::/64          servers 10.2.0.11 to .30, fd02::11 to ::30
//!    └─ gateway 192.0.2.1, 2001:db8:f::1               │
//!         └── eth0 (front) director eth1 (back) ───────┘
//!             192.0.2.2        10.2.0.1, router 10.2.0.254
//!             2001:db8:f::2    fd02::1,  router fd02::fe
//! ```
//!
//! All of [`LOCAL`] is delivered to the director itself; each of [`VIPS6`] is an address of
//! its loopback. All neighbours are known and never asked for.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A side of the director: its interfaces in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// eth0, to the clients.
    Front,
    /// eth1, to the servers.
    Back,
}

/// An Ethernet address.
pub type Mac = [u8; 6];

impl Port {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Front, Self::Back];

    /// Its number: eth0 or eth1.
    pub fn number(self) -> usize {
        match self {
            Self::Front => 0,
            Self::Back => 1,
        }
    }

    /// The interface's name.
    pub fn interface(self) -> &'static str {
        ["eth0", "eth1"][self.number()]
    }

    /// Its name in transcripts.
    pub fn name(self) -> &'static str {
        ["front", "back"][self.number()]
    }

    /// The director's MAC there.
    pub fn mac(self) -> Mac {
        [2, 0, 0, 0, 0, [0, 1][self.number()]]
    }

    /// The director's IPv4 address there, in a /24.
    pub fn address4(self) -> Ipv4Addr {
        [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(10, 2, 0, 1)][self.number()]
    }

    /// The director's IPv6 address there, in a /64.
    pub fn address6(self) -> Ipv6Addr {
        match self {
            Self::Front => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2),
            Self::Back => Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1),
        }
    }

    /// The side on which a packet with this source comes in.
    pub fn of_source(source: IpAddr) -> Self {
        let back = match source {
            IpAddr::V4(source) => source.octets()[..3] == [10, 2, 0],
            IpAddr::V6(source) => source.segments()[..4] == [0xfd02, 0, 0, 0],
        };
        if back { Self::Back } else { Self::Front }
    }
}

/// IPv4 prefixes whose addresses all are the director's (routes of type local): VIPs, and
/// destinations of mark services that stand for half the world.
pub const LOCAL: [(Ipv4Addr, u8); 2] =
    [(Ipv4Addr::new(10, 9, 0, 0), 16), (Ipv4Addr::new(10, 64, 0, 0), 14)];

/// How many IPv6 VIPs there are: `fd09::1` and so on.
pub const VIPS6: u16 = 9;

/// Routes to clients, each through the gateway on the front.
pub const CLIENTS: [&str; 2] = ["198.18.0.0/15", "2001:db8:c::/64"];

/// The numbers of the servers: the last part of their addresses, as it is written.
pub const SERVERS: std::ops::RangeInclusive<u8> = 11..=30;

/// A neighbour of the director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// What transcripts call it: `gw`, `stack`, `router` or a server's number.
    pub name: String,
    /// Where it is.
    pub port: Port,
    /// Its IPv4 address.
    pub address4: Ipv4Addr,
    /// Its IPv6 address.
    pub address6: Ipv6Addr,
    /// Its MAC.
    pub mac: Mac,
}

/// All neighbours. `stack` is a witness: the guest copies to it what IPVS leaves to the
/// director's own TCP/IP stack. xlvs has no use for it.
pub fn neighbours() -> Vec<Neighbour> {
    let front = |name: &str, number: u8| Neighbour {
        name: name.to_owned(),
        port: Port::Front,
        address4: Ipv4Addr::new(192, 0, 2, number),
        address6: Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, number.into()),
        mac: [2, 0, 0, 0, 1, number],
    };
    let router = Neighbour {
        name: "router".to_owned(),
        port: Port::Back,
        address4: Ipv4Addr::new(10, 2, 0, 254),
        address6: Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 0xfe),
        mac: [2, 0, 0, 0, 2, 0xfe],
    };
    let mut all = vec![front("gw", 1), front("stack", 9), router];
    all.extend(SERVERS.map(server));
    all
}

/// A server by its number: 10.2.0.11 and fd02::11 are number 11, with a MAC that ends with
/// `:11` as it is written.
pub fn server(number: u8) -> Neighbour {
    let digits = number / 10 * 16 + number % 10;
    Neighbour {
        name: number.to_string(),
        port: Port::Back,
        address4: Ipv4Addr::new(10, 2, 0, number),
        address6: Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, digits.into()),
        mac: [2, 0, 0, 0, 2, digits],
    }
}

/// What transcripts call the neighbour with this MAC; the MAC itself when there is none.
pub fn name_of(mac: Mac) -> String {
    match mac {
        [2, 0, 0, 0, 1, 1] => "gw".to_owned(),
        [2, 0, 0, 0, 1, 9] => "stack".to_owned(),
        [2, 0, 0, 0, 2, 0xfe] => "router".to_owned(),
        [2, 0, 0, 0, 2, digits] => format!("{digits:x}"),
        _ => mac_text(mac),
    }
}

/// A MAC in the usual notation.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::{mac_text, name_of, neighbours, server};

    #[test]
    fn neighbours_are_known_by_their_macs() {
        for neighbour in neighbours() {
            assert_eq!(name_of(neighbour.mac), neighbour.name);
        }
        assert_eq!(mac_text(server(27).mac), "02:00:00:00:02:27");
        assert_eq!(server(27).address6.to_string(), "fd02::27");
    }
}
