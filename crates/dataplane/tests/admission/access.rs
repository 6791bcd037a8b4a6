//! Who may open connections, and how many: named drops.

use std::net::IpAddr;

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Access, Defence, Policy},
    prefix::Prefix,
    verdict::Drop,
};
use sched::Kind;

use crate::office::{ACK, Net, Office, Outcome, Send, add, at, by, one, vip};

fn hosts(v6: bool, hosts: std::ops::Range<u16>) -> Vec<Prefix> {
    hosts.map(|host| Prefix::host(at(v6, Net::Clients, host))).collect()
}

fn send(v6: bool, client: u16, cport: u16, port: u16) -> Send {
    let client: IpAddr = at(v6, Net::Clients, client);
    Send::new(Protocol::Tcp, (client, cport), (at(v6, Net::Vips, 1), port))
}

#[test]
fn the_box_and_the_service_refuse() {
    for v6 in [false, true] {
        let own = Access { allow: hosts(v6, 0..20), deny: hosts(v6, 5..6), new_connections: None };
        let key = |port| vip(v6, Protocol::Tcp, port);
        let mut services =
            one(key(80), Policy { access: own, ..by(Kind::Rr) }, Forward::Nat, (&[1], 80));
        add(&mut services, key(81), by(Kind::Rr), Forward::Nat, (&[2], 80));
        services.settings.access =
            Access { allow: vec![], deny: hosts(v6, 10..11), new_connections: None };
        services.derive();
        let mut office = Office::new(services, 1);
        for (client, port, expected) in [
            (1, 80, None),
            (5, 80, Some(Drop::SourceDenied)),
            (5, 81, None),
            (10, 80, Some(Drop::SourceDenied)),
            (10, 81, Some(Drop::SourceDenied)),
            (30, 80, Some(Drop::SourceNotAllowed)),
            (30, 81, None),
        ] {
            let outcome = office.send(send(v6, client, 40_000, port));
            let dropped = if let Outcome::Drop(reason) = outcome { Some(reason) } else { None };
            assert_eq!(dropped, expected, "{client} {port}");
            assert!(dropped.is_some() || outcome.host().is_some());
        }
        // Connections that are there go on.
        office.services.settings.access.deny = hosts(v6, 0..50);
        office.changed();
        let data = Send { flags: ACK, ..send(v6, 1, 40_000, 80) };
        assert!(office.send(data).host().is_some());
        assert_eq!(office.send(send(v6, 1, 40_001, 80)), Outcome::Drop(Drop::SourceDenied));
    }
}

#[test]
fn a_source_has_its_rate() {
    for v6 in [false, true] {
        let own = Access { new_connections: Some(3), ..Access::default() };
        let key = |port| vip(v6, Protocol::Tcp, port);
        let mut services =
            one(key(80), Policy { access: own, ..by(Kind::Rr) }, Forward::Nat, (&[1], 80));
        add(&mut services, key(81), by(Kind::Rr), Forward::Nat, (&[2], 80));
        services.settings.access.new_connections = Some(5);
        services.derive();
        let mut office = Office::new(services, 2);
        let mut cport = 1000;
        let mut opened = |office: &mut Office, client, port| {
            let opens = |n: usize| {
                cport += 1;
                match office.at_worker(n % 2, send(v6, client, cport, port)) {
                    Outcome::Server { .. } => true,
                    Outcome::Drop(Drop::SourceRate) => false,
                    other => panic!("{other:?}"),
                }
            };
            (0..10).map(opens).filter(|opened| *opened).count()
        };
        // The box counted four of the first ten: three, and those that only the service refused.
        assert_eq!(opened(&mut office, 1, 80), 3);
        assert_eq!(opened(&mut office, 1, 81), 0);
        assert_eq!(opened(&mut office, 2, 81), 5);
        office.wait(2);
        assert_eq!(opened(&mut office, 1, 81), 5);
        assert_eq!(opened(&mut office, 1, 80), 0);
    }
}

/// `drop_packet` 3 with `am_droprate` 4: Debian's 6.1 kernel drops the 1st, 5th and 9th SYN of
/// 12, and no packet of a connection.
#[test]
fn drop_packet_counts_as_the_kernel() {
    let key = vip(false, Protocol::Tcp, 80);
    let mut services = one(key, by(Kind::Rr), Forward::Dr, (&[12, 11], 80));
    services.settings.defence = Defence { drop_packet: 3, am_droprate: 4, ..Defence::default() };
    let mut office = Office::new(services, 2);
    // It is decided once a second.
    office.wait(1);
    let picks: Vec<Option<u16>> = (0..12)
        .map(|n| office.at_worker(n % 2, send(false, 1, 1000 + n as u16, 80)).host())
        .collect();
    let (x, y) = (Some(12), Some(11));
    assert_eq!(picks, [None, x, y, x, None, y, x, y, None, x, y, x]);
    let data = Send { flags: ACK, ..send(false, 1, 1001, 80) };
    assert!((0..20).all(|_| office.send(data).host() == x));
}
