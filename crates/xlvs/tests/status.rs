//! `xlvs status`: the exit code, the words and the JSON, for daemons in every state.

use std::{
    fs,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use control::{
    api::{self, Endpoint, assemble},
    errand::Desk,
    report::Report,
};
use serde_json::{Value, json};

/// A socket's path of the test's own; removed in the end.
struct Socket(PathBuf);

impl Socket {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("xlvs-status-{}-{name}", std::process::id())))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Exit code and standard output, with a line's words behind `xlvs status`.
fn status(socket: &Socket, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xlvs"));
    command.arg("status").args(line.split_whitespace()).arg("--socket").arg(&socket.0);
    let output = command.output().expect("the binary runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// A report of two workers, two interfaces and two services, with some values replaced.
fn report(changes: &[(&str, Value)]) -> Report {
    let interface = |name: &str| {
        json!({"name": name, "index": 2, "mac": "02:00:00:00:00:01", "mtu": 1500, "up": true,
            "queues": 1, "xdp_mode": "native", "zero_copy": false, "fallback": null, "taken": 0,
            "passed": 0, "oversize": 0, "no_socket": 0})
    };
    let ledger = json!({"total": 1, "pool": 1, "rx_lent": 0, "tx_lent": 0, "held": 0});
    let worker = |number: u32| {
        json!({"worker": number, "alive": true, "core": null, "generation": 1, "rx_packets": 0,
            "tx_packets": 0, "breaths": 0, "busy_breaths": 0, "waiting": 0, "ledger": ledger})
    };
    let counts = json!({"active": 0, "inactive": 0, "connections": 0, "in_packets": 0,
        "in_bytes": 0, "out_packets": 0, "out_bytes": 0});
    let service = |name: &str, port: u16| {
        let mut service = counts.clone();
        for (key, value) in [
            ("name", json!(name)),
            ("protocol", json!("tcp")),
            ("address", json!("203.0.113.10")),
            ("port", json!(port)),
            ("scheduler", json!("wlc")),
            ("servers", json!([])),
            (
                "standing",
                json!({"quorum": true, "waiting": false, "weight": 3, "needed": 2, "sorry": false}),
            ),
        ] {
            service[key] = value;
        }
        service
    };
    let table = json!({"connections": 4, "capacity": 9});
    let mut report = json!({
        "version": "1.2.3", "generation": 4, "uptime_s": 65, "stopping": false, "withdrawn": [],
        "probes": {"done": 0, "failed": {}, "in_flight": 0, "latest_us": 0, "late_us": 0,
            "late_p99_us": 0, "late": 0},
        "hooks": {"succeeded": 0, "failed": 0, "killed": 0, "collapsed": 0, "waiting": 0},
        "interfaces": [interface("eth0"), interface("eth1")],
        "services": [service("web", 80), service("mail", 25)],
        "workers": [worker(0), worker(1)],
        "totals": {"drops": {}, "punts": {}, "answers": {}, "moved_ports": 0, "opened": 0,
            "dropped_entries": 0, "stateless": 0, "bypassed": counts},
        "tables": {"ipv4": table, "ipv6": table, "half_open": {"now": 0, "limit": 1}},
        "rings": [],
    });
    for (path, value) in changes {
        *report.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value.clone();
    }
    serde_json::from_value(report).expect("a report")
}

/// A daemon that tells this, until the test's process ends.
fn serve(name: &str, report: Report) -> Socket {
    let socket = Socket::new(name);
    let endpoint = Endpoint::bind(&socket.0).expect("a socket");
    let router = assemble(Desk::open().0, [api::report(Arc::new(move || report.clone()))]);
    std::mem::forget(endpoint.start(router).expect("a thread"));
    socket
}

/// What differs from a daemon that is well, what is asked, the exit code, what is said.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, i32, &'a str);

#[test]
fn the_worst_ill_is_the_exit_code() {
    let (worker, gone) = (("/workers/1/alive", "false"), ("/interfaces/1/index", "0"));
    let (down, bare) = (("/interfaces/0/up", "false"), ("/interfaces/0/xdp_mode", "null"));
    let (stopping, below) = (("/stopping", "true"), ("/services/0/standing/quorum", "false"));
    let sorry = ("/services/0/standing/sorry", "true");
    let waiting = ("/services/0/standing/waiting", "true");
    let rows: &[Row<'_>] = &[
        (&[], "", 0, "well, up 1 min 5 s"),
        (&[], "--quorum", 0, "well"),
        (&[stopping], "", 5, "it stops"),
        (&[worker], "", 6, "worker 1 does not answer"),
        (&[gone], "", 7, "eth1 is gone"),
        (&[down], "", 7, "eth0 is down"),
        (&[bare], "", 7, "eth0 has no XDP program"),
        (&[down], "--interface eth1", 0, "interfaces 1/2"),
        (&[down], "--interface eth1 --interface eth0", 7, "eth0 is down"),
        (&[], "--interface eth2", 1, "eth2 is not a served interface"),
        (&[below], "", 0, "web 203.0.113.10:80/tcp: is below its quorum, weight 3 of 2"),
        (&[below], "--quorum", 8, "is below its quorum"),
        (&[below, sorry], "--quorum web", 8, "its sorry server takes new connections"),
        (&[below, waiting], "--quorum mail web", 8, "waits for its servers' first answers"),
        (&[below], "--quorum mail", 0, "well"),
        (&[below], "--quorum mail none", 1, "there is no service named none"),
        (&[below], "--quorum web none", 8, "there is no service named none"),
        (&[below, down, worker], "--quorum", 6, "eth0 is down"),
        (&[worker, stopping], "", 5, "worker 1 does not answer"),
    ];
    for (number, (changes, line, code, words)) in rows.iter().enumerate() {
        let changes: Vec<(&str, Value)> = changes
            .iter()
            .map(|(path, value)| (*path, serde_json::from_str(value).expect("JSON")))
            .collect();
        let socket = serve(&format!("row-{number}"), report(&changes));
        let (found, out) = status(&socket, line);
        assert_eq!(found, Some(*code), "{changes:?} {line}\n{out}");
        assert!(out.contains(words), "{changes:?} {line}\n{out}");
        assert_eq!(out.contains("not well"), *code != 0, "{out}");
        let (found, out) = status(&socket, &format!("--json {line}"));
        let told: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((found, told["code"].as_i64()), (Some(*code), Some((*code).into())), "{out}");
        assert_eq!(told["ills"].as_array().expect("a list").is_empty(), *code == 0, "{out}");
    }
}

#[test]
fn it_is_said_in_words() {
    let below = ("/services/0/standing/quorum", json!(false));
    let changes =
        [below, ("/interfaces/1/up", json!(false)), ("/withdrawn", json!(["203.0.113.10"]))];
    let (code, out) = status(&serve("words", report(&changes)), "");
    let expected = "\
xlvs 1.2.3: not well, up 1 min 5 s
  eth1 is down
workers 2/2, interfaces 1/2, services 0/2, servers 0/0, connections 8
web 203.0.113.10:80/tcp: is below its quorum, weight 3 of 2
vip 203.0.113.10: withdrawn, its services are below quorum
";
    assert_eq!((code, out.as_str()), (Some(7), expected));
}

/// Code, kind in JSON, and how long it may take at most.
fn silent(socket: &Socket, line: &str, code: i32, kind: &str, longest: Duration) {
    let started = Instant::now();
    let (found, out) = status(socket, &format!("--json {line}"));
    let took = started.elapsed();
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let ill = &told["ills"][0]["kind"];
    assert_eq!((found, ill.as_str()), (Some(code), Some(kind)), "{out}");
    assert!(took < longest, "{line}: {took:?}");
    assert_eq!(status(socket, line), (Some(code), String::new()), "words are an error's");
}

#[test]
fn a_daemon_that_is_not_there_or_stuck_is_told_apart_in_time() {
    let soon = Duration::from_secs(1);
    let socket = Socket::new("none");
    silent(&socket, "", 3, "no_daemon", soon);
    // As SIGKILL leaves it.
    drop(UnixListener::bind(&socket.0).expect("a socket"));
    silent(&socket, "", 3, "no_daemon", soon);
    fs::remove_file(&socket.0).expect("the socket");

    // Nobody accepts; once its queue is full, not even a connection can be made.
    let stuck = UnixListener::bind(&socket.0).expect("a socket");
    silent(&socket, "", 4, "silent", Duration::from_secs(3));
    silent(&socket, "--timeout 200ms", 4, "silent", soon);
    let mut queued = Vec::new();
    for _ in 0..10_000 {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let client = client.expect("a socket");
        client.set_nonblocking(true).expect("non-blocking");
        let address = socket2::SockAddr::unix(&socket.0).expect("an address");
        if client.connect(&address).is_err() {
            break;
        }
        queued.push(client);
    }
    assert!(queued.len() < 10_000, "the queue is never full");
    silent(&socket, "--timeout 30s", 4, "silent", soon);
    drop(stuck);

    // One that hangs up, and one that is something else.
    fs::remove_file(&socket.0).expect("the socket");
    let rude = UnixListener::bind(&socket.0).expect("a socket");
    let rude = thread::spawn(move || {
        for stream in rude.incoming().take(2) {
            drop::<UnixStream>(stream.expect("a connection"));
        }
    });
    silent(&socket, "", 4, "silent", soon);
    rude.join().expect("no panic");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let socket = Socket::new("wrong");
    for line in ["--timeout 1", "--timeout soon", "--colour", "web", "--interface"] {
        assert_eq!(status(&socket, line).0, Some(2), "{line}");
    }
}
