//! One-packet scheduling: `ipvsadm -o`.

use std::net::IpAddr;

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Lifecycle, LocalAddress, Policy},
    verdict::Punt,
};
use sched::Kind;

use crate::office::{Net, Office, Outcome, Send, at, by, one, vip};

fn office(v6: bool, forward: Forward, lifecycle: Lifecycle) -> Office {
    let local = LocalAddress { address: at(v6, Net::Elsewhere, 1), ports: 20_000..=20_099 };
    let policy = Policy {
        one_packet: true,
        lifecycle,
        local_addresses: if forward == Forward::FullNat { vec![local] } else { vec![] },
        ..by(Kind::Rr)
    };
    let key = vip(v6, Protocol::Udp, 53);
    let rport = if forward.two_way() { 5353 } else { 53 };
    Office::new(one(key, policy, forward, (&[1, 2], rport)), 1)
}

fn ends(v6: bool) -> ((IpAddr, u16), (IpAddr, u16)) {
    ((at(v6, Net::Clients, 1), 40_000), (at(v6, Net::Vips, 1), 53))
}

/// Datagrams of one client port go round, and nothing stays but what answers need.
#[test]
fn each_datagram_is_scheduled() {
    for v6 in [false, true] {
        for forward in [Forward::Nat, Forward::FullNat, Forward::Dr] {
            for lifecycle in [Lifecycle::default(), Lifecycle::lvs()] {
                let mut office = office(v6, forward, lifecycle);
                let (client, vip) = ends(v6);
                let send = Send::new(Protocol::Udp, client, vip);
                let hosts: Vec<_> = (0..4).map(|_| office.send(send).host()).collect();
                assert_eq!(hosts, [Some(1), Some(2), Some(1), Some(2)], "{forward:?}");
                for id in 0..2 {
                    assert_eq!(office.counts(id), (0, 0, 0, 2), "{forward:?}");
                }
                let answered = lifecycle.one_packet_replies && forward.two_way();
                let entries = office.director.v4.len() + office.director.v6.len();
                let expected = match (answered, forward) {
                    (false, _) => 0,
                    // Those to one server share an entry.
                    (true, Forward::Nat) => 2,
                    (true, _) => 4,
                };
                assert_eq!(entries, expected, "{forward:?}");
                office.wait(14);
                assert!(office.director.v4.is_empty() && office.director.v6.is_empty());
                assert_eq!(office.director.v4.keys() + office.director.v6.keys(), 0);
            }
        }
    }
}

#[test]
fn answers_come_from_the_vip() {
    for forward in [Forward::Nat, Forward::FullNat] {
        for v6 in [false, true] {
            let mut office = office(v6, forward, Lifecycle::default());
            let (client, vip) = ends(v6);
            for _ in 0..6 {
                let sent = office.send(Send::new(Protocol::Udp, client, vip));
                let Outcome::Server { from, to, .. } = sent else { panic!("{sent:?}") };
                for _ in 0..2 {
                    let answer = office.send(Send::new(Protocol::Udp, to, from));
                    assert_eq!(answer, Outcome::Out { from: vip, to: client }, "{forward:?}");
                }
            }
            office.wait(14);
            assert!(office.director.v4.is_empty() && office.director.v6.is_empty());
        }
    }
}

/// The kernel forwards them as they are.
#[test]
fn as_the_kernel_does_answers_leak() {
    let mut office = office(false, Forward::Nat, Lifecycle::lvs());
    let (client, vip) = ends(false);
    let sent = office.send(Send::new(Protocol::Udp, client, vip));
    let Outcome::Server { from, to, .. } = sent else { panic!("{sent:?}") };
    let answer = office.send(Send::new(Protocol::Udp, to, from));
    assert_eq!(answer, Outcome::Punt(Punt::Alien));
}

/// Two clients' ports that look alike to the server: the second one is moved.
#[test]
fn answers_are_not_crossed() {
    let mut office = office(false, Forward::Nat, Lifecycle::default());
    let other = dataplane::forward::Endpoint {
        protocol: Protocol::Udp,
        address: at(false, Net::Vips, 2),
        port: 53,
    };
    let policy = Policy { one_packet: true, ..by(Kind::Rr) };
    let services = &mut office.services;
    crate::office::add(services, other.into(), policy, Forward::Nat, (&[1, 2], 5353));
    office.changed();
    let (client, vip) = ends(false);
    let second = (at(false, Net::Vips, 2), 53);
    let mut sent = Vec::new();
    for to in [vip, second, vip, second] {
        let outcome = office.send(Send::new(Protocol::Udp, client, to));
        let Outcome::Server { from, to: server, .. } = outcome else { panic!("{outcome:?}") };
        sent.push((to, from, server));
    }
    for (vip, from, server) in sent {
        let answer = office.send(Send::new(Protocol::Udp, server, from));
        assert_eq!(answer, Outcome::Out { from: vip, to: client });
    }
}

/// A datagram waits for its server's neighbour, and leaves once.
#[test]
fn it_may_wait_for_a_neighbour() {
    for lifecycle in [Lifecycle::default(), Lifecycle::lvs()] {
        let mut office = office(false, Forward::Nat, lifecycle);
        office.lost = vec![1, 2];
        office.changed();
        let (client, vip) = ends(false);
        assert_eq!(office.send(Send::new(Protocol::Udp, client, vip)), Outcome::Held);
        office.lost.clear();
        office.changed();
        office.breathe();
        let left = office.left();
        assert_eq!(left.iter().map(|sent| sent.host()).collect::<Vec<_>>(), [Some(1)]);
        assert_eq!(office.counts(0), (0, 0, 0, 1));
        office.wait(14);
        assert!(office.director.v4.is_empty());
    }
}

/// Other protocols of a mark are not meant.
#[test]
fn tcp_of_a_mark_has_connections() {
    use dataplane::{forward::ServiceKey, mark::MarkRule, prefix::Prefix};
    let key = ServiceKey::Mark { mark: 3, ipv6: false };
    let policy = Policy { one_packet: true, ..by(Kind::Rr) };
    let mut services = one(key, policy, Forward::Nat, (&[1, 2], 0));
    services.marks = vec![MarkRule {
        mark: 3,
        mask: 3,
        destination: Prefix::host(at(false, Net::Vips, 1)),
        source: None,
        protocol: None,
        ports: vec![],
        interface: None,
    }];
    services.derive();
    let mut office = Office::new(services, 1);
    let (client, vip) = ends(false);
    let mut hosts = |protocol| {
        (0..3).map(|_| office.send(Send::new(protocol, client, vip)).host()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(Protocol::Udp), [Some(1), Some(2), Some(1)]);
    assert_eq!(hosts(Protocol::Tcp), [Some(2), Some(2), Some(2)]);
}
