//! Faults in the words that LVS's users know: schedulers, persistence, marks, thresholds,
//! tunnels, access, `lvs:`. Each row: lines of a file, and what `xlvs check` says of them, with
//! the line (columns are proved elsewhere).

mod marks;
mod meaning;

use std::path::Path;

use control::{load::read, model::Model};

/// `LINE: PATH: SENTENCE; REMEDY` of each fault.
fn faults(text: &str) -> Vec<String> {
    let Err(faults) = read(Path::new("x.yaml"), text, None) else { return Vec::new() };
    let line = |fault: &control::fault::Fault| {
        format!("{}: {fault}", fault.place.map_or(0, |place| place.line))
    };
    faults.iter().map(line).collect()
}

/// A file whose keys at the top begin on line 3.
fn top(keys: &str) -> String {
    format!("version: 1\ninterfaces: [eth0]\n{}\nservices: []\n", keys.replace(" | ", "\n"))
}

/// A file whose only service has its keys from line 5 on.
fn service(keys: &str) -> String {
    let keys = keys.replace(" | ", "\n    ");
    format!("version: 1\ninterfaces: [eth0]\nservices:\n  - name: a\n    {keys}\n")
}

/// The same for a TCP service in NAT, from line 7 on.
fn nat(keys: &str) -> String {
    service(&format!("listen: 203.0.113.10:80/tcp | forward: nat | {keys}"))
}

/// A file with mark rules on line 3, and a service whose keys begin on line 6.
fn marked(rules: &str, keys: &str) -> String {
    let keys = keys.replace(" | ", "\n    ");
    format!(
        "version: 1\ninterfaces: [eth0]\nmarks: [{rules}]\nservices:\n  - name: a\n    {keys}\n"
    )
}

fn model(text: &str) -> Model {
    read(Path::new("x.yaml"), text, None).unwrap_or_else(|faults| panic!("{faults}\nin:\n{text}"))
}

fn check(rows: &[(String, &[&str])]) {
    for (text, expected) in rows {
        assert_eq!(faults(text), *expected, "\nin:\n{text}");
    }
}

#[test]
fn schedulers() {
    check(&[
        (nat("scheduler: lblcr"), &[]),
        (nat("scheduler: {name: sh, port: true, fallback: true}"), &[]),
        (nat("scheduler: {name: lblc, expiration: 24h, destinations: 1024}"), &[]),
        (
            nat("scheduler: conhash"),
            &["7: services[0].scheduler: \"conhash\": not one of LVS's schedulers; write mh"],
        ),
        (
            nat("scheduler: mh-port"),
            &[
                "7: services[0].scheduler: \"mh-port\": not one of LVS's schedulers; write {name: mh, port: true}",
            ],
        ),
        (
            nat("scheduler: random"),
            &[
                "7: services[0].scheduler: \"random\": not a scheduler; write rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh or twos",
            ],
        ),
        (
            nat("scheduler: {port: true}"),
            &["7: services[0].scheduler: name is missing; write name: and a scheduler, like mh"],
        ),
        (
            nat("scheduler: {name: dh, fallback: true, expiration: 1h, turns: 2}"),
            &[
                "7: services[0].scheduler.fallback: dh has no such option, only sh and mh have; remove it, or write name: sh or mh",
                "7: services[0].scheduler.expiration: dh has no such option, only lblc and lblcr have; remove it, or write name: lblc or lblcr",
                "7: services[0].scheduler.turns: unknown key; the keys here are name",
            ],
        ),
        (
            nat("scheduler: {name: lblcr, expiration: 86400, destinations: 0}"),
            &[
                "7: services[0].scheduler.expiration: \"86400\": a duration without a unit; write a number with a unit, like 500ms, 30s, 15m, 2h or 1d",
                "7: services[0].scheduler.destinations: \"0\": out of range; write a number from 1 to 1048576",
            ],
        ),
    ]);
}

#[test]
fn persistence_and_every_port() {
    let every = "listen: 203.0.113.10:0/tcp | forward: dr | ";
    let six = "listen: [\"[2001:db8::10]:80/tcp\", 203.0.113.10:80/tcp] | forward: dr | ";
    check(&[
        (nat("persistence: 6m"), &[]),
        (nat("persistence: {}"), &[]),
        (service(&format!("{every}persistence: 1h | except_ports: [22, 8000-8099]")), &[]),
        (
            service(&format!("{every}scheduler: rr")),
            &[
                "5: services[0].listen: 203.0.113.10:0/tcp: port 0, every port, needs persistence; add persistence: 6m, or write one element for each port",
            ],
        ),
        (
            nat("persistence: 6m | except_ports: 22"),
            &[
                "8: services[0].except_ports: except_ports does nothing where no element of listen has port 0; remove it, or write a port 0",
            ],
        ),
        (
            service(&format!("{every}persistence: 6m | except_ports: [0, ssh, 99-22]")),
            &[
                "8: services[0].except_ports[0]: \"0\": port 0; write a number from 1 to 65535",
                "8: services[0].except_ports[1]: \"ssh\": the port is wrong; write a number from 1 to 65535",
                "8: services[0].except_ports[2]: \"99-22\": not a range of ports; write it like 10000-32767, lower end first",
            ],
        ),
        (
            service(&format!(
                "{every}persistence: 6m | except_ports: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]"
            )),
            &[
                "8: services[0].except_ports: 16 ports and ranges, more than 15; write ranges that join some of them",
            ],
        ),
        (
            nat("persistence: 360"),
            &[
                "7: services[0].persistence: \"360\": a duration without a unit; write a number with a unit, like 500ms, 30s, 15m, 2h or 1d",
            ],
        ),
        (
            nat("persistence: {timeout: 32d, mask: 24, netmask: 1}"),
            &[
                "7: services[0].persistence.timeout: \"32d\": out of range; write whole seconds, from 1s to 2678400s",
                "7: services[0].persistence.netmask: unknown key; the keys here are timeout or mask",
            ],
        ),
        (
            nat("persistence: {mask: 33}"),
            &[
                "7: services[0].persistence.mask: a mask of 33 bits, but the service takes 203.0.113.10:80/tcp; write 1 to 32, or a service for each family",
            ],
        ),
        (
            nat("persistence: {mask: 255.0.255.0}"),
            &[
                "7: services[0].persistence.mask: \"255.0.255.0\": a mask with gaps; write a prefix length like 24 or 64, or for IPv4 255.255.255.0",
            ],
        ),
        (
            nat("persistence: {mask: 0}"),
            &[
                "7: services[0].persistence.mask: \"0\": all clients would be one; write a prefix length like 24 or 64, or for IPv4 255.255.255.0",
            ],
        ),
        (
            service(&format!("{six}persistence: {{mask: 64}}")),
            &[
                "7: services[0].persistence.mask: a mask of 64 bits, but the service takes 203.0.113.10:80/tcp; write 1 to 32, or a service for each family",
            ],
        ),
        (
            service(&format!("{six}persistence: {{mask: 255.255.255.0}}")),
            &[
                "7: services[0].persistence.mask: a netmask of IPv4, but the service takes [2001:db8::10]:80/tcp; write a prefix length, like 64",
            ],
        ),
    ]);
}

#[test]
fn servers() {
    let tun = "listen: 203.0.113.10:80/tcp | forward: tun | ";
    check(&[
        (nat("servers: [{address: 10.0.2.11, max_connections: 4, resume_connections: 4}]"), &[]),
        (
            service(&format!(
                "{tun}tunnel: gre | servers: [{{address: 10.0.2.11, tunnel: {{type: gue, port: 6080, checksum: true}}}}]"
            )),
            &[],
        ),
        (nat("tunnel: gre | servers: [{address: 10.0.2.11, forward: tun}]"), &[]),
        (
            nat(
                "servers: [{address: 10.0.2.11, max_connections: 4, resume_connections: 5}, {address: 10.0.2.12, resume_connections: 5}]",
            ),
            &[
                "7: services[0].servers[0].resume_connections: 5 is more than max_connections, 4; write at most 4",
                "7: services[0].servers[1].resume_connections: resume_connections without max_connections would do nothing; add max_connections, or remove it",
            ],
        ),
        (
            nat("tunnel: ipip | servers: [{address: 10.0.2.11, tunnel: gre}]"),
            &[
                "7: services[0].tunnel: tunnel without forward: tun would do nothing; remove it, or write forward: tun",
                "8: services[0].servers[0].tunnel: tunnel without forward: tun would do nothing; remove it, or write forward: tun",
            ],
        ),
        (
            service(&format!("{tun}tunnel: gue")),
            &["7: services[0].tunnel: gue without a port; write {type: gue, port: 6080}"],
        ),
        (
            service(&format!("{tun}tunnel: {{type: gue}}")),
            &[
                "7: services[0].tunnel: port is missing; write port: 6080, or where the servers listen",
            ],
        ),
        (
            service(&format!("{tun}tunnel: {{type: ipip, port: 6080, checksum: true}}")),
            &[
                "7: services[0].tunnel.port: ipip has no port, only gue has; remove it",
                "7: services[0].tunnel.checksum: ipip has no checksum, gre and gue have; remove it",
            ],
        ),
        (
            service(&format!("{tun}tunnel: vxlan")),
            &[
                "7: services[0].tunnel: \"vxlan\": not a word that is known here; write ipip, gre or gue",
            ],
        ),
    ]);
}

#[test]
fn one_packet_and_joining() {
    let both = "listen: [203.0.113.10:53/udp, 203.0.113.10:53/tcp] | forward: nat | ";
    check(&[
        (service("listen: 203.0.113.10:53/udp | forward: nat | one_packet: true"), &[]),
        (nat("one_packet: false"), &[]),
        (nat("on_join: slow_start"), &[]),
        (nat("on_join: {slow_start: 90s} | scheduler: wrr"), &[]),
        (nat("on_join: reset_counts | scheduler: ovf"), &[]),
        (
            service(&format!("{both}one_packet: true")),
            &[
                "7: services[0].one_packet: one_packet is for UDP, and the service takes 203.0.113.10:53/tcp; write a service of its own for /udp",
            ],
        ),
        (
            nat("on_join: quiesce"),
            &[
                "7: services[0].on_join: \"quiesce\": not a word that is known here; write nothing, reset_counts or slow_start",
            ],
        ),
        (
            nat("on_join: {slow_start: 2h}"),
            &[
                "7: services[0].on_join.slow_start: \"2h\": out of range; write whole seconds, from 1s to 3600s",
            ],
        ),
        (
            nat("on_join: slow_start | scheduler: sh"),
            &[
                "7: services[0].on_join: slow_start with scheduler sh, which would move clients with each step of the weight; remove it, or write another scheduler",
            ],
        ),
        (
            nat("on_join: slow_start | scheduler: rr"),
            &[
                "7: services[0].on_join: slow_start with scheduler rr, which does not look at how large a weight is; remove it, or write another scheduler",
            ],
        ),
        (
            nat("on_join: slow_start | scheduler: dh"),
            &[
                "7: services[0].on_join: slow_start with scheduler dh, which gives a destination to a server whatever its weight; remove it, or write another scheduler",
            ],
        ),
        (
            nat("on_join: slow_start | scheduler: fo"),
            &[
                "7: services[0].on_join: slow_start with scheduler fo, which would leave the server until it has its whole weight; remove it, or write another scheduler",
            ],
        ),
        (
            nat("on_join: slow_start | scheduler: ovf"),
            &[
                "7: services[0].on_join: slow_start with scheduler ovf, for which a weight is a number of connections; write reset_counts, or another scheduler",
            ],
        ),
        (
            nat("on_join: reset_counts | scheduler: wrr"),
            &[
                "7: services[0].on_join: reset_counts with scheduler wrr, which does not look at counts of connections; remove it, or write another scheduler",
            ],
        ),
    ]);
}

#[test]
fn access_timeouts_and_limits() {
    check(&[
        (
            top(
                "access: {allow: [10.0.0.0/8, \"2001:db8::/32\"], deny: [10.9.9.9], new_connections: 5}",
            ),
            &[],
        ),
        (top("timeouts: {sctp_established: 1h, udp: 10s, tcp_established: 31d}"), &[]),
        (
            nat(
                "access: {allow: [], deny: [10.0.0.0/33, 10.1.2.3/8, office], new_connections: 0, drop: 1}",
            ),
            &[
                "7: services[0].access.allow: an empty list would do nothing; write prefixes, or remove the key",
                "7: services[0].access.deny[0]: \"10.0.0.0/33\": the prefix length is wrong; write a length from 0 to 32",
                "7: services[0].access.deny[1]: \"10.1.2.3/8\": has bits set beyond the first 8; write 10.0.0.0/8, or a longer prefix",
                "7: services[0].access.deny[2]: \"office\": not a network; write it like 198.51.100.0/24 or \"2001:db8::/32\"",
                "7: services[0].access.new_connections: \"0\": out of range; write a number from 1 to 1000000",
                "7: services[0].access.drop: unknown key; the keys here are allow, deny or new_connections",
            ],
        ),
        (
            top("timeouts: {sctp_init: 32d} | limits: {templates: 1, sources: 2}"),
            &[
                "3: timeouts.sctp_init: \"32d\": out of range; write whole seconds, from 1s to 2678400s",
                "4: limits.templates: \"1\": out of range; write a number from 256 to 16777216",
                "4: limits.sources: \"2\": out of range; write a number from 256 to 16777216",
            ],
        ),
    ]);
}

#[test]
fn sysctls() {
    check(&[
        (
            top(
                "lvs: {expire_nodest_conn: 1, pmtu_disc: false, conn_reuse_mode: 2, secure_tcp: 3, am_droprate: 4, lblc_expiration: 3600, lblcr_expiration: 1h}",
            ),
            &[],
        ),
        (top("on_gone: hold | on_idle: silent | lvs: {}"), &[]),
        (
            top(
                "lvs: {conn_reuse_mode: 4, sloppy_tcp: 2, drop_entry: true, am_droprate: 0, lblc_expiration: 0}",
            ),
            &[
                "3: lvs.conn_reuse_mode: \"4\": out of range; write a number from 0 to 3",
                "3: lvs.sloppy_tcp: \"2\": not a word that is known here; write 0, 1, false or true",
                "3: lvs.drop_entry: \"true\": not a whole number; write a number from 0 to 3",
                "3: lvs.am_droprate: \"0\": out of range; write a number from 1 to 2147483647",
                "3: lvs.lblc_expiration: \"0\": out of range; write whole seconds, from 1s to 315360000s",
            ],
        ),
        (
            top(
                "lvs: {conntrack: 1, snat_reroute: 1, ignore_tunneled: 0, run_estimation: 1, sync_threshold: 3, backup_only: 0, conn_tab_bits: 20, sloppy: 1}",
            ),
            &[
                "3: lvs.conntrack: packets of services pass no netfilter hook, so there is nothing to track; remove it; for filtering there is access:",
                "3: lvs.snat_reroute: ways out are found by destination only, so a changed source changes no way; remove it",
                "3: lvs.ignore_tunneled: packets of other protocols than TCP, UDP and SCTP always stay with the kernel; remove it",
                "3: lvs.run_estimation: rates come from counters that workers keep anyway; remove it",
                "3: lvs.sync_threshold: connections are not synchronised with another director; remove it",
                "3: lvs.backup_only: connections are not synchronised with another director; remove it",
                "3: lvs.conn_tab_bits: the connection table has a fixed size; write limits: {connections: ...}",
                "3: lvs.sloppy: unknown key; the keys here are expire_nodest_conn, conn_reuse_mode, expire_quiescent_template, sloppy_tcp, sloppy_sctp, schedule_icmp, nat_icmp_send, pmtu_disc, cache_bypass, drop_packet, drop_entry, secure_tcp, am_droprate, amemthresh, lblc_expiration or lblcr_expiration",
            ],
        ),
        (
            nat("lvs: {drop_entry: 1, lblcr_expiration: 60, cache_bypass: 1}"),
            &[
                "7: services[0].lvs.drop_entry: holds for the whole box; write it under lvs: at the top",
                "7: services[0].lvs.lblcr_expiration: holds for the whole box; write scheduler: {name: lblcr, expiration: 24h}",
                "7: services[0].lvs.cache_bypass: does nothing without mark: packets go to the VIP, which is ours; remove it",
            ],
        ),
        (
            nat("lvs: {expire_nodest_conn: 0} | on_gone: reset | on_idle: drop"),
            &[
                "8: services[0].on_gone: on_gone and lvs.expire_nodest_conn decide the same; keep one of the two",
                "9: services[0].on_idle: \"drop\": not a word that is known here; write reset or silent",
            ],
        ),
    ]);
}

/// Who mistypes a key is told which ones there are.
#[test]
fn unknown_keys_are_told_what_works() {
    assert_eq!(
        faults(&top("qwertyuiop: 1")),
        [
            "3: qwertyuiop: unknown key; the keys here are version, interfaces, workers, zero_copy, limits, compat, lvs, on_gone, on_idle, on_join, timeouts, access, when_down, stop_grace, autoreload, chunk_size, vips, local_addresses, probe_sources, checks, hooks, connection_log, api, metrics, pools, marks, services, include or boxes"
        ]
    );
}
