//! Servers that are down, drained or overloaded. Not from the kernel, which knows no health;
//! where a drained or overloaded server is compared with one of weight 0, the kernel's rule
//! for that one counts.

use std::net::{IpAddr, Ipv4Addr};

use sched::{Kind, Load, Request};

use crate::service::{Service, flagged};

/// Every seventh address, as in the kernel's lines of sh and mh.
fn source(number: usize, request: &mut Request) {
    let (third, fourth) = (number / 4, 1 + number * 7);
    request.client = IpAddr::from([198, 18, third as u8, fourth as u8]);
}

fn destination(number: usize, request: &mut Request) {
    request.destination = Ipv4Addr::new(10, 9, 0, 1 + number as u8).into();
}

#[test]
fn all_others_pass_over_a_server_that_is_down() {
    for kind in Kind::ALL {
        let mut service = Service::new(kind, &[5, 5, 5]);
        service.up(12, false);
        for _ in 0..10 {
            assert!(matches!(service.connect(), Some(11 | 13)), "{kind:?}");
        }
        service.up(11, false);
        service.up(13, false);
        service.expect("X X");
        service.up(12, true);
        service.expect("12 12");
    }
}

#[test]
fn wrr_comes_back_from_far_passes() {
    let mut service = Service::new(Kind::Wrr, &[1, 65_535]);
    service.up(12, false);
    service.expect("11 11 11");
}

/// The kernel's picks for weights 1, 0, 1 with fallback, for a server that is down, and
/// without fallback for one that is drained.
#[test]
fn sh_falls_back_for_servers_that_are_down() {
    let cases = [
        (true, false, false, "11 13 13 11 11 11 13 13 13 11 11 13 11 13 11 11"),
        (true, false, true, "11 13 13 11 11 11 13 13 13 11 11 13 11 13 11 11"),
        (false, true, false, "11 13 13 11 X 11 13 13 13 X X 13 11 13 X X"),
        (false, true, true, "11 13 13 11 11 11 13 13 13 11 11 13 11 13 11 11"),
    ];
    for (down, drained, fallback, picks) in cases {
        let mut service = Service::new(flagged(Kind::Sh, false, fallback), &[1, 1, 1]);
        service.up(12, !down);
        service.edit(12, |server| server.drained = drained);
        service.expect_each(picks, source);
    }
}

#[test]
fn sh_and_mh_keep_the_clients_of_all_other_servers() {
    for kind in [Kind::Sh, Kind::Mh] {
        for fallback in [false, true] {
            for trouble in ["down", "drained", "overloaded", "weight 0"] {
                let mut service = Service::new(flagged(kind, false, fallback), &[3, 2, 3]);
                let before: Vec<_> = (0..36).map(|n| at(&mut service, n)).collect();
                match trouble {
                    "down" => service.up(12, false),
                    "drained" => service.edit(12, |server| server.drained = true),
                    "overloaded" => {
                        service.loads.insert(12, Load { overloaded: true, ..Load::default() });
                    }
                    // sh fills its slots anew: another test.
                    _ if kind == Kind::Sh => continue,
                    _ => service.weigh(12, 0),
                }
                for (number, before) in before.into_iter().enumerate() {
                    let after = at(&mut service, number);
                    let case = format!("{kind:?} {fallback} {trouble} {number}");
                    match before {
                        Some(12) if fallback || trouble == "down" => {
                            assert!(matches!(after, Some(11 | 13)), "{case}");
                        }
                        Some(12) => assert_eq!(after, None, "{case}"),
                        other => assert_eq!(after, other, "{case}"),
                    }
                }
            }
        }
    }
}

/// The server for the client of this number.
fn at(service: &mut Service, number: usize) -> Option<u32> {
    source(number, &mut service.request);
    service.connect()
}

/// With weight 0, a server keeps one slot of sh, as in the kernel.
#[test]
fn sh_fills_anew_for_each_weight() {
    let mut service = Service::new(Kind::Sh, &[1, 4, 1]);
    service.weigh(12, 0);
    service.expect_each("11 13 13 11 X 11 13 13 13 X X 13 11 13 X X", source);
}

#[test]
fn dh_spreads_over_the_servers_that_are_up() {
    let mut service = Service::new(Kind::Dh, &[1, 1, 1]);
    let whole = dh_picks(&mut service, &[13, 12, 11]);
    service.expect_each(&whole, destination);
    service.up(12, false);
    let without = dh_picks(&mut service, &[13, 11]);
    service.expect_each(&without, destination);
    service.up(12, true);
    service.expect_each(&whole, destination);
}

/// The picks by the table as it is described: slot `n` is server `n mod servers`.
fn dh_picks(service: &mut Service, servers: &[u32]) -> String {
    let picks = (0..36).map(|number| {
        destination(number, &mut service.request);
        let IpAddr::V4(address) = service.request.destination else { unreachable!() };
        let slot = (u64::from(u32::from(address)) * 0x61C8_8647 % (1 << 32)) >> 24;
        servers[slot as usize % servers.len()].to_string()
    });
    picks.collect::<Vec<_>>().join(" ")
}

#[test]
fn dh_has_no_server_for_the_slots_of_a_drained_or_overloaded_one() {
    let all = dh_picks(&mut Service::new(Kind::Dh, &[1, 1, 1]), &[13, 12, 11]);
    let without = all.replace("12", "X");
    let mut drained = Service::new(Kind::Dh, &[1, 1, 1]);
    drained.edit(12, |server| server.drained = true);
    drained.expect_each(&without, destination);
    let mut weightless = Service::new(Kind::Dh, &[1, 0, 1]);
    weightless.expect_each(&without, destination);
    let mut overloaded = Service::new(Kind::Dh, &[1, 1, 1]);
    overloaded.loads.insert(12, Load { overloaded: true, ..Load::default() });
    overloaded.expect_each(&without, destination);
}

/// mh: a server that never had a weight has no slots, one that had keeps them, and one that
/// is removed and comes back without a weight starts anew.
#[test]
fn mh_remembers_the_last_weight() {
    let never = "13 11 13 13 11 11 13 13 11 11 11 11 11 13 13 11";
    let all = "12 12 13 12 11 12 12 13 11 11 12 11 11 13 13 12";
    let mut service = Service::new(Kind::Mh, &[1, 1, 1]);
    service.weigh(12, 0);
    service.expect_each(&all.replace("12", "X"), source);
    service.weigh(12, 1);
    service.expect_each(all, source);
    let mut service = Service::new(Kind::Mh, &[1, 1]);
    service.delete(12);
    service.add(12, 0);
    service.add(13, 1);
    service.expect_each(never, source);
}
