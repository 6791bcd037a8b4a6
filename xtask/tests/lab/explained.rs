//! `xlvs explain`, `xlvs verify` and `xlvs probe`: what they say is so, and what is broken they name.

use serde_json::Value;
use xtask::lab::{Director, Lab};
use xtask::shell;

use crate::{CLIENT, server, stage};

/// A web service on each VIP, its servers by round robin, and addresses to probe from.
fn yaml(lab: &Lab, sources: [&str; 2]) -> String {
    let topology = lab.topology();
    let servers = |family| {
        let one = |number| format!("{{address: \"{}\"}}", server(lab, number, family));
        format!("[{}, {}]", one(1), one(2))
    };
    let [v4, v6] = topology.vips;
    let forward = topology.forward;
    format!(
        "version: 1
interfaces: [{}]
probe_sources: [{}, \"{}\"]
services:
  - {{name: v4, listen: \"{v4}:80/tcp\", forward: {forward}, scheduler: rr, servers: {}}}
  - {{name: v6, listen: \"[{v6}]:80/tcp\", forward: {forward}, scheduler: rr, servers: {}}}
",
        topology.interfaces.join(", "),
        sources[0],
        sources[1],
        servers(0),
        servers(1),
    )
}

/// What a verb prints, and whether its exit code is 0.
fn run(director: &Director<'_>, words: &[&str]) -> (bool, String) {
    let output = director.command(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

/// A server that would be picked, by what explain says of a SYN to the first VIP.
fn explained(lab: &Lab, director: &Director<'_>) -> String {
    let vip = format!("{}:80/tcp", lab.topology().vips[0]);
    let words = ["explain", "--client", CLIENT[0], "--vip", &vip];
    let (well, text) = run(director, &words);
    println!("{text}");
    assert!(well && text.contains("rule 1") && text.contains("rr picks"), "{text}");
    let (_, json) = run(director, &[&words[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told[0]["verdict"]["kind"], "sent", "{json}");
    told[0]["server"].as_str().unwrap().to_owned()
}

/// Breaks, verifies, mends: the words that the verdict must have.
struct Broken {
    what: &'static str,
    on: &'static str,
    breaks: String,
    mends: String,
    named: &'static str,
}

fn verified(mode: &str, sources: [&str; 2], broken: impl FnOnce(&Lab) -> Vec<Broken>) {
    let lab = stage(mode, 1);
    let director = Director::start_with_text(&lab, &yaml(&lab, sources)).unwrap();
    let vip = lab.topology().vips[0];
    lab.client().fetch(vip, 4).unwrap();
    // What is said of the next client is what happens to it, and saying it changes nothing.
    for _ in 0..3 {
        let said = explained(&lab, &director);
        assert_eq!(said, explained(&lab, &director), "asked twice");
        let answers = lab.client().fetch(vip, 1).unwrap();
        let number = answers.keys().next().unwrap().trim_start_matches("server").parse().unwrap();
        assert_eq!(said, format!("{}:80", server(&lab, number, 0)));
    }
    let (well, text) = run(&director, &["verify", "--client", CLIENT[0]]);
    println!("{text}");
    assert!(well && text.contains("well: 0 errors"), "{text}");
    for name in ["v4", "v6"] {
        let (well, text) = run(&director, &["probe", name, "--path", "/who"]);
        println!("{text}");
        assert!(well && text.contains("HTTP 200") && text.contains("server"), "{text}");
    }
    let one = server(&lab, 1, 0);
    for Broken { what, on, breaks, mends, named } in broken(&lab) {
        let host = lab.host(on);
        let sh = |script: &str| shell::output(host.command("sh").args(["-c", script])).unwrap();
        sh(&breaks);
        let (well, text) = run(&director, &["verify", "v4"]);
        println!("{what}:\n{text}");
        assert!(!well && text.contains(named), "{what}: {text}");
        assert!(text.contains(&format!("error: {one}")), "{what}: {text}");
        let (well, text) = run(&director, &["probe", "v4", "--server", one]);
        println!("{text}");
        let arp = named.contains("ARP");
        assert!(arp || !well && text.contains(named), "{what}: {text}");
        sh(&mends);
    }
    let (well, text) = run(&director, &["verify", "v4"]);
    assert!(well, "mended: {text}");
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

const SILENT: Broken = Broken {
    what: "an unreachable server",
    on: "server1",
    breaks: String::new(),
    mends: String::new(),
    named: "nor does its own address answer: it is down, or a firewall drops",
};

fn silent() -> Broken {
    let drop = "nft add table inet t; nft 'add chain inet t i { type filter hook input priority 0; }'; nft add rule inet t i tcp dport 80 drop";
    Broken { breaks: drop.to_owned(), mends: "nft delete table inet t".to_owned(), ..SILENT }
}

#[test]
fn nat() {
    verified("nat", ["198.51.100.1", "2001:db8:2::1"], |_| {
        let gateway = Broken {
            what: "another gateway",
            on: "server1",
            breaks: "ip route replace default via 10.0.2.12".to_owned(),
            mends: "ip route replace default via 10.0.2.1".to_owned(),
            named: "do its answers come back through this box?",
        };
        vec![gateway, silent()]
    });
}

#[test]
fn dr() {
    verified("dr", ["192.0.2.2", "2001:db8:1::2"], |lab| {
        let vip = lab.topology().vips[0];
        let missing = Broken {
            what: "the VIP is not on lo",
            on: "server1",
            breaks: format!("ip addr del {vip}/32 dev lo"),
            mends: format!("ip addr add {vip}/32 dev lo"),
            named: "is the VIP on its loopback interface",
        };
        vec![missing, silent()]
    });
}

/// Without probe sources a probe is refused with the remedy, and servers are asked directly.
#[test]
fn without_sources() {
    let lab = stage("nat", 1);
    let text = yaml(&lab, ["198.51.100.1", "2001:db8:2::1"]);
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("probe_sources")).collect();
    let director = Director::start_with_text(&lab, &text.join("\n")).unwrap();
    let (well, text) = run(&director, &["probe", "v4"]);
    assert!(!well && text.contains("probe_sources: [192.0.2.1]"), "{text}");
    let (well, text) = run(&director, &["verify", "v4"]);
    assert!(
        well && text.contains("direct") && text.contains("write probe_sources: [ADDRESS]"),
        "{text}"
    );
    let (well, text) = run(&director, &["verify", "nobody"]);
    assert!(!well && text.contains("there is no service nobody"), "{text}");
    director.stop().unwrap();
}
