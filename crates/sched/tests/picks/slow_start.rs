//! Servers whose weight counts in part. Not from the kernel, which has no slow start.

use sched::{Candidate, Kind};

use crate::{random::Random, service::Service};

fn share(service: &mut Service, id: u32, share: u16) {
    let server = service.servers.iter_mut().find(|server| server.id == id);
    server.expect("a server").share = share;
}

/// A clean start, so without the kernel's first pass: turns go in list order.
fn clean(kind: Kind, weights: &[u32]) -> Service {
    let mut service = Service::new(kind, weights);
    service.scheduler = sched::Scheduler::new(kind.into(), &service.servers);
    service
}

#[test]
fn a_clean_start_has_no_warm_up() {
    clean(Kind::Wrr, &[4, 2, 1]).expect("11 11 12 11 13 12 11 | 11 11 12 11 13 12 11");
}

#[test]
fn wrr_gives_a_part_of_the_turns() {
    let mut service = clean(Kind::Wrr, &[1, 1, 1]);
    share(&mut service, 12, 128);
    service.expect("13 11 | 13 12 11 | 13 11 | 13 12 11");
    share(&mut service, 12, 64);
    service.expect("13 11 | 13 11 | 13 11 | 13 12 11");
    share(&mut service, 12, 256);
    service.expect("13 12 11 | 13 12 11");
    // Nobody is at his full share: the list goes round until one has saved enough.
    for id in 11..14 {
        share(&mut service, id, 1);
    }
    service.expect("13 12 11 | 13 12 11");
}

#[test]
fn parts_follow_weights_and_shares() {
    let cases = [
        (Kind::Wrr, 0.002),
        (Kind::Wlc, 0.002),
        (Kind::Sed, 0.002),
        (Kind::Nq, 0.002),
        (Kind::Twos, 0.01),
    ];
    for (kind, far) in cases {
        let mut random = Random(17);
        let mut service = Service::new(kind, &[2, 3, 4]);
        share(&mut service, 11, 64);
        share(&mut service, 12, 0);
        let picks = 12_000;
        for _ in 0..picks {
            service.request = random.request();
            service.connect();
        }
        let scaled = |s: &Candidate| f64::from(s.weight) * f64::from(s.share.max(1));
        let total: f64 = service.servers.iter().map(scaled).sum();
        for server in &service.servers {
            let active = service.loads.get(&server.id).map_or(0, |load| load.active);
            let (part, due) = (f64::from(active) / f64::from(picks), scaled(server) / total);
            assert!((part - due).abs() < far, "{kind:?} {}: {part} for {due}", server.id);
        }
    }
}

/// Ranks, hashes and plain counts have no use for a part of a weight.
#[test]
fn others_ignore_it() {
    for kind in [Kind::Rr, Kind::Lc, Kind::Fo, Kind::Ovf, Kind::Dh, Kind::Sh, Kind::Mh] {
        let mut random = Random(23);
        let mut plain = Service::new(kind, &[1000, 2000, 3000]);
        let mut ramping = Service::new(kind, &[1000, 2000, 3000]);
        share(&mut ramping, 13, 10);
        for _ in 0..500 {
            plain.request = random.request();
            ramping.request = plain.request;
            assert_eq!(ramping.connect(), plain.connect(), "{kind:?}");
        }
    }
}

/// lblc: a server at a quarter of weight 8 is past its weight with three connections.
#[test]
fn locality_measures_by_the_part_that_counts() {
    let mut service = Service::new(Kind::Lblc, &[8, 8]);
    share(&mut service, 12, 64);
    service.expect("12 12 12 11 11");
}
