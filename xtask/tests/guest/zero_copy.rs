//! xlvs where the NIC reads and writes its memory: virtio-net in a guest that is the box of
//! `tests/golden/topology.json`, with golden packets through it.
use serde_json::Value;
use xtask::guest::{Guest, Initramfs, Plan, Release};
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
    let root = Initramfs::default().modules(&["tun", "xsk_diag"]).programs(&["ss"]);
    let root = root.file(&debug_binary().unwrap(), "/usr/sbin/xlvs");
    let kernel = Release::TrixieBackports.kernel().unwrap();
    let plan = Plan { nics: golden::macs(), ..Plan::default() };
    let mut guest = Guest::boot(&kernel, &root, &plan).unwrap();
    guest.run("modprobe tun").unwrap();
    guest.run(&golden::box_commands()).unwrap();
    for (mode, cases) in FORWARDINGS {
        start(&mut guest, mode);
        for case in cases {
            replay(&mut guest, mode, case);
        }
        if mode == "nat" {
            load(&mut guest);
        }
        stop(&mut guest);
    }
}

/// Starts xlvs with a golden configuration and `zero_copy: require`, and looks at what the
/// kernel says of its sockets.
fn start(guest: &mut Guest, config: &str) {
    let path = shell::repository().join(format!("tests/golden/configs/{config}.yaml"));
    let yaml = std::fs::read_to_string(path).unwrap();
    let started = guest.run(&format!(
        "printf 'zero_copy: require\\n' >/run/xlvs.yaml
        cat >>/run/xlvs.yaml <<'END'\n{yaml}\nEND
        xlvs run /run/xlvs.yaml --socket /run/xlvs.sock >/run/xlvs.log 2>&1 &
        echo $! >/run/xlvs.pid
        until xlvs list --socket /run/xlvs.sock >/dev/null 2>&1; do
            kill -0 $(cat /run/xlvs.pid) || exit 1
            sleep 0.1
        done"
    ));
    let log = guest.run("cat /run/xlvs.log").unwrap();
    if let Err(why) = started {
        panic!("{why}\n{log}\n{}", guest.kernel_log());
    }
    let is_native = |line: &&str| line.contains("native XDP, zero-copy mode");
    assert_eq!(log.lines().filter(is_native).count(), 2, "{log}");
    // packet(7) has no word for it; sock_diag's flag for XDP_U_F_ZEROCOPY shows as `zc`.
    let sockets = guest.run("modprobe xsk_diag; ss --xdp --extended --no-header").unwrap();
    assert_eq!(sockets.matches("zc").count(), 2, "{sockets}");
}

/// SIGTERM, after everything has come to rest: all frames are accounted for, the kernel
/// refused none, and nothing stays behind.
fn stop(guest: &mut Guest) {
    let words = guest.run("sleep 1; xlvs list --json --socket /run/xlvs.sock").unwrap();
    let report: Value = serde_json::from_str(&words).unwrap();
    let ledgers = Ledger::all_in(&report).unwrap();
    assert!(!ledgers.is_empty() && ledgers.iter().all(Ledger::is_even), "{ledgers:?}");
    let end = guest.run(
        "pid=$(cat /run/xlvs.pid)
        kill $pid
        for try in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
        cat /run/xlvs.log; ip -d link show dev eth0; ip -d link show dev eth1; ss --xdp
        ! kill -0 $pid 2>/dev/null",
    );
    let end = end.unwrap();
    assert!(end.contains("stopped") && !end.contains("prog/xdp"), "{end}");
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
