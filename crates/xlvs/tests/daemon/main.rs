//! `xlvs run` through its life, in a network namespace of its own: what it refuses, what it
//! follows, what it leaves behind. Needs root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

mod told;

const XLVS: &str = env!("CARGO_BIN_EXE_xlvs");
const PIN: &str = "/sys/fs/bpf/xlvs/eth0";

/// Runs `test` in fresh network and mount namespaces, with `eth0` and its peer `far0`.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let outcome = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        run("mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf");
        run("ip link set lo up");
        plug(1);
        test();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// `eth0` with so many queues, up.
fn plug(queues: u32) {
    let count = format!("numtxqueues {queues} numrxqueues {queues}");
    run(&format!("ip link add eth0 {count} type veth peer name far0 {count}"));
    run("ip link set eth0 up && ip link set far0 up && ip addr add 10.0.0.1/24 dev eth0");
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("sh");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has_program() -> bool {
    run("ip link show dev eth0").contains("xdp")
}

/// A running daemon, with its own directory; killed and swept away in the end.
struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Spawns it and does not wait.
    fn spawn(name: &str, more: &str) -> Self {
        Self::spawn_with(name, more, "")
    }

    /// The same, with `--rules` of that text unless it is empty.
    fn spawn_with(name: &str, more: &str, rules: &str) -> Self {
        let text = format!(
            "version: 1\ninterfaces: [eth0]\nlimits: {{connections: 1024}}\nservices:\n  \
             - {{name: web, listen: \"203.0.113.10:80/tcp\", forward: nat, scheduler: rr, \
             servers: [{{address: \"10.0.0.2:80\"}}]}}\n{more}"
        );
        Self::spawn_text(name, &text, rules)
    }

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xlvs-{}-{name}", std::process::id()))
    }

    /// The same, with another file.
    fn spawn_text(name: &str, text: &str, rules: &str) -> Self {
        let directory = Self::directory(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("xlvs.yaml"), text).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = Command::new(XLVS);
        command.arg("run").arg(directory.join("xlvs.yaml"));
        command.arg("--socket").arg(directory.join("sock"));
        command.arg("--state").arg(directory.join("state"));
        if !rules.is_empty() {
            fs::write(directory.join("rules"), rules).unwrap();
            command.arg("--rules").arg(directory.join("rules"));
        }
        let child = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
        Self { child, directory }
    }

    /// Spawns it and waits until it forwards.
    fn start(name: &str, more: &str) -> Self {
        Self::start_with(name, more, "")
    }

    /// The same, with rules.
    fn start_with(name: &str, more: &str, rules: &str) -> Self {
        let mut daemon = Self::spawn_with(name, more, rules);
        daemon.until("forwarding", |daemon| daemon.log().contains("forwarding"));
        daemon
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            let late = Instant::now() > deadline;
            assert!(ended.is_none() && !late, "{what}: {ended:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    fn list(&self) -> String {
        let socket = self.directory.join("sock");
        let output = Command::new(XLVS).arg("list").arg("--socket").arg(socket).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `xlvs check --live` of its file: exit code, all that it says.
    fn check(&self) -> (Option<i32>, String) {
        let mut command = Command::new(XLVS);
        command.args(["check", "--live"]).arg(self.directory.join("xlvs.yaml"));
        let output = command.arg("--socket").arg(self.directory.join("sock")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// `xlvs status` with a line of words: exit code and standard output.
    fn status(&self, line: &str) -> (Option<i32>, String) {
        let mut command = Command::new(XLVS);
        command.arg("status").args(line.split_whitespace());
        let output = command.arg("--socket").arg(self.directory.join("sock")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `xlvs ipvsadm` with a line of words: exit code, standard output, standard error.
    fn ipvsadm(&self, line: &str) -> (Option<i32>, String, String) {
        self.ipvsadm_from(line, Stdio::null())
    }

    /// The same, with something on its standard input.
    fn ipvsadm_from(&self, line: &str, input: Stdio) -> (Option<i32>, String, String) {
        let mut command = Command::new(XLVS);
        command.arg("ipvsadm").args(line.split_whitespace());
        command.env("XLVS_SOCKET", self.directory.join("sock")).stdin(input);
        let output = command.output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Ticks of 10 ms of processor time, all threads (proc(5), fields 14 and 15 of stat).
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const MANAGED: &str = "vips:
  - {address: 203.0.113.10/32, interface: eth0, managed: true}
  - {address: \"2001:db8::10/128\", interface: eth0, managed: true}
";

#[test]
fn a_pinned_program_stays_and_goes_as_the_file_says() {
    in_namespace(|| {
        let drop = "when_down: drop\n";
        let mut daemon = Daemon::start("drop", drop);
        daemon.stop();
        assert!(has_program() && Path::new(PIN).exists(), "{}", daemon.log());
        // The file says pass now: taken over without a gap, then gone with the process.
        let mut daemon = Daemon::start("pass", "");
        assert!(has_program() && !Path::new(PIN).exists(), "{}", daemon.log());
        daemon.stop();
        assert!(!has_program());
        // A start that fails leaves no pin; one that was there stays.
        run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
        let refused = format!("{drop}{MANAGED}");
        let mut failing = Daemon::spawn("fails", &refused);
        assert!(!failing.ended().success());
        assert!(failing.log().contains("2001:db8::10"), "{}", failing.log());
        assert!(!has_program() && !Path::new(PIN).exists(), "{}", failing.log());
        Daemon::start("again", drop).stop();
        assert!(!Daemon::spawn("fails-again", &refused).ended().success());
        assert!(has_program() && Path::new(PIN).exists());
        // One of an interface that is gone is of no use.
        run("ip link del eth0");
        run("ip link add eth9 type veth peer name far9 && ip link set eth9 up");
        let mut other = Daemon::spawn("other", "");
        let file = other.directory.join("xlvs.yaml");
        let text = fs::read_to_string(&file).unwrap().replace("eth0", "eth9");
        assert!(!other.ended().success(), "there is no eth0");
        fs::write(&file, text).unwrap();
        let socket = other.directory.join("sock");
        let mut command = Command::new(XLVS);
        command.arg("run").arg(&file).arg("--socket").arg(socket).stderr(Stdio::null());
        command.arg("--state").arg(other.directory.join("state"));
        other.child = command.spawn().unwrap();
        other.until("eth9 is served", |daemon| daemon.list().contains("eth9: "));
        assert!(!Path::new(PIN).exists());
        other.stop();
    });
}

#[test]
fn an_interface_comes_back_with_its_vips_and_other_queues() {
    in_namespace(|| {
        run("ip link del eth0");
        plug(2);
        let mut daemon = Daemon::start("back", MANAGED);
        let here = |family: &str, vip: &str| {
            run(&format!("ip -{family} -o addr show dev eth0")).contains(vip)
        };
        let both = |_: &Daemon| here("4", "203.0.113.10/32") && here("6", "2001:db8::10/128");
        assert!(both(&daemon));
        run("ip link set eth0 down");
        assert!(!both(&daemon), "the kernel takes IPv6 addresses away");
        run("ip link set eth0 up");
        daemon.until("the VIPs are back after down and up", both);

        run("ip link del eth0");
        daemon.until("gone", |daemon| daemon.log().contains("the interface is gone"));
        plug(1);
        // Two workers, one queue: said once, and served again when there are enough.
        daemon.until("refused", |daemon| daemon.log().contains("eth0: not served"));
        thread::sleep(Duration::from_secs(6));
        assert_eq!(daemon.log().matches("eth0: not served").count(), 1, "{}", daemon.log());
        assert!(daemon.list().contains("eth0: up, not attached"), "{}", daemon.list());
        run("ip link del eth0");
        plug(3);
        daemon.until("served", |daemon| daemon.log().contains("served again"));
        daemon.until("the VIPs are back with the interface", both);
        assert!(daemon.list().contains("queues 3"), "{}", daemon.list());
        daemon.stop();
        assert!(!both(&daemon) && !has_program(), "{}", daemon.log());
    });
}

#[test]
fn an_mtu_that_no_frame_holds_is_told() {
    in_namespace(|| {
        let mut daemon = Daemon::start("mtu", "");
        // A veth refuses it while native XDP is on; its renamed self says the same later.
        run("ip link set eth0 name eth5");
        daemon.until("gone", |daemon| daemon.log().contains("the interface is gone"));
        run("ip link set eth5 mtu 3000 && ip link set eth5 name eth0");
        daemon.until("told", |daemon| daemon.log().contains("its MTU is now 3000"));
        daemon.until("served", |daemon| daemon.log().contains("served again"));
        daemon.stop();
        let mut refused = Daemon::spawn("mtu-start", "");
        assert!(!refused.ended().success());
        assert!(refused.log().contains("MTU of 3000"), "{}", refused.log());
        assert!(!has_program());
    });
}

#[test]
fn a_signal_during_the_start_leaves_nothing() {
    in_namespace(|| {
        let links = run("ip -o link show | wc -l");
        for delay in [0, 10, 30, 60, 100, 200, 400] {
            let mut daemon = Daemon::spawn("early", MANAGED);
            thread::sleep(Duration::from_millis(delay));
            daemon.signal(Signal::SIGTERM);
            daemon.ended();
            let left = run("ip -o addr show dev eth0");
            assert!(!left.contains("::10/128") && !left.contains("113.10"), "{delay}: {left}");
            assert!(!has_program(), "{delay} ms");
            assert_eq!(run("ip -o link show | wc -l"), links, "{delay} ms");
        }
    });
}

#[test]
fn a_second_signal_ends_the_grace_and_sighup_ends_nothing() {
    in_namespace(|| {
        let mut daemon = Daemon::start("grace", "stop_grace: 60s\n");
        daemon.signal(Signal::SIGHUP);
        daemon.until("the file is applied", |daemon| daemon.log().contains("config: applied"));
        daemon.signal(Signal::SIGTERM);
        daemon.until("the grace begins", |daemon| daemon.log().contains("goes on for 60 s"));
        daemon.stop();
    });
}

#[test]
fn without_its_interface_it_does_not_spin() {
    in_namespace(|| {
        let mut daemon = Daemon::start("idle", "");
        for change in ["ip link set eth0 down", "ip link del eth0"] {
            run(change);
            thread::sleep(Duration::from_millis(500));
            let before = daemon.ticks();
            thread::sleep(Duration::from_secs(2));
            let ticks = daemon.ticks() - before;
            assert!(ticks <= 6, "{change}: {ticks} ticks of 10 ms in 2 s");
        }
        daemon.stop();
    });
}

const RULES: &str = "# by ipvsadm-save
-A -t 203.0.113.20:443 -s wlc
-a -t 203.0.113.20:443 -r 10.0.0.3:443 -m -w 2
";

#[test]
fn rules_of_ipvsadm_save_are_loaded_at_the_start_or_their_line_is_named() {
    in_namespace(|| {
        let mut daemon = Daemon::start_with("rules", "", RULES);
        let (code, saved, _) = daemon.ipvsadm("-Sn");
        let expected = "-A -t 203.0.113.10:80 -s rr
-a -t 203.0.113.10:80 -r 10.0.0.2:80 -m -w 1
-A -t 203.0.113.20:443 -s wlc
-a -t 203.0.113.20:443 -r 10.0.0.3:443 -m -w 2
";
        assert_eq!((code, saved.as_str()), (Some(0), expected));
        daemon.stop();
        for (line, words) in [
            ("-A -t 203.0.113.10:80", "Service already exists"),
            ("-a -t 203.0.113.99:80 -r 10.0.0.3", "Service not defined"),
            ("-A -t 203.0.113.30:80 -s none", "Scheduler or persistence engine not found"),
            ("--nonsense", ""),
        ] {
            let rules = format!("{RULES}{line}\n");
            let mut refused = Daemon::spawn_with("rules-refused", "", &rules);
            assert_eq!(refused.ended().code(), Some(1), "{line}");
            let place = format!("{}:4: ", refused.directory.join("rules").display());
            let log = refused.log();
            assert!(log.contains(&place) && log.contains(words), "{line}: {log}");
            assert!(!has_program());
        }
    });
}

#[test]
fn a_service_on_port_0_may_not_take_what_the_kernel_listens_to() {
    in_namespace(|| {
        let mut daemon = Daemon::start("port-0", "");
        let ssh = std::net::TcpListener::bind("0.0.0.0:22").unwrap();
        let (code, out, said) = daemon.ipvsadm("-A -t 203.0.113.20:0 -p");
        assert_eq!((code, out.as_str()), (Some(255), ""));
        assert!(said.contains("tcp port 22") && said.contains("except_ports: [22]"), "{said}");
        assert_eq!(daemon.ipvsadm("-A -u 203.0.113.20:0 -p").0, Some(0));
        drop(ssh);
        assert_eq!(daemon.ipvsadm("-A -t 203.0.113.20:0 -p").0, Some(0));
        let rules = "-A -t 203.0.113.30:0 -p\n";
        daemon.stop();
        let ssh = std::net::TcpListener::bind("203.0.113.30:22");
        assert!(ssh.is_err(), "the box has no such address");
        let ssh = std::net::TcpListener::bind("[::]:22").unwrap();
        let mut refused = Daemon::spawn_with("port-0-rules", "", rules);
        assert_eq!(refused.ended().code(), Some(1));
        assert!(refused.log().contains("rules:1: a service on port 0"), "{}", refused.log());
        drop(ssh);
    });
}

/// 200 services with 60 servers each, at once and back.
#[test]
fn a_large_table_is_restored_at_once() {
    in_namespace(|| {
        let mut daemon = Daemon::start("large", "");
        daemon.ipvsadm("-C");
        let mut rules = String::new();
        for port in 1000..1200 {
            rules += &format!("-A -t 203.0.113.10:{port} -s wlc\n");
            for server in 101..161 {
                rules += &format!("-a -t 203.0.113.10:{port} -r 10.0.0.{server}:80 -m -w 1\n");
            }
        }
        let file = daemon.directory.join("large");
        fs::write(&file, &rules).unwrap();
        let input = || fs::File::open(&file).unwrap().into();
        assert_eq!(daemon.ipvsadm_from("-R", input()).2, "");
        let (code, saved, _) = daemon.ipvsadm("-Sn");
        assert_eq!(code, Some(0));
        assert!(saved == rules, "{} lines of {}", saved.lines().count(), rules.lines().count());
        daemon.stop();
    });
}

/// What a command does and will not do anything, or that it breaks: as a warning of the command,
/// and of the start with such rules.
#[test]
fn commands_are_done_with_warnings() {
    in_namespace(|| {
        run("nft 'add table ip t; add chain ip t c { type filter hook input priority 0; }; \
             add rule ip t c ip daddr 203.0.113.20 tcp dport 80 drop'");
        let own = "server 10.0.0.1 is an address of this box";
        let rows = [
            ("-A -t 203.0.113.20:81", ""),
            ("-A -t 203.0.113.20:80", "netfilter ip t c: the rule does not see what xlvs takes"),
            ("-A -f 10", "no packet gets mark 10"),
            ("-a -t 203.0.113.20:80 -r 10.0.0.1:80 -g", ""),
            ("-e -t 203.0.113.20:80 -r 10.0.0.1:80 -m", own),
        ];
        let mut daemon = Daemon::start("warnings", "");
        for (line, words) in rows {
            let (code, out, said) = daemon.ipvsadm(line);
            assert_eq!((code, out.as_str()), (Some(0), ""), "{line}: {said}");
            let warning = words.is_empty() || said.starts_with(&format!("Warning: {words}"));
            assert!(warning && said.lines().count() == usize::from(!words.is_empty()), "{said}");
        }
        // The file has its own service again.
        daemon.ipvsadm("-D -t 203.0.113.10:80");
        let (_, rules, _) = daemon.ipvsadm("-Sn");
        daemon.stop();
        let mut daemon = Daemon::start_with("warnings-rules", "", &rules);
        let log = daemon.log();
        for (line, words) in rows {
            assert!(log.contains(words), "{line}: {log}");
        }
        daemon.stop();
    });
}

/// The file is checked again before `xlvs apply`, while the programs are attached.
#[test]
fn a_live_check_knows_the_programs_of_the_xlvs_that_runs() {
    in_namespace(|| {
        let daemon = Daemon::start("checked", "");
        let (code, said) = daemon.check();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("note: eth0: is served by the xlvs that runs here"), "{said}");
        assert!(!said.contains("another XDP program"), "{said}");

        // Whose they are is told by nobody now.
        fs::rename(daemon.directory.join("sock"), daemon.directory.join("elsewhere")).unwrap();
        let (code, said) = daemon.check();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("error: eth0: another XDP program is attached"), "{said}");
    });
}
