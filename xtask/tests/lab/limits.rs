//! Every limit has its drop with a name; what is there already goes on, and after a while
//! new connections are taken again.
use std::fs;
use std::time::{Duration, Instant};

use xtask::lab::{Config, Director, Lab};

use crate::live::{finish, live};
use crate::{VISITOR, stage};

const FLOWS: &str = include_str!("flows.py");
const STRANGE: &str = include_str!("strange.py");

/// A configuration with limits and short idle times.
fn yaml(lab: &Lab, limits: &str) -> String {
    let timeouts = "timeouts: {udp: 2s, tcp_syn_sent: 2s, tcp_syn_recv: 2s, tcp_time_wait: 1s}";
    let text = Config::default().yaml(lab.topology());
    let text = text.replace("scheduler: rr", &format!("scheduler: rr, {timeouts}"));
    format!("{text}limits: {{{limits}}}\n")
}

/// How many of that many UDP flows, one socket each, were answered.
fn answered(lab: &Lab, host: &str, words: &str) -> u64 {
    let script = lab.file("flows.py");
    fs::write(&script, FLOWS).unwrap();
    let line = format!("/usr/bin/python3 {} {words}", script.display());
    lab.host(host).run(&line).unwrap().trim().parse().unwrap_or(0)
}

fn strange(lab: &Lab, kind: &str, count: usize) {
    let script = lab.file("strange.py");
    fs::write(&script, STRANGE).unwrap();
    let vip = lab.topology().vips[0];
    let line = format!("/usr/bin/python3 {} {kind} {vip} {count}", script.display());
    lab.host("client").run(&line).unwrap();
}

/// Runs `excess` beside a live connection, which must not feel it; then waits until new
/// connections are served again.
fn beyond(mode: &str, limits: &str, edit: [&str; 2], excess: impl FnOnce(&Lab, &Director<'_>)) {
    let lab = stage(mode, 1);
    let vip = lab.topology().vips[0];
    let text = yaml(&lab, limits).replace(edit[0], edit[1]);
    let director = Director::start_with_text(&lab, &text).unwrap();
    lab.client().fetch(vip, 3).unwrap();
    let mut load = live(&lab, vip, 4, "beyond");
    std::thread::sleep(Duration::from_millis(500));
    excess(&lab, &director);
    let (_, longest) = finish(&mut load);
    assert!(longest < 1000, "{limits}: the live connection waited {longest} ms");
    let deadline = Instant::now() + Duration::from_secs(8);
    while answered(&lab, "client", &format!("{vip} 53 3")) < 3 {
        assert!(Instant::now() < deadline, "{limits}: not served again");
    }
    lab.client().fetch(vip, 3).unwrap();
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn a_full_table_refuses_new_connections_only() {
    beyond("nat", "connections: 1024", ["", ""], |lab, director| {
        let vip = lab.topology().vips[0];
        let served = answered(lab, "client", &format!("{vip} 53 1500"));
        let refused = director.drops("table_full").unwrap();
        assert!(served > 700 && refused > 100, "{served} served, {refused} refused");
        assert!(served + refused >= 1490, "{served} served, {refused} refused of 1500");
    });
}

/// mh needs no entry where answers do not pass here: UDP and TCP are served beyond the limit.
#[test]
fn mh_serves_beyond_a_full_table() {
    for mode in ["dr", "tun"] {
        let mh = ["scheduler: rr", "scheduler: mh"];
        beyond(mode, "connections: 1024", mh, |lab, director| {
            let vip = lab.topology().vips[0];
            let served = answered(lab, "client", &format!("{vip} 53 1500"));
            lab.client().fetch(vip, 20).unwrap();
            assert!(served >= 1490, "{mode}: {served} served of 1500");
            assert_eq!(director.drops("table_full").unwrap(), 0, "{mode}");
            let json = director.json().unwrap();
            let stateless = json["totals"]["stateless"].as_u64().unwrap();
            assert!(stateless > 100, "{mode}: {stateless} packets without an entry");
            let listed = director.list(&[]).unwrap();
            assert!(listed.contains("Without an entry: "), "{mode}: {listed}");
        });
    }
}

#[test]
fn full_nat_without_a_free_port_refuses_new_connections_only() {
    let few = ["ports: 10000-32767", "ports: 10000-10002"];
    beyond("fullnat", "connections: 1024", few, |lab, director| {
        let vip = lab.topology().vips[0];
        // Three servers with three ports each.
        let served = answered(lab, "client", &format!("{vip} 53 30"));
        assert_eq!(served, 9);
        assert_eq!(director.drops("local_ports_exhausted").unwrap(), 21);
    });
}

#[test]
fn half_open_connections_are_limited_and_time_out() {
    beyond("nat", "half_open: 20", ["", ""], |lab, director| {
        strange(lab, "syns", 60);
        let refused = director.drops("half_open_limit").unwrap();
        assert!((39..=42).contains(&refused), "{refused} refused");
    });
}

#[test]
fn held_frames_are_limited_and_go_home() {
    beyond("nat", "held_frames: 8", ["", ""], |lab, director| {
        strange(lab, "later", 40);
        std::thread::sleep(Duration::from_millis(1200));
        // A quarter is kept for packets that wait for a neighbour.
        assert_eq!(director.drops("waiting_full").unwrap(), 34);
        let json = director.json().unwrap();
        assert_eq!(json["totals"]["punts"]["fragment"], 6, "the kernel's, as nobody claimed them");
    });
}

#[test]
fn fragmented_datagrams_are_limited() {
    beyond("nat", "fragments: 16", ["", ""], |lab, director| {
        strange(lab, "firsts", 200);
        let refused = director.drops("fragment_table_full").unwrap();
        assert!(refused >= 100, "{refused} refused");
    });
}

#[test]
fn punted_packets_are_limited_to_their_rate() {
    beyond("nat", "punt_rate: 10", ["", ""], |lab, director| {
        // What a server says from its service port is none of ours, so the kernel's.
        answered(lab, "server1", &format!("{} 123 500 53", VISITOR[0]));
        let json = director.json().unwrap();
        let punted = json["totals"]["punts"]["alien"].as_u64().unwrap();
        // A burst of ten, and ten for each second that it took.
        assert!((10..=40).contains(&punted), "{punted} punted");
        assert_eq!(director.drops("punt_limited").unwrap() + punted, 500);
    });
}
