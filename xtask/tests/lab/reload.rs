//! Another configuration while traffic flows: what did not change loses nothing, what is wrong is
//! refused, and there is a way back.
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Process};

use crate::load::{Load, add_sources};
use crate::{server, stage};

const CROWD: &str = include_str!("crowd.py");

/// Connections that stay open.
const OPEN: usize = 10_000;

/// New connections a second.
const RATE: u32 = 300;

/// Where the crowd's connections go.
const CROWD_PORT: u16 = 9000;

/// Nothing in these two services ever changes.
fn head(lab: &Lab, more: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let servers = |port: u16| {
        [1, 2, 3].map(|n| format!("{{address: \"{}:{port}\"}}", server(lab, n, 0))).join(", ")
    };
    format!(
        "version: 1
interfaces: [{interfaces}]
{more}services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, servers: [{}]}}
  - {{name: crowd, listen: \"{vip}:{CROWD_PORT}/tcp\", forward: nat, scheduler: rr, servers: [{}]}}
",
        servers(80),
        servers(CROWD_PORT)
    )
}

/// The configuration of this number: a service of other weights, servers and scheduler each time,
/// and one that is there every other time.
fn variant(lab: &Lab, number: usize) -> String {
    let vip = lab.topology().vips[0];
    let scheduler = ["rr", "wlc", "sh", "mh", "lblc", "wrr", "sed"][number % 7];
    let servers: Vec<String> = (1..=1 + number % 3)
        .map(|n| format!("{{address: {}, weight: {}}}", server(lab, n, 0), 1 + number % 5))
        .collect();
    let mut text = head(lab, "");
    let _ = writeln!(
        text,
        "  - {{name: churn, listen: \"{vip}:8001/tcp\", forward: nat, scheduler: {scheduler}, servers: [{}]}}",
        servers.join(", ")
    );
    if number.is_multiple_of(2) {
        let _ = writeln!(
            text,
            "  - {{name: other, listen: \"{vip}:8002/tcp\", forward: nat, servers: [{{address: {}}}]}}",
            server(lab, 1, 0)
        );
    }
    text
}

/// Opens the connections that stay; gives the processes, the client's first.
fn crowd(lab: &Lab) -> Vec<Process> {
    let file = lab.file("crowd.py");
    fs::write(&file, CROWD).unwrap();
    let start = |host: &str, words: &[&str]| {
        let host_of = lab.host(host);
        let mut python = host_of.command("/usr/bin/python3");
        host_of
            .start(python.arg(&file).args(words), &lab.file(&format!("crowd-{host}.log")))
            .unwrap()
    };
    let port = CROWD_PORT.to_string();
    let mut all: Vec<Process> =
        ["server1", "server2", "server3"].map(|host| start(host, &["serve", &port])).into();
    std::thread::sleep(Duration::from_millis(300));
    let vip = lab.topology().vips[0];
    all.insert(0, start("client", &["hold", vip, &port, &OPEN.to_string()]));
    let deadline = Instant::now() + Duration::from_secs(60);
    while all[0].words().lines().count() == 0 {
        assert!(Instant::now() < deadline, "the crowd is not there: {}", all[0].words());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(all[0].words().trim(), format!("open {OPEN}"));
    all
}

/// Runs the verb; its exit code and all that it said.
fn xlvs(director: &Director<'_>, words: &[&str]) -> (Option<i32>, String) {
    let output = director.command(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn done(director: &Director<'_>, words: &[&str]) -> String {
    let (code, said) = xlvs(director, words);
    assert_eq!(code, Some(0), "{words:?}: {said}");
    said
}

/// The services that there are, by name, and what the first one has had.
fn services(director: &Director<'_>) -> (Vec<String>, u64) {
    let json = director.json().unwrap();
    let services = json["services"].as_array().unwrap();
    let names = services.iter().map(|service| service["name"].as_str().unwrap().to_owned());
    let web = services.iter().find(|service| service["name"] == "web").unwrap();
    (names.collect(), web["connections"].as_u64().unwrap())
}

/// 100 reloads that change weights, servers, services and schedulers, under 300 requests a second
/// and with 10,000 connections open; and one in ten that is refused.
#[test]
fn reloads_lose_nothing_of_what_did_not_change() {
    let lab = stage("nat", 2);
    add_sources(&lab);
    let vip = lab.topology().vips[0];
    let director = Director::start_with_text(&lab, &variant(&lab, 0)).unwrap();
    let mut crowd = crowd(&lab);
    let load = Load::start(&lab, vip, 80, RATE);
    let (file, mut took, mut last) = (lab.file("xlvs.yaml"), Vec::new(), 0);
    for number in 1..=100 {
        if number % 10 == 0 {
            let broken = variant(&lab, number).replace("scheduler: rr,", "scheduler: rrr,");
            fs::write(&file, broken).unwrap();
            let (code, said) = xlvs(&director, &["reload"]);
            assert_eq!(code, Some(1), "{said}");
            let place = format!("{}:5:", file.display());
            assert!(said.contains(&place) && said.contains("\"rrr\""), "{said}");
        }
        fs::write(&file, variant(&lab, number)).unwrap();
        let began = Instant::now();
        let said = done(&director, &["reload"]);
        took.push(began.elapsed());
        assert!(said.contains("churn") && !said.contains(" web "), "{said}");
        let (names, connections) = services(&director);
        let others = if number.is_multiple_of(2) { &["churn", "other"][..] } else { &["churn"] };
        assert!(others.iter().all(|name| names.iter().any(|known| known == name)), "{names:?}");
        assert!(connections >= last, "a counter went back: {last} -> {connections}");
        last = connections;
    }
    let requests = load.finish();
    let failed = requests.iter().filter(|request| request.failed()).count();
    assert_eq!((failed, requests.len() > 500), (0, true), "of {} requests", requests.len());
    crowd[0].signal("TERM").unwrap();
    crowd[0].wait(Duration::from_secs(30)).unwrap();
    let words = crowd[0].words();
    assert!(words.ends_with(&format!("alive {OPEN}\n")), "{words}");
    took.sort();
    println!(
        "{} requests, 0 failed; 100 reloads of {:?} to {:?}, median {:?}",
        requests.len(),
        took[0],
        took[99],
        took[50]
    );
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// 1,000 services of 100 servers each, all with another weight after the reload.
#[test]
fn a_large_file_is_applied_without_a_lost_request() {
    let lab = stage("nat", 2);
    add_sources(&lab);
    let vip = lab.topology().vips[0];
    let text = |weight: u32, shift: u32| {
        let mut text = head(&lab, "limits: {services: 2048, servers: 262144}\n");
        for service in 0..1000 {
            let servers: Vec<String> = (0..100)
                .map(|n| {
                    let n = n + if service % 10 == 0 { shift } else { 0 };
                    format!("{{address: 10.0.{}.{n}, weight: {weight}}}", 100 + service % 100)
                })
                .collect();
            let _ = writeln!(
                text,
                "  - {{name: s{service}, listen: \"{vip}:{}/tcp\", forward: nat, servers: [{}]}}",
                10_000 + service,
                servers.join(", ")
            );
        }
        text
    };
    let director = Director::start_with_text(&lab, &text(1, 1)).unwrap();
    let load = Load::start(&lab, vip, 80, RATE);
    let file = lab.file("xlvs.yaml");
    let mut took = Vec::new();
    for (weight, shift) in [(2, 1), (2, 101), (1, 1)] {
        fs::write(&file, text(weight, shift)).unwrap();
        let began = Instant::now();
        let said = done(&director, &["reload"]);
        took.push(began.elapsed());
        assert!(said.lines().count() > 10_000, "{}", said.lines().count());
    }
    let requests = load.finish();
    let failed = requests.iter().filter(|request| request.failed()).count();
    assert_eq!(failed, 0, "of {}", requests.len());
    println!("{} requests, 0 failed; 100,000 servers applied in {took:?}", requests.len());
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// What commands made stays; a change that nobody confirms goes back; a step back is one verb.
#[test]
fn there_is_a_way_back_and_what_commands_made_stays() {
    let lab = stage("nat", 1);
    let vip = lab.topology().vips[0];
    let director = Director::start_with_text(&lab, &variant(&lab, 1)).unwrap();
    let file = lab.file("xlvs.yaml");
    let (made, here) = (format!("{vip}:7000"), |director: &Director<'_>| services(director).0);
    let ipvsadm = |words: &str| {
        let mut command =
            lab.director().command(&xtask::lab::debug_binary().unwrap().to_string_lossy());
        command.arg("ipvsadm").args(words.split(' ')).env("XLVS_SOCKET", lab.file("xlvs.sock"));
        assert!(command.status().unwrap().success(), "ipvsadm {words}");
    };
    ipvsadm(&format!("-A -t {made} -s rr"));
    ipvsadm(&format!("-e -t {vip}:80 -r {}:80 -m -w 7", server(&lab, 1, 0)));

    // A look at what would be: nothing is done.
    fs::write(&file, variant(&lab, 2)).unwrap();
    let (code, said) = xlvs(&director, &["diff"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("+ service other") && said.contains("nothing was done"), "{said}");
    assert!(!here(&director).contains(&"other".to_owned()));

    // On trial: it goes back.
    let said = done(&director, &["apply", "--confirm", "1s"]);
    assert!(said.contains("commands made this") && said.contains("7000"), "{said}");
    assert!(said.contains("weight: 7 (was not set)"), "{said}");
    assert!(here(&director).contains(&"other".to_owned()));
    let (code, said) = xlvs(&director, &["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("xlvs confirm"), "{said}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while here(&director).contains(&"other".to_owned()) {
        assert!(Instant::now() < deadline, "the change has not gone back");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(here(&director).contains(&format!("{made}/tcp")), "{:?}", here(&director));

    // Confirmed: it stays; and one step back.
    done(&director, &["apply", "--confirm", "1s"]);
    done(&director, &["confirm"]);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(here(&director).contains(&"other".to_owned()));
    done(&director, &["rollback"]);
    assert!(!here(&director).contains(&"other".to_owned()));

    // By a signal; then the file is all that there is.
    director.process().signal("HUP").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !here(&director).contains(&"other".to_owned()) {
        assert!(Instant::now() < deadline, "SIGHUP applies nothing");
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = done(&director, &["apply", "--prune"]);
    assert!(said.contains(&format!("- service {made}/tcp")), "{said}");
    assert!(said.contains("weight: not set (was 7)"), "{said}");

    // What takes a restart is said, and refused as a whole.
    fs::write(&file, variant(&lab, 1).replace("version: 1", "version: 1\nworkers: {idle: poll}"))
        .unwrap();
    let (code, said) = xlvs(&director, &["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("workers: not set -> {idle: poll}: takes a restart"), "{said}");
    assert!(here(&director).contains(&"other".to_owned()));

    let events = done(&director, &["events"]);
    for word in ["applied", "reverted", "confirmed", "refused"] {
        assert!(events.contains(word), "{word}: {events}");
    }
    director.stop().unwrap();
}
