//! Checks by way of the service: what a client's packet meets, a probe meets too. What is broken
//! on the way is found and named; a check of the server's own address does not notice it.
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::{Director, Lab};
use xtask::shell;

use crate::{front::Front, server, stage};

/// A web service on each VIP, checked by way of itself, and one that is checked directly.
fn yaml(lab: &Lab, sources: [&str; 2]) -> String {
    let topology = lab.topology();
    let (interfaces, forward) = (topology.interfaces.join(", "), topology.forward);
    let [v4, v6] = topology.vips;
    let servers = |family, port: &str| {
        let one = |number| format!("{{address: \"{}\"{port}}}", server(lab, number, family));
        format!("[{}, {}]", one(1), one(2))
    };
    let locals = match forward {
        "fullnat" => format!(
            "local_addresses: {{pool: {{addresses: [{}, \"{}\"], ports: 10000-19999}}}}\n",
            topology.local[0], topology.local[1]
        ),
        _ => String::new(),
    };
    let from = if forward == "fullnat" { ", local_addresses: pool" } else { "" };
    format!(
        "version: 1
interfaces: [{interfaces}]
probe_sources: [{}, \"{}\"]
{locals}checks:
  through: {{type: http, path: /who, via: service, interval: 250ms, timeout: 250ms, rise: 2, fall: 3}}
  own: {{type: http, port: 80, path: /who, interval: 250ms, timeout: 250ms, rise: 2, fall: 3}}
services:
  - {{name: v4, listen: \"{v4}:80/tcp\", forward: {forward}, checks: through, servers: {}{from}}}
  - {{name: v6, listen: \"[{v6}]:80/tcp\", forward: {forward}, checks: through, servers: {}{from}}}
  - {{name: direct, listen: \"{v4}:443/tcp\", forward: {forward}, checks: own, servers: {}{from}}}
",
        sources[0],
        sources[1],
        servers(0, ""),
        servers(1, ""),
        servers(0, ""),
    )
}

/// Interval times fall, and the last probe's timeout.
const DETECTION: Duration = Duration::from_millis(3 * 250 + 250);
/// The lab looks now and then, on a machine that does other things.
const LOOKING: Duration = Duration::from_millis(1500);

/// State and reason of the first server of each service; the second one is up.
fn first_servers(director: &Director<'_>) -> [(String, String); 3] {
    ["v4", "v6", "direct"].map(|name| {
        let service = director.service(name).unwrap();
        let [server, other] = [0, 1].map(|at| &service["servers"][at]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // What the checks know and what control made of it may be a moment apart.
        let settled = other["state"] == "up" && server["state"] == server["health"]["state"];
        let state = if settled { text(&server["state"]) } else { "?".to_owned() };
        (state, text(&server["health"]["why"]))
    })
}

/// Waits until these are the states; gives the reasons, and how long it took.
fn until(director: &Director<'_>, wanted: [&str; 3]) -> (Vec<String>, Duration) {
    let started = Instant::now();
    loop {
        let (states, reasons): (Vec<_>, Vec<_>) = first_servers(director).into_iter().unzip();
        if states == wanted {
            return (reasons, started.elapsed());
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{states:?} instead of {wanted:?}: {reasons:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Something that breaks on the first server, what mends it, the states that follow, and what
/// the reason must have in it.
struct Fault {
    what: &'static str,
    breaks: String,
    mends: String,
    states: [&'static str; 3],
    reason: &'static str,
}

fn fault(
    what: &'static str,
    (breaks, mends): (&str, &str),
    states: [&'static str; 3],
    reason: &'static str,
) -> Fault {
    Fault { what, breaks: breaks.to_owned(), mends: mends.to_owned(), states, reason }
}

/// What every server may suffer, whatever the mode.
fn anywhere(lab: &Lab) -> Vec<Fault> {
    let all = ["down", "down", "down"];
    let home = lab.file("server1");
    let home = home.display();
    let nginx = format!("nginx -c {home}/nginx.conf -p {home} -e {home}/error.log");
    let drop = "nft add table inet t; nft 'add chain inet t i { type filter hook input priority 0; }'; nft add rule inet t i tcp dport 80 drop";
    let pid = format!("{home}/nginx.pid");
    vec![
        fault(
            "a firewall drops",
            (drop, "nft delete table inet t"),
            all,
            "nor does its own address answer: it is down, or a firewall drops",
        ),
        fault(
            "nothing listens on the port",
            (
                &format!("kill $(cat {pid})"),
                &format!("{nginx} > /dev/null 2>&1 < /dev/null & sleep 0.3"),
            ),
            all,
            "nothing listens on port 80",
        ),
    ]
}

/// Breaks, looks, mends, looks.
fn suffer(mode: &str, sources: [&str; 2], faults: impl FnOnce(&Lab) -> Vec<Fault>) {
    let lab = stage(mode, 2);
    let director = Director::start_with_text(&lab, &yaml(&lab, sources)).unwrap();
    until(&director, ["up", "up", "up"]);
    for vip in lab.topology().vips {
        assert_eq!(lab.client().fetch(vip, 20).unwrap().len(), 2, "{mode}");
    }
    let host = lab.host("server1");
    for fault in faults(&lab) {
        let run = |script: &str| shell::output(host.command("sh").args(["-c", script])).unwrap();
        run(&fault.breaks);
        let (reasons, took) = until(&director, fault.states);
        println!("{mode}: {}: after {} ms: {}", fault.what, took.as_millis(), reasons[0]);
        assert!(took < DETECTION + LOOKING, "{mode}: {}: found after {took:?}", fault.what);
        for (state, reason) in fault.states.iter().zip(&reasons).take(2) {
            let named = reason.contains(fault.reason);
            assert!(*state != "down" || named, "{mode}: {}: {reason}", fault.what);
        }
        if fault.states[0] == "down" {
            let answers = lab.client().fetch(lab.topology().vips[0], 20).unwrap();
            assert!(!answers.contains_key("server1"), "{answers:?}");
        }
        run(&fault.mends);
        until(&director, ["up", "up", "up"]);
    }
    let listed = Front::new(&lab).run("ipvsadm -Lnc");
    assert!(!listed.contains(sources[0]), "probes are no connections: {listed}");
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn dr() {
    suffer("dr", ["192.0.2.2", "2001:db8:1::2"], |lab| {
        let [v4, v6] = lab.topology().vips;
        let mut faults = anywhere(lab);
        faults.push(fault(
            "the VIP is not on lo",
            (&format!("ip addr del {v4}/32 dev lo"), &format!("ip addr add {v4}/32 dev lo")),
            ["down", "up", "up"],
            "is the VIP on its loopback interface",
        ));
        faults.push(fault(
            "the IPv6 VIP is not on lo",
            (
                &format!("ip addr del {v6}/128 dev lo"),
                &format!("ip addr add {v6}/128 dev lo nodad"),
            ),
            ["up", "down", "up"],
            "is the VIP on its loopback interface",
        ));
        faults
    });
}

#[test]
fn tun() {
    suffer("tun", ["198.51.100.1", "2001:db8:2::1"], |lab| {
        let object = lab.file("decap.bpf.o");
        let again = format!("ip link set dev eth0 xdp obj {} sec xdp", object.display());
        let mut faults = anywhere(lab);
        faults.push(fault(
            "there is no tunnel",
            ("ip link set dev eth0 xdp off", &again),
            ["down", "down", "up"],
            "has it the tunnel interface with the VIP",
        ));
        faults
    });
}

#[test]
fn nat() {
    suffer("nat", ["198.51.100.1", "2001:db8:2::1"], |lab| {
        let mut faults = anywhere(lab);
        faults.push(fault(
            "another gateway",
            (
                "ip route replace default via 10.0.2.12; ip -6 route replace default via fd00:2::12",
                "ip route replace default via 10.0.2.1; ip -6 route replace default via fd00:2::1",
            ),
            ["down", "down", "up"],
            "do its answers come back through this box?",
        ));
        faults
    });
}

#[test]
fn fullnat() {
    suffer("fullnat", ["198.51.100.1", "2001:db8:2::1"], anywhere);
}
