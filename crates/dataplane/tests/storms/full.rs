//! A box whose connection tables are full, and clients who come then.

use std::{net::IpAddr, sync::Arc};

use dataplane::{
    director::{Family, Limits},
    forward::{V4, V6},
    snapshot::{Server, Service, Services},
    stats::Counter,
    table::Table,
    verdict::{Drop, Punt},
};

use crate::{
    desk::{Desk, LIMITS},
    ground::{FRONT, Net, at},
    wire::{self, Ip, SYN, Segment, TCP},
};

/// Entries of each family.
const ROOM: usize = 4;

pub(crate) struct Stage {
    pub(crate) desk: Desk,
    pub(crate) millis: u64,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It left, to a MAC and to an address: in TUN the tunnel's end.
    To(Vec<u8>, IpAddr),
    Dropped(&'static str),
    Punted(Punt),
    Held,
}

impl Desk {
    /// What control does when something changed.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Services)) {
        let mut services = (*self.ground.services).clone();
        change(&mut services);
        services.derive();
        services.follow(&self.ground.services);
        self.director.prepare(&services);
        self.ground.services = Arc::new(services);
        self.publish();
    }
}

impl Stage {
    /// A box with room for many or for few, whose services are changed first.
    pub(crate) fn new(room: usize, change: impl FnOnce(&mut Services)) -> Self {
        let limits = Limits { connections_v4: room, connections_v6: room, ..LIMITS };
        let mut full = Self { desk: Desk::new(limits), millis: 1_000 };
        full.desk.reconfigure(change);
        full
    }

    /// One in which others have all the room: clients of the NAT services.
    pub(crate) fn full(change: impl FnOnce(&mut Services)) -> Self {
        let mut full = Self::new(ROOM, change);
        for v6 in [false, true] {
            for sport in 0..ROOM as u16 {
                let end = full.passes(&packet(v6, TCP, (99, 10_000 + sport), (10, 80), SYN));
                assert!(matches!(end, End::To(..)), "{end:?}");
            }
        }
        full
    }

    /// One packet of a client, and one breath.
    pub(crate) fn passes(&mut self, ip: &Ip) -> End {
        let dropped = |desk: &Desk| desk.stats.drops.each_ref().map(Counter::value);
        let before = dropped(&self.desk);
        self.desk.arrive(FRONT, ip);
        self.millis += 1;
        self.desk.worker.breathe(&mut self.desk.io, dataplane::clock::Now { millis: self.millis });
        let after = dropped(&self.desk);
        // An answer to the client leaves, too.
        let sent = self.desk.io.take_sent();
        if let Some(reason) = Drop::ALL.iter().find(|r| after[**r as usize] > before[**r as usize])
        {
            return End::Dropped(reason.name());
        }
        if let Some((_, _, reason)) = self.desk.io.take_punted() {
            return End::Punted(reason);
        }
        let Some((_, frame)) = sent else { return End::Held };
        assert!(self.desk.io.take_sent().is_none(), "one packet, one frame");
        End::To(frame[..6].to_vec(), Ip::read(&frame[14..]).expect("a right packet").dst)
    }

    /// Ends one of those who have the room.
    pub(crate) fn makes_room(&mut self, v6: bool) {
        fn end<A: Family>(desk: &Desk, table: &Table<A>) {
            let mut one = None;
            table.for_each(&mut |found| one = Some(found));
            let one = one.expect("it is full");
            let meta = table.take(&one).expect("it lives");
            desk.director.ended(&one.connection, meta.state());
        }
        match v6 {
            true => end::<V6>(&self.desk, &self.desk.director.v6),
            false => end::<V4>(&self.desk, &self.desk.director.v4),
        }
    }

    pub(crate) fn connections(&self, v6: bool) -> usize {
        if v6 { self.desk.director.v6.len() } else { self.desk.director.v4.len() }
    }

    pub(crate) fn stateless(&self) -> u64 {
        self.desk.stats.stateless.value()
    }
}

/// Changes every service.
pub(crate) fn each_service(services: &mut Services, change: impl Fn(&mut Service)) {
    services.services.iter_mut().flatten().for_each(change);
}

/// Changes every server whose address ends so.
pub(crate) fn each_server(services: &mut Services, host: u8, change: impl Fn(&mut Server)) {
    let is = |server: &&mut Server| match server.address {
        IpAddr::V4(ip) => ip.octets()[3] == host,
        IpAddr::V6(ip) => ip.octets()[15] == host,
    };
    services.servers.iter_mut().flatten().filter(is).for_each(change);
}

/// A client's segment or datagram: its last octet and port, those of the VIP.
pub(crate) fn packet(
    v6: bool,
    protocol: u8,
    (client, sport): (u8, u16),
    (vip, dport): (u8, u16),
    flags: u8,
) -> Ip {
    sized(v6, protocol, (client, sport), (vip, dport), (flags, 10))
}

/// The same with so much data.
pub(crate) fn sized(
    v6: bool,
    protocol: u8,
    (client, sport): (u8, u16),
    (vip, dport): (u8, u16),
    (flags, len): (u8, usize),
) -> Ip {
    let (src, dst) = (at(v6, Net::Clients, client), at(v6, Net::Vips, vip));
    let flags = if protocol == TCP { flags } else { 0 };
    let segment = Segment { protocol, sport, dport, flags, data: vec![7; len], unchecked: false };
    Ip { id: sport.into(), ..Ip::new(src, dst, protocol, segment.octets(src, dst)) }
}

/// A router's error about a packet: "fragmentation needed", "packet too big".
pub(crate) fn too_big(router: IpAddr, about: &Ip) -> Ip {
    let v6 = about.src.is_ipv6();
    let mut icmp = if v6 { vec![2, 0, 0, 0, 0, 0] } else { vec![3, 4, 0, 0, 0, 0] };
    icmp.extend(1280u16.to_be_bytes());
    let octets = about.octets();
    icmp.extend(&octets[..octets.len().min(500)]);
    let sum = match v6 {
        true => wire::transport_checksum(router, about.src, wire::ICMPV6, &icmp),
        false => wire::checksum(&[&icmp]),
    };
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(router, about.src, if v6 { wire::ICMPV6 } else { wire::ICMP }, icmp)
}
