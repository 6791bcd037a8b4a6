//! `xlvs top` in a terminal of its own, and without one.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::Instant,
};

use control::{
    api::{Endpoint, Source, assemble, report},
    errand::Desk,
    report::{Report, Service},
};

const SERVICE: &str = r#"{"name": "web", "protocol": "tcp", "address": "203.0.113.10", "port": 80,
  "key": "203.0.113.10:80/tcp", "scheduler": "wrr", "active": 7, "inactive": 12,
  "connections": 0, "in_packets": 0, "in_bytes": 0, "out_packets": 0, "out_bytes": 0,
  "servers": [{"address": "10.0.2.11", "port": 8080, "forward": "nat", "weight": 1, "state": "up",
    "active": 7, "inactive": 12, "connections": 0, "in_packets": 0, "in_bytes": 0,
    "out_packets": 0, "out_bytes": 0}]}"#;

/// A daemon whose service has 1,000 new connections each second.
fn serve(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("xlvs-top-{}-{name}", std::process::id()));
    let endpoint = Endpoint::bind(&path).expect("a socket");
    let begin = Instant::now();
    let source: Source = Arc::new(move || {
        let mut service: Service = serde_json::from_str(SERVICE).expect("a service");
        service.counts.connections = begin.elapsed().as_millis() as u64;
        let uptime_s = begin.elapsed().as_secs();
        let services = vec![service];
        Report { version: "1.2.3".into(), uptime_s, services, ..Report::default() }
    });
    // Until the test's process ends.
    let router = assemble(Desk::open().0, [report(source)]);
    std::mem::forget(endpoint.start(router).expect("a thread"));
    path
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn one_picture() {
    let socket = serve("once");
    let output = Command::new(env!("CARGO_BIN_EXE_xlvs"))
        .args(["top", "--once", "--socket"])
        .arg(&socket)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let row = shown.lines().find(|line| line.contains("203.0.113.10:80/tcp")).expect("the service");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..5], [">", "web", "203.0.113.10:80/tcp", "1/1", "19"], "{shown}");
    // About 1,000, however busy this machine is.
    assert!(words[5] != "0", "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
}

#[test]
fn without_a_terminal_it_says_so() {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_xlvs"))
        .args(["top", "--socket", "/nonexistent"])
        .output()
        .expect("the binary runs");
    assert_eq!((status.code(), text(&stderr).contains("--once")), (Some(1), true));
}

/// Starts it with a terminal of 80 x 24, waits until `argv[2]` is there, quits by q, and looks how
/// the terminal is left.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
here, there = pty.openpty()
fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before = termios.tcgetattr(there)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(there, termios.TIOCSCTTY, 0)
    for descriptor in range(3): os.dup2(there, descriptor)
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:2] + ["top", "--socket", sys.argv[3]])
shown = b""
wanted = sys.argv[2].encode()
for _ in range(600):
    if select.select([here], [], [], 0.1)[0]: shown += os.read(here, 65536)
    if wanted in shown: break
else: sys.exit("never shown: %r" % shown)
os.write(here, b"\r")
os.write(here, b"q")
for _ in range(600):
    if select.select([here], [], [], 0.1)[0]: shown += os.read(here, 65536)
    done, status = os.waitpid(child, os.WNOHANG)
    if done: break
else: sys.exit("it does not end")
while select.select([here], [], [], 0.1)[0]: shown += os.read(here, 65536)
if status: sys.exit("status %d" % status)
for what in [b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"]:
    if what not in shown: sys.exit("without %r: %r" % (what, shown))
if shown.rindex(b"\x1b[?1049l") < shown.rindex(b"\x1b[?1049h"): sys.exit("the other screen stays")
if termios.tcgetattr(there) != before: sys.exit("the terminal is left in another mode")
"#;

#[test]
fn a_terminal_is_left_as_it_was() {
    let socket = serve("terminal");
    let output = Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_xlvs"), "203.0.113.10:80/tcp"])
        .arg(&socket)
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
