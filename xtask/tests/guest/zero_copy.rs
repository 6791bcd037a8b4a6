//! xlvs where the NIC reads and writes its memory: virtio-net in a guest that is the box of
//! `tests/golden/topology.json`, with golden packets through it.
use serde_json::Value;
use xtask::guest::{Guest, Initramfs, Nic, Plan, Release};
use xtask::lab::{Ledger, debug_binary};
use xtask::shell;

use crate::golden::{self, Frame};
use crate::{PATIENCE, packet};

/// A golden configuration each, its table, and cases in which every octet is given.
const FORWARDINGS: [(&str, &[&str]); 3] = [
    ("nat", &["nat_tcp_v4", "nat_udp_v4", "nat_tcp_v6", "nat_udp_v6", "nat_fragments_reversed_v4"]),
    ("dr", &["dr_tcp_v4", "dr_udp_v4", "dr_tcp_v6", "dr_udp_v6"]),
    ("tun", &["tun_tcp_v4", "tun_udp_v4"]),
];

/// Flows of the load: its packets go several times round the NIC's 256 descriptors.
const FLOWS: u16 = 600;

#[test]
fn zero_copy() {
    let mut guest = boot(golden::nics());
    for (mode, cases) in FORWARDINGS {
        start(&mut guest, mode, "require");
        for case in cases {
            replay(&mut guest, mode, case);
        }
        if mode == "nat" {
            load(&mut guest);
        }
        stop(&mut guest);
    }
}

#[test]
fn zero_copy_outlives_an_interface() {
    let mut guest = boot(golden::nics());
    start(&mut guest, "nat", "require");
    // eth0 has the first socket, eth1 one that shares its memory.
    for (nic, name) in ["eth0", "eth1"].iter().enumerate() {
        replay(&mut guest, "nat", "nat_udp_v4");
        guest.run(&format!("ip link set {name} down; sleep 0.5; ip link set {name} up")).unwrap();
        come_back(&mut guest);
        replay(&mut guest, "nat", "nat_udp_v4");
        plug(&mut guest, "unbind", &[nic]);
        wait_for(&mut guest, &format!("{name}: the interface is gone"));
        plug(&mut guest, "bind", &[nic]);
        come_back(&mut guest);
        wait_for(&mut guest, &format!("{name}: served again"));
        replay(&mut guest, "nat", "nat_udp_v4");
    }
    load(&mut guest);
    stop(&mut guest);
}

/// A UMEM that no bound socket has can never be bound again.
#[test]
fn zero_copy_without_any_interface_left_asks_for_a_restart() {
    let mut guest = boot(golden::nics());
    start(&mut guest, "nat", "require");
    plug(&mut guest, "unbind", &[0, 1]);
    wait_for(&mut guest, "eth1: the interface is gone");
    plug(&mut guest, "bind", &[0, 1]);
    come_back(&mut guest);
    wait_for(&mut guest, "eth0: the frame memory went with the last zero-copy interface; restart");
    end(&mut guest);
    start(&mut guest, "nat", "require");
    replay(&mut guest, "nat", "nat_udp_v4");
    stop(&mut guest);
}

#[test]
fn zero_copy_is_for_all_interfaces_or_none() {
    let mut nics = golden::nics();
    nics[1].zero_copy = false;
    let mut guest = boot(nics);
    let refusal = try_start(&mut guest, "nat", "require").unwrap_err();
    assert!(refusal.contains("zero_copy: require: eth1 queue 0"), "{refusal}");
    assert!(refusal.contains("the driver refuses zero-copy"), "{refusal}");
    assert!(refusal.contains("write zero_copy: auto to copy instead"), "{refusal}");
    assert_nothing_left(&mut guest);

    let log = try_start(&mut guest, "nat", "auto").unwrap();
    assert!(log.contains("eth1 queue 0: Invalid argument"), "names who refused: {log}");
    assert_eq!(log.matches("native XDP, copy mode").count(), 2, "{log}");
    let sockets = sockets(&mut guest);
    assert!(sockets.contains("zc:0") && !sockets.contains("zc:1"), "{sockets}");
    replay(&mut guest, "nat", "nat_udp_v4");
    stop(&mut guest);
}

/// The golden box with these NICs, on a kernel whose virtio-net does zero-copy.
fn boot(nics: Vec<Nic>) -> Guest {
    let root = Initramfs::default().modules(&["tun", "xsk_diag"]).programs(&["ss"]);
    let root = root.file(&debug_binary().unwrap(), "/usr/sbin/xlvs");
    let kernel = Release::TrixieBackports.kernel().unwrap();
    let mut guest = Guest::boot(&kernel, &root, &Plan { nics, ..Plan::default() }).unwrap();
    guest.run("modprobe tun; modprobe xsk_diag").unwrap();
    guest.run(&golden::box_commands()).unwrap();
    guest
}

/// Starts xlvs with a golden configuration; its log, or what kept it from starting.
fn try_start(guest: &mut Guest, config: &str, zero_copy: &str) -> Result<String, String> {
    let path = shell::repository().join(format!("tests/golden/configs/{config}.yaml"));
    let yaml = std::fs::read_to_string(path).unwrap();
    let started = guest.run(&format!(
        "echo 'zero_copy: {zero_copy}' >/run/xlvs.yaml
        cat >>/run/xlvs.yaml <<'END'\n{yaml}\nEND
        xlvs run /run/xlvs.yaml --socket /run/xlvs.sock >/run/xlvs.log 2>&1 &
        pid=$!
        echo $pid >/run/xlvs.pid
        until xlvs list --socket /run/xlvs.sock >/dev/null 2>&1; do
            kill -0 $pid || exit 1
            sleep 0.1
        done"
    ));
    let log = log(guest);
    if started.is_ok() { Ok(log) } else { Err(log) }
}

/// Starts xlvs, zero-copy; the kernel says the same of its sockets.
fn start(guest: &mut Guest, config: &str, zero_copy: &str) {
    let started = try_start(guest, config, zero_copy);
    let log = started.unwrap_or_else(|log| panic!("{log}\n{}", guest.kernel_log()));
    assert_eq!(log.matches("native XDP, zero-copy mode").count(), 2, "{log}");
    let sockets = sockets(guest);
    assert_eq!(sockets.matches("zc:1").count(), 2, "{sockets}");
}

/// SIGTERM, after everything has come to rest: all frames are accounted for, the kernel
/// refused none, and nothing stays behind.
fn stop(guest: &mut Guest) {
    let words = guest.run("sleep 1; xlvs list --json --socket /run/xlvs.sock").unwrap();
    let report: Value = serde_json::from_str(&words).unwrap();
    let ledgers = Ledger::all_in(&report).unwrap();
    assert!(!ledgers.is_empty(), "{words}");
    for ledger in &ledgers {
        let [_, receiving, sending, held] = ledger.places;
        // Two ports, as deep as their fill rings.
        assert!(ledger.is_even() && [receiving, sending, held] == [2 * 2048, 0, 0], "{ledger:?}");
    }
    for ring in report["rings"].as_array().unwrap() {
        assert_eq!([&ring["rx_invalid"], &ring["tx_invalid"]], [0, 0], "{ring}");
    }
    end(guest);
}

fn end(guest: &mut Guest) {
    let ended = guest.run(
        "pid=$(cat /run/xlvs.pid)
        kill $pid
        for try in $(seq 100); do kill -0 $pid 2>/dev/null || exit 0; sleep 0.1; done
        exit 1",
    );
    let log = log(guest);
    assert!(ended.is_ok() && log.trim_end().ends_with("stopped"), "{log}");
    assert_nothing_left(guest);
}

fn assert_nothing_left(guest: &mut Guest) {
    let left = guest.run("ip -o -d link; ss --xdp --no-header; ls /sys/fs/bpf").unwrap();
    let names = ["xdp", "tun ", "umem", "xlvs"];
    assert!(!names.iter().any(|name| left.contains(name)), "{left}");
}

fn log(guest: &mut Guest) -> String {
    guest.run("cat /run/xlvs.log").unwrap()
}

/// The AF_XDP sockets, as the kernel tells them.
fn sockets(guest: &mut Guest) -> String {
    guest.run("ss --xdp --extended --no-header").unwrap()
}

/// Takes NICs from their driver (`unbind`), or gives them back (`bind`).
fn plug(guest: &mut Guest, how: &str, nics: &[usize]) {
    for nic in nics {
        guest.run(&format!("echo virtio{nic} >/sys/bus/virtio/drivers/virtio_net/{how}")).unwrap();
    }
}

/// Waits until the daemon says something.
fn wait_for(guest: &mut Guest, words: &str) {
    let found = guest.run(&format!(
        "for try in $(seq 100); do grep -qF '{words}' /run/xlvs.log && exit 0; sleep 0.1; done
        exit 1"
    ));
    assert!(found.is_ok(), "no {words:?} in:\n{}", log(guest));
}

/// Gives the interfaces back what they lost while they were down or away, and xlvs a moment
/// to see it: the bound is a second.
fn come_back(guest: &mut Guest) {
    guest.run(&format!("{}\nsleep 1", golden::box_commands())).unwrap();
}

/// Sends what a case sends, one frame at a time, and expects exactly what it expects.
fn replay(guest: &mut Guest, table: &str, case: &str) {
    for (number, step) in golden::case(table, case).iter().enumerate() {
        guest.wire(step.arrives.port).send(&step.arrives.octets).unwrap();
        for frame in &step.leaves {
            expect(guest, frame, &format!("{case}, step {number}"));
        }
    }
}

fn expect(guest: &mut Guest, frame: &Frame, what: &str) {
    let wanted = |found: &[u8]| found == frame.octets;
    if guest.wire(frame.port).receive(PATIENCE, wanted).unwrap().is_none() {
        let words = guest.run("cat /run/xlvs.log; xlvs list --json --socket /run/xlvs.sock");
        panic!("{what}: port {} gave no {:02x?}\n{words:?}", frame.port, frame.octets);
    }
}

/// Many UDP flows through NAT, both ways, so that every descriptor of the NIC's queues and
/// every frame on the way is used again and again.
fn load(guest: &mut Guest) {
    let steps = golden::case("nat", "nat_udp_v4");
    // A window of frames: neither end's queue may be full of what nobody reads.
    let flows: Vec<u16> = (0..FLOWS).map(|flow| 10_000 + flow).collect();
    for window in flows.chunks(8) {
        for (step, client_is_source) in [(&steps[0], true), (&steps[1], false)] {
            let of = |frame: &[u8], port| packet::with_client_port(frame, client_is_source, port);
            for &port in window {
                guest.wire(step.arrives.port).send(&of(&step.arrives.octets, port)).unwrap();
            }
            for &port in window {
                let Frame { port: nic, octets } = &step.leaves[0];
                let frame = Frame { port: *nic, octets: of(octets, port) };
                expect(guest, &frame, &format!("flow from port {port}"));
            }
        }
    }
}
