//! What a service does with its servers' health, seen by real clients: tiers, quorum, sorry
//! server, all down, `on_down`, damping. A server is unwell when its web server has no `/health`
//! any more; it still answers everything else, so that it shows whom the director asks.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab};

use crate::load::{SOURCES, Standing, Words, add_sources};
use crate::{Stage, server, stage};

const SERVERS: [&str; 3] = ["server1", "server2", "server3"];

/// A lab whose servers are all well.
fn well(queues: u32) -> Stage {
    let lab = stage("nat", queues);
    add_sources(&lab);
    for server in SERVERS {
        lab.set_well(server, true).unwrap();
    }
    lab
}

/// A file with services `a`, `b` ... on the ports from 80 on; each has words of its own, and words
/// for each of its servers.
fn yaml(lab: &Lab, services: &[(&str, &[&str])]) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let mut text = format!(
        "version: 1
interfaces: [{interfaces}]
checks:
  health: {{type: http, port: 80, path: /health, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}}
services:
"
    );
    for ((name, port), (words, servers)) in ('a'..='z').zip(80..).zip(services) {
        let servers: Vec<String> = (1..)
            .zip(*servers)
            .map(|(number, more)| format!("{{address: \"{}:80\"{more}}}", server(lab, number, 0)))
            .collect();
        text.push_str(&format!(
            "  - {{name: {name}, listen: \"{vip}:{port}/tcp\", forward: nat, checks: health, {words} servers: [{}]}}\n",
            servers.join(", ")
        ));
    }
    text
}

/// What so many clients are told, one after the other, each on a new connection: the server, or
/// how curl failed.
fn ask(lab: &Lab, port: u16, source: u8, times: usize) -> Vec<String> {
    let mut curl = lab.host("client").command("curl");
    curl.args(["-s", "-o", "/dev/null", "--max-time", "5", "-H", "Connection: close"]);
    curl.args(["-w", "%header{x-server} %{exitcode}\n"]);
    curl.args(["--interface", &format!("192.0.2.{source}")]);
    curl.arg(format!("http://{}:{port}/who?[1-{times}]", lab.topology().vips[0]));
    let output = curl.output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    let word = |line: &str| match line.split_once(' ').unwrap() {
        (server, "0") => server.to_owned(),
        (_, "7") => "refused".to_owned(),
        (_, code) => format!("curl: {code}"),
    };
    words.lines().map(word).collect()
}

/// The different answers to six requests, in alphabetical order: no more, since a host gets six
/// ICMP errors at once, then one a second.
fn answers(lab: &Lab, port: u16, source: u8) -> String {
    let answers: BTreeSet<String> = ask(lab, port, source, 6).into_iter().collect();
    Vec::from_iter(answers).join(" ")
}

/// Makes servers well and unwell, by `+` and `-` in their order; those that are so stay so.
fn make(lab: &Lab, health: &str) {
    for (server, now) in SERVERS.into_iter().zip(health.chars()) {
        // It is so already.
        let _ = lab.set_well(server, now == '+');
    }
}

/// What the clients of a standing connection heard, and whether all of it was the same.
fn only(words: &Words, client: usize) -> &str {
    let first = &words[&client][0].1;
    assert!(words[&client].iter().all(|(_, said)| said == first), "{:?}", words[&client]);
    first
}

/// Weights 1, 1, 2; lost below 2, gained at 4. The sorry server is a web server on the box
/// itself, to which xlvs punts.
#[test]
fn quorum_by_weight_with_hysteresis_and_a_sorry_server_on_the_box() {
    let lab = well(2);
    lab.add_web("director").unwrap();
    let words =
        "scheduler: rr, quorum: 3, hysteresis: 1, sorry: {address: 198.51.100.1, forward: dr},";
    let text = yaml(&lab, &[(words, &["", "", ", weight: 2"])]);
    let director = Director::start_with_text(&lab, &text).unwrap();
    let vip = lab.topology().vips[0];
    let rows = [
        ("+++", ["up", "up", "up", "standby"], "server1 server2 server3"),
        ("++-", ["up", "up", "down", "standby"], "server1 server2"),
        ("-+-", ["down", "standby", "down", "up"], "director"),
        ("++-", ["standby", "standby", "down", "up"], "director"),
        ("-+-", ["down", "standby", "down", "up"], "director"),
        ("-++", ["down", "standby", "standby", "up"], "director"),
        ("+++", ["up", "up", "up", "standby"], "server1 server2 server3"),
        ("-++", ["down", "up", "up", "standby"], "server2 server3"),
    ];
    let mut standing = Vec::new();
    for (health, states, expected) in rows {
        make(&lab, health);
        director.until("a", &states).unwrap();
        assert_eq!(answers(&lab, 80, 21), expected, "{health}");
        if ["+++", "-+-"].contains(&health) && standing.len() < 2 {
            standing.push(Standing::start(&lab, "tcp", vip, 80, 3));
        }
    }
    // Who was there before goes on: with a server that is up, though below the quorum, and with
    // the sorry server, though it is not needed any more.
    let [early, late] = standing.try_into().ok().unwrap();
    let (early, late) = (early.finish(), late.finish());
    let stayed = (0..3).find(|client| early[client][0].1 == "server2");
    assert_eq!(only(&early, stayed.unwrap()), "server2");
    assert_eq!([0, 1, 2].map(|client| only(&late, client)), ["director"; 3]);
    assert!(director.json().unwrap()["totals"]["punts"]["local_server"].as_u64() > Some(0));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn tiers_fill_to_the_quorum() {
    let lab = well(1);
    let text = yaml(&lab, &[("scheduler: rr, quorum: 2,", &["", ", tier: 1", ", tier: 2"])]);
    let director = Director::start_with_text(&lab, &text).unwrap();
    let rows = [
        ("+++", ["up", "up", "standby"], "server1 server2"),
        ("+-+", ["up", "down", "up"], "server1 server3"),
        // Without a sorry server, what is up goes on below the quorum.
        ("--+", ["down", "down", "up"], "server3"),
        ("+++", ["up", "up", "standby"], "server1 server2"),
    ];
    let mut standing = None;
    for (health, states, expected) in rows {
        make(&lab, health);
        director.until("a", &states).unwrap();
        assert_eq!(answers(&lab, 80, 21), expected, "{health}");
        if health == "--+" {
            standing = Some(Standing::start(&lab, "tcp", lab.topology().vips[0], 80, 2));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let words = standing.take().unwrap().finish();
    assert_eq!([0, 1].map(|client| only(&words, client)), ["server3"; 2]);
    director.stop().unwrap();
}

#[test]
fn what_happens_when_all_are_down() {
    let lab = well(1);
    let all: &[&str] = &["", "", ""];
    let sorry = format!("scheduler: rr, sorry: {{address: \"{}:80\"}},", server(&lab, 3, 0));
    let services = [
        ("scheduler: rr, all_down: refuse,", all),
        ("scheduler: rr, all_down: keep_last,", all),
        ("scheduler: rr, all_down: all_up,", all),
        (&sorry, &all[..2]),
    ];
    let director = Director::start_with_text(&lab, &yaml(&lab, &services)).unwrap();
    let everybody = "server1 server2 server3";
    let rows = [
        ("+++", ["up"; 3], [everybody, everybody, everybody, "server1 server2"]),
        ("++-", ["up", "up", "down"], ["server1 server2"; 4]),
        ("-+-", ["down", "up", "down"], ["server2"; 4]),
        // The sorry server is never asked how it is.
        ("---", ["down"; 3], ["refused", "server2", everybody, "server3"]),
        ("--+", ["down", "down", "up"], ["server3"; 4]),
        ("---", ["down"; 3], ["refused", "server3", everybody, "server3"]),
        ("+++", ["up"; 3], [everybody, everybody, everybody, "server1 server2"]),
    ];
    for (source, (health, states, expected)) in SOURCES.zip(rows) {
        make(&lab, health);
        for service in ["a", "b", "c"] {
            director.until(service, &states).unwrap();
        }
        let sorry = if states[..2] == ["down"; 2] { "up" } else { "standby" };
        director.until("d", &[states[0], states[1], sorry]).unwrap();
        let asked = Instant::now();
        let seen: Vec<String> = (80..84).map(|port| answers(&lab, port, source)).collect();
        assert_eq!(seen, expected, "{health}");
        // Who is refused hears so at once.
        assert!(asked.elapsed() < Duration::from_secs(4), "{health}: {:?}", asked.elapsed());
    }
    assert!(director.drops("no_server").unwrap() >= 12);
    director.stop().unwrap();
}

/// Which server each of the client's addresses gets.
fn map(lab: &Lab, port: u16) -> BTreeMap<u8, String> {
    SOURCES.step_by(2).map(|octet| (octet, ask(lab, port, octet, 1).remove(0))).collect()
}

/// What `on_down` does to the clients of a hash: those of the server that is down, and the others.
#[test]
fn on_down_leaves_the_list_alone_or_does_what_the_kernel_and_keepalived_do() {
    let lab = well(2);
    let all: &[&str] = &["", "", ""];
    let services = [
        ("scheduler: sh,", all),
        ("scheduler: sh, on_down: weight0,", all),
        ("scheduler: sh, on_down: remove,", all),
    ];
    let vip = lab.topology().vips[0];
    let director = Director::start_with_text(&lab, &yaml(&lab, &services)).unwrap();
    for service in ["a", "b", "c"] {
        director.until(service, &["up"; 3]).unwrap();
    }
    let before: Vec<_> = (80..83).map(|port| map(&lab, port)).collect();
    assert!(before.iter().all(|map| *map == before[0]));
    let of_victim = before[0].values().filter(|server| *server == "server2").count();
    let standing: Vec<_> =
        (80..83).map(|port| Standing::start(&lab, "tcp", vip, port, 12)).collect();

    make(&lab, "+-+");
    for service in ["a", "b", "c"] {
        director.until(service, &["up", "down", "up"]).unwrap();
    }
    // Its clients that are refused and that still reach it, and others that moved.
    let after: Vec<_> = (80..83).map(|port| map(&lab, port)).collect();
    let count = |at: usize, so: &dyn Fn(&str, &str) -> bool| {
        before[at].iter().filter(|(octet, server)| so(server, &after[at][*octet])).count()
    };
    let seen: Vec<[usize; 3]> = (0..3)
        .map(|at| {
            [
                count(at, &|was, is| was == "server2" && is == "refused"),
                count(at, &|_, is| is == "server2" || is.starts_with("curl")),
                count(at, &|was, is| was != "server2" && is != was),
            ]
        })
        .collect();
    println!("{} of {} clients had server2: {seen:?}", of_victim, before[0].len());
    assert!(of_victim > 0);
    assert_eq!(seen[..2], [[0, 0, 0], [of_victim, 0, 0]]);
    // Out of the list, the hash is another one.
    assert!(seen[2][..2] == [0, 0] && seen[2][2] > 0, "{seen:?}");

    std::thread::sleep(Duration::from_millis(500));
    for (words, ends) in standing.into_iter().map(Standing::finish).zip([true, false, true]) {
        let of = |server: &str| words.values().filter(|said| said[0].1 == server).count();
        let ended = words.values().filter(|said| said.last().unwrap().1.ends_with("Error"));
        assert!(of("server2") > 0);
        assert_eq!(ended.count(), if ends { of("server2") } else { 0 }, "{words:?}");
    }
    make(&lab, "+++");
    for (service, port) in ["a", "b", "c"].into_iter().zip(80..) {
        director.until(service, &["up"; 3]).unwrap();
        assert_eq!(map(&lab, port), before[0]);
    }
    director.stop().unwrap();
}

#[test]
fn a_server_that_comes_and_goes_is_held_down_until_it_was_well_for_long() {
    let lab = well(1);
    let words = "scheduler: rr, damping: {changes: 1, within: 1m, hold: 2s},";
    let director = Director::start_with_text(&lab, &yaml(&lab, &[(words, &["", "", ""])])).unwrap();
    for health in ["+++", "+-+", "+++", "+-+"] {
        make(&lab, health);
        let state = if health == "+++" { "up" } else { "down" };
        director.until("a", &["up", state, "up"]).unwrap();
    }
    let well = Instant::now();
    make(&lab, "+++");
    std::thread::sleep(Duration::from_millis(1000));
    let held = &director.service("a").unwrap()["servers"][1];
    assert_eq!(
        (held["state"].as_str(), held["health"]["held"].as_bool()),
        (Some("down"), Some(true))
    );
    assert_eq!(held["health"]["checks"][0]["state"], "up");
    assert_eq!(answers(&lab, 80, 21), "server1 server3");
    director.until("a", &["up"; 3]).unwrap();
    let took = well.elapsed();
    println!("held for {took:?}");
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(answers(&lab, 80, 21), "server1 server2 server3");
    director.stop().unwrap();
}
