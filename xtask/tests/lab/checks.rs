//! Checks by the director itself: a server that stops is found, and nothing goes to it any
//! more; quorum, sorry server, tiers; and a restart knows what was known.
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Outage};

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

/// Waits until the web service's servers are these; gives how long that took.
pub(super) fn until(director: &Director<'_>, wanted: &[&str]) -> Duration {
    director.until("web", wanted).unwrap()
}

#[test]
fn a_server_that_stops_is_found_and_left_alone_until_it_is_back() {
    let lab = stage("nat", 2);
    let vip = lab.topology().vips[0];
    let text = yaml(&lab, "scheduler: rr,", &["", "", ""]);
    let director = Director::start_with_text(&lab, &text).unwrap();
    until(&director, &["up", "up", "up"]);
    assert_eq!(lab.client().fetch(vip, 30).unwrap().len(), 3);

    Outage::Refusing.begin(&lab, "server2").unwrap();
    let took = until(&director, &["up", "down", "up"]);
    assert!(took < DETECTION + LOOKING, "found after {took:?}");
    let answers = lab.client().fetch(vip, 60).unwrap();
    assert!(answers.len() == 2 && !answers.contains_key("server2"), "{answers:?}");
    let listing = director.list(&[]).unwrap();
    assert!(
        listing.contains("down for") && listing.contains("web: connection refused"),
        "{listing}"
    );

    Outage::Refusing.end(&lab, "server2").unwrap();
    until(&director, &["up", "up", "up"]);
    assert_eq!(lab.client().fetch(vip, 30).unwrap().len(), 3);

    // One that is silent, not gone: the deadline finds it.
    Outage::Silent.begin(&lab, "server3").unwrap();
    let took = until(&director, &["up", "up", "down"]);
    assert!(took < DETECTION + LOOKING, "found after {took:?}");
    lab.client().fetch(vip, 30).unwrap();

    // A restart knows it: nobody is asked for a first opinion.
    director.stop().unwrap();
    let director = Director::start_with_text(&lab, &text).unwrap();
    assert_eq!(director.states("web").unwrap(), ["up", "up", "down"]);
    lab.client().fetch(vip, 30).unwrap();
    Outage::Silent.end(&lab, "server3").unwrap();
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
        Outage::Refusing.begin(&lab, "server2").unwrap();
        let load = lab.client();
        let asked = Instant::now();
        let mut states = vec![];
        while asked.elapsed() < Duration::from_secs(10) {
            // Of three one is refused.
            let _ = load.fetch(vip, 12);
            let now = director.states("web").unwrap();
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
    Outage::Refusing.begin(&lab, "server1").unwrap();
    until(&director, &["down", "standby", "up"]);
    let answers = lab.client().fetch(vip, 20).unwrap();
    assert!(answers.len() == 1 && answers.contains_key("server3"), "{answers:?}");
    Outage::Refusing.end(&lab, "server1").unwrap();
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
    Outage::Refusing.begin(&lab, "server1").unwrap();
    until(&director, &["down", "up", "up"]);
    let answers = lab.client().fetch(vip, 20).unwrap();
    assert!(answers.len() == 2 && !answers.contains_key("server1"), "{answers:?}");
    director.stop().unwrap();
}
