//! The binary as an operator meets it: what it prints, where, and how it exits.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use control::{
    api::{self, Endpoint, Exporter, Source, assemble, ipvsadm, metrics},
    errand::{Desk, Errand},
    front::{Answer, Ask, Cursor, Filter, Page},
    report::Report,
};

fn xlvs(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xlvs")).args(arguments).output().expect("the binary runs")
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// Exit code, stdout, stderr.
fn outcome(output: &Output) -> (Option<i32>, String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A path of this test's own; the file there is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("xlvs-cli-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn examples_are_ok() {
    let mut count = 0;
    for entry in fs::read_dir(configs()).expect("configs/") {
        let path = entry.expect("readable").path();
        // Those of Grafana and Prometheus are in directories.
        if path.is_dir() {
            continue;
        }
        let file = path.to_str().expect("UTF-8");
        let (code, out, err) = outcome(&xlvs(&["check", file]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{file}");
        assert!(out.starts_with(&format!("{file}: ok (")), "{out}");
        count += 1;
    }
    assert!(count > 0);
    let minimal = configs().join("minimal.yaml");
    let (_, out, _) = outcome(&xlvs(&["check", minimal.to_str().expect("UTF-8")]));
    assert!(out.ends_with(": ok (1 service, 2 servers)\n"), "{out}");
}

const BROKEN: &str = "\
version: 1
interfaces: [eth0, eth0]
colour: blue
services:
  - {name: a, listen: 10.0.0.1:80/tcp, forward: warp, servers: [{address: 10.0.0.300}]}
";

#[test]
fn every_fault_is_printed_with_its_place() {
    let file = Scratch::new("broken.yaml");
    fs::write(&file.0, BROKEN).expect("a temporary file");
    for verb in [&["check"][..], &["run"]] {
        let (code, out, err) = outcome(&xlvs(&[verb, &[file.path()]].concat()));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        for (line, part) in [(2, "eth0"), (3, "colour"), (5, "warp"), (5, "10.0.0.300")] {
            let place = format!("{}:{line}:", file.path());
            let told = err.lines().any(|text| text.starts_with(&place) && text.contains(part));
            assert!(told, "{verb:?} line {line}, {part}:\n{err}");
        }
    }
}

#[test]
fn live_check_adds_the_box_to_the_file() {
    let file = Scratch::new("live.yaml");
    let text = "version: 1\ninterfaces: [nonesuch0]\nservices: []\n";
    fs::write(&file.0, text).expect("a temporary file");
    assert_eq!(outcome(&xlvs(&["check", file.path()])).0, Some(0));
    let (code, out, err) = outcome(&xlvs(&["check", "--live", file.path()]));
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    let place = format!("{}:2:14: interfaces[0]: \"nonesuch0\"", file.path());
    assert!(err.starts_with(&place), "{err}");

    fs::write(&file.0, BROKEN).expect("a temporary file");
    let (code, _, err) = outcome(&xlvs(&["check", file.path(), "--live"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("colour") && err.contains("warp"), "{err}");
}

/// Rules, and what is said of them, or how the error begins.
#[test]
fn rules_are_checked_as_they_would_be_read() {
    let (file, rules) = (Scratch::new("ruled.yaml"), Scratch::new("web.rules"));
    let text = "version: 1\ninterfaces: [eth0]\nservices:\n  - {name: web, listen: 203.0.113.10:80/tcp, \
        forward: nat, servers: [{address: 10.0.0.2}]}\n";
    fs::write(&file.0, text).expect("a temporary file");
    let dns = "-A -u 203.0.113.10:53 -s rr\n-a -u 203.0.113.10:53 -r 10.0.0.3:53 -m -w 1\n";
    let ok = format!("{}: ok (1 service, 1 server)\n", file.path());
    let both =
        format!("{}: ok (2 services, 2 servers), with those of the configuration\n", rules.path());
    let cases = [
        (dns.to_owned(), Ok(format!("{ok}{both}"))),
        (
            format!("{dns}-A -f 7 -s rr\n"),
            Ok(format!("warning: {}: no packet gets mark 7: ", rules.path())),
        ),
        (
            format!("{dns}\n-A -t 203.0.113.10:80 -s rr\n"),
            Err(
                ":4: Service already exists; rules are added to the configuration: remove the line",
            ),
        ),
        (
            format!("# saved\n{dns}-a -t 203.0.113.11:80 -r 10.0.0.3:80\n"),
            Err(":4: Service not defined; write the -A line of that service before it"),
        ),
        (
            format!("{dns}-A -t 203.0.113.11:80 -s rr --pe sip\n"),
            Err(":3: Scheduler or persistence engine not found; write a scheduler of LVS"),
        ),
        (format!("{dns}-L -n\n"), Err(":3: the 'list' command is no rule that can be restored; ")),
    ];
    for (text, expected) in cases {
        fs::write(&rules.0, &text).expect("a temporary file");
        let (code, out, err) = outcome(&xlvs(&["check", file.path(), "--rules", rules.path()]));
        match expected {
            Ok(start) => {
                assert_eq!((code, err.as_str()), (Some(0), ""), "{text}");
                assert!(out.starts_with(&start), "{out}");
            }
            Err(start) => {
                assert_eq!((code, out.as_str()), (Some(1), ""), "{text}");
                assert!(err.starts_with(&format!("{}{start}", rules.path())), "{err}");
            }
        }
    }
    let missing = Scratch::new("none.rules");
    let (code, _, err) = outcome(&xlvs(&["check", file.path(), "--rules", missing.path()]));
    assert_eq!(code, Some(1));
    assert!(err.starts_with(&format!("{}: cannot be read: ", missing.path())), "{err}");
}

#[test]
fn a_missing_file_is_named() {
    let file = Scratch::new("nowhere.yaml");
    for arguments in [&["check"][..], &["check", "--live"], &["run"]] {
        let (code, out, err) = outcome(&xlvs(&[arguments, &[file.path()]].concat()));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(err.starts_with(&format!("{}: cannot be read: ", file.path())), "{err}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["list", "file.yaml"],
        &["check", "--colour"],
        &["list", "--client", "192.0.2.1"],
        &["list", "--connections", "--state", "OPEN"],
    ] {
        assert_eq!(outcome(&xlvs(arguments)).0, Some(2), "{arguments:?}");
    }
    let (code, out, _) = outcome(&xlvs(&["--version"]));
    assert_eq!((code, out), (Some(0), format!("xlvs {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn list_without_a_daemon_tells_what_to_do() {
    let socket = Scratch::new("none.sock");
    for arguments in [&["list"][..], &["list", "--json"], &["list", "--connections"], &["metrics"]]
    {
        let all = [arguments, &["--socket", socket.path()]].concat();
        let (code, out, err) = outcome(&xlvs(&all));
        assert_eq!((code, out.as_str()), (Some(1), ""));
        for part in [socket.path(), "xlvs run", "--socket"] {
            assert!(err.contains(part), "{err}");
        }
    }
}

/// As the script does, which only then calls ipvsadm.
#[test]
fn ipvsadm_save_tells_its_usage_without_a_daemon() {
    let (link, socket) = (Scratch::new("save"), Scratch::new("no-daemon.sock"));
    let _ = fs::remove_dir_all(link.path());
    fs::create_dir(link.path()).unwrap();
    let program = Path::new(link.path()).join("ipvsadm-save");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_xlvs"), &program).unwrap();
    let run = |word: &str| {
        let mut command = Command::new(&program);
        outcome(&command.arg(word).env("XLVS_SOCKET", socket.path()).output().unwrap())
    };
    let usage = "ipvsadm-save: Script to save the IPVS table to stdout.\n   \
                 With the -n option, prints out the table in numeric format.\n";
    for word in ["-h", "--help", "-x"] {
        assert_eq!(run(word), (Some(1), String::new(), usage.to_owned()), "{word}");
    }
    let (code, out, err) = run("-n");
    fs::remove_dir_all(link.path()).unwrap();
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("Can't initialize ipvs: Protocol not available"), "{err}");
}

/// A report as the daemon's JSON.
const REPORT: &str = r#"{
  "probes": {"done": 0, "failed": {}, "in_flight": 0, "latest_us": 0, "late_us": 0,
    "late_p99_us": 0, "late": 0, "late_sum_us": 0, "begun": 0},
  "hooks": {"succeeded": 4, "failed": 1, "killed": 0, "collapsed": 0, "waiting": 0},
  "version": "1.2.3", "generation": 4, "uptime_s": 93784, "started_s": 1700000000.5,
  "stopping": false, "withdrawn": [], "managed": ["203.0.113.10"],
  "reloads": {"count": {"success": 2, "failure": 1}, "last": "failure", "last_success_s": 1700000009.0},
  "events": {"server": 3},
  "interfaces": [
    {"name": "eth0", "index": 2, "mac": "02:00:00:00:00:01", "mtu": 1500, "up": true, "queues": 4,
     "xdp_mode": "native", "zero_copy": true, "fallback": null, "taken": 0, "passed": 0, "oversize": 0, "no_socket": 0},
    {"name": "eth1", "index": 0, "mac": "00:00:00:00:00:00", "mtu": 0, "up": false, "queues": 1,
     "xdp_mode": null, "zero_copy": false, "fallback": "it is gone", "taken": 0, "passed": 0, "oversize": 0, "no_socket": 0}],
  "services": [
    {"name": "web", "protocol": "tcp", "address": "203.0.113.10", "port": 80,
     "key": "203.0.113.10:80/tcp", "scheduler": "wrr",
     "active": 7, "inactive": 12, "connections": 123456, "in_packets": 99999, "in_bytes": 102400,
     "out_packets": 100000, "out_bytes": 5000000000,
     "servers": [
       {"address": "10.0.2.11", "port": 8080, "forward": "nat", "weight": 65535, "state": "up",
        "active": 7, "inactive": 12, "connections": 123456, "in_packets": 99999,
        "in_bytes": 102400, "out_packets": 100000, "out_bytes": 5000000000, "templates": 0},
       {"address": "10.0.2.12", "port": 8080, "forward": "fullnat", "weight": 0,
        "state": "drained", "active": 0, "inactive": 0, "connections": 0, "in_packets": 0,
        "in_bytes": 0, "out_packets": 0, "out_bytes": 0, "templates": 0}]},
    {"name": "dns", "protocol": "udp", "address": "2001:db8::53", "port": 53,
     "key": "[2001:db8::53]:53/udp", "scheduler": "rr",
     "active": 0, "inactive": 0, "connections": 0, "in_packets": 0, "in_bytes": 0,
     "out_packets": 0, "out_bytes": 0, "servers": []}],
  "workers": [
    {"worker": 0, "alive": true, "core": 2, "generation": 4, "rx_packets": 123456789, "tx_packets": 5,
     "breaths": 9, "busy_breaths": 8, "busy_ns": 7000, "breath_steps": [6, 2], "waiting": 1,
     "ledger": {"total": 10, "pool": 10, "rx_lent": 0, "tx_lent": 0, "held": 0}}],
  "totals": {"drops": {"malformed": 0, "no_route": 3, "table_full": 12}, "punts": {"alien": 0},
    "answers": {"time_exceeded": 1}, "moved_ports": 2, "dropped_entries": 5, "stateless": 6, "opened": 123456,
    "bypassed": {"active": 1, "inactive": 2, "connections": 7, "in_packets": 99, "in_bytes": 9900,
      "out_packets": 0, "out_bytes": 0},
    "all": {"active": 8, "inactive": 14, "connections": 123463, "in_packets": 100098,
      "in_bytes": 112300, "out_packets": 100000, "out_bytes": 5000000000}},
  "tables": {"ipv4": {"connections": 19, "capacity": 1000}, "ipv6": {"connections": 0,
    "capacity": 250}, "half_open": {"now": 3, "limit": 250},
    "templates_ipv4": {"now": 1, "limit": 9}, "templates_ipv6": {"now": 0, "limit": 9},
    "fragments": {"now": 0, "limit": 16}, "services": {"now": 2, "limit": 16},
    "servers": {"now": 2, "limit": 64}},
  "rings": [
    {"interface": "eth0", "queue": 0, "worker": 0, "rx_dropped": 0, "rx_ring_full": 0,
     "fill_ring_empty": 0, "rx_invalid": 0, "tx_invalid": 0, "tx_ring_empty": 9},
    {"interface": "eth0", "queue": 1, "worker": 0, "rx_dropped": 4, "rx_ring_full": 6,
     "fill_ring_empty": 0, "rx_invalid": 0, "tx_invalid": 0, "tx_ring_empty": 9}]
}"#;

const LISTING: &str = "\
xlvs 1.2.3, up 1 d 2 h
connections: IPv4 19/1000, IPv6 0/250, half-open 3
eth0: up, native, zero-copy, queues 4, mtu 1500
eth1: down, not attached, copy, queues 1, mtu 0 (it is gone)
worker 0: core 2, received 123M, sent 5, held 1

  Address:Port      Forward Weight State   Active Inactive Conns InPkts InBytes OutPkts OutBytes
TCP 203.0.113.10:80 wrr web
  -> 10.0.2.11:8080 nat     65535  up           7       12  123k  99999   100Ki    100k   4768Mi
  -> 10.0.2.12:8080 fullnat 0      drained      0        0     0      0       0       0        0
UDP [2001:db8::53]:53 rr dns
  (no servers)

Dropped
  table_full 12
  no_route   3

Originated or held back
  time_exceeded 1

Source ports moved: 2
Past the servers: 7 connections, 3 now, 99 packets
Ended to make room: 5
Without an entry: 6 packets
Hooks: 1 failed, 0 killed, 0 waiting

eth0 queue 1: dropped by the kernel 4, receive ring full 6
";

/// A daemon that tells this, until the test's process ends.
fn serve(name: &str, report: Report) -> Scratch {
    let socket = Scratch::new(name);
    let endpoint = Endpoint::bind(&socket.0).expect("a socket");
    let source: Source = Arc::new(move || report.clone());
    let collector = Arc::default();
    let exporter = Exporter { source: Arc::clone(&source), collector, node_ipvs: Arc::default() };
    let router = assemble(Desk::open().0, [api::report(source), metrics(exporter)]);
    std::mem::forget(endpoint.start(router).expect("a thread"));
    socket
}

#[test]
fn list_prints_what_the_daemon_tells() {
    let socket = serve("list.sock", serde_json::from_str(REPORT).expect("a report"));

    let (code, out, err) = outcome(&xlvs(&["list", "--socket", socket.path()]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, LISTING);

    let (code, out, _) = outcome(&xlvs(&["list", "--json", "--socket", socket.path()]));
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let given: serde_json::Value = serde_json::from_str(REPORT).expect("JSON");
    assert_eq!((code, told), (Some(0), given));
}

#[test]
fn metrics_are_printed_as_prometheus_would_have_them() {
    let socket = serve("metrics.sock", serde_json::from_str(REPORT).expect("a report"));
    let run = |words: &[&str]| {
        outcome(&xlvs(&[&["metrics"], words, &["--socket", socket.path()]].concat()))
    };
    let (code, all, err) = run(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let web =
        "xlvs_service_connections_total{service=\"web\",listen=\"203.0.113.10:80/tcp\"} 123456";
    let drops = "xlvs_packets_dropped_total{reason=\"no_route\"} 3";
    for line in [web, drops, "xlvs_config_last_reload_successful 0"] {
        assert!(all.lines().any(|told| told == line), "{line}\n{all}");
    }
    let (code, some, _) = run(&["--collect", "services,node_ipvs"]);
    assert_eq!(code, Some(0));
    assert!(some.contains(web) && !some.contains(drops), "{some}");
    assert!(some.contains("\nnode_ipvs_connections_total 123463\n"), "{some}");
    let (code, out, err) = run(&["--collect", "service"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("the groups are director, workers"), "{err}");
}

/// A connection as the daemon's JSON.
fn connection(client: &str) -> serde_json::Value {
    serde_json::json!({
        "protocol": "tcp", "expires": 899, "state": "ESTABLISHED",
        "source": {"address": client, "port": 9001},
        "virtual_service": {"address": "203.0.113.10", "port": 80},
        "destination": {"address": "10.0.2.11", "port": 8080}, "engine": null,
    })
}

/// A daemon with three connections, in pages of two, none and one; it keeps what it was asked.
fn connections_in_pages(endpoint: Endpoint) -> std::sync::mpsc::Receiver<Page> {
    let (desk, mut asked) = Desk::open();
    let (tell, told) = std::sync::mpsc::channel();
    let place = |slot: u32| -> Option<Cursor> {
        Some(serde_json::from_value(serde_json::json!({"table": 0, "slot": slot})).unwrap())
    };
    let pages =
        [(vec!["192.0.2.1", "192.0.2.2"], place(1)), (vec![], place(2)), (vec!["192.0.2.3"], None)];
    // Both threads end with the test's process.
    let router = assemble(desk.clone(), [ipvsadm(desk)]);
    std::mem::forget(endpoint.start(router).expect("a thread"));
    std::thread::spawn(move || {
        while let Some(Errand::Ipvsadm(ask, answer)) = asked.blocking_recv() {
            let Ask::Connections(page) = ask else { panic!("{ask:?}") };
            let before = pages.iter().position(|(_, next)| *next == Some(page.from));
            let (clients, next) = &pages[before.map_or(0, |before| before + 1)];
            let rows = clients.iter().map(|client| connection(client));
            let rows = serde_json::from_value(rows.collect()).expect("connections");
            answer.send(Answer::Connections { rows, next: *next }).expect("somebody waits");
            tell.send(page).expect("the test");
        }
    });
    told
}

#[test]
fn connections_are_listed_page_by_page() {
    let socket = Scratch::new("connections.sock");
    let told = connections_in_pages(Endpoint::bind(&socket.0).expect("a socket"));
    let list = |more: &[&str]| {
        let words = [&["list", "--connections", "--socket", socket.path()], more].concat();
        outcome(&xlvs(&words))
    };
    let expected = "\
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 192.0.2.1:9001     203.0.113.10:80    10.0.2.11:8080
TCP 14:59  ESTABLISHED 192.0.2.2:9001     203.0.113.10:80    10.0.2.11:8080
TCP 14:59  ESTABLISHED 192.0.2.3:9001     203.0.113.10:80    10.0.2.11:8080
";
    assert_eq!(list(&[]), (Some(0), expected.to_owned(), String::new()));
    assert!(told.try_iter().all(|page| page.only == Filter::default()));

    let (code, out, _) = list(&["--json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let expected = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(connection);
    assert_eq!((code, rows), (Some(0), expected.into_iter().collect()));
    assert_eq!(out.lines().count(), 5, "{out}");
    assert_eq!(told.try_iter().count(), 3);

    let only = "--client 192.0.2.1 --vip 203.0.113.10 --server 10.0.2.11 --protocol TCP --state close \
        --service 203.0.113.10:80/tcp";
    list(&only.split_whitespace().collect::<Vec<_>>());
    let filter = serde_json::json!({
        "client": "192.0.2.1", "vip": "203.0.113.10", "server": "10.0.2.11", "state": "CLOSE",
        "service": {"endpoint": {"protocol": "tcp", "address": "203.0.113.10", "port": 80}},
        "protocol": "tcp", "name": null,
    });
    let asked: Vec<_> =
        told.try_iter().map(|page| serde_json::to_value(page.only).unwrap()).collect();
    assert_eq!(asked, vec![filter; 3]);
}
