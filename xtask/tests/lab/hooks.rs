//! What happens is told: to hooks, one after the other, and to who follows; and what
//! `xlvs status` says of a director that runs, hangs and ends.
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Outage};

use crate::checks::{DETECTION, LOOKING, until};
use crate::{server, stage};

/// How long the hanging hook may hang.
const HANGING: Duration = Duration::from_secs(3);

/// A web service of three servers on the first VIP; a hook that hangs whenever one is down, and one
/// that writes down what it is told.
fn yaml(lab: &Lab, hanging: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let servers = [1, 2, 3].map(|number| format!("{{address: {}}}", server(lab, number, 0)));
    let told = lab.file("told");
    format!(
        "version: 1
interfaces: [{interfaces}]
checks:
  web: {{type: http, port: 80, path: /who, interval: 200ms, timeout: 200ms, rise: 2, fall: 3}}
hooks:
  - {{argv: [/bin/sh, -c, \"trap '' TERM; {hanging} & {hanging}\"], on: server.down, timeout: {}s}}
  - argv: [/bin/sh, -c, 'echo $1 $XLVS_SERVICE $XLVS_VIP:$XLVS_PORT/$XLVS_PROTOCOL $XLVS_SERVER $XLVS_OLD $XLVS_UP/$XLVS_SERVERS $XLVS_REASON >>{}', sh, '{{event}}']
    user: root
services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, scheduler: rr, checks: web, servers: [{}]}}
",
        HANGING.as_secs(),
        told.display(),
        servers.join(", ")
    )
}

/// What the hooks that ran wrote down.
fn told(lab: &Lab) -> Vec<String> {
    let text = fs::read_to_string(lab.file("told")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

fn wait_for(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < at_most, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn code(command: &mut Command) -> Option<i32> {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
}

fn hook_counts(director: &Director<'_>) -> [u64; 4] {
    let hooks = director.json().unwrap()["hooks"].clone();
    ["succeeded", "failed", "killed", "waiting"].map(|name| hooks[name].as_u64().unwrap())
}

#[test]
fn a_server_that_stops_is_told_once_in_order_whatever_another_hook_does() {
    let lab = stage("nat", 1);
    let vip = lab.topology().vips[0];
    // A word that no other process has.
    let hanging = format!("sleep 98{}", std::process::id());
    let director = Director::start_with_text(&lab, &yaml(&lab, &hanging)).unwrap();
    until(&director, &["up", "up", "up"]);
    let log = lab.file("events.log");
    let follow = &mut director.command(&["events", "--follow"]);
    let follower = lab.director().start(follow, &log).unwrap();
    let mut status = director.command(&["status", "--quorum"]);
    assert_eq!(code(&mut status), Some(0));

    // The second one goes while the hook hangs for the first one: that delays nothing but hooks.
    Outage::Refusing.begin(&lab, "server2").unwrap();
    until(&director, &["up", "down", "up"]);
    Outage::Refusing.begin(&lab, "server3").unwrap();
    let took = until(&director, &["up", "down", "down"]);
    assert!(took < DETECTION + LOOKING, "found after {took:?}");
    assert!(told(&lab).is_empty(), "the first hook hangs: {:?}", told(&lab));
    assert_eq!(lab.client().fetch(vip, 10).unwrap().len(), 1);
    wait_for("all hooks have run", 2 * HANGING + LOOKING + Duration::from_secs(2), || {
        hook_counts(&director) == [2, 0, 2, 0]
    });
    let left = Command::new("pgrep").args(["-f", &hanging]).output().unwrap();
    assert!(left.stdout.is_empty(), "the hook was not killed");
    let line = |event: &str, number: usize, old: &str, up: usize, why: &str| {
        let server = server(&lab, number, 0);
        format!("{event} web {vip}:80/tcp {server} {old} {up}/3 web: {why}")
    };
    let down = |number, up| line("server.down", number, "up", up, "connection refused");
    assert_eq!(told(&lab), [down(2, 2), down(3, 1)]);

    Outage::Refusing.end(&lab, "server3").unwrap();
    until(&director, &["up", "down", "up"]);
    wait_for("it is told", LOOKING, || told(&lab).len() == 3);
    assert!(told(&lab)[2].starts_with(&line("server.up", 3, "down", 2, "")), "{:?}", told(&lab));
    let words = follower.words();
    let changes: Vec<&str> = words.lines().filter(|line| !line.contains("waiting")).collect();
    let follows = |line: &str, server: &str, states: &str| {
        line.contains(&format!("server web {vip}:80/tcp {server}:80: {states}"))
    };
    let expected = [(2, "up -> down (web: "), (3, "up -> down (web: "), (3, "down -> up (web: ")];
    let servers: Vec<&&str> = changes.iter().filter(|line| line.contains(" server ")).collect();
    assert_eq!(servers.len(), expected.len(), "{words}");
    for (line, (number, states)) in servers.into_iter().zip(expected) {
        assert!(follows(line, server(&lab, number, 0), states), "{line}");
    }

    director.process().signal("STOP").unwrap();
    let started = Instant::now();
    assert_eq!(code(&mut status), Some(4), "it hangs");
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
    director.process().signal("CONT").unwrap();
    wait_for("it answers again", LOOKING, || code(&mut status) == Some(0));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
    assert_eq!(code(&mut status), Some(3), "it has ended");
}
