//! `ipvsadm -L --rate` while a client opens flows at a known pace, and when it has stopped: the
//! kernel's moving average, a quarter of each two seconds (`ip_vs_est.c`).
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab};

use crate::front::{Front, empty, place};
use crate::steady::{Pace, Steady};
use crate::{server, stage};

/// Of two servers, in turns. 72 and 172 octets are IPv4 packets of 100 and 200.
const PACE: Pace = Pace { flows: 4, seconds: 16, datagrams: 4, octets: [72, 172] };
/// So a second: connections, packets to and from the servers, octets to and from them.
const OFFERED: [f64; 5] = [4.0, 16.0, 16.0, 1600.0, 3200.0];

/// The client is one of several processes on a busy machine: a part of a second's flows may
/// come in the next one.
const LATE: f64 = 0.12;
/// Rates are shown in whole numbers.
const ROUNDED: f64 = 1.0;

#[test]
fn rates_rise_to_what_is_offered_and_decay_when_it_stops() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, "")).unwrap();
    let vip = lab.topology().vips[0];
    front.run(&format!("ipvsadm -A -u {vip}:53 -s rr"));
    for number in [1, 2] {
        front.add_server("-u", vip, 53, server(&lab, number, 0));
    }
    let load = Steady::start(&lab, vip, 53, &PACE);
    let offered = Duration::from_secs(PACE.seconds);
    while load.begun.elapsed() + Duration::from_millis(500) < offered {
        within(&lab, &front, load.begun, |steps| 1.0 - 0.75_f64.powf(steps));
        thread::sleep(Duration::from_secs(1));
    }
    load.finish();
    let stopped = Instant::now();
    let [peak, ..] = rates(&lab, &front);
    for (rate, offered) in peak.iter().zip(OFFERED) {
        // 0.9 of it by the formula.
        let range = 0.75 * offered - ROUNDED..=1.1 * offered + ROUNDED;
        assert!(range.contains(rate), "{peak:?} of {OFFERED:?}");
    }
    // Four connections a second are none any more after eight steps of a quarter.
    let has_decayed = || rates(&lab, &front).iter().all(|row| row[0] == 0.0);
    while !has_decayed() {
        assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", rates(&lab, &front));
        within(&lab, &front, stopped, |steps| 0.9 * 0.75_f64.powf(steps));
        thread::sleep(Duration::from_secs(1));
    }
    zeroed(&lab, &front);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// `-Z` while octets still have a rate.
fn zeroed(lab: &Lab, front: &Front<'_>) {
    let [before, ..] = rates(lab, front);
    assert!(before[3] > 0.0 && before[4] > 0.0, "{before:?}");
    let flows = PACE.flows * PACE.seconds;
    let packets = flows * PACE.datagrams;
    let all = [flows, packets, packets, 100 * packets, 200 * packets];
    assert_eq!(front.row("-Ln --stats --exact", &service(lab)), all);
    front.run("ipvsadm -Z");
    for _ in 0..3 {
        assert_eq!(rates(lab, front), [[0.0; 5]; 3]);
        assert_eq!(front.row("-Ln --stats --exact", &service(lab)), [0; 5]);
        thread::sleep(Duration::from_secs(1));
    }
}

/// Compares what is shown with `part` of what is offered, by the number of the average's steps
/// that were taken since then. They are taken every two seconds, at a time that nobody knows:
/// one more or less.
fn within(lab: &Lab, front: &Front<'_>, since: Instant, part: impl Fn(f64) -> f64) {
    let before = since.elapsed().as_secs_f64() / 2.0;
    let shown = rates(lab, front);
    let after = since.elapsed().as_secs_f64() / 2.0;
    let parts = [part((before - 1.0).max(0.0)), part(after + 1.0)];
    let (least, most) = (parts[0].min(parts[1]), parts[0].max(parts[1]));
    for (row, share) in shown.iter().zip([1.0, 0.5, 0.5]) {
        for (rate, offered) in row.iter().zip(OFFERED) {
            let whole = offered * share;
            let range = whole * (least - LATE) - ROUNDED..=whole * (most + LATE) + ROUNDED;
            assert!(range.contains(rate), "after {:.1} steps: {rate} in {shown:?}", before);
        }
    }
}

/// The rows of the service and its two servers.
fn rates(lab: &Lab, front: &Front<'_>) -> [[f64; 5]; 3] {
    let own = |number| format!("-> {}:53", server(lab, number, 0));
    let rows = front.rows("-Ln --rate --exact", [&service(lab), &own(1), &own(2)]);
    rows.map(|row| <[u64; 5]>::try_from(row).unwrap().map(|rate| rate as f64))
}

fn service(lab: &Lab) -> String {
    format!("UDP  {}", place(lab.topology().vips[0], 53))
}
