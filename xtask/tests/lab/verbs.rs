//! Runtime verbs on a running director: what operators order with clients there.
use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::{Director, Lab, Process};

use crate::front::Front;
use crate::live::{answers, finish, live};
use crate::tcp::hold;
use crate::{CLIENT, server, stage};

/// One service by port 80 to all three servers, `more` said of it, and one to the first server's
/// port 9000.
fn yaml(lab: &Lab, more: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let servers = [1, 2, 3].map(|number| format!("{{address: {}}}", server(lab, number, 0)));
    let servers = servers.join(", ");
    let first = server(lab, 1, 0);
    format!(
        "version: 1\ninterfaces: [{interfaces}]\nservices:\n  \
         - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, scheduler: wrr, {more} servers: [{servers}]}}\n  \
         - {{name: raw, listen: \"{vip}:9000/tcp\", forward: nat, servers: [{{address: {first}}}]}}\n"
    )
}

/// A command line of xlvs.
fn xlvs(director: &Director<'_>, line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    director.command(&words).output().unwrap()
}

/// One that must do well; its standard output.
fn done(director: &Director<'_>, line: &str) -> String {
    let output = xlvs(director, line);
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn json(director: &Director<'_>, line: &str) -> Value {
    let text = done(director, &format!("{line} --json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

fn row(director: &Director<'_>, at: usize) -> Value {
    director.service("web").unwrap()["servers"][at].take()
}

#[test]
fn a_drained_server_keeps_its_connections_and_gets_no_new_ones() {
    let lab = stage("nat", 2);
    let text = yaml(&lab, "");
    let director = Director::start_with_text(&lab, &text).unwrap();
    let vip = lab.topology().vips[0];
    let first = server(&lab, 1, 0);
    let mut lives: Vec<Process> =
        (0..3).map(|n| live(&lab, vip, 12, &format!("drain-{n}"))).collect();
    let begun = Instant::now();
    while lives.iter().any(|live| answers(live).0.is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "no answers");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lives.iter().any(|live| answers(live).0 == "server1"), "rr has one for each");

    // A deadline that passes is told by the exit code, and the drain goes on.
    let drain = format!("drain web/{first}:80 --reason disk --wait --deadline 1s");
    let output = xlvs(&director, &drain);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    assert_eq!(director.states("web").unwrap(), ["drained", "up", "up"]);
    let said = row(&director, 0)["override"]["state"].take();
    let by = said["who"].as_str().unwrap().to_owned();
    assert_eq!(
        (&said["value"], &said["file_value"], &said["why"]),
        (&Value::from("drain"), &Value::from("ready"), &Value::from("disk"))
    );
    assert!(!by.is_empty() && said["when"].as_str().unwrap().starts_with("20"), "{said}");
    let page = lab.client().fetch(vip, 40).unwrap();
    assert_eq!(page.get("server1"), None, "{page:?}");
    let events = done(&director, "events");
    assert!(events.contains(&format!("{first}:80: off -> on (by {by}: disk)")), "{events}");

    // It returns when the last connection is over; nobody noticed anything.
    let mut command = director.command(&["drain", &format!("web/{first}"), "--wait"]);
    let mut waiting = lab.director().start(&mut command, &lab.file("drain.log")).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(waiting.ended().unwrap().is_none(), "{}", waiting.words());
    for live in &mut lives {
        let (_, longest) = finish(live);
        assert!(longest < 1000, "a wait of {longest} ms");
    }
    let status = waiting.wait(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{}", waiting.words());
    assert!(waiting.words().ends_with("connections left: 0\n"), "{}", waiting.words());

    // A restart forgets nothing of it.
    director.stop().unwrap();
    let director = Director::start_with_text(&lab, &text).unwrap();
    assert_eq!(director.states("web").unwrap(), ["drained", "up", "up"]);
    assert_eq!(row(&director, 0)["override"]["state"], said);
    let page = lab.client().fetch(vip, 40).unwrap();
    assert_eq!(page.get("server1"), None, "{page:?}");
    done(&director, &format!("ready web/{first}"));
    assert_eq!(director.states("web").unwrap(), ["up", "up", "up"]);
    let page = lab.client().fetch(vip, 40).unwrap();
    assert!(page.get("server1").is_some_and(|answers| *answers >= 10), "{page:?}");
    director.stop().unwrap();
    // A file that says otherwise wins, and that is said.
    let director = Director::start_with_text(&lab, &text).unwrap();
    done(&director, &format!("weight web/{first} 7"));
    director.stop().unwrap();
    let changed = text.replacen(
        &format!("{{address: {first}}}"),
        &format!("{{address: {first}, weight: 3}}"),
        1,
    );
    let director = Director::start_with_text(&lab, &changed).unwrap();
    assert_eq!(row(&director, 0)["weight"], 3);
    assert_eq!(row(&director, 0)["override"], Value::Null);
    let words = director.process().words();
    assert!(words.contains("its configured weight was 1 and is 3 now: that holds"), "{words}");
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn maintenance_ends_connections_and_weights_shift_shares() {
    let lab = stage("nat", 1);
    let director = Director::start_with_text(&lab, &yaml(&lab, "")).unwrap();
    let vip = lab.topology().vips[0];
    let [first, second] = [1, 2].map(|number| server(&lab, number, 0));
    let shares = |times| {
        let page = lab.client().fetch(vip, times).unwrap();
        [1, 2, 3].map(|n| page.get(&format!("server{n}")).copied().unwrap_or_default())
    };
    assert_eq!(shares(30), [10, 10, 10]);
    done(&director, &format!("weight web/{first} 8 --reason bigger"));
    assert_eq!(shares(30), [24, 3, 3], "wrr, exactly");
    let listing = director.list(&[]).unwrap();
    assert!(listing.contains("8*"), "{listing}");
    assert!(listing.contains("weight 8 (file 1)"), "{listing}");
    done(&director, &format!("weight web/{first} file"));
    assert_eq!(shares(30), [10, 10, 10]);

    let held = hold(&lab, vip, 80, 3, "maint");
    assert!(held.servers.contains(&"server2".to_owned()), "{:?}", held.servers);
    done(&director, &format!("maint {second} --all --reason kernel"));
    assert_eq!(director.states("web").unwrap(), ["up", "maint", "up"]);
    assert_eq!(shares(30), [15, 0, 15]);
    let events = done(&director, "events");
    assert!(events.contains("maint web") && events.contains(": kernel)"), "{events}");
    // As for a server that is down: its connections are not there any more.
    let shown = done(&director, &format!("server show web/{second}"));
    assert!(shown.contains("override    state maint in place of the file's ready, by "), "{shown}");
    done(&director, &format!("server ready {second} --all"));
    assert_eq!(director.states("web").unwrap(), ["up", "up", "up"]);
    drop(held);

    // Names that nobody has.
    for (line, expected) in [
        ("drain wab/10.0.2.11", "wab: no such service; did you mean web?"),
        ("drain web/10.9.9.9", "web/10.9.9.9: no such server; the servers are"),
        ("conn kill", "no filter"),
        ("weight web/10.0.2.11 many", "no weight"),
    ] {
        let output = xlvs(&director, line);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(expected), "{line}: {words}");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// One connection, as its client and its server see it.
struct Seen {
    client: Process,
    server: Process,
}

fn connect(lab: &Lab, vip: &str, name: &str) -> Seen {
    let script = lab.file("end.py");
    fs::write(&script, include_str!("end.py")).unwrap();
    let start = |host: &str, words: &[&str]| {
        let host = lab.host(host);
        let mut python = host.command("/usr/bin/python3");
        python.arg(&script).args(words);
        host.start(&mut python, &lab.file(&format!("end-{name}-{}.log", words[0]))).unwrap()
    };
    let server = start("server1", &["serve", "9000"]);
    std::thread::sleep(Duration::from_millis(500));
    let client = start("client", &["ask", vip, "9000"]);
    let begun = Instant::now();
    while !(client.words().contains("open") && server.words().contains("open")) {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}{}", client.words(), server.words());
        std::thread::sleep(Duration::from_millis(20));
    }
    Seen { client, server }
}

impl Seen {
    /// Both ends see the same end.
    fn ends(mut self, how: &str) {
        for end in [&mut self.client, &mut self.server] {
            let status = end.wait(Duration::from_secs(15)).unwrap();
            assert!(status.success(), "{}", end.words());
            assert_eq!(end.words(), format!("open\n{how}\n"));
        }
    }
}

#[test]
fn connections_are_ended_at_both_ends_and_sources_denied() {
    let lab = stage("nat", 2);
    let director = Director::start_with_text(&lab, &yaml(&lab, "")).unwrap();
    let vip = lab.topology().vips[0];
    let seen = connect(&lab, vip, "kill");
    let count = |director: &Director<'_>, line: &str| json(director, line)["connections"].as_u64();
    assert_eq!(count(&director, "conn count --service raw"), Some(1));
    assert_eq!(count(&director, "conn kill --service web"), Some(0), "another one");
    assert_eq!(count(&director, "conn kill --client 192.0.2.0/24 --server 10.9.9.9"), Some(0));
    assert_eq!(count(&director, "conn kill --client 192.0.2.0/24 --state established"), Some(1));
    seen.ends("reset");

    // Who is denied opens nothing more, and loses what there is with --kill.
    let seen = connect(&lab, vip, "deny");
    let denied = done(&director, &format!("deny add {} --for 1h --kill --reason flood", CLIENT[0]));
    assert!(denied.contains("denied for 1 h 0 min; 1 connections ended"), "{denied}");
    seen.ends("reset");
    assert!(lab.client().fetch(vip, 1).is_err(), "a client that is denied");
    assert!(director.drops("denied_for_now").unwrap() > 0);
    lab.visitor().fetch(vip, 5).unwrap();
    let listed = json(&director, "deny list");
    assert_eq!(listed[0]["source"], format!("{}/32", CLIENT[0]));
    assert_eq!(listed[0]["why"], "flood");
    assert!(listed[0]["left_s"].as_u64().is_some_and(|left| (3500..=3600).contains(&left)));
    // It outlives a restart.
    director.stop().unwrap();
    let director = Director::start_with_text(&lab, &yaml(&lab, "")).unwrap();
    assert!(lab.client().fetch(vip, 1).is_err(), "a client that is still denied");
    done(&director, &format!("deny del {}", CLIENT[0]));
    lab.client().fetch(vip, 5).unwrap();
    // Time ends it, too.
    done(&director, &format!("deny add {} --for 7s --service web", CLIENT[0]));
    assert!(lab.client().fetch(vip, 1).is_err(), "denied again");
    let begun = Instant::now();
    while !json(&director, "deny list").as_array().unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "for ever");
        std::thread::sleep(Duration::from_millis(100));
    }
    lab.client().fetch(vip, 5).unwrap();
    let events = done(&director, "events");
    assert!(events.contains("-> removed") && events.contains("-> expired"), "{events}");
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn counts_go_to_zero_and_the_running_state_is_a_file() {
    let lab = stage("nat", 1);
    let director = Director::start_with_text(&lab, &yaml(&lab, "persistence: 6m,")).unwrap();
    let vip = lab.topology().vips[0];
    lab.client().fetch(vip, 20).unwrap();
    let made = |director: &Director<'_>, service: usize| {
        json(director, "stats")["services"][service]["totals"]["connections"].as_u64()
    };
    assert_eq!(made(&director, 0), Some(20));
    assert!(done(&director, "stats zero web").contains(":80/tcp: zero"));
    assert_eq!(made(&director, 0), Some(0));
    lab.client().fetch(vip, 3).unwrap();
    assert_eq!(made(&director, 0), Some(3));
    // What is not for listings alone goes on.
    assert_eq!(director.service("web").unwrap()["connections"], 23);
    done(&director, "stats --rate");
    let health = done(&director, "health");
    assert!(health.contains("web ") && health.contains("its servers"), "{health}");
    assert!(done(&director, "service list").contains("3/3"));
    assert!(done(&director, "server list web").lines().count() == 4);

    let other = server(&lab, 2, 0);
    let front = Front::new(&lab);
    front.run(&format!("ipvsadm -A -t {vip}:8080 -s sed"));
    front.run(&format!("ipvsadm -a -t {vip}:8080 -r {other}:80 -m -w 7"));
    done(&director, &format!("drain web/{other}"));
    let rules = |director: &Director<'_>| done(director, "export ipvsadm");
    let (before, text) = (rules(&director), done(&director, "export yaml"));
    assert!(before.contains("-s sed") && before.contains("-w 7"), "{before}");
    assert!(text.contains("# override: state drain in place of ready"), "{text}");
    let file = lab.file("exported.yaml");
    fs::write(&file, &text).unwrap();
    let checked = lab
        .director()
        .command(&xtask::lab::debug_binary().unwrap().to_string_lossy())
        .arg("check")
        .arg(&file)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}\n{text}");
    director.stop().unwrap();
    let director = Director::start_with_text(&lab, &text).unwrap();
    assert_eq!(rules(&director), before);
    lab.client().fetch(vip, 5).unwrap();
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
