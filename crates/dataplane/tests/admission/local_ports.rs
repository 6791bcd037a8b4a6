//! FullNAT's local ports: each is one connection's towards each server.

use std::collections::HashSet;

use dataplane::{
    forward::{Forward, Protocol},
    policy::{LocalAddress, Policy},
    verdict::Drop,
};
use sched::Kind;

use crate::office::{Net, Office, Outcome, SYN, Send, at, by, one, vip};

/// Whatever numbers of ports and servers go round together, each server gets every port.
#[test]
fn every_server_has_all_local_ports() {
    let hosts: [u16; 6] = [11, 12, 13, 14, 15, 16];
    for (servers, ports) in [(1, 40), (2, 40), (2, 400), (3, 48), (4, 64), (6, 160)] {
        let local = LocalAddress {
            address: at(false, Net::Elsewhere, 1),
            ports: 20_000..=20_000 + ports - 1,
        };
        let policy = Policy { local_addresses: vec![local], ..by(Kind::Rr) };
        let key = vip(false, Protocol::Tcp, 80);
        let list = one(key, policy, Forward::FullNat, (&hosts[..servers], 80));
        let mut office = Office::new(list, 1);
        let mut seen = HashSet::new();
        let mut open = |cport| {
            let client = (at(false, Net::Clients, 1), cport);
            let to = (at(false, Net::Vips, 1), 80);
            office.send(Send { flags: SYN, ..Send::new(Protocol::Tcp, client, to) })
        };
        for n in 0..ports * servers as u16 {
            let sent = open(30_000 + n);
            let Outcome::Server { from, to, .. } = sent else {
                panic!("{servers} servers, {ports} ports, connection {n}: {sent:?}")
            };
            assert!(seen.insert((from, to)), "{from:?} {to:?} twice");
        }
        assert_eq!(open(29_999), Outcome::Drop(Drop::LocalPortsExhausted));
    }
}
