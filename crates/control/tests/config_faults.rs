//! What is wrong with a file is reported all at once, each fault with its place, path and
//! remedy. Each table row: a file, and the lines that `xlvs check` prints.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use control::{
    load::{load, read},
    resolve::{Link, Surroundings},
    sockets::Sockets,
};
use dataplane::forward::{Endpoint, Protocol};

/// A file and what is wrong with it.
type Case = (&'static str, &'static [&'static str]);

fn lines(text: &str, around: Option<&Surroundings>) -> Vec<String> {
    match read(Path::new("x.yaml"), text, around) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.to_string().lines().map(str::to_owned).collect(),
    }
}

fn check(cases: &[Case], around: Option<&Surroundings>) {
    for (text, expected) in cases {
        assert_eq!(lines(text, around), *expected, "\nin:\n{text}");
    }
}

/// Puts the text behind a valid head of two lines, so that it starts on line 3.
fn check_services(cases: &[Case], around: Option<&Surroundings>) {
    for (text, expected) in cases {
        let text = format!("version: 1\ninterfaces: [eth0]\n{text}");
        assert_eq!(lines(&text, around), *expected, "\nin:\n{text}");
    }
}

#[test]
fn text_that_is_not_yaml() {
    check(
        &[
            ("", &["x.yaml:1:1: the file is empty; write version: 1, interfaces: and services:"]),
            (
                "# nothing\n",
                &["x.yaml:1:1: the file is empty; write version: 1, interfaces: and services:"],
            ),
            (
                "[a, b]",
                &[
                    "x.yaml:1:1: a list where keys are expected; write {key: value, ...}, or one key: value a line, indented",
                ],
            ),
            (
                "version: 1\ninterfaces: [eth0]\n \t# may stand here\nservices: [\n\t]\n",
                &["x.yaml:5:1: a tab in the indentation; indent with spaces"],
            ),
            (
                "a: 1\na: 2\nb: [\n",
                &[
                    "x.yaml:2:1: a: the key is there twice, first on line 1; keep one of the two",
                    "x.yaml:4:1: not YAML: while parsing a node, did not find expected node content; look at this line and the one before it for indentation, quotes and brackets",
                ],
            ),
            (
                "version: 1\nworkers:\n\tidle: poll\n",
                &["x.yaml:3:1: a tab in the indentation; indent with spaces"],
            ),
            (
                "version: 1\nservices:\n  - listen: [2001:db8::10]:80/tcp\n  - listen: \"[2001:db8::11]:80/tcp\"\n  - {listen: [2001:db8::12]:80/udp, name: x}\n",
                &[
                    "x.yaml:3:13: [2001:db8::10]:80/tcp: an IPv6 address without quotes; quote it: \"[2001:db8::10]:80/tcp\"",
                    "x.yaml:5:14: [2001:db8::12]:80/udp: an IPv6 address without quotes; quote it: \"[2001:db8::12]:80/udp\"",
                ],
            ),
        ],
        None,
    );
    for text in [
        "version: 1\nservices: [\n",
        "a: {b: c\n",
        "a: \"b\n",
        "a: *b\n",
        "--- 1\n--- 2\n",
        "a: &x [*x]\n",
    ] {
        let lines = lines(text, None);
        assert_eq!(lines.len(), 1, "{text}: {lines:?}");
        assert!(lines[0].starts_with("x.yaml:"), "{text}: {lines:?}");
    }
}

#[test]
fn keys_and_types() {
    check(
        &[
            (
                "interfaces: []\n",
                &[
                    "x.yaml:1:1: version is missing; write version: 1",
                    "x.yaml:1:1: services is missing; write services: [] if there are none yet",
                    "x.yaml:1:13: interfaces: an empty list; write at least one interface",
                ],
            ),
            (
                "version: 2\ninterfaces: eth0\nservice: []\nservices: []\n",
                &[
                    "x.yaml:1:10: version: \"2\": out of range; write a number from 1 to 1",
                    "x.yaml:2:13: interfaces: a single value where a list is expected; write [one, two], or one - a line; [] for none",
                    "x.yaml:3:1: service: unknown key; did you mean services?",
                ],
            ),
            (
                "version: \"1\"\ninterfaces: [eth0, {name: eth1, mod: auto}, \"\", eth0]\nservices:\n",
                &[
                    "x.yaml:1:10: version: \"1\": a text where a number is expected; remove the quotes",
                    "x.yaml:2:33: interfaces[1].mod: unknown key; did you mean mode?",
                    "x.yaml:2:45: interfaces[2]: \"\": not an interface name; write a name of ip link, 1 to 15 letters",
                    "x.yaml:2:49: interfaces[3]: eth0 is there twice, first on line 2; keep one of the two",
                    "x.yaml:3:9: services: nothing where a list is expected; write [one, two], or one - a line; [] for none",
                ],
            ),
            (
                "version: 1\ninterfaces: [eth0]\nservices: []\nservices: []\nworkers: {cores: [1, 2, 1], idle: sleep}\nlimits: {connections: lots, servers: 0, sockets: 3}\nzero_copy: yes\nchunk_size: 3000\nstop_grace: 30\n",
                &[
                    "x.yaml:4:1: services: the key is there twice, first on line 3; keep one of the two",
                    "x.yaml:5:25: workers.cores[2]: core 1 is there twice, first on line 5; keep one of the two",
                    "x.yaml:5:35: workers.idle: \"sleep\": not a word that is known here; write adaptive or poll",
                    "x.yaml:6:23: limits.connections: \"lots\": not a whole number; write a number from 1024 to 268435456",
                    "x.yaml:6:38: limits.servers: \"0\": out of range; write a number from 1 to 1048576",
                    "x.yaml:6:41: limits.sockets: unknown key; the keys here are connections, connections_ipv6, half_open, templates, templates_ipv6, sources, fragments, held_frames, routes, neighbours, punt_rate, icmp_rate, services or servers",
                    "x.yaml:7:12: zero_copy: \"yes\": not a word that is known here; write auto, require or never",
                    "x.yaml:8:13: chunk_size: \"3000\": not a word that is known here; write 2048 or 4096",
                    "x.yaml:9:13: stop_grace: \"30\": a duration without a unit; write a number with a unit, like 500ms, 30s, 15m, 2h or 1d",
                ],
            ),
            (
                "version: 1\ninterfaces: [eth0]\nworkers: {cores: []}\nservices: []\n",
                &[
                    "x.yaml:3:18: workers.cores: no cores: no queue would have a worker; write the cores to run on, or remove the key for one worker per queue",
                ],
            ),
        ],
        None,
    );
}

#[test]
fn vips_and_local_addresses() {
    check_services(
        &[
            (
                "services: []\nvips:\n  - {address: 203.0.113.10/33}\n  - {address: 203.0.113.11/32, managed: true}\n  - {address: 203.0.113.11, managed: on}\n  - {interface: eth0}\n",
                &[
                    "x.yaml:5:15: vips[0].address: \"203.0.113.10/33\": the prefix length is wrong; write a length from 1 to 32, for a VIP mostly 203.0.113.10/32",
                    "x.yaml:6:15: vips[1].address: a managed VIP without an interface; add interface: eth0",
                    "x.yaml:7:15: vips[2].address: 203.0.113.11 is there twice, first on line 6; keep one of the two",
                    "x.yaml:7:38: vips[2].managed: \"on\": not a word that is known here; write true or false",
                    "x.yaml:8:5: vips[3]: address is missing; write address: 203.0.113.10/32",
                ],
            ),
            (
                "services: []\nvips: [{address: 203.0.113.10/32}]\nlocal_addresses:\n  a: {addresses: [10.0.9.1, 10.0.9.1, 203.0.113.10], ports: 20000-10000}\n  b: {addresses: [224.0.0.1, 10.0.9], ports: 10000-20000}\n  c: {addresses: 10.0.9.3, ports: 1000-2000}\n  d: {addresses: 10.0.9.3, ports: 1000-2001}\n  e: {addresses: [10.0.9.4/24]}\n",
                &[
                    "x.yaml:6:29: local_addresses.a.addresses[1]: 10.0.9.1 is there twice, first on line 6; keep one of the two",
                    "x.yaml:6:39: local_addresses.a.addresses[2]: 203.0.113.10 is a VIP: clients' packets and servers' answers would mix; write another address of the box",
                    "x.yaml:6:61: local_addresses.a.ports: \"20000-10000\": not a range of ports; write it like 10000-32767, lower end first",
                    "x.yaml:7:19: local_addresses.b.addresses[0]: \"224.0.0.1\": a multicast address, not the address of a host; write a unicast address",
                    "x.yaml:7:30: local_addresses.b.addresses[1]: \"10.0.9\": not an IP address; write it like 10.0.2.11 or \"fd00:2::11\"",
                    "x.yaml:9:18: local_addresses.d.addresses: 10.0.9.3 has other ports on line 8; give one address the same ports everywhere",
                    "x.yaml:10:6: local_addresses.e: ports is missing; write ports: 10000-32767",
                    "x.yaml:10:19: local_addresses.e.addresses[0]: \"10.0.9.4/24\": a prefix where one address is expected; write 10.0.9.4",
                ],
            ),
        ],
        None,
    );
}

#[test]
fn listen_and_service_words() {
    check_services(
        &[
            (
                "services:\n  - {}\n",
                &[
                    "x.yaml:4:5: services[0]: name is missing; write name: and a word for listings and logs",
                    "x.yaml:4:5: services[0]: listen is missing; write listen: ADDRESS:PORT/tcp, or a list of them; or mark:",
                    "x.yaml:4:5: services[0]: forward is missing; write forward: nat, fullnat, dr or tun",
                ],
            ),
            (
                "services:\n  - name: \"\"\n    forward: route\n    scheduler: maglev\n    listen:\n      - 203.0.113.10:80\n      - 203.0.113.10/tcp\n      - 203.0.113.10:0/tcp\n      - 203.0.113.10:70000/tcp\n      - 203.0.113.10:80/quic\n      - www.example.net:80/tcp\n      - 2001:db8::10\n      - \"[fe80::1]:80/tcp\"\n      - \"[2001:db8::10]/udp\"\n",
                &[
                    "x.yaml:4:11: services[0].name: \"\": an empty name; write a name",
                    "x.yaml:5:14: services[0].forward: \"route\": not a word that is known here; write nat, fullnat, dr or tun",
                    "x.yaml:6:16: services[0].scheduler: \"maglev\": not one of LVS's schedulers; write mh",
                    "x.yaml:8:9: services[0].listen[0]: \"203.0.113.10:80\": no protocol; add /tcp, /udp or /sctp: 203.0.113.10:80/tcp",
                    "x.yaml:9:9: services[0].listen[1]: \"203.0.113.10/tcp\": no port; write it like 203.0.113.10:80/tcp",
                    "x.yaml:10:9: services[0].listen[2]: 203.0.113.10:0/tcp: port 0, every port, needs persistence; add persistence: 6m, or write one element for each port",
                    "x.yaml:11:9: services[0].listen[3]: \"203.0.113.10:70000/tcp\": the port is wrong; write a number from 1 to 65535",
                    "x.yaml:12:9: services[0].listen[4]: \"203.0.113.10:80/quic\": the protocol is not supported; write /tcp, /udp or /sctp",
                    "x.yaml:13:9: services[0].listen[5]: \"www.example.net:80/tcp\": not an IP address; write it like 203.0.113.10:80/tcp or \"[2001:db8::10]:80/tcp\"",
                    "x.yaml:14:9: services[0].listen[6]: \"2001:db8::10\": no port; write it like [2001:db8::10]:80/tcp, in quotes",
                    "x.yaml:15:9: services[0].listen[7]: \"[fe80::1]:80/tcp\": a link-local address, not the address of a host; write a unicast address",
                    "x.yaml:16:9: services[0].listen[8]: \"[2001:db8::10]/udp\": no port; write it like [2001:db8::10]:80/tcp, in quotes",
                ],
            ),
            (
                "services:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: rr}\n  - {name: a, listen: [203.0.113.10:80/udp, 203.0.113.10:80/tcp], forward: nat, scheduler: {name: rr, port: true}}\n",
                &[
                    "x.yaml:5:12: services[1].name: the name a is there twice, first on line 4; keep one of the two",
                    "x.yaml:5:45: services[1].listen[1]: 203.0.113.10:80/tcp is there twice, first on line 4; keep one of the two",
                    "x.yaml:5:103: services[1].scheduler.port: rr has no such option, only sh and mh have; remove it, or write name: sh or mh",
                ],
            ),
            (
                "services:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: {name: mh, slots: 4096}}\n  - {name: b, listen: 203.0.113.10:81/tcp, forward: nat, scheduler: {name: sh, slots: 4093}}\n",
                &[
                    "x.yaml:4:87: services[0].scheduler.slots: \"4096\": not a number of slots that a kernel can have; write 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521 or 131071",
                    "x.yaml:5:80: services[1].scheduler.slots: sh has no such option, only mh has; remove it, or write name: mh",
                ],
            ),
            (
                "services:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: dr, scheduler: rr, mss_clamp: path}\n  - {name: b, listen: 203.0.113.10:81/tcp, forward: nat, scheduler: rr, mss_clamp: 40}\n  - {name: c, listen: 203.0.113.10:81/udp, forward: nat, scheduler: rr, mss_clamp: 1400, timeouts: {udp: 500ms, tcp: 1m}}\n",
                &[
                    "x.yaml:4:83: services[0].mss_clamp: mss_clamp with forward: dr: the server's answers do not pass here; lower the MSS on the servers instead (ip route ... advmss)",
                    "x.yaml:5:84: services[1].mss_clamp: \"40\": not an MSS clamp; write off, path or a number of octets from 88 to 65495",
                    "x.yaml:6:106: services[2].timeouts.udp: \"500ms\": out of range; write whole seconds, from 1s to 2678400s",
                    "x.yaml:6:113: services[2].timeouts.tcp: unknown key; the keys here are tcp_established, tcp_syn_sent, tcp_syn_recv, tcp_fin_wait, tcp_time_wait, tcp_close, tcp_close_wait, tcp_last_ack, tcp_listen, tcp_synack, udp, sctp_init1, sctp_init, sctp_cookie_sent, sctp_cookie_replied, sctp_cookie_wait, sctp_cookie, sctp_cookie_echoed, sctp_established, sctp_shutdown_sent, sctp_shutdown_received, sctp_shutdown_ack_sent, sctp_rejected or sctp_closed",
                ],
            ),
        ],
        None,
    );
}

#[test]
fn servers() {
    check_services(
        &[
            (
                "services:\n  - name: a\n    listen: 203.0.113.10:80/tcp\n    forward: nat\n    scheduler: rr\n    servers:\n      - {address: \"10.0.2\"}\n      - {address: \"10.0.2.11:80\", weigth: 1}\n      - {address: 10.0.2.11}\n      - {address: \"10.0.2.12:0\", weight: 65536}\n      - {address: \"fd00:2::11\"}\n      - {address: [fd00:2::12]}\n      - {address: 203.0.113.10}\n      - {address: \"10.0.2.13:80\", mac: \"01:00:5e:00:00:01\", name: \" \"}\n      - {address: \"10.0.2.14:80/tcp\", mac: aa-bb-cc-dd-ee-ff}\n      - {weight: -1}\n      - 10.0.2.15\n",
                &[
                    "x.yaml:9:19: services[0].servers[0].address: \"10.0.2\": not an IP address; write it like 10.0.2.11:80 or \"[fd00:2::11]:80\"; names are not looked up",
                    "x.yaml:10:35: services[0].servers[1].weigth: unknown key; did you mean weight?",
                    "x.yaml:11:19: services[0].servers[2].address: server 10.0.2.11:80 is there twice, first on line 10; keep one of the two",
                    "x.yaml:12:19: services[0].servers[3].address: \"10.0.2.12:0\": port 0; leave :0 out to keep the client's port",
                    "x.yaml:12:42: services[0].servers[3].weight: \"65536\": out of range; write a number from 0 to 65535",
                    "x.yaml:13:19: services[0].servers[4].address: fd00:2::11 is IPv6 but the service takes 203.0.113.10:80/tcp; write a server with IPv4, or one service for each family; only tun can mix them",
                    "x.yaml:14:19: services[0].servers[5].address: fd00:2::12: an IPv6 address without quotes; quote it: \"fd00:2::12\"",
                    "x.yaml:15:19: services[0].servers[6].address: 203.0.113.10 is a VIP: packets would come back to the director; write the server's own address",
                    "x.yaml:16:40: services[0].servers[7].mac: \"01:00:5e:00:00:01\": a multicast MAC address, which no single server has; write the MAC of the server's interface",
                    "x.yaml:16:67: services[0].servers[7].name: \" \": an empty name; write a name",
                    "x.yaml:17:19: services[0].servers[8].address: \"10.0.2.14:80/tcp\": a server takes the protocol of its service; write 10.0.2.14:80",
                    "x.yaml:17:44: services[0].servers[8].mac: \"aa-bb-cc-dd-ee-ff\": not a MAC address; write it like \"52:54:00:12:34:56\"",
                    "x.yaml:18:9: services[0].servers[9]: address is missing; write address: 10.0.2.11:80",
                    "x.yaml:18:18: services[0].servers[9].weight: \"-1\": not a whole number; write a number from 0 to 65535",
                    "x.yaml:19:9: services[0].servers[10]: a single value where keys are expected; write {key: value, ...}, or one key: value a line, indented",
                ],
            ),
            (
                "services:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: dr, scheduler: rr, servers: [{address: \"10.0.2.11:8080\"}, {address: \"10.0.2.12:80\"}, {address: \"10.0.2.13:8080\", forward: nat}]}\n  - {name: b, listen: 203.0.113.10:81/tcp, forward: tun, scheduler: rr, servers: [{address: \"[fd00:2::11]:80\"}, {address: \"fd00:2::11\"}]}\n",
                &[
                    "x.yaml:4:92: services[0].servers[0].address: port 8080 with forward: dr, which keeps the port, 80; leave the port out, or use nat or fullnat",
                    "x.yaml:5:93: services[1].servers[0].address: port 80 with forward: tun, which keeps the port, 81; leave the port out, or use nat or fullnat",
                ],
            ),
            (
                "local_addresses: {v6: {addresses: [\"fd00::1\"], ports: 1000-2000}}\npools: {p: [{address: 10.0.2.11}]}\nservices:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: fullnat, scheduler: rr}\n  - {name: b, listen: 203.0.113.10:81/tcp, forward: fullnat, local_addresses: v4, scheduler: rr, pool: q}\n  - {name: c, listen: 203.0.113.10:82/tcp, forward: fullnat, local_addresses: v6, scheduler: rr, pool: p}\n  - {name: d, listen: 203.0.113.10:83/tcp, forward: nat, local_addresses: v6, scheduler: rr, pool: p, servers: []}\n",
                &[
                    "x.yaml:6:53: services[0].forward: fullnat without local addresses; define some under local_addresses:, such as back: {addresses: [10.0.2.1], ports: 10000-32767} with an address of this box, and name them in the service: local_addresses: back",
                    "x.yaml:7:79: services[1].local_addresses: \"v4\": no such group of local addresses; local_addresses: has v6",
                    "x.yaml:7:104: services[1].pool: \"q\": no such pool; pools: has p",
                    "x.yaml:8:79: services[2].local_addresses: \"v6\" has no IPv4 address, and the service takes 203.0.113.10:82/tcp; add an IPv4 address to local_addresses.v6",
                    "x.yaml:9:75: services[3].local_addresses: local_addresses without forward: fullnat would do nothing; remove it, or write forward: fullnat",
                    "x.yaml:9:100: services[3].pool: servers and pool in one service; keep one of the two",
                ],
            ),
            (
                "limits: {services: 1, servers: 1}\nservices:\n  - {name: a, listen: [203.0.113.10:80/tcp, 203.0.113.10:81/tcp], forward: nat, scheduler: rr, servers: [{address: 10.0.2.11}]}\n",
                &[
                    "x.yaml:5:5: services[0]: the file has 2 services, more than limits.services (1); write limits: {services: 2} or more",
                    "x.yaml:5:5: services[0]: the file has 2 servers, more than limits.servers (1); write limits: {servers: 2} or more",
                ],
            ),
        ],
        None,
    );
}

fn socket(protocol: Protocol, text: &str) -> Endpoint {
    let socket: SocketAddr = text.parse().expect("valid");
    Endpoint { protocol, address: socket.ip(), port: socket.port() }
}

fn box_of_the_table() -> Surroundings {
    let link = |name: &str, mtu, queues| Link { name: name.to_owned(), mtu, queues };
    Surroundings {
        interfaces: vec![link("eth0", 1500, 2), link("eth1", 3000, 1), link("eth2", 9000, 1)],
        addresses: ["10.0.2.1", "10.0.9.1"].map(|a| a.parse::<IpAddr>().expect("valid")).into(),
        sockets: Sockets {
            ephemeral: 32768..=60999,
            bound: vec![
                socket(Protocol::Tcp, "0.0.0.0:22"),
                socket(Protocol::Tcp, "203.0.113.10:179"),
                socket(Protocol::Tcp, "10.0.9.1:9100"),
                socket(Protocol::Udp, "[::]:9200"),
                socket(Protocol::Tcp, "10.0.9.9:9300"),
                socket(Protocol::Udp, "0.0.0.0:40000"),
            ],
        },
        cores: vec![0, 1, 2, 3],
    }
}

#[test]
fn against_the_box() {
    let around = box_of_the_table();
    check(
        &[
            (
                "version: 1\ninterfaces: [eth0, eth1, eth2, eth7]\nworkers: {cores: [0, 1, 4]}\nvips: [{address: 203.0.113.10, interface: dummy0}]\nservices: []\n",
                &[
                    "x.yaml:2:20: interfaces[1]: eth1 has an MTU of 3000, more than 1726 fits in a chunk of 2048; write chunk_size: 4096, or ip link set eth1 mtu 1726",
                    "x.yaml:2:26: interfaces[2]: eth2 has an MTU of 9000, more than 1726 fits in a chunk of 2048; ip link set eth2 mtu 3774 with chunk_size: 4096",
                    "x.yaml:2:32: interfaces[3]: \"eth7\": this box has no such interface; it has eth0, eth1, eth2",
                    "x.yaml:3:18: workers.cores: 3 workers, but no interface has more than 2 queues; write 2 cores at most, or add queues with ethtool -L",
                    "x.yaml:3:25: workers.cores[2]: core 4 is not one that xlvs may run on; choose from 0, 1, 2, 3",
                    "x.yaml:4:43: vips[0].interface: \"dummy0\": this box has no such interface; it has eth0, eth1, eth2",
                ],
            ),
            (
                "version: 1\ninterfaces: [eth0, eth1]\nchunk_size: 4096\nworkers: {cores: [0, 1]}\nservices: []\n",
                &[],
            ),
        ],
        Some(&around),
    );
    check_services(
        &[
            (
                "local_addresses:\n  a: {addresses: [10.0.9.1], ports: 9000-32768}\n  b: {addresses: [10.0.9.2], ports: 10000-32767}\nservices: []\n",
                &[
                    "x.yaml:4:19: local_addresses.a.addresses[0]: a socket of this box is bound to 10.0.9.1:9100/tcp, within the ports; write another range or another address, or move that socket",
                    "x.yaml:4:19: local_addresses.a.addresses[0]: a socket of this box is bound to [::]:9200/udp, within the ports; write another range or another address, or move that socket",
                    "x.yaml:4:37: local_addresses.a.ports: the ports overlap 32768-60999, which the kernel gives to its own connections; write another range, or move the kernel's with sysctl net.ipv4.ip_local_port_range",
                ],
            ),
            (
                "services:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: rr, servers: [{address: 10.0.2.1}, {address: 10.0.9.1, forward: dr}]}\n",
                &[
                    "x.yaml:4:93: services[0].servers[0].address: 10.0.2.1 is an address of this box, with forward: nat; add forward: dr to this server, the only method for a server on the director",
                ],
            ),
            (
                "services:\n  - {name: a, listen: 203.0.113.10:0/tcp, forward: nat, persistence: 6m}\n  - {name: b, listen: 203.0.113.11:0/tcp, forward: nat, persistence: 6m, except_ports: [20-29]}\n  - {name: c, listen: 203.0.113.10:0/udp, forward: nat, persistence: 6m}\n  - {name: d, listen: 203.0.113.10:179/tcp, forward: nat}\n",
                &[
                    "x.yaml:4:23: services[0].listen: 203.0.113.10:0/tcp would take what this box's own sockets get on port 22; add except_ports: [22], or stop listening there",
                    "x.yaml:6:23: services[2].listen: 203.0.113.10:0/udp would take what this box's own sockets get on port 9200; add except_ports: [9200], or stop listening there",
                ],
            ),
        ],
        Some(&around),
    );
}

#[test]
fn a_fault_behind_an_alias_is_reported_once_where_it_is_written() {
    check_services(
        &[(
            "x-list: &list\n  - {address: 10.0.2.300}\nservices:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: rr, servers: *list}\n  - {name: b, listen: 203.0.113.10:81/tcp, forward: nat, scheduler: rr, servers: *list}\n",
            &[
                "x.yaml:4:15: services[0].servers[0].address: \"10.0.2.300\": not an IP address; write it like 10.0.2.11:80 or \"[fd00:2::11]:80\"; names are not looked up",
            ],
        )],
        None,
    );
}

/// The whole vocabulary of the design, with the parts that come later: those, and only those,
/// are refused.
#[test]
fn later_keys_are_refused_by_name() {
    let text = r#"version: 1
interfaces: [{name: eth0}, {name: eth1}]
workers: {cores: [2, 3], idle: adaptive}
zero_copy: auto
limits: {connections: 1000000}
compat: none
lvs: {}
when_down: pass
vips:
  - {address: 203.0.113.10/32, interface: eth0, managed: true}
local_addresses: {dmz: {addresses: [10.0.9.10, "fd00:9::10"], ports: 10000-32767}}
probe_sources: [10.0.2.1, 203.0.113.10]
checks:
  http: {type: http, port: 80, path: /healthz, status: [200-299], interval: 2s, timeout: 1s, rise: 2, fall: 3}
pools: {web: [{address: 10.0.2.11, weight: 3}, {address: 10.0.2.12, weight: 3}]}
marks:
  - {mark: 10, destination: 203.0.113.10/32, protocol: tcp, ports: [80, 443]}
services:
  - {name: web, mark: 10, family: ipv4, forward: dr, scheduler: wlc, persistence: {timeout: 6m, mask: 24}, checks: [http], pool: web, sorry: {address: 10.0.2.250}}
  - {name: dns, listen: [203.0.113.20:53/udp, 203.0.113.20:53/tcp], forward: nat, scheduler: rr, timeouts: {udp: 10s}, servers: [{address: 10.0.3.11:53}, {address: 10.0.3.12:53}]}
  - {name: mysql, listen: 203.0.113.20:3306/tcp, forward: dr, servers: [{address: 10.0.2.31, max_connections: 500, resume_connections: 400}, {address: 10.0.2.32, mac: "52:54:00:12:34:56"}]}
  - {name: api, listen: "[2001:db8::10]:8443/tcp", forward: fullnat, local_addresses: dmz, scheduler: {name: mh, port: true, fallback: true}, servers: [{address: "[fd00:7::11]:443"}]}
"#;
    let expected = [
        "x.yaml:12:27: probe_sources[1]: 203.0.113.10 is a VIP: servers would answer themselves; write an address of the box that is used for nothing else",
    ];
    assert_eq!(lines(text, None), expected);
}

#[test]
fn a_file_that_is_not_there() {
    let fault = load(Path::new("/nonexistent/xlvs.yaml"), None).expect_err("no such file");
    let text = fault.to_string();
    assert!(text.starts_with("/nonexistent/xlvs.yaml: cannot be read: No such file"), "{text}");
}

#[test]
fn connection_log() {
    let file = |log: &str| {
        format!(
            "version: 1\ninterfaces: [eth0]\nconnection_log: {log}\nservices:\n  - {{name: a, listen: 203.0.113.10:80/tcp, forward: nat, servers: []}}\n"
        )
    };
    let rows: &[(&str, &[&str])] = &[
        ("{file: /var/log/c.jsonl, rate: 5, size: 1048576, services: [a]}", &[]),
        ("{file: /var/log/c.jsonl, services: a}", &[]),
        ("{rate: 5}", &["connection_log: file is missing; write file: /var/log/"]),
        ("{file: c.jsonl}", &["connection_log.file: \"c.jsonl\": no whole path; write file: /"]),
        ("{file: /c, rate: 0}", &["connection_log.rate: "]),
        ("{file: /c, size: 1000}", &["connection_log.size: "]),
        (
            "{file: /c, services: [a, b]}",
            &[
                "connection_log.services[1]: \"b\": there is no service of that name; write the name",
            ],
        ),
        ("{file: /c, rat: 5}", &["unknown key; did you mean rate?"]),
    ];
    for (log, expected) in rows {
        let faults = lines(&file(log), None);
        assert_eq!(faults.len(), expected.len(), "{log} {faults:#?}");
        for (fault, expected) in faults.iter().zip(*expected) {
            assert!(fault.contains(expected), "{log}: {fault}");
        }
    }
}

#[test]
fn api() {
    let file = |api: &str| format!("version: 1\ninterfaces: [eth0]\napi: {api}\nservices: []\n");
    let tls = "tls: {certificate: /c, key: /k}";
    let rows: &[(&str, &[&str])] = &[
        ("{}", &[]),
        ("{group: xlvs}", &[]),
        ("{listen: \"127.0.0.1:9443\", tokens: /t}", &[]),
        ("{listen: [\"127.0.0.1:9443\", \"[::1]:9443\"], tokens: /t}", &[]),
        (&format!("{{listen: \"192.0.2.1:9443\", tokens: /t, {tls}}}"), &[]),
        (
            "{listen: [\"127.0.0.1:9443\", \"192.0.2.1:9443\"], tokens: /t}",
            &[
                "3:34: api.listen[1]: 192.0.2.1:9443: tokens would cross the network in the clear; add tls: {",
            ],
        ),
        (
            "{listen: \"[::]:9443\", tokens: /t}",
            &["api.listen: [::]:9443: tokens would cross the network in the clear"],
        ),
        (
            "{listen: \"127.0.0.1:9443\"}",
            &["api.listen: nobody could use it: there are no tokens; add tokens: "],
        ),
        (
            "{listen: [\"127.0.0.1:9443\", \"127.0.0.1:9443\"], tokens: /t}",
            &["api.listen[1]: listed twice; remove one"],
        ),
        ("{listen: 9443, tokens: /t}", &["api.listen: \"9443\": not an address with a port; "]),
        ("{tls: {certificate: /c}}", &["api.tls: key is missing; write key: /"]),
        ("{tokens: tokens}", &["api.tokens: \"tokens\": not a whole path; write it from / on"]),
        ("{user: a}", &["unknown key; "]),
    ];
    for (api, expected) in rows {
        let faults = lines(&file(api), None);
        assert_eq!(faults.len(), expected.len(), "{api} {faults:#?}");
        for (fault, expected) in faults.iter().zip(*expected) {
            assert!(fault.contains(expected), "{api}: {fault}");
        }
    }
}

#[test]
fn hooks() {
    let file = |of_box: &str, of_service: &str| {
        format!(
            "version: 1\ninterfaces: [eth0]\nhooks: [{of_box}]\nservices:\n  - {{name: a, listen: 203.0.113.10:80/tcp, forward: nat, servers: [], hooks: [{of_service}]}}\n"
        )
    };
    let argv = "argv: [/bin/true]";
    let hook = |words: &str| format!("{{{argv}, {words}}}");
    let rows: &[(String, &[&str])] = &[
        (
            file(
                &hook("on: [server.down, quorum], user: root, timeout: 1m, at_start: true"),
                &hook("on: weight"),
            ),
            &[],
        ),
        (
            file("{on: server}", ""),
            &["hooks[0]: argv is missing; write argv: [/usr/local/lib/xlvs/mail, word]"],
        ),
        (
            file("{argv: [mail, root]}", ""),
            &["hooks[0].argv: no program; write its whole path first: no shell is asked"],
        ),
        (
            file(&hook("on: [up]"), ""),
            &[
                "hooks[0].on[0]: \"up\": not a kind of events; write server, weight, drain, maint, deny, quorum, service, vip, config, audit or director",
            ],
        ),
        (
            file(&hook("on: server.dwn"), ""),
            &["\"server.dwn\": not one of its states; write server, or server. and up or down"],
        ),
        (file(&hook("on: weight.3"), ""), &["not one of its states; write weight"]),
        (
            file(&hook("on: []"), ""),
            &["hooks[0].on: never; name kinds of events, or remove the hook"],
        ),
        (
            file(&hook("timeout: 0s"), ""),
            &["out of range; write at most 10m: the other hooks wait meanwhile"],
        ),
        (file(&hook("timeout: 1h"), ""), &["out of range; write at most 10m"]),
        (file(&hook("tmeout: 1s"), ""), &["unknown key; did you mean timeout?"]),
        (
            file("", &hook("on: [server, vip.withdrawn]")),
            &[
                "services[0].hooks[0].on[1]: vip happens to the box, not to a service; write it under hooks: at the top",
            ],
        ),
    ];
    for (text, expected) in rows {
        let faults = lines(text, None);
        assert_eq!(faults.len(), expected.len(), "{text}{faults:#?}");
        for (fault, expected) in faults.iter().zip(*expected) {
            assert!(fault.contains(expected), "{text}{fault}");
        }
    }
}

/// Checks, and what services say of health.
#[test]
fn health() {
    let checks = |checks: &str, service: &str| {
        format!(
            "version: 1\ninterfaces: [eth0]\nchecks:\n  {checks}\nservices:\n  - {{name: a, listen: 203.0.113.10:80/tcp, forward: nat, servers: [{{address: 10.0.0.1}}], {service}}}\n"
        )
    };
    let http = "web: {type: http}";
    let rows: &[(String, &[&str])] = &[
        (checks(http, "checks: web"), &[]),
        (checks("x: {type: maglev}", ""), &["not a type of checks; write tcp, http, https, tls, dns, udp, ping, smtp, redis, mysql, postgres, exec or file"]),
        (checks("x: {type: MISC_CHECK}", ""), &["not a type of checks; write exec"]),
        (checks("x: {type: http, pth: /}", ""), &["checks.x.pth: unknown key; did you mean path?"]),
        (checks("x: {type: http, path: healthz}", ""), &["\"healthz\": not a path; write it like /healthz"]),
        (checks("x: {type: http, status: [200-299, 700]}", ""), &["\"700\": not a status of HTTP; write codes from 100 to 599, like 200-299"]),
        (checks("x: {type: http, body: {matches: \"(\"}}", ""), &["not a regular expression: "]),
        (checks("x: {type: http, body: {contains: a, digest: 00}}", ""), &["\"00\": not a digest", ]),
        (checks("x: {type: https, ca: /nonexistent}", ""), &["/nonexistent: No such file or directory"]),
        (checks("x: {type: tls, verify: true, sni: a, port: 443}", "checks: x"), &[]),
        (checks("x: {type: http, timeout: 3s}", ""), &["check x: its timeout is longer than the time until the next probe"]),
        (checks("x: {type: exec, argv: [check]}", ""), &["no program; write its whole path first: no shell is asked"]),
        (checks("x: {type: ping, via: service}", "checks: x"), &["via: service with ping, which has no port"]),
        (checks("x: {type: http, via: service}", "checks: x"), &["via: service without an IPv4 address to ask from; add probe_sources: with an IPv4 address of this box that is no VIP"]),
        (checks("x: {type: http, via: service}\nprobe_sources: [\"2001:db8::1\"]", "checks: x"), &["via: service without an IPv4 address"]),
        (checks("x: {type: http, via: service, port: 81}\nprobe_sources: [192.0.2.1]", "checks: x"), &["port 81 by way of the service, which takes port 80"]),
        (checks("x: {type: http, via: service}\nprobe_sources: [192.0.2.1]", "checks: x"), &[]),
        (
            checks(
                "x: {type: http, via: service}\nlocal_addresses: {a: {addresses: [192.0.2.1], ports: 10000-19999}}\nprobe_sources: [192.0.2.1, 10.0.0.1, 192.0.2.2, 192.0.2.2]",
                "checks: x",
            ),
            &["192.0.2.1 is a local address of FullNAT", "10.0.0.1 is a real server", "192.0.2.2 is there twice"],
        ),
        (checks(http, "checks: wbe"), &["\"wbe\": no such check; checks: has web"]),
        (checks(http, "checks: [web, web]"), &["check web is there twice"]),
        (checks(http, "checks: web, quorum: 5"), &["5 is more than the weights of all servers, 1"]),
        (checks(http, "checks: web, quorum: 1, hysteresis: 1"), &["1 is not less than the quorum, 1"]),
        (checks(http, "checks: web, require: 0"), &["\"0\": not a number of checks; write all, any or how many must be up"]),
        (checks(http, "checks: web, withdraw: true, pause_without_vip: true"), &["checks that pause never bring the VIP back; keep one of the two"]),
        (checks(http, "on_down: weight0"), &["on_down without checks would do nothing"]),
        (checks(http, "hints: {failures: 5}"), &["hints without checks would do nothing"]),
        (checks(http, "checks: web, hints: {failures: 5, suspect: 10s}"), &[]),
        (checks(http, "checks: web, forward: dr, hints: {failures: 5}").replace("forward: nat, ", ""), &["hints with forward: dr: servers' answers do not pass here"]),
        (checks(http, "checks: web, damping: {changes: 3}"), &["within is missing; write within: 1m", "hold is missing; write hold: 5m"]),
        (checks(http, "checks: web, sorry: {address: 203.0.113.10}"), &["203.0.113.10 is a VIP"]),
        (
            "version: 1\ninterfaces: [eth0]\nchecks: {web: {type: http}}\nmarks: [{mark: 1, destination: 203.0.113.10/32}]\nservices:\n  - {name: a, mark: 1, forward: dr, checks: web, withdraw: true, servers: [{address: 10.0.0.1}]}\n".to_owned(),
            &["no port to ask: mark 1 takes several; write {name: ..., port: 80}, or port: in the check", "withdraw in a service of a mark"],
        ),
    ];
    for (text, expected) in rows {
        let faults = lines(text, None);
        assert_eq!(faults.len(), expected.len(), "{text}{faults:#?}");
        for (fault, expected) in faults.iter().zip(*expected) {
            assert!(fault.contains(expected), "{text}{fault}");
        }
    }
}
