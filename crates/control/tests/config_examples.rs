//! Every file of `configs/` loads, compiles and holds what its demo needs; those in README load.

use std::{fs, path::PathBuf};

use control::{
    compile::{Ids, compile},
    load::{load, read},
    matches::match_entries,
    model::{Compat, Model},
};
use dataplane::forward::Forward;

fn configs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn example(name: &str) -> Model {
    load(&configs().join(name), None).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn all_load_and_compile() {
    let mut count = 0;
    for entry in fs::read_dir(configs()).expect("configs/ is there") {
        let entry = entry.expect("readable");
        // Those of other programs.
        if entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().expect("UTF-8");
        let model = example(&name);
        let services = compile(&model, &mut Ids::default());
        assert_eq!(services.by_key.len(), model.services.len(), "{name}");
        let entries = match_entries(&services);
        for endpoint in model.services.iter().filter_map(|service| service.key.endpoint()) {
            let every =
                entries.addresses[&endpoint.address].every_port.contains(&endpoint.protocol);
            assert!(every || entries.endpoints[endpoint].service, "{name}: {endpoint}");
        }
        for mark in model.services.iter().filter_map(|service| service.key.mark()) {
            assert!(entries.marks.iter().any(|(known, _)| *known == mark), "{name}: {mark}");
        }
        count += 1;
    }
    assert_eq!(count, 8, "minimal, full, compat-lvs and five demos");
}

/// (file, method, VIPs, first server of each family)
const DEMOS: [(&str, Forward, [&str; 2], [&str; 2]); 5] = [
    ("nat.yaml", Forward::Nat, ["203.0.113.10", "2001:db8:f::10"], ["10.0.2.11", "fd00:2::11"]),
    (
        "fullnat.yaml",
        Forward::FullNat,
        ["203.0.113.10", "2001:db8:f::10"],
        ["10.0.5.11", "fd00:5::11"],
    ),
    ("dr.yaml", Forward::Dr, ["192.0.2.100", "2001:db8:1::100"], ["192.0.2.11", "2001:db8:1::11"]),
    (
        "dr-routed.yaml",
        Forward::Dr,
        ["203.0.113.10", "2001:db8:f::10"],
        ["10.0.2.11", "fd00:2::11"],
    ),
    ("tun.yaml", Forward::Tun, ["203.0.113.10", "2001:db8:f::10"], ["10.0.4.11", "fd00:4::11"]),
];

#[test]
fn demos_keep_to_the_address_plan() {
    for (name, forward, vips, first) in DEMOS {
        let model = example(name);
        let mut keys: Vec<String> = model.services.iter().map(|s| s.key.to_string()).collect();
        keys.sort();
        let mut expected = Vec::new();
        for end in ["80/tcp", "53/udp", "5201/tcp", "5201/udp"] {
            expected.push(format!("{}:{end}", vips[0]));
            expected.push(format!("[{}]:{end}", vips[1]));
        }
        expected.sort();
        assert_eq!(keys, expected, "{name}");
        for service in &model.services {
            assert_eq!(service.forward, forward, "{name}");
            // An iperf3 test has several connections, which must meet at one server.
            let servers = if service.key.port() == 5201 { 1 } else { 3 };
            assert_eq!(service.servers.len(), servers, "{name}");
            let family = usize::from(service.key.is_ipv6());
            assert_eq!(service.servers[0].address.to_string(), first[family], "{name}");
            assert!(service.servers.iter().all(|s| s.port == service.key.port()), "{name}");
            let local = usize::from(forward == Forward::FullNat);
            assert_eq!(service.policy.local_addresses.len(), local, "{name}");
        }
    }
}

/// `full.yaml` names the defaults as such: leaving them out must change nothing.
#[test]
fn full_example_states_the_defaults() {
    let full = example("full.yaml");
    let text = "version: 1\ninterfaces: [eth0]\nservices: []\n";
    let bare = read("bare.yaml".as_ref(), text, None).expect("valid");
    assert_eq!(full.limits, bare.limits);
    assert_eq!(full.chunk_size, bare.chunk_size);
    assert_eq!(full.zero_copy, bare.zero_copy);
    assert_eq!(full.compat, bare.compat);
    assert_eq!(full.when_down, bare.when_down);
    assert_eq!(full.stop_grace, bare.stop_grace);
    assert_eq!(full.workers.idle, bare.workers.idle);
    assert_eq!(full.lifecycle, bare.lifecycle);
    assert_eq!(full.defence, bare.defence);
    assert_eq!(full.on_join, bare.on_join);
    assert_eq!(full.timeouts, bare.timeouts);
    let expirations = |model: &Model| (model.lblc_expiration, model.lblcr_expiration);
    assert_eq!(expirations(&full), expirations(&bare));
    let log = "version: 1\ninterfaces: [eth0]\nconnection_log: {file: /x}\nservices: []\n";
    let log = read("log.yaml".as_ref(), log, None).expect("valid").connection_log.expect("a log");
    let stated = full.connection_log.as_ref().expect("a log");
    assert_eq!((stated.rate, stated.size), (log.rate, log.size));
    assert_eq!(log.services, None);
    let hook = "version: 1\ninterfaces: [eth0]\nhooks: [{argv: [/bin/true]}]\nservices: []\n";
    let hook = &read("hook.yaml".as_ref(), hook, None).expect("valid").hooks[0];
    let argv = full.hooks[0].argv.clone();
    assert_eq!(full.hooks[0], control::model::Hook { argv, ..hook.clone() });
    let of = |name: &str| full.services.iter().find(|service| service.name == name).expect(name);
    for name in ["web", "signalling"] {
        assert_eq!(of(name).policy.timeouts, bare.timeouts, "{name}");
    }
    assert_eq!(of("caches").policy.scheduler, full.plan(sched::Kind::Lblcr));
    assert_eq!(full.services[0].servers.iter().map(|s| s.weight).collect::<Vec<_>>(), [10, 30]);
}

/// What must be alike at both directors for them to pick alike.
#[test]
fn the_example_beside_a_kernel_director_picks_as_it_does() {
    use sched::Kind;
    let model = example("compat-lvs.yaml");
    assert_eq!(model.compat, Compat::Lvs);
    let services = compile(&model, &mut Ids::default());
    let of = |name: &str| {
        let found = services.services.iter().flatten().find(|service| service.name == name);
        let service = found.expect(name);
        assert!(service.policy.lifecycle.sloppy_tcp, "{name}");
        let servers = service.servers.iter().filter_map(|id| services.server(*id));
        let rows: Vec<_> = servers.map(|s| (s.address.to_string(), s.port, s.weight)).collect();
        (service.policy.scheduler, rows)
    };
    // The list as the kernel has it: newest first, with the service's port.
    let newest_first = |port| {
        [("10.0.2.13", 1), ("10.0.2.12", 3), ("10.0.2.11", 3)]
            .map(|(address, weight)| (address.to_owned(), port, weight))
            .to_vec()
    };
    let rows = [
        ("web", Kind::Mh, true, true, 80),
        ("quic", Kind::Sh, false, true, 443),
        ("shop", Kind::Sh, false, false, 0),
    ];
    for (name, kind, port, fallback, service_port) in rows {
        let (plan, servers) = of(name);
        assert_eq!((plan.kind, plan.port, plan.fallback), (kind, port, fallback), "{name}");
        assert_eq!(servers, newest_first(service_port), "{name}");
    }
}

/// The files that README tells its readers to write. Parts of files are not looked at.
#[test]
fn the_files_in_readme_load() {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut names = Vec::new();
    for block in blocks.filter(|block| block.trim_start().starts_with("version: 1\n")) {
        // Those of a list are indented.
        let indent = block.len() - block.trim_start().len();
        let lines = block.lines().map(|line| line.get(indent..).unwrap_or_default());
        let text = lines.collect::<Vec<_>>().join("\n");
        let model = read("README.md".as_ref(), &text, None);
        let model = model.unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let services = model.services.iter();
        names.extend(services.map(|service| (service.name.clone(), service.servers.len())));
    }
    assert_eq!(names, [("web".to_owned(), 2), ("web".to_owned(), 2)], "NAT and DR");
}
