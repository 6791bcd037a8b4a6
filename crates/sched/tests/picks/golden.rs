//! The picks of Debian's 6.1 kernel: servers 11, 12, 13 added in that order with the weights
//! given, then half-open connections from new clients. `X` is "no destination".

use std::net::{IpAddr, Ipv4Addr};

use crate::service::{Service, flagged};
use sched::{Kind, Plan, Request};

#[test]
fn fresh_services() {
    let cases: &[(Kind, &[u32], &str)] = &[
        (Kind::Rr, &[1, 1, 1], "13 12 11 13 12 11 13"),
        (Kind::Rr, &[1, 0, 1], "13 11 13 11"),
        (Kind::Rr, &[0, 0], "X X"),
        (Kind::Wrr, &[1, 2, 4], "13 12 11 | 13 13 13 12 13 12 11 | 13 13 13 12 13 12 11"),
        (Kind::Wrr, &[4, 3, 2], "13 12 11 | 11 12 11 13 12 11 | 13 12 11"),
        (Kind::Wrr, &[5, 1, 1], "13 12 11 11 11 11 11 13 12 11"),
        (Kind::Wrr, &[10, 20, 30], "13 12 11 13 13 12 13 12 11 13 13 12 13 12"),
        (Kind::Wrr, &[7, 3], "12 11 11 11 11 11 12 11 12 11 12 11 11 11 11 11"),
        (Kind::Wrr, &[0, 2, 1], "13 12 12 13 12 12"),
        (Kind::Wrr, &[0, 0], "X X"),
        (Kind::Lc, &[1, 1, 1], "13 12 11 13 12 11 13 12 11"),
        (Kind::Lc, &[1, 2, 4], "13 12 11 13 12 11 13 12 11"),
        (Kind::Lc, &[7, 3, 2], "13 12 11 13 12 11 13 12 11"),
        (Kind::Wlc, &[1, 2, 4], "13 12 11 13 13 12 13 13 12 11 13 13 12 13"),
        (Kind::Wlc, &[3, 2, 1], "13 12 11 11 12 11 13 12 11 11 12 11 13 12"),
        (Kind::Sed, &[1, 2, 4], "13 13 12 13 13 12 11 13 13 12 13 13 12 11"),
        (Kind::Sed, &[3, 2, 1], "11 12 11 13 12 11 11 12 11 13 12 11 11 12"),
        (Kind::Nq, &[1, 2, 4], "13 12 11 13 13 13 12 13 13 12 13 13 12 11"),
        (Kind::Nq, &[3, 2, 1], "13 12 11 11 12 11 11 12 11 13 12 11 11 12"),
        (Kind::Fo, &[1, 2, 4], "13 13 13 13 13"),
        (Kind::Fo, &[3, 3, 1], "12 12 12 12 12"),
        (Kind::Fo, &[0, 2, 1], "12 12 12 12 12"),
        (Kind::Ovf, &[1, 2, 3], "13 13 13 13 12 12 12 11 11 X X X"),
        (Kind::Ovf, &[1, 1], "12 12 11 11 X X"),
        (Kind::Lblc, &[2, 2, 6], "13 13 13 13 13 13 13 12 12 12"),
        (Kind::Lblc, &[1, 1, 1], "13 13 12 12 11 11"),
        (Kind::Lblcr, &[2, 2, 6], "13 13 13 13 13 13 13 12 12 12 11 11"),
    ];
    for &(kind, weights, picks) in cases {
        Service::new(kind, weights).expect(picks);
        Service::one_by_one(kind, weights).expect(picks);
    }
}

#[test]
fn rr_keeps_its_place() {
    let mut service = Service::new(Kind::Rr, &[1, 1, 1, 1]);
    service.expect("14 13 12 11 14 13");
    service.delete(13);
    service.expect("12 11 14 12 11");
    service.add(15, 1);
    service.expect("15 14 12 11 15 14");
}

#[test]
fn wrr_starts_a_pass_at_each_change() {
    let mut service = Service::new(Kind::Wrr, &[1, 2, 4]);
    service.expect("13 12 11 | 13 13 13 12 13 12 11 | 13 13 13 12 13 12 11");
    service.weigh(11, 4);
    service.expect("13 12 11 13 11 | 13 12 11");
    service.weigh(13, 0);
    service.expect("12 11 11 12 11 11");
}

/// `-x 4 -y 2` on server 11 of two, whose connections then close one by one.
#[test]
fn thresholds_shut_a_server_out_until_it_is_below_the_lower_one() {
    let mut service = Service::new(Kind::Rr, &[1, 1]);
    service.thresholds.insert(11, (4, 2));
    service.expect("12 11 12 11 12 11 12 11 12 12 12");
    service.close(11);
    service.expect("12");
    service.close(11);
    service.expect("12");
    service.close(11);
    service.expect("11");
}

#[test]
fn dh_sees_the_destination_only() {
    for (last, server) in [(1, "11"), (2, "13"), (3, "12")] {
        let mut service = Service::new(Kind::Dh, &[1, 1, 1]);
        service.expect_each(&[server; 5].join(" "), |number, request| {
            request.destination = Ipv4Addr::new(10, 9, 0, last).into();
            request.client = Ipv4Addr::new(198, 18, 0, number as u8).into();
        });
    }
}

/// The clients of the lines of sh and mh: every seventh address, sixteen of them.
fn source(number: usize, request: &mut Request) {
    let (third, fourth) = (number / 4, 1 + number * 7);
    request.client = IpAddr::from([198, 18, third as u8, fourth as u8]);
}

#[test]
fn hashes_of_sources() {
    let cases: &[(Plan, &[u32], &str)] = &[
        (Kind::Sh.into(), &[1, 1, 1], "11 13 13 11 12 11 13 13 13 12 12 13 11 13 12 12"),
        (Kind::Sh.into(), &[1, 2, 3], "13 12 12 13 13 11 13 13 12 12 12 12 13 13 13 13"),
        (Kind::Sh.into(), &[1, 0, 1], "11 13 13 11 X 11 13 13 13 X X 13 11 13 X X"),
        (
            flagged(Kind::Sh, false, true),
            &[1, 0, 1],
            "11 13 13 11 11 11 13 13 13 11 11 13 11 13 11 11",
        ),
        (Kind::Mh.into(), &[1, 1, 1], "12 12 13 12 11 12 12 13 11 11 12 11 11 13 13 12"),
        (Kind::Mh.into(), &[1; 5], "12 12 15 12 11 15 12 13 11 14 14 11 11 14 15 12"),
        (Kind::Mh.into(), &[1, 0, 1], "13 11 13 13 11 11 13 13 11 11 11 11 11 13 13 11"),
    ];
    for &(plan, weights, picks) in cases {
        Service::new(plan, weights).expect_each(picks, source);
        Service::one_by_one(plan, weights).expect_each(picks, source);
    }
}

#[test]
fn hashes_of_ports() {
    let cases = [
        (Kind::Sh, 20_355, "12 13 11 13 11 11 12 13 12 13 13 11"),
        (Kind::Mh, 20_447, "13 11 12 12 12 12 11 11 11 11 13 13"),
    ];
    for (kind, first, picks) in cases {
        let mut service = Service::new(flagged(kind, true, false), &[1, 1, 1]);
        service.request.client = Ipv4Addr::new(198, 18, 0, 5).into();
        service.expect_each(picks, |number, request| request.client_port = first + number as u16);
    }
}
