//! A server stops while clients come, 300 new ones a second: who fails, and what becomes of the
//! connections that it had, by `existing` and by scheduler.
use std::time::Duration;

use xtask::lab::{Director, Lab, Outage};
use xtask::shell;

use crate::load::{Load, Request, Standing, Words, add_sources, now};
use crate::{server, stage};

/// New connections a second.
const RATE: u32 = 300;

/// Schedulers, and the ports of their services.
const SCHEDULERS: [(&str, u16); 4] = [("wlc", 8001), ("sh", 8002), ("mh", 8003), ("dh", 8004)];

/// Interval times fall, the last probe's timeout, and what a busy machine may take.
const DETECTION: f64 = 3.0 * 0.2 + 0.2 + 1.5;

/// All services' servers are asked the same question, every 200 ms.
fn yaml(lab: &Lab, existing: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let servers = |port: &str| {
        let one = |number| format!("{{address: \"{}{port}\"}}", server(lab, number, 0));
        [1, 2, 3].map(one).join(", ")
    };
    let service = |name: &str, listen: &str, scheduler: &str, port: &str| {
        format!(
            "  - {{name: {name}, listen: \"{vip}:{listen}\", forward: nat, scheduler: {scheduler}, checks: web, {existing} servers: [{}]}}\n",
            servers(port)
        )
    };
    let mut text = format!(
        "version: 1
interfaces: [{interfaces}]
checks:
  web: {{type: http, port: 80, path: /who, interval: 200ms, timeout: 200ms, rise: 2, fall: 3}}
services:
"
    );
    for (name, port) in SCHEDULERS {
        text.push_str(&service(name, &format!("{port}/tcp"), name, ":80"));
    }
    text + &service("udp", "53/udp", "rr", "")
}

/// What becomes of the connections that a silent server had.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// They go on when it is back.
    Kept,
    /// TCP is reset, after detection; other protocols go on with another server.
    Ended,
}

/// A server that failed.
struct Failure {
    victim: String,
    /// It failed, the log said so, `xlvs list` said so, and it was to come back.
    stopped: f64,
    logged: f64,
    detected: f64,
    returned: f64,
}

struct Case<'a> {
    lab: &'a Lab,
    director: &'a Director<'a>,
    fate: Fate,
}

impl Case<'_> {
    /// One of three servers fails in that way and comes back, under load and with connections
    /// that stay.
    fn play(&self, scheduler: (&str, u16), outage: Outage) {
        let vip = self.lab.topology().vips[0];
        let standing = Standing::start(self.lab, "tcp", vip, scheduler.1, 12);
        let flows = Standing::start(self.lab, "udp", vip, 53, 6);
        let load = Load::start(self.lab, vip, scheduler.1, RATE);
        std::thread::sleep(Duration::from_millis(300));
        // It has one of those at least, whatever the scheduler thinks.
        let victim = standing.words()[&0][0].1.clone();
        let failure = self.fail(scheduler.0, &victim, outage);
        if self.fate == Fate::Kept && outage == Outage::Silent {
            let words = standing.words();
            standing.answered_since(&clients_of(&words, &failure), failure.returned);
        }
        std::thread::sleep(Duration::from_millis(300));
        let requests = load.finish();
        let before = judge_requests(&requests, &failure, scheduler.0, outage);
        if outage == Outage::Silent {
            // A SYN that is sent again, a second later, goes to another server, or to the same. wlc
            // sends few, since half-open connections count.
            let many = self.fate == Fate::Kept && scheduler.0 != "wlc";
            assert_eq!(before > 20, many, "{before} failed before detection");
        }
        let (standing, flows) = (standing.finish(), flows.finish());
        if outage == Outage::Silent {
            judge_connections(&standing, &failure, self.fate);
            judge_flows(&flows, &failure, self.fate);
        }
        judge_others(&standing, &failure);
    }

    fn fail(&self, service: &str, victim: &str, outage: Outage) -> Failure {
        let at: usize = victim.trim_start_matches("server").parse().unwrap();
        let line = format!("{service}: {}:80 is down", server(self.lab, at, 0));
        let told = || self.director.process().words().matches(&line).count();
        let before = told();
        let mut states = ["up"; 3];
        self.director.until(service, &states).unwrap();
        states[at - 1] = "down";

        let stopped = now();
        outage.begin(self.lab, victim).unwrap();
        while told() == before {
            assert!(now() - stopped < 5.0, "{line}: not in the log");
            std::thread::sleep(Duration::from_millis(2));
        }
        let logged = now();
        self.director.until(service, &states).unwrap();
        let detected = now();
        std::thread::sleep(Duration::from_millis(1500));
        let returned = now();
        outage.end(self.lab, victim).unwrap();
        self.director.until(service, &["up"; 3]).unwrap();
        Failure { victim: victim.to_owned(), stopped, logged, detected, returned }
    }
}

/// The clients that the server had when it failed.
fn clients_of(words: &Words, failure: &Failure) -> Vec<usize> {
    let its = words.iter().filter(|(_, said)| said[0].1 == failure.victim);
    its.map(|(client, _)| *client).collect()
}

/// None fails that began after detection, and none of them comes to the server before it is back.
/// Gives how many failed that had begun before.
fn judge_requests(
    requests: &[Request],
    failure: &Failure,
    scheduler: &str,
    outage: Outage,
) -> usize {
    let failed = |from: f64, to: f64| {
        requests.iter().filter(|one| one.failed() && one.at >= from && one.at < to).count()
    };
    let Failure { victim, stopped, logged, detected, returned } = failure;
    let (before, after) = (failed(0.0, *detected), failed(*detected, f64::MAX));
    println!(
        "{scheduler:4} {:9} {:5} requests, found after {:3.0} ms (listed {:3.0}), failed: {before:3} before, {after} after",
        format!("{outage:?}"),
        requests.len(),
        (logged - stopped) * 1000.0,
        (detected - stopped) * 1000.0,
    );
    let of = |failed: &Request| (failed.at - stopped, failed.took, failed.said.clone());
    let lost: Vec<_> = requests.iter().filter(|one| one.failed() && one.at >= *detected).collect();
    assert!(lost.is_empty(), "{:?}", lost.into_iter().map(of).collect::<Vec<_>>());
    assert_eq!(failed(0.0, stopped - 0.1), 0, "before it failed");
    let strays = requests
        .iter()
        .filter(|one| one.at >= *detected && one.at + one.took < *returned && one.said == *victim);
    assert_eq!(strays.count(), 0, "answers of {victim} while it is down");
    let back = requests.iter().filter(|one| one.at > *returned && one.said == *victim);
    assert!(back.count() > 0, "{victim} gets no connections when it is back");
    assert!(detected - stopped < DETECTION, "found after {:.2} s", detected - stopped);
    before
}

/// TCP connections of a silent server.
fn judge_connections(words: &Words, failure: &Failure, fate: Fate) {
    let clients = clients_of(words, failure);
    assert!(!clients.is_empty());
    for client in clients {
        let (at, last) = words[&client].last().unwrap();
        match fate {
            Fate::Kept => {
                let all = words[&client].iter().all(|(_, said)| *said == failure.victim);
                assert!(all && *at > failure.returned, "{client}: {:?}", words[&client]);
            }
            Fate::Ended => {
                let reset = last == "ConnectionResetError";
                let then = *at >= failure.logged && *at < failure.returned;
                assert!(reset && then, "{client}: {last} {:.2}", at - failure.detected);
            }
        }
    }
}

/// UDP flows of a silent server.
fn judge_flows(words: &Words, failure: &Failure, fate: Fate) {
    let clients = clients_of(words, failure);
    assert!(!clients.is_empty());
    for client in clients {
        let (from, to) = (failure.detected, failure.returned);
        // A question from before may be waited for until then.
        let while_down = words[&client].iter().filter(|(at, _)| *at > from + 0.3 && *at < to);
        let said: Vec<&str> = while_down.map(|(_, said)| said.as_str()).collect();
        let as_wanted = |said: &&str| match fate {
            Fate::Kept => *said == "TimeoutError",
            Fate::Ended => said.starts_with("server") && *said != failure.victim,
        };
        assert!(!said.is_empty() && said.iter().all(as_wanted), "{client}: {said:?}");
        if fate == Fate::Kept {
            assert_eq!(words[&client].last().unwrap().1, failure.victim, "{client}");
        }
    }
}

/// Connections of the other servers do not notice anything.
fn judge_others(words: &Words, failure: &Failure) {
    for (client, said) in words.iter().filter(|(_, said)| said[0].1 != failure.victim) {
        assert!(said.iter().all(|(_, one)| *one == said[0].1), "{client}: {said:?}");
        assert!(said.last().unwrap().0 > failure.returned, "{client}: {said:?}");
    }
}

fn every_scheduler(existing: &str, fate: Fate) {
    let lab = stage("nat", 2);
    add_sources(&lab);
    let director = Director::start_with_text(&lab, &yaml(&lab, existing)).unwrap();
    for (service, _) in SCHEDULERS {
        director.until(service, &["up"; 3]).unwrap();
    }
    println!("existing: {existing:?}");
    let case = Case { lab: &lab, director: &director, fate };
    case.play(SCHEDULERS[0], Outage::Frozen);
    for scheduler in SCHEDULERS {
        case.play(scheduler, Outage::Refusing);
        case.play(scheduler, Outage::Silent);
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn by_default_connections_of_a_server_that_fails_are_reset() {
    every_scheduler("", Fate::Ended);
}

#[test]
fn connections_of_a_server_that_fails_are_rescheduled() {
    every_scheduler("existing: reschedule,", Fate::Ended);
}

#[test]
fn connections_of_a_server_that_fails_are_kept() {
    every_scheduler("existing: keep,", Fate::Kept);
}

/// Less than `fall` probes that are lost change nothing, for anybody.
#[test]
fn a_single_lost_probe_changes_nothing() {
    let lab = stage("nat", 2);
    add_sources(&lab);
    let vip = lab.topology().vips[0];
    let director = Director::start_with_text(&lab, &yaml(&lab, "")).unwrap();
    for lost in [1, 2] {
        director.until("wlc", &["up"; 3]).unwrap();
        let failures = || {
            let failed = &director.json().unwrap()["probes"]["failed"];
            failed.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum::<u64>()
        };
        let before = failures();
        let standing = Standing::start(&lab, "tcp", vip, 8001, 12);
        let load = Load::start(&lab, vip, 8001, RATE);
        // The director's own address: only probes come from it.
        let rules = format!(
            "table ip probes {{ chain in {{ type filter hook input priority 0; ip saddr {} tcp flags syn / syn,ack limit rate 1/day burst {lost} packets counter drop; }}; }}",
            lab.topology().local[0]
        );
        shell::feed(lab.host("server2").command("nft").args(["-f", "-"]), &rules).unwrap();
        for _ in 0..40 {
            assert_eq!(director.states("wlc").unwrap(), ["up"; 3]);
            std::thread::sleep(Duration::from_millis(50));
        }
        let counted = lab.host("server2").run("nft list table ip probes").unwrap();
        assert!(counted.contains(&format!("counter packets {lost} ")), "{counted}");
        lab.host("server2").run("nft delete table ip probes").unwrap();
        let requests = load.finish();
        let failed: Vec<&Request> = requests.iter().filter(|one| one.failed()).collect();
        println!("{lost} lost: {} requests, failed: {}", requests.len(), failed.len());
        assert!(failed.is_empty(), "{failed:?}");
        for said in standing.finish().values() {
            assert!(said.iter().all(|(_, one)| *one == said[0].1), "{said:?}");
        }
        assert_eq!(failures() - before, lost, "probes that failed");
        assert!(!director.process().words().contains("is down"));
    }
    director.stop().unwrap();
}
