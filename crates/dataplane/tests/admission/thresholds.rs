//! Upper and lower thresholds (A.7), and what schedulers see after `reset_counts`.

use dataplane::{
    forward::{Forward, Protocol},
    policy::{OnJoin, Policy},
    verdict::Drop,
};
use sched::Kind;

use crate::office::{FIN, Net, Office, Outcome, SYN, Send, at, by, one, vip};

fn tcp(cport: u16, flags: u8) -> Send {
    let client = (at(false, Net::Clients, 1), cport);
    Send { flags, ..Send::new(Protocol::Tcp, client, (at(false, Net::Vips, 1), 80)) }
}

fn office(policy: Policy, hosts: &[u16], workers: usize) -> Office {
    let key = vip(false, Protocol::Tcp, 80);
    Office::new(one(key, policy, Forward::Dr, (hosts, 80)), workers)
}

/// Debian's 6.1 kernel with `-x 4 -y 2` for .11 and rr, half-open SYNs.
#[test]
fn picks_of_a_kernel() {
    let mut office = office(by(Kind::Rr), &[12, 11], 2);
    (office.server(1).upper, office.server(1).lower) = (4, 2);
    office.changed();
    let picks: Vec<u16> = (0..12)
        .map(|n| office.at_worker(n % 2, tcp(4000 + n as u16, SYN)).host().expect("a server"))
        .collect();
    assert_eq!(picks, [12, 11, 12, 11, 12, 11, 12, 11, 12, 12, 12, 12]);
}

/// The flag goes when fewer than the lower threshold are left: 4 to 3 to 2 does not readmit,
/// 2 to 1 does.
#[test]
fn closing_readmits_below_the_lower_one() {
    let mut office = office(by(Kind::Rr), &[11], 1);
    (office.server(0).upper, office.server(0).lower) = (4, 2);
    office.changed();
    for n in 0..4 {
        assert!(office.send(tcp(4000 + n, SYN)).host().is_some());
    }
    let refused = Outcome::Drop(Drop::NoServer);
    assert_eq!(office.send(tcp(5000, SYN)), refused);
    // In SYN_RECV a FIN makes TIME_WAIT of 120 s; the others are half open for 60 s.
    for n in 0..2 {
        office.send(tcp(4000 + n, FIN));
    }
    office.wait(70);
    assert_eq!(office.counts(0).0 + office.counts(0).1, 2);
    assert_eq!(office.send(tcp(5000, SYN)), refused);
    office.wait(60);
    assert_eq!(office.counts(0).0 + office.counts(0).1, 0);
    assert!(office.send(tcp(5000, SYN)).host().is_some());
}

fn picks(office: &mut Office, first: u16, count: u16) -> Vec<u16> {
    (first..first + count)
        .map(|cport| office.send(tcp(cport, SYN)).host().expect("a server"))
        .collect()
}

/// Without it a server that returns gets all new connections until it has as many as the others.
#[test]
fn who_returns_is_not_flooded() {
    for (on_join, expected) in
        [(OnJoin::Nothing, [3; 6]), (OnJoin::ResetCounts, [1, 2, 3, 1, 2, 3])]
    {
        for returns in ["weight", "drained", "up", "new"] {
            let mut office = office(Policy { on_join, ..by(Kind::Lc) }, &[1, 2, 3], 1);
            let away = |office: &mut Office, away: bool| {
                let weight = u32::from(!away);
                match returns {
                    "weight" => office.server(2).weight = weight,
                    "drained" => office.server(2).drained = away,
                    "up" => office.server(2).up = !away,
                    _ => {
                        office.server(2).removed = away;
                        let servers = if away { vec![0, 1] } else { vec![0, 1, 2] };
                        office.services.services[0].as_mut().unwrap().servers = servers;
                    }
                }
                office.changed();
            };
            away(&mut office, true);
            assert_eq!(picks(&mut office, 1000, 40), [1, 2].repeat(20));
            away(&mut office, false);
            assert_eq!(picks(&mut office, 2000, 6), expected, "{returns}");
            // An edit that brings nobody changes nothing.
            office.server(0).weight = 7;
            office.changed();
            assert_eq!(picks(&mut office, 3000, 6), expected, "{returns}");
        }
    }
}

/// Connections of before that end leave no server lighter than empty: the base sinks with them.
#[test]
fn the_base_sinks_as_old_connections_end() {
    let policy = Policy { on_join: OnJoin::ResetCounts, ..by(Kind::Lc) };
    let mut office = office(policy, &[1, 2], 1);
    office.server(1).weight = 0;
    office.changed();
    assert_eq!(picks(&mut office, 1000, 10), [1; 10]);
    office.server(1).weight = 1;
    office.changed();
    office.wait(100);
    assert_eq!(office.counts(0).0, 0);
    assert_eq!(picks(&mut office, 2000, 6), [1, 2, 1, 2, 1, 2]);
}
