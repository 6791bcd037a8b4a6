//! `xlvs capture`, read by tshark: the same connection before and after the rewrite.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::{Config, Director, Lab};
use xtask::shell;

use crate::{CLIENT, stage};

/// A capture under way; it is interrupted in the end, as by Ctrl-C.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins one with these words, into a file of the lab.
    fn begin(lab: &Lab, director: &Director<'_>, name: &str, words: &[&str]) -> Self {
        let file = lab.file(name);
        let file_name = file.display().to_string();
        let mut command = director.command(&[&["capture", "-w", &file_name], words].concat());
        let child = command.stderr(File::create(lab.file("capture.err")).unwrap()).spawn().unwrap();
        // Its head comes at once, with the workers' taps in place.
        until("a head", || file.metadata().is_ok_and(|file| file.len() > 0));
        Self { child, file }
    }

    /// Ends it: what is captured is there by then, within two periods of its thread.
    fn end(mut self) -> PathBuf {
        std::thread::sleep(Duration::from_millis(200));
        let pid = self.child.id().to_string();
        shell::output(Command::new("kill").args(["-INT", &pid])).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.file
    }

    /// Waits until it ends by itself.
    fn wait(mut self) -> PathBuf {
        let mut ended = None;
        until("its end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success());
        self.file
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "no {what} within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One packet as tshark reads it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    interface: String,
    inbound: bool,
    number: String,
    /// All source addresses from the outermost header on, and all destinations.
    from: Vec<String>,
    to: Vec<String>,
    sport: String,
    dport: String,
    sequence: String,
    length: String,
    comment: String,
}

const FIELDS: [&str; 13] = [
    "frame.interface_name",
    "frame.packet_flags_direction",
    "frame.packet_id",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.len",
    "frame.comment",
    "_ws.malformed",
];

/// What tshark leaves out: with packets missing in between, its analysis of a stream takes time
/// by their number's square.
const WITHOUT: [&str; 4] =
    ["-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"];

/// Reads with tshark; the file must be whole and right for it.
fn tshark(file: &Path) -> Vec<Seen> {
    let mut command = Command::new("timeout");
    command.args(["60", "tshark", "-n"]).args(WITHOUT);
    command.arg("-r").arg(file).args(["-T", "fields", "-E", "separator=|"]);
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let table = shell::output(command.stderr(Stdio::null())).unwrap();
    table.lines().map(seen).collect()
}

fn seen(line: &str) -> Seen {
    let cells: Vec<&str> = line.split('|').collect();
    assert_eq!(cells.len(), FIELDS.len(), "{line}");
    let list = |at: [usize; 2]| {
        let cells = at.iter().flat_map(|at| cells[*at].split(','));
        cells.filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(cells[12], "", "malformed: {line}");
    Seen {
        interface: cells[0].to_owned(),
        inbound: matches!(cells[1], "1" | "0x00000001"),
        number: cells[2].to_owned(),
        from: list([3, 5]),
        to: list([4, 6]),
        sport: cells[7].to_owned(),
        dport: cells[8].to_owned(),
        sequence: cells[9].to_owned(),
        length: cells[10].to_owned(),
        comment: cells[11].to_owned(),
    }
}

/// The two sides of each packet, in order of coming in.
fn pairs(all: &[Seen]) -> Vec<(&Seen, &Seen)> {
    let entered = all.iter().filter(|seen| seen.inbound);
    let other = |one: &Seen| all.iter().find(|out| !out.inbound && out.number == one.number);
    let pairs = entered.map(|one| (one, other(one).unwrap_or_else(|| panic!("alone: {one:?}"))));
    pairs.collect()
}

/// One request over a connection of its own; the client's port, and the server's name.
fn request(lab: &Lab, vip: &str) -> (String, String) {
    let host = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
    let line = format!("curl -sS --fail --max-time 5 -w \\n%{{local_port}} http://{host}/who");
    let said = lab.client().host().run(&line).unwrap();
    let (server, port) = said.trim().rsplit_once('\n').unwrap();
    (port.to_owned(), server.trim().to_owned())
}

macro_rules! modes {
    ($($test:ident $mode:literal $family:literal;)*) => {$(
        #[test]
        fn $test() { both_sides($mode, $family); }
    )*};
}

modes! {
    nat_ipv4 "nat" 0;
    nat_ipv6 "nat" 1;
    fullnat_ipv4 "fullnat" 0;
    fullnat_ipv6 "fullnat" 1;
    dr_ipv4 "dr" 0;
    tun_ipv4 "tun" 0;
    tun_ipv6 "tun" 1;
}

/// Of a request through the VIP both sides are there, with what the mode changes and nothing
/// else, and comments that say it.
fn both_sides(mode: &str, family: usize) {
    let lab = stage(mode, 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    let vip = lab.topology().vips[family];
    let name = ["web4", "web6"][family];
    let capture = Capture::begin(&lab, &director, "both.pcapng", &["--service", name]);
    let (port, answered) = request(&lab, vip);
    let all = tshark(&capture.end());
    let (number, own) = lab
        .topology()
        .servers()
        .map(|(name, own)| (name, own[family]))
        .find(|(name, _)| *name == answered)
        .unwrap();
    let pairs = pairs(&all);
    assert_eq!(all.len(), pairs.len() * 2, "{number}: each has two sides");
    // A handshake, a request, an answer, an end; answers pass in NAT and FullNAT.
    let two_way = matches!(mode, "nat" | "fullnat");
    assert!(pairs.len() >= if two_way { 8 } else { 4 }, "{all:?}");
    let place = |address: &str, port: &str| match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    };
    let mut answers = 0;
    for (entered, left) in pairs {
        assert_eq!((&entered.sequence, &entered.length), (&left.sequence, &left.length));
        let service = format!("{name} {}/tcp", place(vip, "80"));
        let forward = entered.to == [vip];
        if forward {
            assert_eq!(
                (&entered.from[..], &*entered.sport),
                (&[CLIENT[family].to_owned()][..], &*port)
            );
            assert_eq!((&*entered.interface, &*entered.dport), ("eth0", "80"));
            assert!(
                entered.comment.starts_with(&format!("in: {service} -> {}", place(own, "80"))),
                "{entered:?}"
            );
            assert!(
                left.comment.starts_with(&format!("out: {service} -> {}", place(own, "80"))),
                "{left:?}"
            );
            assert!(left.comment.contains(&format!("({}, rr)", lab.topology().forward)));
        } else {
            answers += 1;
            assert!(two_way && entered.from == [own], "{entered:?}");
            assert_eq!((&left.from[..], &*left.sport), (&[vip.to_owned()][..], "80"));
            assert_eq!((&left.to[..], &*left.dport), (&[CLIENT[family].to_owned()][..], &*port));
            assert!(
                entered.comment.starts_with(&format!("in: {service} <- {}", place(own, "80"))),
                "{entered:?}"
            );
            assert_eq!(left.interface, "eth0");
        }
        let expected = match (mode, forward) {
            ("nat", true) => [vec![CLIENT[family]], vec![own]],
            ("fullnat", true) => [vec![lab.topology().local[family]], vec![own]],
            ("dr", _) => [vec![CLIENT[family]], vec![vip]],
            ("tun", _) => [vec![&*left.from[0], CLIENT[family]], vec![own, vip]],
            _ => continue,
        };
        assert_eq!([&left.from, &left.to], expected.each_ref(), "{left:?}");
        if mode == "fullnat" {
            let by = format!(" by {} ", place(lab.topology().local[family], &left.sport));
            assert!(left.comment.contains(&by), "{left:?}");
        }
    }
    assert_eq!(answers > 0, two_way);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Packets of others stay out; dropped ones come by their reason; the stream goes into a pipe; a
/// second capture is refused; when its reader goes, it ends.
#[test]
fn filters_pipes_and_ends() {
    let lab = stage("nat", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    let [v4, v6] = lab.topology().vips;

    let all = captured(&lab, &director, &["--client", "192.0.2.0/24"], || {
        let (port, _) = request(&lab, v4);
        request(&lab, v6);
        port
    });
    let (port, seen) = all;
    assert!(seen.iter().all(|one| one.sport == port || one.dport == port), "{seen:?}");
    assert!(seen.len() >= 16);
    let (_, seen) = captured(&lab, &director, &["--client", "192.0.2.99"], || request(&lab, v4));
    assert!(seen.is_empty());

    // A packet that comes with one hop left is dropped, and the client told.
    let (_, seen) = captured(&lab, &director, &["--drop", "ttl_exceeded"], || {
        request(&lab, v4);
        let script = ONE_HOP.replace("VIP", v4);
        let mut python = lab.client().host().command("/usr/bin/python3");
        shell::output(python.args(["-c", &script])).unwrap();
    });
    let comments: Vec<&str> = seen.iter().map(|one| &*one.comment).collect();
    assert_eq!(comments.len(), 2, "the packet and the answer: {comments:?}");
    assert!(comments[0].starts_with("in: dropped: ttl_exceeded: "), "{comments:?}");
    assert!(comments[1].starts_with("answer: time_exceeded: "), "{comments:?}");

    a_pipe(&lab, &director);
    refusals(&lab, &director);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A SYN that has one hop left when it reaches the director, behind one router.
const ONE_HOP: &str = "import socket; s = socket.socket(); s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2); s.settimeout(0.5); s.connect_ex(('VIP', 80))";

/// What a capture holds of what is done meanwhile.
fn captured<T>(
    lab: &Lab,
    director: &Director<'_>,
    words: &[&str],
    meanwhile: impl FnOnce() -> T,
) -> (T, Vec<Seen>) {
    let capture = Capture::begin(lab, director, "some.pcapng", words);
    let done = meanwhile();
    (done, tshark(&capture.end()))
}

/// `xlvs capture -w - | tshark -i -`, and what a terminal would show.
fn a_pipe(lab: &Lab, director: &Director<'_>) {
    let mut capture = director.command(&["capture", "-w", "-", "--count", "4"]);
    let mut capture = capture.stdout(Stdio::piped()).spawn().unwrap();
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-l", "-i", "-", "-T", "fields", "-e", "frame.packet_id"]);
    tshark.stdin(capture.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::null());
    let tshark = tshark.spawn().unwrap();
    until("capture", || runs(lab));
    request(lab, lab.topology().vips[0]);
    assert!(capture.wait().unwrap().success());
    let read = tshark.wait_with_output().unwrap();
    let read = String::from_utf8(read.stdout).unwrap();
    assert_eq!(read.lines().count(), 8, "four packets, both sides: {read}");

    // Several, as a handshake's packets are on either worker.
    for _ in 0..8 {
        the_first_packet(lab, director);
    }
}

/// Of a connection, `--count 1` shows the packet that came first, whichever worker had it.
fn the_first_packet(lab: &Lab, director: &Director<'_>) {
    // Not the capture before, which its reader sees end first.
    until("end", || !runs(lab));
    let mut lines = director.command(&["capture", "--count", "1"]);
    let lines = lines.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("capture", || runs(lab));
    let (port, _) = request(lab, lab.topology().vips[0]);
    let printed = lines.wait_with_output().unwrap();
    let told = String::from_utf8(printed.stderr).unwrap();
    assert!(told.starts_with("1 packets captured in 2 copies; missed: 0 "), "{told}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let [entered, left] = printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
    let talk = format!(" eth0 192.0.2.10.{port} > {}.80: tcp [S], seq ", lab.topology().vips[0]);
    assert!(entered.contains(&talk) && entered.contains(" | in: web4 "), "{printed}");
    assert!(left.contains(" eth1 192.0.2.10.") && left.contains(" | out: web4 "), "{printed}");
}

/// A capture runs.
fn runs(lab: &Lab) -> bool {
    let socket = lab.file("xlvs.sock").display().to_string();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--unix-socket", &socket, "http://xlvs/v1/captures"]);
    let tally: Value = serde_json::from_str(&shell::output(&mut curl).unwrap()).unwrap();
    tally["running"] == true
}

fn refusals(lab: &Lab, director: &Director<'_>) {
    for (words, said) in [
        (["--service", "nobody"], "service: nobody: no such service; "),
        (["--client", "x"], "client: x: not a network; "),
        (
            ["--interface", "eth7"],
            "interface: eth7: xlvs does not serve it; write one of eth0 eth1",
        ),
        (["--drop", "x"], "drop: x: no such reason; write one of malformed "),
        (["--verdict", "x"], "verdict: x: no such verdict; "),
        (["--count", "0"], "a limit of 0"),
    ] {
        let mut command = director.command(&[&["capture"], &words[..]].concat());
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.starts_with(said), "{words:?}: {error}");
    }
    let mut first = director.command(&["capture"]).stdout(Stdio::null()).spawn().unwrap();
    until("capture", || runs(lab));
    let second = director.command(&["capture"]).output().unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.starts_with("another capture runs; "), "{error}");
    // Killed, it says nothing; its connection is closed.
    first.kill().unwrap();
    first.wait().unwrap();
    until("end", || !runs(lab));
}

/// Under load a capture of everything ends at its limits, and forwarding goes on.
#[test]
fn limits_end_a_capture_under_load() {
    let lab = stage("nat", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    let vip = lab.topology().vips[0];
    for (words, holds) in [
        (vec!["--count", "5000"], (|_, packets| packets == 5000) as fn(u64, u64) -> bool),
        (vec!["--for", "1s"], |_, packets| packets > 100),
        (vec!["--octets", "1000000", "--snap", "96"], |octets, _| {
            (1_000_000..4_000_000).contains(&octets)
        }),
    ] {
        let capture = Capture::begin(&lab, &director, "loaded.pcapng", &words);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| lab.client().iperf(vip, 3, false).unwrap());
            let file = capture.wait();
            let seen = tshark(&file);
            let packets = seen.iter().filter(|one| one.inbound).count() as u64;
            let octets = file.metadata().unwrap().len();
            assert!(holds(octets, packets), "{words:?}: {octets} octets, {packets} packets");
            assert!(load.join().unwrap() > 0.0);
        });
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
