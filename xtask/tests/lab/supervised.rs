//! Under systemd, whose part the tests play: what xlvs tells on its notification socket
//! (sd_notify(3)), what its watchdog hears, what the journal gets, which capabilities remain.
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::lab::{Config, Director, Lab, debug_binary};

use crate::{server, stage};

/// A socket of the test's own, as systemd's.
struct Listener {
    socket: UnixDatagram,
    place: String,
}

impl Listener {
    fn new(lab: &Lab) -> Self {
        let place = lab.file("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        Self { socket, place: place.to_string_lossy().into_owned() }
    }

    /// What comes within that time, a line each.
    fn hear(&self, during: Duration) -> Vec<String> {
        let end = Instant::now() + during;
        let mut heard = Vec::new();
        while Instant::now() < end {
            heard.extend(self.next());
        }
        heard
    }

    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap_or(0);
        String::from_utf8_lossy(&message[..length]).lines().map(ToOwned::to_owned).collect()
    }

    /// Everything up to the line that begins so.
    fn until(&self, begin: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut heard = Vec::new();
        while !heard.iter().any(|line: &String| line.starts_with(begin)) {
            assert!(Instant::now() < deadline, "no {begin} but {heard:?}");
            heard.extend(self.next());
        }
        heard
    }
}

const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn systemd_is_told_and_its_watchdog_fed_by_progress() {
    let lab = stage("nat", 2);
    let systemd = Listener::new(&lab);
    let to = format!("NOTIFY_SOCKET={}", systemd.place);
    let watchdog = format!("WATCHDOG_USEC={}", PATIENCE.as_micros());
    let text = format!("{}stop_grace: 300ms\n", Config::default().yaml(lab.topology()));
    let director = Director::start_wrapped(&lab, &["env", &to, &watchdog], &text).unwrap();

    let mut heard = systemd.until("READY=1");
    lab.client().fetch(lab.topology().vips[0], 3).unwrap();
    heard.extend(systemd.until("STATUS=forwarding: services 10, servers up 22 of 22"));
    heard.extend(systemd.until("WATCHDOG=1"));
    assert!(!heard.iter().any(|line| line.starts_with("STOPPING")), "{heard:?}");

    let mut stop = Command::new("python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/stop_thread.py");
    stop.arg(script).arg(thread(director.process().pid(), "xlvs-worker-1").to_string());
    let stopped = lab.director().start(&mut stop, &lab.file("stop.log")).unwrap();
    let heard = systemd.until("STATUS=worker 1 does not answer");
    drop(heard);
    let ill = director.command(&["status"]).output().unwrap();
    assert_eq!(ill.status.code(), Some(6), "{}", String::from_utf8_lossy(&ill.stdout));
    let heard = systemd.hear(PATIENCE);
    assert!(!heard.iter().any(|line| line == "WATCHDOG=1"), "fed while a worker stands: {heard:?}");

    stopped.stop().unwrap();
    systemd.until("WATCHDOG=1");
    director.process().signal("TERM").unwrap();
    let heard = systemd.until("STOPPING=1");
    assert!(heard.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=30300000"), "{heard:?}");
    director.wait().unwrap();
}

/// The number of a thread of that name.
fn thread(process: u32, name: &str) -> u32 {
    threads(process).into_iter().find(|thread| thread.name == name).unwrap().id
}

struct Thread {
    id: u32,
    name: String,
    /// Effective, permitted, inheritable and ambient ones.
    capabilities: [u64; 4],
    bounding: u64,
}

fn threads(process: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let read = |path: &Path| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let fields: HashMap<&str, &str> =
            status.lines().filter_map(|line| line.split_once(":\t")).collect();
        let set = |name| u64::from_str_radix(fields[name], 16).unwrap();
        Some(Thread {
            id: fields["Pid"].parse().unwrap(),
            name: fields["Name"].to_owned(),
            capabilities: ["CapEff", "CapPrm", "CapInh", "CapAmb"].map(set),
            bounding: set("CapBnd"),
        })
    };
    tasks.flatten().filter_map(|entry| read(&entry.path())).collect()
}

/// Bits of linux/capability.h.
const fn bits(numbers: &[u32]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < numbers.len() {
        bits |= 1 << numbers[at];
        at += 1;
    }
    bits
}

const KILL_SETGID_SETUID: u64 = bits(&[5, 6, 7]);
const NET_RAW: u64 = bits(&[13]);
const NET_ADMIN: u64 = bits(&[12]);
/// With IPC_LOCK, PERFMON, BPF and NET_BIND_SERVICE.
const CONTROL: u64 = KILL_SETGID_SETUID | NET_RAW | NET_ADMIN | bits(&[10, 14, 38, 39]);
/// With CHOWN, SETPCAP and SYS_ADMIN.
const START: u64 = CONTROL | bits(&[0, 8, 21]);

/// What each thread may keep, by the beginning of its name; `None`: nothing is known of it.
fn allowed(name: &str) -> Option<u64> {
    let table = [
        ("xlvs-worker-", 0),
        ("xlvs-punt", 0),
        ("xlvs-resolve", 0),
        ("xlvs-watchdog", 0),
        ("xlvs-probes-", 0),
        ("xlvs-probes", NET_RAW),
        ("xlvs-health", NET_RAW | NET_ADMIN | KILL_SETGID_SETUID),
        ("xlvs-connlog", 0),
        ("xlvs-hooks", KILL_SETGID_SETUID),
        // Verifying asks as health does.
        ("xlvs-socket", CONTROL),
        ("xlvs", CONTROL),
        ("tokio-r", CONTROL),
    ];
    table.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, allowed)| *allowed)
}

/// A service checked by way of itself, by a program and by a ping, with a hook: everything that
/// wants a thread of its own.
fn yaml(lab: &Lab) -> String {
    let topology = lab.topology();
    let servers = [1, 2].map(|number| format!("{{address: {}}}", server(lab, number, 0)));
    format!(
        "version: 1
interfaces: [{}]
probe_sources: [10.99.0.1]
checks:
  through: {{type: http, path: /who, via: service, interval: 250ms, timeout: 250ms}}
  program: {{type: exec, argv: [/bin/true], interval: 250ms, timeout: 250ms}}
  ping: {{type: ping, interval: 250ms, timeout: 250ms}}
hooks: [{{argv: [/bin/sh, -c, 'id -u >{}'], on: server.up}}]
vips: [{{address: {vip}/32, interface: {}, managed: true}}]
services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, checks: [through, program, ping], servers: [{}]}}
",
        topology.interfaces.join(", "),
        lab.file("hooked").display(),
        topology.interfaces[0],
        servers.join(", "),
        vip = topology.vips[0],
    )
}

/// It forwards, its checks and hooks run, and no thread has more than it may. `privileged`: with
/// all of root's at the start.
fn has_the_least(lab: &Lab, director: &Director<'_>, privileged: bool) {
    director.until("web", &["up", "up"]).unwrap();
    lab.client().fetch(lab.topology().vips[0], 4).unwrap();
    let threads = threads(director.process().pid());
    let found = |name: &str| threads.iter().any(|thread| thread.name.starts_with(name));
    for name in [
        "xlvs-worker-1",
        "xlvs-punt",
        "xlvs-probes-out",
        "xlvs-health",
        "xlvs-hooks",
        "xlvs-socket",
    ] {
        assert!(found(name), "no thread {name}");
    }
    for Thread { name, capabilities, bounding, .. } in &threads {
        let allowed = allowed(name).unwrap_or_else(|| panic!("{name}: a thread that nobody knows"));
        let [effective, permitted, inheritable, ambient] = *capabilities;
        println!("{name}: {effective:x}, bounding {bounding:x}");
        if privileged {
            assert_eq!((effective, permitted), (allowed, allowed), "{name}: {permitted:x}");
            assert_eq!(bounding & !START, 0, "{name}");
        } else {
            assert_eq!((effective | permitted) & !allowed, 0, "{name}: {permitted:x}");
        }
        let lent = if privileged || allowed != CONTROL { 0 } else { NET_ADMIN };
        assert_eq!((inheritable, ambient), (lent, lent), "{name}");
    }
}

#[test]
fn as_root_each_thread_keeps_what_it_needs() {
    let lab = stage("nat", 2);
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    has_the_least(&lab, &director, true);
    director.stop().unwrap();
}

#[test]
fn an_unprivileged_user_with_ambient_capabilities_runs_it() {
    let lab = stage("nat", 2);
    let home = lab.file("home");
    fs::create_dir(&home).unwrap();
    // Where the build lies, this user may not look; and the socket lies in the lab's directory.
    let binary = home.join("xlvs");
    fs::copy(debug_binary().unwrap(), &binary).unwrap();
    fs::set_permissions(lab.file("."), fs::Permissions::from_mode(0o777)).unwrap();
    let run = format!("shift; exec {} \"$@\"", binary.display());
    let names = ["net_admin", "net_raw", "bpf", "perfmon", "ipc_lock", "sys_admin"];
    // A machine may keep this device for root; Debian does not.
    let device = "mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";
    let names: Vec<String> = names.iter().map(|name| format!("+{name}")).collect();
    let list = names.join(",");
    let wrapping = [
        "sh",
        "-c",
        device,
        "sh",
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "--inh-caps",
        &list,
        "--ambient-caps",
        &list,
        "sh",
        "-c",
        &run,
        "sh",
    ];
    let director = Director::start_wrapped(&lab, &wrapping, &yaml(&lab)).unwrap();
    let owner = fs::metadata(format!("/proc/{}", director.process().pid())).unwrap().uid();
    assert_ne!(owner, 0, "it is root");
    has_the_least(&lab, &director, false);
    director.stop().unwrap();
}

/// Where stderr is the journal's, events have fields there; `RUST_LOG` holds.
#[test]
fn the_journal_gets_fields() {
    let lab = stage("nat", 1);
    let home = lab.file("journal");
    fs::create_dir(&home).unwrap();
    let journal = UnixDatagram::bind(home.join("socket")).unwrap();
    journal.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let pretend = format!(
        "mkdir -p /run/systemd/journal && mount --bind {} /run/systemd/journal && \
         export RUST_LOG=info JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && exec \"$@\"",
        home.display()
    );
    let director =
        Director::start_wrapped(&lab, &["sh", "-c", &pretend, "sh"], &yaml(&lab)).unwrap();
    director.until("web", &["up", "up"]).unwrap();
    let log =
        threads(director.process().pid()).into_iter().find(|thread| thread.name == "xlvs-log");
    assert_eq!(log.unwrap().capabilities, [0; 4]);
    let (first, deadline) = (format!("{}:80", server(&lab, 1, 0)), Instant::now() + PATIENCE * 5);
    let mut entry = [0; 8192];
    let up = loop {
        let length = journal.recv(&mut entry).unwrap_or(0);
        let fields = fields(&entry[..length]);
        let is = |name: &str, value: &str| fields.get(name).is_some_and(|found| found == value);
        if is("EVENT", "server.up") && is("SERVER", &first) {
            break fields;
        }
        assert!(Instant::now() < deadline, "no event of {first}; the last: {fields:?}");
    };
    for (field, value) in
        [("SERVICE", "web"), ("TO", "up"), ("PRIORITY", "5"), ("SYSLOG_IDENTIFIER", "xlvs")]
    {
        assert_eq!(up[field], value, "{field} in {up:?}");
    }
    assert!(up["MESSAGE"].starts_with("server web "), "{up:?}");
    assert!(!director.process().words().contains("server web"), "on stderr, too");
    director.stop().unwrap();
}

/// An entry in journald's own form: `NAME=value`, or `NAME`, eight octets of length, and the value.
fn fields(mut entry: &[u8]) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    while let Some(end) = entry.iter().position(|octet| *octet == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        if let Some(equals) = line.iter().position(|octet| *octet == b'=') {
            fields.insert(text(&line[..equals]), text(&line[equals + 1..]));
            entry = rest;
            continue;
        }
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        fields.insert(text(line), text(&rest[8..8 + length]));
        entry = &rest[8 + length + 1..];
    }
    fields
}
