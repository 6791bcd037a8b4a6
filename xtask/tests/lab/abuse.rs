//! The API of a running director is abused in every way at once, with traffic beside it: what is
//! wrong is refused as README says, who dawdles is bounded, who has the right to ask is answered,
//! and no packet notices.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use serde_json::Value;
use xtask::lab::{Director, Lab, Process, debug_binary};

use crate::kinds::certificates::{authority, signed};
use crate::load::{Load, add_sources};
use crate::{server, stage};

const ABUSE: &str = include_str!("abuse.py");

/// The director's address that faces the clients.
const ADDRESS: &str = "198.51.100.1";
const PORT: &str = "9443";
const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// Seconds of everything at once (a body may take 20), and of the crowd.
const EVERYTHING: &str = "25";
const CROWD: &str = "6";

/// Requests a second of the traffic beside it.
const RATE: u32 = 50;

/// Connections on the socket, and over TCP.
const SEATS: usize = 2 * 256;

/// What each way is answered with (README, "API over TCP" and RFC 9110). Any may be closed
/// instead, when a newcomer takes its seat; those without a status always are.
const ANSWERS: [(&str, Option<&str>); 26] = [
    ("no token", Some("401")),
    ("wrong token", Some("401")),
    ("wrong token, order", Some("401")),
    ("wrong scheme", Some("401")),
    ("viewer drains", Some("403")),
    ("viewer exports", Some("403")),
    ("operator applies", Some("403")),
    ("large body", Some("413")),
    ("large body, local", Some("413")),
    ("endless body", Some("413")),
    ("broken JSON", Some("400")),
    ("broken JSON, local", Some("400")),
    ("deep JSON", Some("422")),
    ("not UTF-8", Some("400")),
    ("another shape", Some("422")),
    ("not said to be JSON", Some("415")),
    ("large header", Some("431")),
    ("no HTTP", Some("400")),
    ("no HTTP, local", Some("400")),
    ("slow body", Some("408")),
    ("slow body, local", Some("408")),
    ("HTTP without TLS", None),
    ("no TLS", None),
    ("slow handshake", None),
    ("slow header", None),
    ("slow header, local", None),
];
/// Who does nothing may stay until the end, or has to go.
const HELD: [&str; 4] = ["idle", "idle, local", "unread answers", "unread answers, local"];

/// What came of each way, and how often.
type Outcomes = BTreeMap<String, BTreeMap<String, u64>>;

/// A director that is abused, and what its clients have.
struct Abused<'lab> {
    lab: &'lab Lab,
    director: Director<'lab>,
    ca: PathBuf,
}

impl<'lab> Abused<'lab> {
    fn start(lab: &'lab Lab) -> Self {
        let key = KeyPair::generate().unwrap();
        let (issuer, ca) = authority("ours").unwrap();
        let certificate = signed(&key, &issuer, ADDRESS, 2099).unwrap();
        for (name, text) in
            [("ca.pem", ca), ("api.pem", certificate), ("api.key", key.serialize_pem())]
        {
            fs::write(lab.file(name), text).unwrap();
        }
        fs::write(lab.file("tokens"), "").unwrap();
        fs::set_permissions(lab.file("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
        for role in ROLES {
            let mut add = Command::new(debug_binary().unwrap());
            add.args(["token", "add", role, "--role", role, "--file"]).arg(lab.file("tokens"));
            fs::write(lab.file(role), xtask::shell::output(&mut add).unwrap()).unwrap();
        }
        let director = Director::start_with_text(lab, &yaml(lab)).unwrap();
        Self { lab, director, ca: lab.file("ca.pem") }
    }

    /// Begins to abuse it: `all` or `crowd`.
    fn abuse(&self, mode: &str, seconds: &str) -> Process {
        let script = self.lab.file("abuse.py");
        fs::write(&script, ABUSE).unwrap();
        let host = self.lab.host("client");
        // The traffic's clients share the machine with it: what is tried is the director.
        let mut nice = host.command("nice");
        nice.args(["-n", "10", "/usr/bin/python3"]).arg(&script).args([mode, ADDRESS, PORT]);
        nice.arg(&self.ca).arg(self.lab.file("xlvs.sock"));
        for role in &ROLES[..2] {
            nice.arg(fs::read_to_string(self.lab.file(role)).unwrap().trim());
        }
        host.start(nice.arg(seconds), &self.lab.file(&format!("abuse-{mode}.log"))).unwrap()
    }

    /// What the admin is told over TCP.
    fn admin(&self, words: &[&str]) -> Output {
        let host = self.lab.host("client");
        let mut ask = host.command(&debug_binary().unwrap().to_string_lossy());
        ask.args(words).args(["--remote", &format!("https://{ADDRESS}:{PORT}"), "--ca"]);
        ask.arg(&self.ca).arg("--token-file").arg(self.lab.file("admin")).output().unwrap()
    }

    /// What root is told on the socket; it is always answered.
    fn root(&self, words: &[&str]) -> String {
        let output = self.director.command(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {told}{}", fault(&output));
        told
    }

    fn footprint(&self) -> Footprint {
        let place = format!("/proc/{}", self.director.process().pid());
        let pages = fs::read_to_string(format!("{place}/statm")).unwrap();
        let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        let descriptors = fs::read_dir(format!("{place}/fd")).unwrap().count();
        Footprint { descriptors, resident: pages * 4096 }
    }

    /// How long the workers' breaths were until now, as the report has it.
    fn breaths(&self) -> Vec<u64> {
        let report = self.director.json().unwrap();
        let workers = report["workers"].as_array().unwrap();
        assert!(workers.iter().all(|worker| worker["alive"] == true), "{workers:?}");
        let mut steps: Vec<u64> = Vec::new();
        for worker in workers {
            let of_it = worker["breath_steps"].as_array().unwrap();
            steps.resize(of_it.len(), 0);
            for (step, count) in steps.iter_mut().zip(of_it) {
                *step += count.as_u64().unwrap();
            }
        }
        steps
    }
}

fn yaml(lab: &Lab) -> String {
    let place = |name: &str| lab.file(name).display().to_string();
    let servers =
        [1, 2, 3].map(|number| format!("{{address: {}}}", server(lab, number, 0))).join(", ");
    format!(
        "version: 1\n\
         interfaces: [{}]\n\
         api:\n  \
           listen: [\"{ADDRESS}:{PORT}\"]\n  \
           tls: {{certificate: {}, key: {}}}\n  \
           tokens: {}\n\
         services:\n  \
         - {{name: web, listen: \"{}:80/tcp\", forward: nat, servers: [{servers}]}}\n",
        lab.topology().interfaces.join(", "),
        place("api.pem"),
        place("api.key"),
        place("tokens"),
        lab.topology().vips[0],
    )
}

fn fault(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a process has of the machine.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    descriptors: usize,
    /// Octets.
    resident: usize,
}

impl Footprint {
    fn or_more(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            resident: self.resident.max(other.resident),
        }
    }
}

/// What the admins saw while it was abused.
struct Watched {
    outcomes: Outcomes,
    most: Footprint,
    /// How often the admin over TCP was answered, and was closed.
    remote: [usize; 2],
    /// The slowest answer on the socket.
    slowest: Duration,
}

/// Root and the admin go on with their work until the abuse ends.
fn watch(abused: &Abused<'_>, mut abuse: Process) -> Watched {
    let mut most = abused.footprint();
    let (mut remote, mut slowest, mut weight) = ([0; 2], Duration::ZERO, 1);
    let name = format!("web/{}", server(abused.lab, 1, 0));
    let ended = loop {
        if let Some(status) = abuse.ended().unwrap() {
            break status;
        }
        let asked = Instant::now();
        abused.root(&["status", "--json"]);
        slowest = slowest.max(asked.elapsed());
        weight = 3 - weight;
        let told = abused.admin(&["weight", &name, &weight.to_string()]);
        let answered = told.status.success();
        remote[usize::from(!answered)] += 1;
        if answered {
            let report: Value = abused.director.json().unwrap();
            let first = &report["services"][0]["servers"][0];
            assert_eq!(first["weight"], weight, "{first}");
        }
        most = most.or_more(abused.footprint());
        std::thread::sleep(Duration::from_millis(100));
    };
    let words = abuse.words();
    assert!(ended.success(), "{words}");
    let outcomes = serde_json::from_str(&words).unwrap_or_else(|_| panic!("{words}"));
    Watched { outcomes, most, remote, slowest }
}

/// Each way came to its end as it should.
fn check(outcomes: &Outcomes) {
    for (way, answer) in ANSWERS {
        let came = outcomes.get(way).unwrap_or_else(|| panic!("{way} was not tried"));
        let expected = answer.unwrap_or("closed");
        assert!(came.contains_key(expected), "{way}: no {expected}: {came:?}");
        let known = |outcome: &str| [expected, "closed", "held"].contains(&outcome);
        assert!(came.keys().all(|outcome| known(outcome)), "{way}: {came:?}");
    }
    for way in HELD {
        let came = outcomes.get(way).unwrap_or_else(|| panic!("{way} was not tried"));
        assert!(came.keys().all(|o| ["closed", "held"].contains(&o.as_str())), "{way}: {came:?}");
    }
}

#[test]
fn an_api_that_is_abused_in_every_way_disturbs_no_traffic() {
    let lab = stage("nat", 2);
    add_sources(&lab);
    let abused = Abused::start(&lab);
    // What the first answers of each kind take stays.
    abused.root(&["status"]);
    assert!(abused.admin(&["status"]).status.success(), "{}", fault(&abused.admin(&["status"])));
    let (before, breaths) = (abused.footprint(), abused.breaths());
    let load = Load::start(&lab, lab.topology().vips[0], 80, RATE);
    let everything = watch(&abused, abused.abuse("all", EVERYTHING));
    let crowd = watch(&abused, abused.abuse("crowd", CROWD));
    let requests = load.finish();

    let failed: Vec<_> = requests.iter().filter(|request| request.failed()).collect();
    println!("{} requests, {} of them failed", requests.len(), failed.len());
    println!("breaths by their length: {breaths:?} before, {:?} after", abused.breaths());
    println!("before: {before:?}");
    for Watched { outcomes, most, remote, slowest } in [&everything, &crowd] {
        println!("{outcomes:#?}\n{most:?} at most, over TCP {remote:?}, local at most {slowest:?}");
    }
    assert!(failed.is_empty(), "{failed:?}");
    check(&everything.outcomes);
    assert!(everything.remote[0] > everything.remote[1], "the admin over TCP was shut out");
    for Watched { most, .. } in [&everything, &crowd] {
        assert!(most.descriptors < before.descriptors + SEATS + 64, "{most:?}");
        assert!(most.resident < before.resident + (96 << 20), "{most:?}");
    }
    is_as_before(&abused, before);
    refusals_are_in_the_log_and_nowhere_else(&abused);
    abused.director.settled_ledgers().unwrap();
    abused.director.stop().unwrap();
}

/// Descriptors and memory come back, and everybody is served.
fn is_as_before(abused: &Abused<'_>, before: Footprint) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let after = loop {
        let after = abused.footprint();
        if after.descriptors <= before.descriptors + 2 {
            break after;
        }
        assert!(Instant::now() < deadline, "{after:?} for {before:?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    println!("after: {after:?}");
    assert!(after.resident < before.resident + (64 << 20), "{after:?} for {before:?}");
    let told = abused.admin(&["status"]);
    assert!(told.status.success(), "{}", fault(&told));
    abused.root(&["status"]);
}

/// Who was refused is told in the log, some of them at least: what repeats is held back there. Events
/// are of what was done.
fn refusals_are_in_the_log_and_nowhere_else(abused: &Abused<'_>) {
    let log = abused.director.process().words();
    println!("{} lines of the log", log.lines().count());
    for refused in [
        "audit token viewer: POST /v1/servers/state: refused: ",
        "audit token operator: POST /v1/config/apply: refused: ",
        "audit root: POST /v1/servers/state: refused: ",
    ] {
        assert!(log.contains(refused), "no {refused}: {log}");
    }
    let events = abused.root(&["events", "--json"]);
    let audits: Vec<&str> = events.lines().filter(|line| line.contains("\"audit\"")).collect();
    assert!(!audits.is_empty(), "{events}");
    assert!(audits.iter().all(|line| line.contains("token admin")), "{audits:?}");
}
