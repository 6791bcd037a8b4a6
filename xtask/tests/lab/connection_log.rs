//! The connection log beside what others know: curl's ports, and the servers' access logs.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::{Config, Director, Lab};
use xtask::shell;

use crate::{CLIENT, stage};

/// Requests of one client.
const REQUESTS: usize = 60;

/// Each connection's begin and end is there, in FullNAT with the local address and port that its
/// server saw; what is moved away is begun anew; services that are not named are not logged.
#[test]
fn fullnat_connections_are_told_to_the_auditor() {
    let lab = stage("fullnat", 2);
    let topology = lab.topology();
    let vip = topology.vips[0];
    let file = lab.file("connections.jsonl");
    let yaml = Config::default().yaml(topology)
        + &format!("connection_log: {{file: {}, services: [web4]}}\n", file.display());
    let servers: Vec<String> = topology.servers().map(|(name, _)| name).collect();
    ports_in_access_logs(&lab, &servers);
    let director = Director::start_with_text(&lab, &yaml).unwrap();
    let ports = requests(&lab, vip, REQUESTS);
    lab.client().fetch(topology.vips[1], 5).unwrap();
    let lines = read_until(&file, 1 + 2 * REQUESTS);
    assert_eq!(lines[0]["event"], "start");
    let told = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
    let clients = |event| told(event).map(|line| text(&line["client"])).collect::<BTreeSet<_>>();
    let expected: BTreeSet<String> =
        ports.iter().map(|port| format!("{}:{port}", CLIENT[0])).collect();
    assert_eq!((clients("begin"), clients("end")), (expected.clone(), expected));
    for line in told("begin").chain(told("end")) {
        assert_eq!(
            (&*text(&line["service"]), &*text(&line["vip"])),
            ("web4", &*format!("{vip}:80"))
        );
        assert_eq!((&line["forward"], &line["protocol"]), (&"fullnat".into(), &"tcp".into()));
    }
    assert!(told("end").all(|line| line["reason"] == "fin"), "{lines:?}");
    let begins: BTreeMap<String, &Value> =
        told("begin").map(|line| (text(&line["id"]), line)).collect();
    assert_eq!(begins.len(), REQUESTS);
    for end in told("end") {
        let begin = begins[&text(&end["id"])];
        assert_eq!((&begin["client"], &begin["local"]), (&end["client"], &end["local"]));
        assert!(text(&begin["time"]) <= text(&end["time"]));
    }
    // What the servers saw: by server the local addresses with their ports.
    let logged = told("begin").map(|line| (text(&line["server"]), text(&line["local"]))).collect();
    assert_eq!(seen_by_servers(&lab, &servers), logged);

    rotated(&lab, &file);
    let json = director.json().unwrap();
    assert_eq!(json["connection_log"]["lost_rate"], 0, "{}", json["connection_log"]);
    director.stop().unwrap();
    let last = read_until(&file, 1);
    assert_eq!(last.last().unwrap()["event"], "stop");
}

fn rotated(lab: &Lab, file: &Path) {
    let aside = lab.file("connections.jsonl.moved");
    fs::rename(file, &aside).unwrap();
    let vip = lab.topology().vips[0];
    let ports = requests(lab, vip, 3);
    let lines = read_until(file, 6);
    let clients: BTreeSet<String> = lines.iter().map(|line| text(&line["client"])).collect();
    assert_eq!(clients, ports.iter().map(|port| format!("{}:{port}", CLIENT[0])).collect());
}

/// More connections than the log may have lines: the rest is counted there, and in the report.
#[test]
fn what_is_beyond_the_rate_is_told() {
    let lab = stage("nat", 1);
    let file = lab.file("connections.jsonl");
    let yaml = Config::default().yaml(lab.topology())
        + &format!("connection_log: {{file: {}, rate: 5}}\n", file.display());
    let director = Director::start_with_text(&lab, &yaml).unwrap();
    lab.client().fetch(lab.topology().vips[0], REQUESTS).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let lines = read_until(&file, 2);
        let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count() as u64;
        let lost: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
        let told = count("begin") + count("end") + lost;
        if told == 2 * REQUESTS as u64 {
            let counts = &director.json().unwrap()["connection_log"];
            assert_eq!(counts["lost_rate"], lost);
            assert!(lost > REQUESTS as u64, "{counts}");
            break;
        }
        assert!(Instant::now() < deadline, "{told} of {} are told", 2 * REQUESTS);
        std::thread::sleep(Duration::from_millis(50));
    }
    let listed = director.list(&[]).unwrap();
    assert!(listed.contains("Connection log lost: "), "{listed}");
    director.stop().unwrap();
}

/// A file that cannot be is a refusal, with the remedy.
#[test]
fn a_log_that_cannot_be_written_is_refused() {
    let lab = stage("nat", 1);
    let yaml = Config::default().yaml(lab.topology()) + "connection_log: {file: /proc/nothing/x}\n";
    let why = Director::start_with_text(&lab, &yaml).unwrap_err().to_string();
    let said = "connection_log.file: /proc/nothing/x: ";
    assert!(why.contains(said) && why.contains("name a file in a directory"), "{why}");
}

/// The client's port of each of so many requests.
fn requests(lab: &Lab, vip: &str, times: usize) -> Vec<u16> {
    let mut curl = lab.client().host().command("curl");
    curl.args(["-sS", "--fail", "--max-time", "5", "-H", "Connection: close", "-o", "/dev/null"]);
    curl.args(["-w", "%{local_port}\n"]);
    let said = shell::output(curl.arg(format!("http://{vip}/who?[1-{times}]"))).unwrap();
    let ports: Vec<u16> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(ports.len(), times);
    ports
}

/// Has the servers write the ports of those who ask them, too.
fn ports_in_access_logs(lab: &Lab, servers: &[String]) {
    for name in servers {
        let home = lab.file(name);
        let config = home.join("nginx.conf");
        let text = fs::read_to_string(&config).unwrap();
        let with_port = text
            .replace("'$remote_addr $request_method", "'$remote_addr:$remote_port $request_method");
        assert_ne!(text, with_port);
        fs::write(&config, with_port).unwrap();
        let pid = fs::read_to_string(home.join("nginx.pid")).unwrap();
        lab.host(name).run(&format!("kill -HUP {}", pid.trim())).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
}

/// By server with its port: from where it was asked over IPv4.
fn seen_by_servers(lab: &Lab, servers: &[String]) -> BTreeSet<(String, String)> {
    let mut seen = BTreeSet::new();
    for (name, own) in servers.iter().zip(&lab.topology().servers) {
        let log = fs::read_to_string(lab.file(name).join("access.log")).unwrap();
        let from = log.lines().filter_map(|line| line.split_whitespace().next());
        let from = from.filter(|from| from.split(':').count() == 2);
        seen.extend(from.map(|from| (format!("{}:80", own[0]), from.to_owned())));
    }
    seen
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The lines of a log that has at least so many, within 10 s.
fn read_until(file: &Path, lines: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let read: Vec<Value> =
            whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if read.len() >= lines {
            return read;
        }
        assert!(Instant::now() < deadline, "{} of {lines} lines", read.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}
