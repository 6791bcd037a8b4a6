//! Over many connections each server gets what its weight says.

use std::{collections::HashMap, net::Ipv4Addr};

use sched::{KERNEL_SLOTS, Kind, Load, Plan};

use crate::{random::Random, service::Service};

const CONNECTIONS: usize = 12_000;

/// The part of each server in many connections that all stay open, in list order.
fn parts(service: &mut Service, mut random: Random) -> Vec<f64> {
    let mut picks: HashMap<u32, usize> = HashMap::new();
    for _ in 0..CONNECTIONS {
        service.request = random.request();
        *picks.entry(service.connect().expect("a server")).or_default() += 1;
    }
    let part = |id: u32| picks.get(&id).copied().unwrap_or(0) as f64 / CONNECTIONS as f64;
    service.servers.iter().map(|server| part(server.id)).collect()
}

/// The kinds with how far a part may be from the weight's: sh has 256 slots only, and where
/// dice or clients' addresses decide, chance is left room.
const WEIGHTED: [(Kind, f64); 7] = [
    (Kind::Wrr, 0.002),
    (Kind::Wlc, 0.002),
    (Kind::Sed, 0.002),
    (Kind::Nq, 0.002),
    (Kind::Twos, 0.01),
    (Kind::Sh, 0.03),
    (Kind::Mh, 0.02),
];

#[test]
fn weights_become_parts() {
    let lists: [&[u32]; 5] = [&[1, 1], &[1, 2, 4], &[3, 2, 1], &[5, 0, 5, 10], &[7, 3, 2, 2, 1]];
    for (kind, far) in WEIGHTED {
        for weights in lists {
            let mut service = Service::new(kind, weights);
            let total: u32 = weights.iter().sum();
            // sh gives a server of weight 0 a slot, whose clients get no server.
            if kind == Kind::Sh && weights.contains(&0) {
                continue;
            }
            let got = parts(&mut service, Random(42));
            for (server, part) in service.servers.iter().zip(got) {
                let due = f64::from(server.weight) / f64::from(total);
                assert!((part - due).abs() < far, "{kind:?} {weights:?} {part} for {due}");
            }
        }
    }
}

/// Connections end as well: the active ones still follow the weights.
#[test]
fn weights_hold_while_connections_end() {
    for (kind, far) in [(Kind::Wlc, 0.01), (Kind::Sed, 0.02), (Kind::Nq, 0.02), (Kind::Twos, 0.03)]
    {
        let mut random = Random(9);
        let mut service = Service::new(kind, &[1, 2, 4]);
        let mut open = Vec::new();
        for _ in 0..20_000 {
            service.request = random.request();
            open.push(service.connect().expect("a server"));
            if open.len() > 2000 {
                let ended = open.swap_remove(random.below(open.len()));
                service.close(ended);
            }
        }
        for server in &service.servers {
            let part = f64::from(service.loads[&server.id].active) / 2000.0;
            let due = f64::from(server.weight) / 7.0;
            assert!((part - due).abs() < far, "{kind:?} {part} for {due}");
        }
    }
}

/// twos: nobody is ever much busier than the others (Mitzenmacher: two choices differ from
/// one by a logarithm).
#[test]
fn two_choices_are_even() {
    let mut random = Random(5);
    let mut service = Service::new(Kind::Twos, &[1; 20]);
    for _ in 0..20_000 {
        service.request = random.request();
        service.connect();
    }
    for (id, load) in &service.loads {
        assert!(load.active.abs_diff(1000) < 10, "{id}: {load:?}");
    }
}

/// One of ten equal servers goes down: nobody else's clients move. It is removed: with the
/// kernel's slots 1.06 % to 1.76 % of the others' move, by which of the ten it is (1.17 % for the
/// one in the middle); with more slots 1.2 % at most, whichever it is. The clients are a sample.
#[test]
fn mh_leaves_other_clients_alone() {
    let mut random = Random(3);
    let clients: Vec<_> = (0..40_000).map(|_| random.request()).collect();
    let homes = |service: &mut Service| -> Vec<u32> {
        let pick = |request| {
            service.request = request;
            service.connect().expect("a server")
        };
        clients.iter().copied().map(pick).collect()
    };
    for (slots, least, most) in [(KERNEL_SLOTS, 0.009, 0.018), (65_521, 0.0, 0.012)] {
        let plan = Plan { slots, ..Plan::new(Kind::Mh) };
        let before = homes(&mut Service::new(plan, &[1; 10]));
        for gone in 11..21 {
            let mut service = Service::new(plan, &[1; 10]);
            service.up(gone, false);
            assert_eq!(moved(&before, &homes(&mut service), gone), 0.0);
            service.delete(gone);
            let part = moved(&before, &homes(&mut service), gone);
            let most = if gone == 16 { 0.012 } else { most };
            assert!(part > least && part < most, "{slots} slots, without {gone}: {part}");
        }
    }
}

/// The part of the clients of servers other than `gone` that have another server now.
fn moved(before: &[u32], after: &[u32], gone: u32) -> f64 {
    let others = || before.iter().zip(after).filter(|(before, _)| **before != gone);
    let moved = others().filter(|(before, after)| before != after).count();
    moved as f64 / others().count() as f64
}

/// A hash of the client does not depend on loads.
#[test]
fn hashes_ignore_loads() {
    for kind in [Kind::Sh, Kind::Mh, Kind::Dh] {
        let mut service = Service::new(kind, &[1, 2, 3]);
        let home = service.connect().expect("a server");
        service.loads.insert(home, Load { active: 1_000_000, ..Load::default() });
        service.request.client_port += 1;
        assert_eq!(service.connect(), Some(home));
        service.request.client = Ipv4Addr::new(198, 18, 9, 9).into();
        assert!(service.connect().is_some());
    }
}
