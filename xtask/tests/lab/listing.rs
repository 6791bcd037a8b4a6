//! A long table: 100,000 connections in a running daemon, listed by `ipvsadm -Lnc` and, with
//! filters, through the socket page by page. `cargo run --release -p bench -- listing` does so
//! with a million.
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::lab::{Director, Lab};
use xtask::shell;

use crate::front::{Front, place};
use crate::live::{finish, live};
use crate::tcp::hold;
use crate::{CLIENT, server, stage};

const FLOOD: &str = include_str!("flood.py");
/// Flows of the flood, and of each of its clients.
const FLOWS: usize = 100_000;
const OF_A_CLIENT: usize = 20_000;
/// TCP connections beside them, over IPv4 and over IPv6.
const HELD: [usize; 2] = [12, 7];

/// The flows go to a port on which no server listens.
const PORT: u16 = 9;

fn yaml(lab: &Lab) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let [v4, v6] = lab.topology().vips;
    let servers = |family: usize| {
        let own = (1..=3).map(|number| format!("{{address: \"{}\"}}", server(lab, number, family)));
        own.collect::<Vec<_>>().join(", ")
    };
    let service = |name: &str, listen: String, family| {
        let rest = format!("forward: nat, scheduler: rr, servers: [{}]", servers(family));
        format!("  - {{name: {name}, listen: \"{listen}\", {rest}}}\n")
    };
    format!(
        "version: 1\ninterfaces: [{interfaces}]\nlimits: {{connections: 120000}}\nservices:\n{}{}{}",
        service("many", format!("{v4}:{PORT}/udp"), 0),
        service("web4", format!("{v4}:80/tcp"), 0),
        service("web6", format!("[{v6}]:80/tcp"), 1),
    )
}

#[test]
fn a_hundred_thousand_connections_are_listed_once_each() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let [v4, v6] = lab.topology().vips;
    for (name, _) in lab.topology().servers() {
        // What comes from the flood's clients needs no answer.
        lab.host(&name).run("ip route add blackhole 10.1.0.0/16").unwrap();
    }
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    let held = [hold(&lab, v4, 80, HELD[0], "held4"), hold(&lab, v6, 80, HELD[1], "held6")];
    flood(&lab, &director);
    listed_by_ipvsadm(&front, [v4, v6]);
    listed_by_pages(&lab);
    drop(held);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Opens the flows; again, where datagrams were lost.
fn flood(lab: &Lab, director: &Director<'_>) {
    let script = lab.file("flood.py");
    fs::write(&script, FLOOD).unwrap();
    let (hop, interface) = lab.before_director().unwrap();
    let (mac, vip) = (lab.director().mac("eth0").unwrap(), lab.topology().vips[0]);
    let script = script.display();
    let line =
        format!("/usr/bin/python3 {script} {interface} {mac} {vip} {PORT} {FLOWS} {OF_A_CLIENT}");
    // One pass of about 3 s does it on a quiet machine.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        hop.run(&line).unwrap();
        let json = director.json().unwrap();
        let open = json["tables"]["ipv4"]["connections"].as_u64().unwrap() as usize;
        if open == FLOWS + HELD[0] {
            break;
        }
        assert!(Instant::now() < deadline, "{open} of {FLOWS} are open");
    }
}

/// While a connection goes on that must not feel it.
fn listed_by_ipvsadm(front: &Front<'_>, vips: [&str; 2]) {
    let [v4, v6] = vips;
    let mut asking = live(front.lab, v6, 4, "listed");
    let rows = front.connections();
    let (_, longest) = finish(&mut asking);
    assert!(longest < 1000, "a wait of {longest} ms");
    let many: Vec<_> = rows.iter().filter(|row| row.vip == place(v4, PORT)).collect();
    assert!(many.iter().all(|row| row.protocol == "UDP" && row.expires <= 300));
    let clients: HashSet<&str> = many.iter().map(|row| row.client.as_str()).collect();
    assert_eq!((many.len(), clients.len()), (FLOWS, FLOWS));
    let expected = (0..FLOWS).map(flow);
    assert!(expected.map(|(client, port)| place(&client, port)).all(|one| clients.contains(&*one)));
    // The one that asked is there, too, open or closed by now.
    for (vip, held) in [(v4, HELD[0]), (v6, HELD[1] + 1)] {
        let web = rows.iter().filter(|row| row.protocol == "TCP" && row.vip == place(vip, 80));
        assert_eq!(web.count(), held, "{vip}");
    }
    assert_eq!(rows.len(), FLOWS + HELD[0] + HELD[1] + 1);
}

/// As flood.py numbers them.
fn flow(number: usize) -> (String, u16) {
    (format!("10.1.0.{}", number / OF_A_CLIENT + 1), 10_000 + (number % OF_A_CLIENT) as u16)
}

/// Each filter's connections, once each.
fn listed_by_pages(lab: &Lab) {
    let [v4, v6] = lab.topology().vips;
    let clients = FLOWS / OF_A_CLIENT;
    let many = json!({"endpoint": {"protocol": "udp", "address": v4, "port": PORT}});
    for (only, expected) in [
        (json!({"client": "10.1.0.3"}), OF_A_CLIENT),
        (json!({"client": format!("10.1.0.{}", clients + 1)}), 0),
        (json!({"client": CLIENT[1], "state": "ESTABLISHED"}), HELD[1]),
        (json!({"vip": v4}), FLOWS + HELD[0]),
        (json!({"vip": v6}), HELD[1] + 1),
        // Round robin: the first of three has the one that is left over.
        (json!({"server": server(lab, 1, 0)}), FLOWS.div_ceil(3) + HELD[0] / 3),
        (json!({"server": server(lab, 2, 0)}), FLOWS / 3 + HELD[0] / 3),
        (json!({"state": "UDP"}), FLOWS),
        (json!({"state": "ESTABLISHED"}), HELD[0] + HELD[1]),
        (json!({"state": "ESTABLISHED", "vip": v4}), HELD[0]),
        (json!({"service": many}), FLOWS),
        (json!({"service": many, "client": "10.1.0.5", "state": "UDP"}), OF_A_CLIENT),
    ] {
        let found = pages(lab, &only);
        let once: HashSet<String> = found.iter().map(|row| row["source"].to_string()).collect();
        assert_eq!((found.len(), once.len()), (expected, expected), "{only}");
    }
}

/// All pages of the connections that fit, by the API.
fn pages(lab: &Lab, only: &Value) -> Vec<Value> {
    let mut from = json!({"table": 0, "slot": 0});
    let mut found = Vec::new();
    loop {
        let question = json!({"connections": {"from": from, "only": only}}).to_string();
        let mut curl = lab.director().command("curl");
        curl.args(["-sS", "--fail", "--max-time", "5", "--unix-socket"]).arg(lab.file("xlvs.sock"));
        curl.args(["-H", "Content-Type: application/json", "-d", &question]);
        let answer = shell::output(curl.arg("http://xlvs/v1/ipvsadm")).unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        found.append(answer["connections"]["rows"].as_array_mut().unwrap());
        from = answer["connections"]["next"].take();
        if from.is_null() {
            return found;
        }
    }
}
