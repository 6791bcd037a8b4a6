//! A server joins a service under load: `on_join`.
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab};

use crate::front::Front;
use crate::steady::{Pace, Steady, tally};
use crate::tcp::hold;
use crate::{server, stage};

/// Seconds of the slow start.
const RAMP: usize = 8;
/// New connections a second.
const FLOWS: u64 = 60;

/// A director's file with these services, all with the same servers.
fn yaml(lab: &Lab, services: &[&str], servers: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let services =
        services.iter().map(|keys| format!("  - {{{keys}, forward: nat, servers: [{servers}]}}\n"));
    format!("version: 1\ninterfaces: [{interfaces}]\nservices:\n{}", services.collect::<String>())
}

/// The first so many real servers with a port.
fn servers(lab: &Lab, count: usize, port: u16) -> String {
    let own = (1..=count).map(|number| format!("{{address: {}:{port}}}", server(lab, number, 0)));
    own.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_server_in_slow_start_gets_its_share_little_by_little() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let vip = lab.topology().vips[0];
    let service = format!(
        "name: dns, listen: {vip}:53/udp, scheduler: wrr, on_join: {{slow_start: {RAMP}s}}"
    );
    let text = yaml(&lab, &[&service], &servers(&lab, 3, 53));
    let director = Director::start_with_text(&lab, &text).unwrap();
    // At the start all three join.
    thread::sleep(Duration::from_secs(RAMP as u64 + 1));
    let seconds = RAMP as u64 + 6;
    let pace = Pace { flows: FLOWS, seconds, datagrams: 1, octets: [32, 64] };
    let load = Steady::start(&lab, vip, 53, &pace);
    let at = |second: u64| load.begun + Duration::from_secs(second);
    wait_until(at(1));
    let equal = load.answers();
    let own = server(&lab, 3, 0);
    front.run(&format!("ipvsadm -d -u {vip}:53 -r {own}:53"));
    let mark = load.answers().len();
    wait_until(at(2));
    let without = load.answers().split_off(mark);
    front.run(&format!("ipvsadm -a -u {vip}:53 -r {own}:53 -m"));
    let joined = Instant::now();
    let mut counts = vec![load.answers().len()];
    for second in 1..=RAMP as u64 + 2 {
        wait_until(joined + Duration::from_secs(second));
        counts.push(load.answers().len());
    }
    let answers = load.answers();
    load.finish();

    let thirds = part(&equal);
    assert!((0.25..=0.42).contains(&thirds), "{equal:?}");
    // The one on its way when the server was removed may still be answered.
    assert!(tally(&without).get("server3").is_none_or(|late| *late <= 1), "{without:?}");
    let parts: Vec<f64> = counts.windows(2).map(|ends| part(&answers[ends[0]..ends[1]])).collect();
    judge(&parts);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Its part of new connections, second by second. At t seconds its weight is t/8 of the others',
/// so its part of all three t/8 / (2 + t/8): 0 to 0.06 in the first second, 0.15 to 0.2 in the
/// fourth and fifth, a third at the end. Control raises the weight once a second, and a busy
/// machine shifts some connections from one second to the next, so there is room for that.
fn judge(parts: &[f64]) {
    assert!(parts[0] <= 0.1, "{parts:?}");
    let middle = (parts[RAMP / 2 - 1] + parts[RAMP / 2]) / 2.0;
    assert!((0.09..=0.27).contains(&middle), "{parts:?}");
    let last = (parts[RAMP] + parts[RAMP + 1]) / 2.0;
    assert!((0.28..=0.38).contains(&last), "{parts:?}");
    assert!(parts[0] < middle && middle < last, "{parts:?}");
    // Two seconds with the two before them: it only rises.
    let pairs: Vec<f64> = parts.chunks_exact(2).map(|pair| pair[0] + pair[1]).collect();
    assert!(pairs.windows(2).all(|two| two[1] > two[0] - 0.04), "{parts:?}");
}

/// Server 3's part of these flows, of which hardly any may be lost.
fn part(answers: &[String]) -> f64 {
    let tally = tally(answers);
    let lost = tally.get("lost").copied().unwrap_or(0);
    assert!(lost <= 2 && answers.len() > 20, "{tally:?}");
    tally.get("server3").copied().unwrap_or(0) as f64 / answers.len() as f64
}

fn wait_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

/// Least connections sends every new connection to a server that has none, until it has as many
/// as the others; counted from its arrival, they are equals.
#[test]
fn counts_that_start_anew_spare_a_joining_server_the_flood() {
    const OPEN: usize = 40;
    const NEW: usize = 18;
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let vip = lab.topology().vips[0];
    let services = [
        format!("name: flooded, listen: {vip}:80/tcp, scheduler: wlc, on_join: nothing"),
        format!("name: spared, listen: {vip}:8080/tcp, scheduler: wlc, on_join: reset_counts"),
    ];
    let text = yaml(&lab, &services.each_ref().map(String::as_str), &servers(&lab, 2, 80));
    let director = Director::start_with_text(&lab, &text).unwrap();
    for (port, equal) in [(80, false), (8080, true)] {
        let open = hold(&lab, vip, port, OPEN, &format!("open-{port}"));
        let shares = tally(&open.servers);
        assert_eq!(shares.into_values().collect::<Vec<_>>(), [OPEN / 2; 2], "port {port}");
        let own = server(&lab, 3, 0);
        front.run(&format!("ipvsadm -a -t {vip}:{port} -r {own}:80 -m"));
        let new = hold(&lab, vip, port, NEW, &format!("new-{port}"));
        let third = tally(&new.servers).get("server3").copied().unwrap_or(0);
        let expected = if equal { NEW / 3 } else { NEW };
        assert_eq!(third, expected, "port {port}: {:?}", new.servers);
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
