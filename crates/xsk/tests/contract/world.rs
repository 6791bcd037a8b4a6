//! The world of the contract's tests.

use crate::packets::{Family, MAC, Packet};
use std::net::IpAddr;
use xsk::{Action, AddressFlags, EndpointFlags, MatchCapacities, MatchMaps, Program};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

/// The addresses of the test's world, per family.
pub(crate) struct World {
    pub(crate) family: Family,
    pub(crate) client: IpAddr,
    pub(crate) vip: IpAddr,
    /// A service's address that is not on the box: a backup node.
    pub(crate) away: IpAddr,
    pub(crate) own: IpAddr,
    /// A FullNAT address that is also on the box.
    pub(crate) local: IpAddr,
    pub(crate) server: IpAddr,
    pub(crate) tunnel: IpAddr,
    pub(crate) stranger: IpAddr,
}

impl World {
    pub(crate) fn new(family: Family) -> Self {
        let at = |last: u8| -> IpAddr {
            match family {
                Family::V4 => IpAddr::from([10, 0, 2, last]),
                Family::V6 => IpAddr::from([0xfd00, 0, 0, 2, 0, 0, 0, u16::from(last)]),
            }
        };
        Self {
            family,
            client: at(7),
            vip: at(10),
            away: at(20),
            own: at(1),
            local: at(30),
            server: at(11),
            tunnel: at(12),
            stranger: at(99),
        }
    }

    pub(crate) fn both() -> [Self; 2] {
        [Self::new(Family::V4), Self::new(Family::V6)]
    }

    pub(crate) fn fill(&self, maps: &MatchMaps) {
        let (service, server) = (EndpointFlags::SERVICE, EndpointFlags::SERVER);
        for address in [self.vip, self.away] {
            maps.set_endpoint(TCP, address, 80, service).unwrap();
            maps.set_endpoint(UDP, address, 53, service).unwrap();
        }
        maps.set_endpoint(TCP, self.server, 8080, server).unwrap();
        maps.set_endpoint(UDP, self.server, 5353, server).unwrap();
        maps.set_address(self.vip, AddressFlags::VIP | AddressFlags::BOX).unwrap();
        maps.set_address(self.away, AddressFlags::VIP).unwrap();
        maps.set_address(self.own, AddressFlags::BOX).unwrap();
        let local = AddressFlags::local(10_000..=20_000) | AddressFlags::BOX;
        maps.set_address(self.local, local).unwrap();
        maps.set_address(self.server, AddressFlags::SERVER).unwrap();
        maps.set_address(self.tunnel, AddressFlags::TUNNEL).unwrap();
        maps.set_endpoint(UDP, self.tunnel, 6080, EndpointFlags::GUE).unwrap();
    }

    pub(crate) fn packet(&self, source: IpAddr, destination: IpAddr) -> Packet {
        Packet::new(source, destination)
    }
}

/// Empty maps.
pub(crate) fn maps() -> MatchMaps {
    MatchMaps::new(MatchCapacities::default())
        .expect("BPF maps: these tests need root (CAP_BPF, CAP_NET_ADMIN)")
}

/// A fresh program that knows both families' worlds.
pub(crate) fn program() -> Program {
    let maps = maps();
    World::both().iter().for_each(|world| world.fill(&maps));
    Program::load_dry(&maps, MAC).expect("the match program loads")
}

pub(crate) fn expect(program: &Program, rows: &[(&str, Vec<u8>, Action)]) {
    for (name, frame, action) in rows {
        assert_eq!(program.run(frame).unwrap(), *action, "{name}");
    }
}
