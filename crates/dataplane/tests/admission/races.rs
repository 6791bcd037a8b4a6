//! Two workers at the same time, and control beside them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Persistence, Policy},
    table::Keys,
    tcp::State,
};
use sched::Kind;

use crate::office::{ACK, FIN, Net, Office, SYN, Send, Station, at, by, one, vip};

fn tcp(client: u16, cport: u16, flags: u8) -> Send {
    let client = (at(false, Net::Clients, client), cport);
    Send { flags, ..Send::new(Protocol::Tcp, client, (at(false, Net::Vips, 1), 80)) }
}

fn office(policy: Policy, hosts: &[u16]) -> Office {
    Office::new(one(vip(false, Protocol::Tcp, 80), policy, Forward::Nat, (hosts, 80)), 2)
}

/// Both workers at once.
fn together(office: &mut Office, work: impl Fn(u16, &mut Station) + Sync) {
    let work = &work;
    std::thread::scope(|scope| {
        for (n, station) in (0..).zip(&mut office.stations) {
            scope.spawn(move || work(n, station));
        }
    });
}

#[test]
fn thresholds_hold_to_the_connection() {
    for round in 0..10 {
        let mut office = office(by([Kind::Rr, Kind::Wlc][round % 2]), &[1, 2, 3]);
        for (id, upper) in [(0, 100), (1, 1), (2, 57)] {
            office.server(id).upper = upper;
        }
        office.changed();
        let now = office.now;
        together(&mut office, |worker, station| {
            for n in 0..200 {
                station.serve(tcp(1 + worker, 1000 + n, SYN), now);
            }
        });
        let opened: Vec<u64> = (0..3).map(|id| office.counts(id).3).collect();
        assert_eq!(opened, [100, 1, 57]);
    }
}

/// As many turns as one worker would have made.
#[test]
fn round_robin_goes_round() {
    let mut office = office(by(Kind::Rr), &[1, 2, 3]);
    let now = office.now;
    together(&mut office, |worker, station| {
        (0..300).for_each(|n| {
            assert!(station.serve(tcp(1 + worker, 1000 + n, SYN), now).host().is_some())
        });
    });
    let opened: Vec<u64> = (0..3).map(|id| office.counts(id).3).collect();
    assert_eq!(opened, [200, 200, 200]);
}

/// Both workers get the same SYN at the same moment: one pick.
#[test]
fn a_packet_that_came_twice_is_scheduled_once() {
    for _ in 0..5 {
        let mut office = office(by(Kind::Rr), &[1, 2, 3]);
        let now = office.now;
        together(&mut office, |_, station| {
            for n in 0..300 {
                station.serve(tcp(1, 1000 + n, SYN), now);
            }
        });
        let opened: Vec<u64> = (0..3).map(|id| office.counts(id).3).collect();
        assert_eq!(opened, [100, 100, 100]);
    }
}

/// Each client's first connections come to both workers at the same moment.
#[test]
fn a_client_has_one_server() {
    let persistence = Some(Persistence { timeout: 300, prefix: 32 });
    let mut office = office(Policy { persistence, ..by(Kind::Rr) }, &[1, 2, 3]);
    let now = office.now;
    together(&mut office, |worker, station| {
        for client in 1..=200 {
            station.serve(tcp(client, 1000 + worker, SYN), now);
        }
    });
    let mut servers: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    office.director.v4.for_each(&mut |found| {
        let c = &found.connection;
        servers.entry(c.client.0).or_default().push(c.server_id);
    });
    assert_eq!(servers.len(), 200);
    assert!(servers.values().all(|two| two.len() == 2 && two[0] == two[1]), "{servers:?}");
    assert_eq!(office.director.templates_v4.table().len(), 200);
    office.director.templates_v4.table().for_each(&mut |found| {
        assert_eq!(office.director.templates_v4.controlled(found.reference()), 2);
    });
}

/// Control edits, workers carry, connections end: all adds up when it is quiet.
#[test]
fn edits_race_with_traffic() {
    let persistence = Some(Persistence { timeout: 20, prefix: 30 });
    let mut office = office(Policy { persistence, ..by(Kind::Wlc) }, &[1, 2, 3]);
    let (now, done) = (office.now, AtomicBool::new(false));
    let (director, mut services) = (office.director.clone(), office.services.clone());
    std::thread::scope(|scope| {
        let work: Vec<_> = (0..)
            .zip(&mut office.stations)
            .map(|(worker, station)| {
                scope.spawn(move || {
                    let flags = [SYN, ACK, FIN | ACK, ACK, FIN | ACK, SYN];
                    for n in 0..4000u16 {
                        let (client, cport) = (1 + n % 40, 1000 + n / 40 + worker % 2);
                        let flags = flags[usize::from(n) * 7 / 5 % flags.len()];
                        let mut now = now;
                        now.millis += u64::from(n) * 50;
                        station.serve(tcp(client, cport, flags), now);
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            let mut n = 0u32;
            while !done.load(Relaxed) {
                n += 1;
                let server = services.servers[(n % 3) as usize].as_mut().unwrap();
                match n % 4 {
                    0 => server.weight = n % 5,
                    1 => server.up = !server.up,
                    2 => server.drained = !server.drained,
                    _ => (server.upper, server.lower) = (n % 90, n % 7),
                }
                director.prepare(&services);
            }
        });
        work.into_iter().for_each(|work| work.join().expect("no panic"));
        done.store(true, Relaxed);
    });
    let mut counts = BTreeMap::new();
    office.director.v4.for_each(&mut |found| {
        assert_eq!(found.connection.keys, Keys::Both);
        let active = State::from_u8(found.meta.state()).is_some_and(State::active);
        *counts.entry((found.connection.server_id, active)).or_default() += 1u32;
    });
    for id in 0..3 {
        let (active, inactive, _, opened) = office.counts(id);
        let count = |active| counts.get(&(id, active)).copied().unwrap_or(0);
        assert_eq!((active, inactive), (count(true), count(false)), "server {id}");
        assert!(opened > 0, "server {id}");
    }
    office.now.millis += 200_000;
    office.wait(1500);
    assert!(office.director.v4.is_empty() && office.director.templates_v4.table().is_empty());
    let left = |id| (office.counts(id).0, office.counts(id).1, office.counts(id).2);
    assert_eq!((0..3).map(left).collect::<Vec<_>>(), [(0, 0, 0); 3]);
}
