//! What a daemon tells through its life: `xlvs status`, `xlvs events`, hooks.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{Daemon, XLVS, in_namespace, run};

/// What a track_script of keepalived sees of a daemon through its life.
#[test]
fn the_status_follows_the_daemon() {
    in_namespace(|| {
        let mut daemon = Daemon::start("status", "stop_grace: 3s\n");
        let (code, out) = daemon.status("--quorum web");
        assert_eq!(code, Some(0), "{out}");
        let line = "workers 1/1, interfaces 1/1, services 1/1, servers 1/1, connections 0";
        assert!(out.contains(": well, up ") && out.contains(line), "{out}");
        // The only server goes: that counts where it is asked for.
        assert_eq!(daemon.ipvsadm("-d -t 203.0.113.10:80 -r 10.0.0.2:80").0, Some(0));
        assert_eq!((daemon.status("").0, daemon.status("--quorum").0), (Some(0), Some(8)));
        run("ip link set eth0 down");
        daemon.until("down", |daemon| daemon.status("").0 == Some(7));
        run("ip link set eth0 up");
        daemon.until("up", |daemon| daemon.status("").0 == Some(0));

        daemon.signal(Signal::SIGSTOP);
        let started = Instant::now();
        let code = daemon.status("").0;
        let took = started.elapsed();
        daemon.signal(Signal::SIGCONT);
        assert_eq!(code, Some(4));
        assert!(took < Duration::from_millis(2500), "{took:?}");
        daemon.until("it answers again", |daemon| daemon.status("").0 == Some(0));

        daemon.signal(Signal::SIGTERM);
        daemon.until("it stops", |daemon| daemon.status("").0 == Some(5));
        assert!(daemon.ended().success());
        assert_eq!(daemon.status("").0, Some(3));
        let mut daemon = Daemon::start("killed", "");
        daemon.signal(Signal::SIGKILL);
        daemon.ended();
        assert_eq!(daemon.status("").0, Some(3));
    });
}

/// Two servers whose health is the first word of a file, a quorum of both, a VIP that goes with it,
/// and hooks that write down what they are told.
fn told(directory: &Path) -> String {
    let at = |name: &str| directory.join(name).display().to_string();
    let note = "echo $XLVS_EVENT $1 $XLVS_OLD $XLVS_UP/$XLVS_SERVERS $XLVS_WEIGHT/$XLVS_QUORUM $XLVS_REASON >>";
    let check = |name: &str| {
        format!(
            "{name}: {{type: file, path: {}, word: good, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}}",
            at(name)
        )
    };
    format!(
        "version: 1
interfaces: [eth0]
limits: {{connections: 1024}}
vips: [{{address: 203.0.113.10/32, interface: eth0, managed: true}}]
checks: {{{}, {}}}
hooks: [{{user: root, argv: [/bin/sh, -c, '{note}{}', sh, '{{server}}']}}]
services:
  - name: web
    listen: 203.0.113.10:80/tcp
    forward: nat
    quorum: 2
    withdraw: true
    hooks: [{{user: root, on: quorum, argv: [/bin/sh, -c, 'echo {{event}} >>{}']}}]
    servers: [{{address: \"10.0.0.2:80\", checks: one}}, {{address: \"10.0.0.3:80\", checks: two}}]
",
        check("one"),
        check("two"),
        at("box"),
        at("web"),
    )
}

/// A line of `xlvs events --json` in short: kind and state.
fn happened(line: &str) -> String {
    let start = line.find("\"kind\"").unwrap_or_else(|| panic!("{line}"));
    let word = |key: &str| {
        let (_, rest) = line[start..].split_once(&format!("\"{key}\":\"")).expect(key);
        rest.split_once('"').expect("a word").0.to_owned()
    };
    format!("{}.{}", word("kind"), word("new"))
}

#[test]
fn what_happens_is_told_to_hooks_and_to_who_asks() {
    in_namespace(|| {
        let directory = Daemon::directory("told");
        fs::create_dir_all(&directory).unwrap();
        let say = |name: &str, word: &str| fs::write(directory.join(name), word).unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        say("one", "good");
        say("two", "good");
        let mut daemon = Daemon::spawn_text("told", &told(&directory), "");
        daemon.until("both are up", |daemon| daemon.status("--quorum web").0 == Some(0));
        let ask = |line: &str| {
            let mut command = Command::new(XLVS);
            command.arg("events").args(line.split_whitespace());
            command.arg("--socket").arg(directory.join("sock")).stdout(Stdio::piped());
            command.stderr(Stdio::null());
            command
        };
        let listed = |line: &str| {
            let output = ask(line).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        let begun: Vec<String> = listed("--json").lines().map(happened).collect();
        let expected =
            "vip.announced director.forwarding server.up server.up quorum.met service.up";
        assert_eq!(begun.join(" "), expected);
        let mut follower = ask("--json --follow --after 6").spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut follow = |count: usize| -> Vec<String> {
            let next = |_| happened(&lines.next().expect("a line").unwrap());
            (0..count).map(next).collect()
        };

        say("two", "bad");
        assert_eq!(follow(3), ["server.down", "quorum.lost", "vip.withdrawn"]);
        assert!(!run("ip addr show dev eth0").contains("203.0.113.10"));
        say("two", "good");
        assert_eq!(follow(3), ["server.up", "quorum.met", "vip.announced"]);
        daemon.until("the hooks have run", |_| read("box").lines().count() == 6);
        let expected = "\
server.down 10.0.0.3 up 1/2 2/2 two: \"bad\" instead of \"good\"
quorum.lost met 1/2 1/2
vip.withdrawn announced / / its services are below quorum
server.up 10.0.0.3 down 2/2 1/2 two: good
quorum.met lost 2/2 2/2
vip.announced withdrawn / / its services have their quorum
";
        assert_eq!(read("box"), expected, "what begins as it should is not told");
        assert_eq!(read("web"), "quorum.lost\nquorum.met\n");
        let words = listed("--after 6");
        let line = " 7 server web 203.0.113.10:80/tcp 10.0.0.3:80: up -> down (two: \"bad\" \
                    instead of \"good\")";
        assert!(words.lines().next().unwrap().ends_with(line), "{words}");
        assert!(daemon.log().contains(&line[3..]), "{}", daemon.log());

        daemon.stop();
        assert_eq!(follow(2), ["director.stopping", "vip.withdrawn"]);
        assert_eq!(follower.wait().unwrap().code(), Some(1), "xlvs has ended");
        assert!(read("box").ends_with("vip.withdrawn announced / / xlvs stops\n"));

        // What an earlier run knew is no news, good or bad.
        fs::remove_file(directory.join("box")).unwrap();
        say("one", "bad");
        let mut daemon = Daemon::spawn_text("told", &told(&directory), "");
        daemon.until("one is down", |_| read("box").contains("vip.withdrawn"));
        daemon.stop();
        let mut daemon = Daemon::spawn_text("told", &told(&directory), "");
        daemon.until("it forwards", |daemon| daemon.log().contains("forwarding"));
        thread::sleep(Duration::from_millis(500));
        daemon.stop();
        assert_eq!(read("box").matches("server.down").count(), 1, "{}", read("box"));
        assert_eq!(read("box").matches("quorum.lost").count(), 1, "{}", read("box"));
    });
}
