//! What cannot be is refused in words that say what to do, and nothing is touched.
use std::fs;
use std::time::Duration;

use xtask::lab::{Lab, Process, debug_binary};
use xtask::shell;

use crate::stage;

/// A file without a fault, for a box with eth0 and eth1. The VIP is one that would be added.
const GOOD: &str = r#"version: 1
interfaces: [eth0, eth1]
vips: [{address: 203.0.113.99/32, interface: eth0, managed: true}]
local_addresses: {back: {addresses: ["10.0.2.1"], ports: 10000-20000}}
services:
  - {name: web, listen: "203.0.113.99:80/tcp", forward: nat, scheduler: rr, servers: [{address: "10.0.4.11"}]}
  - {name: full, listen: "203.0.113.99:81/tcp", forward: fullnat, local_addresses: back, scheduler: rr, servers: [{address: "10.0.4.11"}]}
"#;

/// One thing that is wrong.
struct Row {
    /// What is changed in the file.
    edit: [&'static str; 2],
    /// What is done to the director's host before, and undone after; one command each.
    box_is: [&'static str; 2],
    /// Words in front of `xlvs run`.
    wrapping: &'static [&'static str],
    /// What is said: what is wrong, and what to do.
    said: [&'static str; 2],
}

const fn file(from: &'static str, to: &'static str, said: [&'static str; 2]) -> Row {
    Row { edit: [from, to], box_is: ["", ""], wrapping: &[], said }
}

const fn host(before: &'static str, after: &'static str, said: [&'static str; 2]) -> Row {
    Row { edit: ["", ""], box_is: [before, after], wrapping: &[], said }
}

const fn without(words: &'static [&'static str], said: [&'static str; 2]) -> Row {
    Row { edit: ["", ""], box_is: ["", ""], wrapping: words, said }
}

const AFTER_WEB: &str = "services:";

const ROWS: &[Row] = &[
    file("eth1]", "eth7]", ["\"eth7\": this box has no such interface", "it has"]),
    file(
        "version: 1",
        "version: 1\ncolour: blue",
        ["2:1: colour: unknown key", "the keys here are version, interfaces"],
    ),
    file(
        "10.0.4.11",
        "10.0.4.300",
        ["\"10.0.4.300\": not an IP address", "write it like 10.0.2.11:80"],
    ),
    file(
        "\"203.0.113.99:81/tcp\"",
        "[2001:db8::99]:81/tcp",
        ["IPv6", "quote it: \"[2001:db8::99]:81/tcp\""],
    ),
    file(":81/tcp", ":80/tcp", ["203.0.113.99:80/tcp is there twice", "keep one of the two"]),
    file(
        ", local_addresses: back",
        "",
        ["fullnat without local addresses", "define some under local_addresses:"],
    ),
    file(
        "10000-20000",
        "10000-40000",
        ["the ports overlap 32768-60999", "sysctl net.ipv4.ip_local_port_range"],
    ),
    file(
        "forward: nat, scheduler: rr, servers: [{address: \"10.0.4.11\"",
        "forward: dr, scheduler: rr, servers: [{address: \"10.0.4.11:8080\"",
        ["port 8080 with forward: dr, which keeps the port, 80", "leave the port out"],
    ),
    file(
        "forward: nat, scheduler: rr, servers: [{address: \"10.0.4.11\"",
        "forward: tun, scheduler: rr, servers: [{address: \"10.0.4.11:8080\"",
        ["port 8080 with forward: tun, which keeps the port, 80", "leave the port out"],
    ),
    file(
        "{address: \"10.0.4.11\"}",
        "{address: \"fd00:4::11\"}",
        ["fd00:4::11 is IPv6 but the service takes", "only tun can mix them"],
    ),
    file(
        "{address: \"10.0.4.11\"}",
        "{address: \"203.0.113.99\"}",
        ["203.0.113.99 is a VIP: packets would come back", "write the server's own address"],
    ),
    file(
        AFTER_WEB,
        "probe_sources: [203.0.113.99]\nservices:",
        ["203.0.113.99 is a VIP: servers would answer themselves", "used for nothing else"],
    ),
    file(
        AFTER_WEB,
        "workers: {cores: [0, 1]}\nservices:",
        ["2 workers, but no interface has more than 1 queues", "write 1 cores at most"],
    ),
    file(
        AFTER_WEB,
        "workers: {cores: [99]}\nservices:",
        ["core 99 is not one that xlvs may run on", "choose from 0"],
    ),
    Row {
        box_is: [
            "ip link add many numrxqueues 100 numtxqueues 100 type veth peer name few",
            "ip link delete many",
        ],
        ..file("eth1]", "eth1, many]", ["102 queues, 63 is the most", "workers.cores"])
    },
    Row {
        box_is: [
            "ip link add many numrxqueues 300 numtxqueues 300 type veth peer name few",
            "ip link delete many",
        ],
        ..file("eth1]", "many]", ["has 300 receive queues, 256 can be served", "ethtool -L many"])
    },
    host(
        "ip link set eth1 mtu 1800",
        "ip link set eth1 mtu 1500",
        ["eth1 has an MTU of 1800, more than 1726 fits in a chunk of 2048", "chunk_size: 4096"],
    ),
    host(
        "ip link set dev eth1 xdp obj DIRECTORY/decap.bpf.o sec xdp",
        "ip link set dev eth1 xdp off",
        ["another XDP program is attached", "ip link set dev eth1 xdp off"],
    ),
    host(
        "mkdir -p DIRECTORY/xlvs.sock",
        "rmdir DIRECTORY/xlvs.sock",
        ["xlvs.sock: is there and is no socket", "--socket"],
    ),
    without(
        &["setpriv", "--bounding-set=-net_admin"],
        ["CAP_NET_ADMIN is missing", "run as root, or write AmbientCapabilities=CAP_NET_ADMIN"],
    ),
    without(
        &["setpriv", "--bounding-set=-net_raw"],
        ["CAP_NET_RAW is missing", "AmbientCapabilities=CAP_NET_RAW"],
    ),
    without(
        &["setpriv", "--bounding-set=-bpf,-sys_admin"],
        ["CAP_BPF is missing", "AmbientCapabilities=CAP_BPF"],
    ),
];

/// What xlvs says when it is started and refuses. It must not take longer than 10 s.
fn refusal(lab: &Lab, row: &Row) -> String {
    let text = GOOD.replace(row.edit[0], row.edit[1]);
    let text = if row.edit[0].is_empty() { GOOD.to_owned() } else { text };
    fs::write(lab.file("refused.yaml"), text).unwrap();
    let mut run = lab.director().command("timeout");
    run.args(["-k", "1", "10"]).args(row.wrapping).arg(debug_binary().unwrap()).arg("run");
    run.arg(lab.file("refused.yaml")).arg("--socket").arg(lab.file("xlvs.sock"));
    let refused = shell::output(&mut run).expect_err(row.said[0]).to_string();
    assert!(refused.contains("exit status: 1"), "{refused}");
    refused
}

/// Everything that a start changes.
fn host_state(lab: &Lab) -> String {
    ["ip -o link show", "ip -o address show", "ip -4 route show table all", "ip rule"]
        .map(|line| lab.director().run(line).unwrap())
        .concat()
}

fn carry_out(lab: &Lab, line: &str) {
    if !line.is_empty() {
        let directory = lab.file("").display().to_string();
        lab.director().run(&line.replace("DIRECTORY", directory.trim_end_matches('/'))).unwrap();
    }
}

#[test]
fn each_fault_is_told_with_its_remedy_and_leaves_no_trace() {
    // The topology whose lab has a compiled XDP program of another's at hand.
    let lab = stage("tun", 1);
    let mut wrong = Vec::new();
    for row in ROWS {
        carry_out(&lab, row.box_is[0]);
        let before = host_state(&lab);
        let refused = refusal(&lab, row);
        if !row.said.iter().all(|part| refused.contains(part)) {
            wrong.push(format!("{:?} is not in\n{refused}", row.said));
        }
        assert_eq!(host_state(&lab), before, "{:?}", row.said);
        carry_out(&lab, row.box_is[1]);
        assert!(!lab.file("xlvs.sock").exists(), "{:?}", row.said);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Something that listens on the director's host.
fn listener(lab: &Lab, address: &str) -> Process {
    let host = lab.director();
    let mut socat = host.command("socat");
    socat.args([address, "EXEC:true"]);
    let process = host.start(&mut socat, &lab.file("listener.log")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    process
}

#[test]
fn what_another_process_has_is_left_to_it() {
    let lab = stage("tun", 1);
    let socket = lab.file("xlvs.sock").display().to_string();
    for (address, said) in [
        (
            "TCP4-LISTEN:15000,bind=10.0.2.1,fork".to_owned(),
            ["a socket of this box is bound to 10.0.2.1:15000", "write another range"],
        ),
        (
            "UDP4-RECVFROM:15000,fork".to_owned(),
            ["a socket of this box is bound to 0.0.0.0:15000", "write another range"],
        ),
        (
            format!("UNIX-LISTEN:{socket},fork"),
            ["another xlvs runs here", "choose another place with --socket"],
        ),
    ] {
        let before = host_state(&lab);
        let process = listener(&lab, &address);
        let refused = refusal(&lab, &Row { ..file("", "", said) });
        assert!(said.iter().all(|part| refused.contains(part)), "{said:?} is not in\n{refused}");
        assert_eq!(host_state(&lab), before, "{said:?}");
        process.signal("KILL").unwrap();
        drop(process.stop());
        let _ = fs::remove_file(&socket);
    }
}
