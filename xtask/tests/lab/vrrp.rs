//! Beside a keepalived as Debian ships it, which does VRRP alone: the VIP leaves the box and comes
//! back while xlvs runs on, under load.
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Process, debug_binary};

use crate::load::{Load, Request, SOURCES, Standing, add_sources, now};
use crate::{Stage, server, stage};

const SERVERS: [&str; 3] = ["server1", "server2", "server3"];

/// The network with one NIC, where ARP decides who has the VIP; nobody has it yet.
fn without_vip() -> Stage {
    let lab = stage("dr", 2);
    add_sources(&lab);
    lab.withdraw_vips().unwrap();
    for server in SERVERS {
        lab.set_well(server, true).unwrap();
    }
    lab
}

/// A file for a box that has this interface, with words of the service.
fn yaml(lab: &Lab, interface: &str, words: &str) -> String {
    let vip = lab.topology().vips[0];
    let servers = [1, 2, 3].map(|number| format!("{{address: {}}}", server(lab, number, 0)));
    format!(
        "version: 1
interfaces: [{interface}]
checks:
  health: {{type: http, port: 80, path: /health, interval: 200ms, timeout: 200ms, rise: 1, fall: 2}}
services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: dr, checks: health, existing: keep, {words} servers: [{}]}}
  - {{name: idle, listen: \"{vip}:81/tcp\", forward: dr, checks: health, pause_without_vip: true, servers: [{{address: {}}}]}}
",
        servers.join(", "),
        server(lab, 3, 0),
    )
}

/// keepalived on a host, with the priority of its VRRP instance and scripts that it tracks.
fn keepalived(lab: &Lab, host: &str, interface: &str, priority: u8, scripts: &[String]) -> Process {
    let vip = lab.topology().vips[0];
    let named: Vec<(String, &String)> =
        (1..).zip(scripts).map(|(number, script)| (format!("script{number}"), script)).collect();
    let mut text = String::from("global_defs {\n  script_user root\n  vrrp_version 3\n}\n");
    for (name, script) in &named {
        text.push_str(&format!(
            "vrrp_script {name} {{\n  script \"{script}\"\n  interval 1\n  timeout 2\n  fall 1\n  rise 1\n}}\n"
        ));
    }
    let tracked: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let tracked = match tracked[..] {
        [] => String::new(),
        _ => format!("  track_script {{\n    {}\n  }}\n", tracked.join("\n    ")),
    };
    text.push_str(&format!(
        "vrrp_instance pair {{
  state BACKUP
  interface {interface}
  virtual_router_id 51
  priority {priority}
  advert_int 0.2
{tracked}  virtual_ipaddress {{
    {vip}/32 dev {interface}
  }}
}}
"
    ));
    let file = |end: &str| lab.file(&format!("keepalived-{host}.{end}"));
    fs::write(file("conf"), text).unwrap();
    let namespace = lab.host(host);
    let mut command = namespace.command("keepalived");
    command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
    command.arg("--use-file").arg(file("conf"));
    command.arg("--pid").arg(file("pid")).arg("--vrrp_pid").arg(file("vrrp.pid"));
    namespace.start(&mut command, &file("log")).unwrap()
}

fn has_vip(lab: &Lab, host: &str) -> bool {
    let vip = lab.topology().vips[0];
    let addresses = lab.host(host).run("ip -4 -o address show").unwrap();
    addresses.contains(&format!("{vip}/32"))
}

/// Waits until the VIP is on the host, or is not; gives when.
fn until_vip(lab: &Lab, host: &str, there: bool) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    while has_vip(lab, host) != there {
        assert!(Instant::now() < deadline, "{host}: the VIP is there: {}", !there);
        std::thread::sleep(Duration::from_millis(10));
    }
    now()
}

/// The line of `xlvs ipvsadm -Lnc` for each connection of those clients that stay, without the
/// time that is left.
fn entries(lab: &Lab, standing: &[u8]) -> Vec<String> {
    let director = lab.director();
    let mut list = director.command(&debug_binary().unwrap().to_string_lossy());
    list.env("XLVS_SOCKET", lab.file("xlvs.sock")).args(["ipvsadm", "-Lnc"]);
    let listing = xtask::shell::output(&mut list).unwrap();
    let of = |line: &&str| {
        line.contains("ESTABLISHED")
            && standing.iter().any(|octet| line.contains(&format!(" 192.0.2.{octet}:")))
    };
    let without_time = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        [&words[..1], &words[2..]].concat().join(" ")
    };
    let mut entries: Vec<String> = listing.lines().filter(of).map(without_time).collect();
    entries.sort();
    entries
}

/// A master with a higher priority appears, and goes: the VIP moves to it and comes back.
#[test]
fn keepalived_takes_the_vip_away_and_back_under_load() {
    let lab = without_vip();
    let vip = lab.topology().vips[0];
    let director = Director::start_with_text(&lab, &yaml(&lab, "eth0", "scheduler: rr,")).unwrap();
    director.until("web", &["up"; 3]).unwrap();
    let own = keepalived(&lab, "director", "eth0", 100, &[]);
    until_vip(&lab, "director", true);
    director.until("idle", &["up"]).unwrap();

    let standing = Standing::start(&lab, "tcp", vip, 80, 9);
    let load = Load::start(&lab, vip, 80, 300);
    let octets: Vec<u8> = SOURCES.take(9).collect();
    let before = entries(&lab, &octets);
    // Whoever is master there serves nothing.
    let rules = format!(
        "table ip peer {{ chain in {{ type filter hook input priority 0; ip daddr {vip} tcp dport 80 drop; }}; }}"
    );
    xtask::shell::feed(lab.host("router").command("nft").args(["-f", "-"]), &rules).unwrap();
    let peer = keepalived(&lab, "router", "lan", 200, &[]);
    let gone = until_vip(&lab, "director", false);
    until_vip(&lab, "router", true);
    std::thread::sleep(Duration::from_millis(1500));
    let paused = director.service("idle").unwrap()["servers"][0]["health"]["paused"].take();
    assert_eq!(paused, true);
    peer.stop().unwrap();
    let back = until_vip(&lab, "director", true);
    standing.answered_since(&Vec::from_iter(0..9), back + 0.5);
    std::thread::sleep(Duration::from_millis(500));

    let requests = load.finish();
    let lost = |from: f64, to: f64| {
        requests.iter().filter(|one| one.failed() && one.at >= from && one.at < to).count()
    };
    let count =
        |from: f64, to: f64| requests.iter().filter(|one| one.at >= from && one.at < to).count();
    // Until the client has heard of it.
    let heard = back + 0.5;
    println!(
        "away for {:.2} s; failed: {} of {} before, {} of {} while it was away, {} of {} after",
        back - gone,
        lost(0.0, gone - 0.5),
        count(0.0, gone - 0.5),
        lost(gone - 0.5, heard),
        count(gone - 0.5, heard),
        lost(heard, f64::MAX),
        count(heard, f64::MAX),
    );
    assert_eq!((lost(0.0, gone - 0.5), lost(heard, f64::MAX)), (0, 0));
    assert!(lost(gone, back) > 0, "it was away");
    // Those that were there go on, with their servers: by the entries that they had.
    let entries_after: Vec<String> = entries(&lab, &octets);
    assert_eq!(before.len(), 9);
    assert!(before.iter().all(|entry| entries_after.contains(entry)), "{entries_after:?}");
    for said in standing.finish().values() {
        assert!(said.iter().all(|(_, server)| *server == said[0].1), "{said:?}");
    }
    own.stop().unwrap();
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Two boxes with one file, each of which picks as the other does, and takes connections over that
/// it has not seen begin: the VIP moves, and nobody notices.
#[test]
fn a_pair_hands_the_vip_to_and_fro_and_no_request_fails() {
    let lab = without_vip();
    let vip = lab.topology().vips[0];
    let words = "scheduler: sh, lvs: {sloppy_tcp: 1},";
    let own = Director::start_with_text(&lab, &yaml(&lab, "eth0", words)).unwrap();
    let other = Director::start_on(&lab, "router", &yaml(&lab, "lan", words)).unwrap();
    own.until("web", &["up"; 3]).unwrap();
    other.until("web", &["up"; 3]).unwrap();
    let master = keepalived(&lab, "director", "eth0", 100, &[]);
    until_vip(&lab, "director", true);

    let standing = Standing::start(&lab, "tcp", vip, 80, 9);
    let load = Load::start(&lab, vip, 80, 300);
    std::thread::sleep(Duration::from_millis(500));
    let opened =
        |director: &Director<'_>| director.service("web").unwrap()["connections"].as_u64().unwrap();
    let mut counts = vec![(opened(&own), opened(&other))];
    let peer = keepalived(&lab, "router", "lan", 200, &[]);
    until_vip(&lab, "director", false);
    std::thread::sleep(Duration::from_millis(2000));
    counts.push((opened(&own), opened(&other)));
    peer.stop().unwrap();
    let back = until_vip(&lab, "director", true);
    std::thread::sleep(Duration::from_millis(2000));
    counts.push((opened(&own), opened(&other)));

    standing.answered_since(&Vec::from_iter(0..9), back);
    let requests = load.finish();
    let failed: Vec<&Request> = requests.iter().filter(|one| one.failed()).collect();
    println!(
        "there and back: {} requests, {} failed; opened by the two, at the start, after each move: {counts:?}",
        requests.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    for said in standing.finish().values() {
        assert!(said.iter().all(|(_, server)| *server == said[0].1), "{said:?}");
    }
    // Both had their part.
    assert!(counts[1].1 > 300 && counts[2].0 > counts[1].0 + 300, "{counts:?}");
    master.stop().unwrap();
    own.stop().unwrap();
    other.stop().unwrap();
}

/// What it tracks is `xlvs status`. Nobody else takes the VIP, and xlvs serves by its
/// configuration: clients that know its MAC notice nothing but what they should.
#[test]
fn keepalived_tracks_xlvs_status() {
    let lab = without_vip();
    let vip = lab.topology().vips[0];
    let director = Director::start_with_text(&lab, &yaml(&lab, "eth0", "scheduler: rr,")).unwrap();
    director.until("web", &["up"; 3]).unwrap();
    let status = |more: &str| status(&debug_binary().unwrap(), &lab.file("xlvs.sock"), more);
    let keepalived = keepalived(&lab, "director", "eth0", 100, &[status(""), status("--quorum")]);
    until_vip(&lab, "director", true);
    let standing = Standing::start(&lab, "tcp", vip, 80, 6);
    let load = Load::start(&lab, vip, 80, 300);

    // All servers are unwell; `existing: keep`.
    let health = |well| SERVERS.map(|server| lab.set_well(server, well).unwrap());
    health(false);
    let gone = until_vip(&lab, "director", false);
    health(true);
    let back = until_vip(&lab, "director", true);
    // The daemon stands still.
    director.process().signal("STOP").unwrap();
    let stopped = now();
    until_vip(&lab, "director", false);
    let noticed = now();
    director.process().signal("CONT").unwrap();
    let again = until_vip(&lab, "director", true);
    println!(
        "away for {:.2} s without servers; gone {:.2} s after xlvs stood still, back {:.2} s after it went on",
        back - gone,
        noticed - stopped,
        again - noticed,
    );
    standing.answered_since(&Vec::from_iter(0..6), again + 0.5);
    let requests = load.finish();
    let lost: Vec<&Request> =
        requests.iter().filter(|one| one.failed() && one.at > again + 0.3).collect();
    assert!(lost.is_empty(), "{lost:?}");
    for said in standing.finish().values() {
        assert!(said.iter().all(|(_, server)| *server == said[0].1), "{said:?}");
    }
    keepalived.stop().unwrap();
    assert!(!has_vip(&lab, "director"));
    director.stop().unwrap();
}

fn status(binary: &Path, socket: &Path, more: &str) -> String {
    format!("{} status --socket {} {more}", binary.display(), socket.display())
}
