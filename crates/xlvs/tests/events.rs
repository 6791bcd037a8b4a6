//! `xlvs events`: what it prints of what the daemon keeps, and how it ends.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use control::{
    api::{Endpoint, Served, assemble, events},
    errand::Desk,
    event::{Chronicle, Event, Kind, Subject},
};

/// A daemon that has events; it ends when this is dropped.
struct Daemon {
    socket: PathBuf,
    _served: Served,
}

impl Daemon {
    fn start(name: &str, chronicle: &Arc<Chronicle>) -> Self {
        let socket = std::env::temp_dir().join(format!("xlvs-ev-{}-{name}", std::process::id()));
        let endpoint = Endpoint::bind(&socket).expect("a socket");
        let router = assemble(Desk::open().0, [events(Arc::clone(chronicle))]);
        Self { socket, _served: endpoint.start(router).expect("a thread") }
    }

    fn ask(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xlvs"));
        command.arg("events").args(line.split_whitespace()).arg("--socket").arg(&self.socket);
        command
    }
}

/// An event a second, from 2027-01-15 08:00 on (UTC).
fn happens(chronicle: &Chronicle, count: u64) {
    for _ in 0..count {
        let subject = Subject {
            service: Some("shop".to_owned()),
            mark: Some(10),
            server: Some("[fd00::11]:80".parse().expect("an address")),
            ..Subject::default()
        };
        let event = Event::new(Kind::Server, subject, "up", "down");
        let mut event = Event { reason: "tcp: connection refused".to_owned(), ..event };
        event.time = UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
        chronicle.write(&mut event);
    }
}

#[test]
fn the_kept_ones_are_printed_and_a_gap_is_said() {
    let chronicle = Arc::new(Chronicle::keeping(2));
    let daemon = Daemon::start("kept", &chronicle);
    let printed = |line: &str| {
        let output = daemon.ask(line).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(printed(""), "");
    happens(&chronicle, 4);
    let words = "server shop mark 10 [fd00::11]:80: up -> down (tcp: connection refused)";
    let expected = format!(
        "2 events, until 2, are not kept any more\n2027-01-15T08:00:00.250Z 3 {words}\n\
         2027-01-15T08:00:00.250Z 4 {words}\n"
    );
    assert_eq!(printed(""), expected);
    let json = r#"{"sequence":4,"time":"2027-01-15T08:00:00.250Z","kind":"server","service":"shop","mark":10,"server":"[fd00::11]:80","old":"up","new":"down","initial":false,"reason":"tcp: connection refused"}"#;
    assert_eq!(printed("--json --after 3"), format!("{json}\n"));
    assert!(printed("--json").starts_with("{\"missed\":2,\"until\":2}\n"));
    assert_eq!(printed("--after 4"), "");
    assert_eq!(printed("--after 99"), expected, "an earlier daemon's number");
}

#[test]
fn who_follows_gets_each_until_the_daemon_ends() {
    let chronicle = Arc::new(Chronicle::default());
    let daemon = Daemon::start("follow", &chronicle);
    happens(&chronicle, 1);
    let mut follower = daemon.ask("--follow");
    follower.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = follower.spawn().expect("it runs");
    let lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let (heard, hears) = mpsc::channel();
    let reader = thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| heard.send(l)));
    for number in 1..=3 {
        let line = hears.recv_timeout(Duration::from_secs(5)).expect("a line in time");
        assert!(line.contains(&format!("Z {number} server")), "{line}");
        happens(&chronicle, 1);
    }
    drop(daemon);
    let output = follower.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.ends_with("xlvs has ended\n"), "{said}");
    reader.join().expect("no panic").expect("somebody listens");
}

#[test]
fn a_reader_that_goes_is_no_failure_and_no_daemon_is_one() {
    let chronicle = Arc::new(Chronicle::default());
    let daemon = Daemon::start("gone", &chronicle);
    happens(&chronicle, 1);
    let mut follower = daemon.ask("--follow").stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    lines.next().expect("a line").expect("readable");
    drop(lines);
    happens(&chronicle, 1);
    assert_eq!(follower.wait().expect("it ends").code(), Some(0));
    let mut ask = daemon.ask("");
    drop(daemon);
    let output = ask.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no xlvs answers here"));
}
