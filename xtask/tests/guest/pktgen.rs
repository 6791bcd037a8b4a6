//! `scripts/pktgen.sh` with a kernel's pktgen, and a running xlvs before it: every frame arrives,
//! of as many connections as it says, at the servers of the service.
use serde_json::Value;
use xtask::guest::{Guest, Initramfs, Plan, Release};
use xtask::lab::debug_binary;
use xtask::shell;

/// A sender and a sink in namespaces of their own, two queues each, and xlvs between them.
const NETWORK: &str = "mkdir -p /var/run
modprobe veth; modprobe tun
sysctl -q -w net.ipv4.ip_forward=1
for host in sender sink; do ip netns add $host; done
queues='numtxqueues 2 numrxqueues 2'
ip link add gen0 $queues netns sender type veth peer name in $queues
ip link add sink0 $queues netns sink type veth peer name out $queues
ip link set in address 02:00:00:00:00:02 up
ip link set out up
ip -n sender link set gen0 up
ip -n sink link set sink0 up
ip addr add 203.0.113.10/24 dev in
ip addr add 10.0.2.1/24 dev out
ip route add 198.18.0.0/15 via 203.0.113.1
mac=$(ip netns exec sink cat /sys/class/net/sink0/address)
for server in 11 12; do ip neigh add 10.0.2.$server lladdr $mac dev out nud permanent; done
ip neigh add 203.0.113.1 lladdr 02:00:00:00:00:01 dev in nud permanent";

const XLVS: &str = "version: 1
interfaces: [in, out]
services:
  - name: flood
    listen: 203.0.113.10:80/udp
    forward: dr
    scheduler: rr
    servers: [{address: 10.0.2.11}, {address: 10.0.2.12}]";

#[test]
fn pktgen_sends_as_many_frames_and_connections_as_it_says() {
    let mut guest = boot();
    // (options, frames, connections): one thread; two; more connections than one client has ports.
    let cases = [
        ("--flows 100 --count 1000 --rate 2000", 1000, 100),
        ("--flows 500 --threads 2 --count 2000 --rate 2000 --source 198.18.1.1", 2000, 500),
        (
            "--flows 20000 --count 3000 --rate 2000 --size 128 --checksum --source 198.18.2.1",
            3000,
            3000,
        ),
    ];
    let (mut frames, mut connections) = (0, 0);
    for (options, count, opened) in cases {
        let said = guest.run(&format!("ip netns exec sender pktgen.sh {options} {TO}")).unwrap();
        assert!(said.contains(&format!("sent {count} frames")), "{options}: {said}");
        frames += count;
        connections += opened;
        let report = settled(&mut guest, frames);
        assert_eq!(report["tables"]["ipv4"]["connections"], connections, "{options}: {report}");
    }
}

#[test]
fn pktgen_names_the_place_and_the_remedy() {
    let mut guest = boot();
    for (arguments, words) in [
        ("gen9 02:00:00:00:00:02 203.0.113.10 80", "gen9: no such interface"),
        ("--flows none gen0 02:00:00:00:00:02 203.0.113.10 80", "--flows: not a number: none"),
        ("--threads 64 gen0 02:00:00:00:00:02 203.0.113.10 80", "--threads: no CPU 2"),
        ("--count 1 --threads 2 gen0 02:00:00:00:00:02 203.0.113.10 80", "fewer than threads"),
        ("gen0 02:00:00:00:00:02 203.0.113.10", "Options:"),
    ] {
        let refusal = guest.run(&format!("ip netns exec sender pktgen.sh {arguments}"));
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains(words), "{arguments}: {refusal}");
    }
}

const TO: &str = "gen0 02:00:00:00:00:02 203.0.113.10 80";

fn boot() -> Guest {
    let script = shell::repository().join("scripts/pktgen.sh");
    let root = Initramfs::default().modules(&["veth", "tun", "pktgen"]).programs(&["id"]);
    let root = root.file(&debug_binary().unwrap(), "/usr/sbin/xlvs");
    let root = root.file(&script, "/usr/sbin/pktgen.sh");
    let kernel = Release::TrixieBackports.kernel().unwrap();
    let plan = Plan { cpus: 2, memory: 1024, ..Plan::default() };
    let mut guest = Guest::boot(&kernel, &root, &plan).unwrap();
    guest.run(NETWORK).unwrap();
    let started = guest.run(&format!(
        "cat >/run/xlvs.yaml <<'END'\n{XLVS}\nEND
        xlvs run /run/xlvs.yaml --socket /run/xlvs.sock >/run/xlvs.log 2>&1 &
        pid=$!
        until xlvs list --socket /run/xlvs.sock >/dev/null 2>&1; do
            kill -0 $pid || {{ cat /run/xlvs.log; exit 1; }}
            sleep 0.1
        done"
    ));
    started.unwrap();
    guest
}

/// Waits until so many frames have reached the sink, and gives what xlvs says then.
fn settled(guest: &mut Guest, frames: u64) -> Value {
    let arrived = guest.run(&format!(
        "for try in $(seq 100); do
            arrived=$(ip netns exec sink cat /sys/class/net/sink0/statistics/rx_packets)
            [ $arrived -ge {frames} ] && break
            sleep 0.1
        done
        echo $arrived"
    ));
    let arrived: u64 = arrived.unwrap().trim().parse().unwrap();
    let words = guest.run("xlvs list --json --socket /run/xlvs.sock").unwrap();
    // A kernel also looks for routers on its links.
    assert!((frames..frames + 20).contains(&arrived), "{arrived} of {frames} arrived: {words}");
    let report: Value = serde_json::from_str(&words).unwrap();
    let workers = report["workers"].as_array().unwrap();
    let received: u64 = workers.iter().map(|worker| worker["rx_packets"].as_u64().unwrap()).sum();
    assert_eq!(received, frames, "{words}");
    report
}
