//! Checks by the director itself: a server that stops is found, and nothing goes to it any
//! more; quorum, sorry server, tiers; and a restart knows what was known.
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::{Director, Lab};
use xtask::shell;

use crate::{server, stage};

/// A file with one HTTP service on the first VIP, three servers, quick checks, and more words.
fn yaml(lab: &Lab, words: &str, servers: &[&str]) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let servers: Vec<String> = (1..)
        .zip(servers)
        .map(|(number, more)| format!("{{address: {}{more}}}", server(lab, number, 0)))
        .collect();
    format!(
        "version: 1
interfaces: [{interfaces}]
checks:
  web: {{type: http, port: 80, path: /who, body: {{contains: server}}, interval: 200ms, timeout: 200ms, rise: 2, fall: 3}}
services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, checks: web, {words} servers: [{}]}}
",
        servers.join(", ")
    )
}

/// Interval times fall, and the last probe's timeout.
pub(super) const DETECTION: Duration = Duration::from_millis(3 * 200 + 200);
/// The lab looks twenty times a second, on a machine that does other things.
pub(super) const LOOKING: Duration = Duration::from_millis(1500);

/// The states of the web service's servers, in the file's order.
fn states(director: &Director<'_>) -> Vec<String> {
    let report: Value = serde_json::from_str(&director.list(&["--json"]).unwrap()).unwrap();
    let servers = report["services"][0]["servers"].as_array().unwrap().clone();
    servers.iter().map(|server| server["state"].as_str().unwrap().to_owned()).collect()
}

/// Waits until they are these; gives how long that took.
pub(super) fn until(director: &Director<'_>, wanted: &[&str]) -> Duration {
    let started = Instant::now();
    loop {
        let now = states(director);
        if now == wanted {
            return started.elapsed();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{now:?} instead of {wanted:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn stop_nginx(lab: &Lab, name: &str) {
    let pid = std::fs::read_to_string(lab.file(name).join("nginx.pid")).unwrap();
    lab.host(name).run(&format!("kill {}", pid.trim())).unwrap();
}

pub(super) fn start_nginx(lab: &Lab, name: &str) {
    let home = lab.file(name);
    let host = lab.host(name);
    let mut nginx = host.command("nginx");
    nginx.arg("-c").arg(home.join("nginx.conf")).arg("-p").arg(&home);
    nginx.arg("-e").arg(home.join("error.log"));
    host.start(&mut nginx, &lab.file(&format!("{name}.nginx.again.log"))).unwrap();
}

#[test]
fn a_server_that_stops_is_found_and_left_alone_until_it_is_back() {
    let lab = stage("nat", 2);
    let vip = lab.topology().vips[0];
    let text = yaml(&lab, "scheduler: rr,", &["", "", ""]);
    let director = Director::start_with_text(&lab, &text).unwrap();
    until(&director, &["up", "up", "up"]);
    assert_eq!(lab.client().fetch(vip, 30).unwrap().len(), 3);

    stop_nginx(&lab, "server2");
    let took = until(&director, &["up", "down", "up"]);
    assert!(took < DETECTION + LOOKING, "found after {took:?}");
    let answers = lab.client().fetch(vip, 60).unwrap();
    assert!(answers.len() == 2 && !answers.contains_key("server2"), "{answers:?}");
    let listing = director.list(&[]).unwrap();
    assert!(
        listing.contains("down for") && listing.contains("web: connection refused"),
        "{listing}"
    );

    start_nginx(&lab, "server2");
    until(&director, &["up", "up", "up"]);
    assert_eq!(lab.client().fetch(vip, 30).unwrap().len(), 3);

    // One that is silent, not gone: the deadline finds it.
    let rules = "table ip t { chain i { type filter hook input priority 0; tcp dport 80 drop; }; }";
    shell::feed(lab.host("server3").command("nft").args(["-f", "-"]), rules).unwrap();
    let took = until(&director, &["up", "up", "down"]);
    assert!(took < DETECTION + LOOKING, "found after {took:?}");
    lab.client().fetch(vip, 30).unwrap();

    // A restart knows it: nobody is asked for a first opinion.
    director.stop().unwrap();
    let director = Director::start_with_text(&lab, &text).unwrap();
    assert_eq!(states(&director), ["up", "up", "down"]);
    lab.client().fetch(vip, 30).unwrap();
    lab.host("server3").run("nft delete table ip t").unwrap();
    until(&director, &["up", "up", "up"]);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A check that looks every half a minute would be late: traffic has it look at once.
#[test]
fn handshakes_that_fail_have_a_server_asked_at_once() {
    for (suspect, between) in [("", "up"), (", suspect: 1m", "suspect")] {
        let lab = stage("nat", 2);
        let vip = lab.topology().vips[0];
        let words = format!("scheduler: rr, hints: {{failures: 3{suspect}}},");
        let text = yaml(&lab, &words, &["", "", ""])
            .replace("interval: 200ms, timeout: 200ms", "interval: 30s, retry: 1s, spread: 100ms");
        let director = Director::start_with_text(&lab, &text).unwrap();
        until(&director, &["up", "up", "up"]);
        stop_nginx(&lab, "server2");
        let load = lab.client();
        let asked = Instant::now();
        let mut states = vec![];
        while asked.elapsed() < Duration::from_secs(10) {
            // Of three one is refused.
            let _ = load.fetch(vip, 12);
            let now = self::states(&director);
            if states.last() != Some(&now[1]) {
                states.push(now[1].clone());
            }
            if now[1] == "down" {
                break;
            }
        }
        println!("down after {} ms: {states:?}", asked.elapsed().as_millis());
        assert!(states.iter().any(|state| state == between), "{states:?}");
        assert_eq!(states.last().map(String::as_str), Some("down"), "{states:?}");
        // 1 s of failures, and three answers a second apart; the interval is 30 s.
        assert!(asked.elapsed() < Duration::from_secs(4) + LOOKING, "{:?}", asked.elapsed());
        lab.client().fetch(vip, 20).unwrap();
        director.settled_ledgers().unwrap();
        director.stop().unwrap();
    }
}

#[test]
fn below_the_quorum_the_sorry_server_answers() {
    let lab = stage("nat", 1);
    let vip = lab.topology().vips[0];
    let sorry = server(&lab, 3, 0);
    let words = format!("scheduler: rr, quorum: 2, sorry: {{address: {sorry}}},");
    let director = Director::start_with_text(&lab, &yaml(&lab, &words, &["", ""])).unwrap();
    until(&director, &["up", "up", "standby"]);
    assert_eq!(lab.client().fetch(vip, 20).unwrap().len(), 2);
    stop_nginx(&lab, "server1");
    until(&director, &["down", "standby", "up"]);
    let answers = lab.client().fetch(vip, 20).unwrap();
    assert!(answers.len() == 1 && answers.contains_key("server3"), "{answers:?}");
    start_nginx(&lab, "server1");
    until(&director, &["up", "up", "standby"]);
    let answers = lab.client().fetch(vip, 20).unwrap();
    assert!(answers.len() == 2 && !answers.contains_key("server3"), "{answers:?}");
    director.stop().unwrap();
}

#[test]
fn a_lower_tier_serves_when_the_upper_one_is_down() {
    let lab = stage("nat", 1);
    let vip = lab.topology().vips[0];
    let servers = ["", ", tier: 1", ", tier: 1"];
    let director = Director::start_with_text(&lab, &yaml(&lab, "", &servers)).unwrap();
    until(&director, &["up", "standby", "standby"]);
    assert_eq!(lab.client().fetch(vip, 10).unwrap().len(), 1);
    stop_nginx(&lab, "server1");
    until(&director, &["down", "up", "up"]);
    let answers = lab.client().fetch(vip, 20).unwrap();
    assert!(answers.len() == 2 && !answers.contains_key("server1"), "{answers:?}");
    director.stop().unwrap();
}
