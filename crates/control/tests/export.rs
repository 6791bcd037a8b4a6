//! The running state as a file: read again, it gives the same services.

use std::{fs, path::PathBuf, time::SystemTime};

use control::{
    export::yaml,
    load::{load, read},
    model::{AdminState, Health, Model},
    order::{ServerOrder, servers},
    registry::{Overrides, Registry, Sign, Wish},
};
use health::pool;
use ipvsadm::{NoNames, Program, parse};

fn reading(text: &str) -> Model {
    read("test.yaml".as_ref(), text, None).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// The model without what a file cannot say.
fn plain(model: &Model) -> Model {
    let mut model = model.clone();
    for server in model.services.iter_mut().flat_map(|service| &mut service.servers) {
        server.edition = 0;
    }
    // What servers' health does where none is asked is nothing.
    for service in &mut model.services {
        if service.servers.iter().all(|server| server.checks.is_empty()) {
            let Health { sorry, keeps, withdraw, pool, .. } = service.health.clone();
            let pool = pool::Policy { all_down: Default::default(), ..pool };
            service.health = Health { sorry, keeps, withdraw, pool, ..Health::default() };
        }
    }
    model
}

fn same_again(model: &Model, what: &str) {
    let text = yaml(model, &Overrides::default(), false);
    let again = reading(&text);
    assert_eq!(plain(&again), plain(model), "{what}:\n{text}");
    // And it says the same then.
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&yaml(&again, &Overrides::default(), false)), lines(&text), "{what}");
}

#[test]
fn every_example_comes_back() {
    let configs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut count = 0;
    for entry in fs::read_dir(configs).expect("configs/ is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let model = load(&path, None).unwrap_or_else(|faults| panic!("{faults}"));
        same_again(&model, &path.display().to_string());
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    /// Some of them.
    fn some(&mut self, of: &[&[&str]]) -> String {
        let mut text = String::new();
        for choices in of {
            if self.below(3) == 0 {
                text += &format!("    {}\n", self.one(choices));
            }
        }
        text
    }
}

const CHECKS: &str = r#"checks:
  a: {type: tcp, send: "QUIT\r\n\x00\\", expect: "\xff +OK"}
  b: {type: https, path: "/x?y=z", host: "b: c", version: "2", headers: {X-A: "1, \"2\""}, status: [200, 300-399], body: {matches: "^a\\d+$"}, sni: n, interval: 1500ms, retry: 1s, timeout: 700ms}
  c: {type: dns, question: example.org, record: AAAA, rcode: [NOERROR, NXDOMAIN], answer: "2001:db8::1"}
  d: {type: udp, send: hello, expect_hex: "00 XX ff", port: 5353}
  e: {type: exec, argv: [/bin/x, "{address}", "a b", "-"], user: root, weight: true, initial: down}
  f: {type: postgres, user: "null", database: "1e3", rise: 1, fall: 7, spread: 0s}
  g: {type: ping, source: 10.9.9.9, interface: eth1}
  h: {type: redis, password: "p: #'\"w"}
  i: {type: tls, alpn: [h2, "http/1.1"]}
  j: {type: file, path: /run/x y, word: "yes"}
  k: {type: http, body: {contains: "naïve ☂"}, body_limit: 17, method: HEAD}
  l: {type: udp, send_hex: "00ff", expect: ""}
  m: {type: tcp, via: service}
  n: {type: smtp, helo: "x.y", address: 10.9.9.10}
  o: {type: mysql, port: 3306, initial: up}
"#;

/// A file of all that services may say.
fn random_file(random: &mut Random) -> String {
    let mut text = "version: 1\ninterfaces: [eth0, {name: eth1, mode: native}]\nprobe_sources: [198.51.100.2]\n".to_owned();
    let top: [&[&str]; 11] = [
        &["workers: {cores: [2, 3]}", "workers: {idle: poll}"],
        &["zero_copy: never", "chunk_size: 4096"],
        &["limits: {connections: 4096}", "limits: {templates: 7, servers: 900, icmp_rate: 5}"],
        &["compat: lvs"],
        &["on_gone: expire", "lvs: {expire_nodest_conn: 1, drop_packet: 2, lblc_expiration: 600}"],
        &["on_idle: silent"],
        &["on_join: reset_counts", "on_join: {slow_start: 7s}"],
        &["timeouts: {udp: 7s, tcp_close: 3s, sctp_closed: 9s}"],
        &["access: {deny: [192.0.2.0/24, \"2001:db8::/32\"], new_connections: 9}"],
        &["when_down: drop", "stop_grace: 1500ms"],
        &[
            "hooks: [{argv: [/bin/h, \"{event}\"], on: [drain.on, weight, deny], timeout: 3s, at_start: true}]",
        ],
    ];
    for line in random.some(&top).lines() {
        text += &format!("{}\n", line.trim_start());
    }
    text += "local_addresses:\n  near: {addresses: [10.0.9.10, \"fd00:9::10\"], ports: 10000-20000}\n  far: {addresses: [10.0.9.11], ports: 10000-20000}\n";
    text += "marks:\n  - {mark: 7, destination: 203.0.113.99/32}\n  - {mark: 0x10, mask: 0xf0, destination: 0.0.0.0/0, source: 10.0.0.0/8, protocol: tcp, ports: [80, 8000-8099], interface: eth1}\n";
    text += CHECKS;
    text += "services:\n";
    for at in 0..1 + random.below(5) {
        text += &service(random, at);
    }
    text
}

fn service(random: &mut Random, at: usize) -> String {
    let forward = random.one(&["nat", "fullnat", "dr", "tun"]);
    let two_way = ["nat", "fullnat"].contains(&forward);
    let (port, more) = (1000 + at * 10, 1001 + at * 10);
    let takes = match random.below(4) {
        0 if at == 0 && forward != "fullnat" => "mark: 7".to_owned(),
        1 => format!("listen: [203.0.113.10:{port}/tcp, 203.0.113.11:{more}/tcp]"),
        2 => format!("listen: 203.0.113.10:{port}/sctp"),
        _ => format!("listen: 203.0.113.10:{port}/tcp"),
    };
    let marked = takes.starts_with("mark");
    let name = random.one(&["web", "a: b", "no", "7", "x/y", "é"]);
    let mut text = format!("  - name: \"{name} {at}\"\n    {takes}\n    forward: {forward}\n");
    let local = random.one(&["near", "far"]);
    if forward == "fullnat" {
        text += &format!("    local_addresses: {local}\n");
    }
    let keys: [&[&str]; 8] = [
        &[
            "scheduler: rr",
            "scheduler: {name: mh, port: true, slots: 251}",
            "scheduler: {name: lblcr, expiration: 1h, destinations: 9}",
            "scheduler: sed",
        ],
        &[
            "persistence: 6m",
            "persistence: {timeout: 9s, mask: 24}",
            "persistence: {mask: 255.255.0.0}",
        ],
        &["access: {allow: [10.0.0.0/8]}", "access: {new_connections: 3}"],
        &["timeouts: {tcp_established: 1d, sctp_init: 3s}"],
        &[
            "on_gone: hold",
            "lvs: {expire_nodest_conn: 0, sloppy_tcp: 1, conn_reuse_mode: 1, pmtu_disc: 0}",
        ],
        &["on_idle: silent", "on_idle: reset"],
        &["existing: keep", "existing: reschedule", "existing: reset"],
        &["hooks: [{argv: [/bin/s], on: server.down, user: root}]"],
    ];
    text += &random.some(&keys);
    if two_way && random.below(3) == 0 {
        text += "    mss_clamp: 1200\n";
    }
    if forward == "tun" && random.below(2) == 0 {
        text += &format!(
            "    tunnel: {}\n",
            random.one(&["gre", "{type: gue, port: 6080, checksum: true}"])
        );
    }
    let plain_checks = if marked {
        "[e, j, g]"
    } else {
        "[a, {name: b, port: 8443, rise: 5}, e, f, h, i, k, n, o]"
    };
    if random.below(2) == 0 {
        text += &format!("    checks: {plain_checks}\n");
        let health: [&[&str]; 6] = [
            &["require: any", "require: 2"],
            &["on_down: weight0", "on_down: remove"],
            &["all_down: keep_last", "all_down: all_up"],
            &["damping: {changes: 3, within: 1m, hold: 5m}"],
            &["quorum: 2", "sorry: {address: 10.0.3.1, weight: 3}"],
            &["pause_without_vip: true"],
        ];
        text += &random.some(&health);
        if two_way && random.below(3) == 0 {
            text += "    hints: {failures: 0, suspect: 3s}\n";
        }
    }
    text += "    servers:\n";
    for number in 0..2 + random.below(3) {
        let mut server = format!("address: 10.0.2.{}", 10 + number);
        if two_way && random.below(3) == 0 {
            server = format!("address: \"10.0.2.{}:8080\"", 10 + number);
        }
        for more in [
            "name: \"s: 1\"",
            "weight: 7",
            "mac: \"52:54:00:12:34:56\"",
            "max_connections: 9, resume_connections: 3",
            "tier: 2",
            "state: drain",
            "state: maint",
            "checks: [e, {name: g, fall: 2}]",
            "checks: []",
        ] {
            let key = more.split(':').next().unwrap_or_default();
            if random.below(6) == 0 && !server.contains(&format!("{key}:")) {
                server += &format!(", {more}");
            }
        }
        if forward == "nat" && random.below(6) == 0 && !server.contains("8080") {
            server += ", forward: dr";
        }
        if forward == "tun" && random.below(4) == 0 {
            server += ", tunnel: {type: gre, checksum: true}";
        }
        text += &format!("      - {{{server}}}\n");
    }
    text
}

#[test]
fn random_files_come_back() {
    let (mut read_well, mut tried) = (0, 0);
    while read_well < 500 {
        tried += 1;
        assert!(tried < 5000, "the generator makes too few files that are right");
        let text = random_file(&mut Random(0x9e37_79b9_7f4a_7c15 ^ tried));
        // What goes together is not said above: what does not is left out here.
        let Ok(model) = read("random.yaml".as_ref(), &text, None) else { continue };
        read_well += 1;
        same_again(&model, &format!("file {tried}:\n{text}"));
    }
}

/// What commands made of a file, as far as a file can say it.
#[test]
fn what_commands_made_is_written_too() {
    let text = "version: 1\ninterfaces: [eth0]\nservices:\n  - {name: web, listen: [203.0.113.10:80/tcp, 203.0.113.10:443/tcp], forward: nat, servers: [{address: 10.0.2.11}]}\n";
    let mut registry = Registry::new(reading(text));
    for line in [
        "-A -t 203.0.113.10:8080 -s wrr -p 300 -M 255.255.255.0",
        "-a -t 203.0.113.10:8080 -r 10.0.2.12:8080 -g -w 5",
        "-a -t 203.0.113.10:80 -r 10.0.2.12:8080 -m -w 0 -x 10",
        "-A -f 9 -s rr",
        "--set 100 0 0",
    ] {
        let argv: Vec<String> =
            std::iter::once("ipvsadm").chain(line.split(' ')).map(str::to_owned).collect();
        let command = parse(Program::Ipvsadm, &argv, &NoNames).unwrap();
        control::front::edit(&mut registry.model, &command).unwrap();
    }
    let text = yaml(&registry.model, &Overrides::default(), false);
    let again = reading(&text);
    // The two halves of web are not alike any more; two services cannot stand in a file.
    let names: Vec<&str> = again.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["web", "web-2", "203.0.113.10:8080/tcp"], "{text}");
    let kept = |of: &Model| -> Vec<_> {
        let plain = plain(of);
        let services = plain
            .services
            .into_iter()
            .filter(|service| again.services.iter().any(|known| known.key == service.key));
        services.map(|service| (service.key, service.policy, service.servers)).collect()
    };
    assert_eq!(kept(&again), kept(&registry.model), "{text}");
    assert!(
        text.contains("# This one cannot stand in a file: no rule gives an IPv4 packet the mark 9"),
        "{text}"
    );
}

#[test]
fn overrides_are_comments_or_hold() {
    let text = "version: 1\ninterfaces: [eth0]\nservices:\n  - {name: web, listen: 203.0.113.10:80/tcp, forward: nat, servers: [{address: 10.0.2.11}, {address: 10.0.2.12}]}\n";
    let mut registry = Registry::new(reading(text));
    let sign = Sign {
        who: "alice".to_owned(),
        when: SystemTime::UNIX_EPOCH,
        why: "a new disk".to_owned(),
    };
    for (server, wish) in
        [("web/10.0.2.11", Wish::State(AdminState::Drain)), ("web/10.0.2.11", Wish::Weight(9))]
    {
        let servers_named = vec![server.to_owned()];
        let order = ServerOrder { servers: servers_named, all: false, wish, sign: sign.clone() };
        servers(&mut registry, &order).unwrap();
    }
    let configured = yaml(&registry.model, &registry.overrides, false);
    assert!(
        configured.contains(
            "      # override: state drain in place of ready, since 1970-01-01T00:00:00.000Z by alice: a new disk\n      \
             # override: weight 9 in place of 1, since 1970-01-01T00:00:00.000Z by alice: a new disk\n      \
             - {address: \"10.0.2.11\"}\n"
        ),
        "{configured}"
    );
    assert_eq!(reading(&configured), registry.model);
    let effective = yaml(&registry.model, &registry.overrides, true);
    let again = reading(&effective);
    let first = &again.services[0].servers[0];
    assert_eq!((first.state, first.weight), (AdminState::Drain, 9), "{effective}");
}
