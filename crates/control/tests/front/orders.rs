//! What operators order while the box runs: overrides of servers, denied sources, ends of
//! connections; and what a changed configuration leaves of it.

use std::time::{Duration, SystemTime};

use control::{
    compile::ServerKey,
    front::Filter,
    killer::doomed,
    load::read,
    model::{AdminState, Model},
    order::{self, DenyOrder, LONGEST_REASON, Refused, ServerOrder},
    registry::{Fate, Overrides, Registry, Sign, Wish, naming, source},
};
use dataplane::snapshot::Server;
use health::event::{Event, Health};

use crate::stage::Stage;

const FILE: &str = r#"checks: {tcp: {type: tcp}}
pools: {web: [{address: 10.0.0.11, name: one}, {address: 10.0.0.12}]}
services:
  - {name: web, listen: [10.9.0.1:80/tcp, 10.9.0.1:443/tcp], forward: nat, pool: web}
  - {name: api, listen: 10.9.0.2:80/tcp, forward: nat, servers: [{address: "10.0.0.11:8080", weight: 3}, {address: 10.0.0.13}]}
  - {name: six, listen: "[2001:db8::1]:80/tcp", forward: nat, servers: [{address: "fd00::1"}]}
"#;

fn model(text: &str) -> Model {
    let text = format!("version: 1\ninterfaces: [eth0]\n{text}");
    read("test.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
}

fn sign(why: &str) -> Sign {
    Sign { who: "alice".to_owned(), when: SystemTime::UNIX_EPOCH, why: why.to_owned() }
}

fn order(servers: &[&str], wish: Wish) -> ServerOrder {
    let servers = servers.iter().map(|server| (*server).to_owned()).collect();
    ServerOrder { servers, all: false, wish, sign: sign("a new disk") }
}

fn ordered(registry: &mut Registry, server: &str, wish: Wish) {
    order::servers(registry, &order(&[server], wish)).unwrap_or_else(|why| panic!("{why}"));
}

fn shown(keys: &[ServerKey]) -> Vec<String> {
    let one = |key: &ServerKey| format!("{} {}:{}", key.service, key.address, key.port);
    keys.iter().map(one).collect()
}

#[test]
fn servers_have_names() {
    let model = model(FILE);
    let rows: [(&str, bool, &[&str]); 11] = [
        ("web/10.0.0.11:80", false, &["10.9.0.1:80/tcp 10.0.0.11:80"]),
        (
            "web/10.0.0.11",
            false,
            &["10.9.0.1:80/tcp 10.0.0.11:80", "10.9.0.1:443/tcp 10.0.0.11:443"],
        ),
        ("web/one", false, &["10.9.0.1:80/tcp 10.0.0.11:80", "10.9.0.1:443/tcp 10.0.0.11:443"]),
        ("10.9.0.1:443/tcp/10.0.0.12", false, &["10.9.0.1:443/tcp 10.0.0.12:443"]),
        ("10.9.0.1:443/TCP/10.0.0.12:443", false, &["10.9.0.1:443/tcp 10.0.0.12:443"]),
        ("api/10.0.0.11", false, &["10.9.0.2:80/tcp 10.0.0.11:8080"]),
        ("six/fd00::1", false, &["[2001:db8::1]:80/tcp fd00::1:80"]),
        ("six/[fd00::1]:80", false, &["[2001:db8::1]:80/tcp fd00::1:80"]),
        ("[2001:db8::1]:80/tcp/[fd00::1]", false, &["[2001:db8::1]:80/tcp fd00::1:80"]),
        (
            "10.0.0.11",
            true,
            &[
                "10.9.0.1:80/tcp 10.0.0.11:80",
                "10.9.0.1:443/tcp 10.0.0.11:443",
                "10.9.0.2:80/tcp 10.0.0.11:8080",
            ],
        ),
        ("10.0.0.11:8080", true, &["10.9.0.2:80/tcp 10.0.0.11:8080"]),
    ];
    for (text, all, expected) in rows {
        let found = naming::servers(&model, text, all).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(shown(&found), expected, "{text}");
    }
    let rows = [
        ("wep/10.0.0.11", false, "wep: no such service; did you mean web?"),
        ("mail/10.0.0.11", false, "mail: no such service; the services are web, api, six"),
        (
            "10.9.0.1:81/tcp/x",
            false,
            "10.9.0.1:81/tcp: no such service; the services are web, api, six",
        ),
        ("web/10.0.0.12:81", false, "web/10.0.0.12:81: no such server; did you mean 10.0.0.12:80?"),
        (
            "web/192.0.2.1",
            false,
            "web/192.0.2.1: no such server; the servers are 10.0.0.11:443, 10.0.0.11:80, \
             10.0.0.12:443, 10.0.0.12:80",
        ),
        (
            "10.0.0.11",
            false,
            "10.0.0.11: of which service?; write web/10.0.0.11, or 10.0.0.11 --all",
        ),
        (
            "web/10.0.0.11",
            true,
            "web/10.0.0.11: --all takes a server of every service; write 10.0.0.11, or leave out --all",
        ),
    ];
    for (text, all, expected) in rows {
        let refused = naming::servers(&model, text, all).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn all_is_done_or_nothing() {
    let mut registry = Registry::new(model(FILE));
    let drain = Wish::State(AdminState::Drain);
    let refused = order::servers(&mut registry, &order(&["web/one", "web/two"], drain));
    assert!(matches!(refused, Err(Refused::Unknown(_))), "{refused:?}");
    assert!(registry.overrides.is_empty());
    let heavy = order::servers(&mut registry, &order(&["web/one"], Wish::Weight(65_536)));
    assert!(matches!(heavy, Err(Refused::Wrong(_))), "{heavy:?}");
    for why in ["x".repeat(LONGEST_REASON + 1), "two\nlines".to_owned()] {
        let order = ServerOrder { sign: sign(&why), ..order(&["web/one"], drain) };
        assert!(matches!(order::servers(&mut registry, &order), Err(Refused::Wrong(_))));
    }
    assert!(registry.overrides.is_empty());
    let done = order::servers(&mut registry, &order(&["web/one", "web/10.0.0.11:80"], drain));
    let done = done.unwrap();
    assert_eq!((done.servers.len(), done.changed.len()), (2, 2), "each once");
    assert_eq!(done.warnings, Vec::<String>::new());
    let again = order::servers(&mut registry, &order(&["web/one"], drain)).unwrap();
    assert_eq!((again.servers.len(), again.changed.len()), (2, 0));
    // The last ones.
    let last = order::servers(&mut registry, &order(&["web/10.0.0.12:80"], Wish::Weight(0)));
    assert_eq!(
        last.unwrap().warnings,
        ["web 10.9.0.1:80/tcp: no server is left that takes new connections: new connections are \
          refused"]
    );
    let ready = order::servers(
        &mut registry,
        &order(&["web/10.0.0.12:80"], Wish::State(AdminState::Ready)),
    );
    assert_eq!(
        ready.unwrap().warnings,
        [
            "web 10.9.0.1:80/tcp: no server is left that takes new connections: new connections \
             are refused",
            "10.9.0.1:80/tcp 10.0.0.12:80: keeps its weight 0 in place of the file's 1; end that \
             with xlvs weight ... file"
        ]
    );
}

/// Weight, whether it is drained, keeps clients with templates, is up, waits, is out of the list.
fn flags(server: &Server) -> (u32, [bool; 5]) {
    let Server { drained, keeps_clients, up, standby, absent, .. } = *server;
    (server.weight, [drained, keeps_clients, up, standby, absent])
}

#[test]
fn what_states_make_of_a_server() {
    let (t, f) = (true, false);
    let up = (1, [f, f, t, f, f]);
    let rows = [
        (AdminState::Ready, "", up),
        (AdminState::Drain, "", (1, [t, f, t, f, f])),
        (AdminState::DrainPersistent, "", (1, [t, t, t, f, f])),
        // Like down, by each policy.
        (AdminState::Maint, "", (1, [f, f, f, f, f])),
        (AdminState::Maint, "on_down: weight0,", (0, [f, f, t, t, f])),
        (AdminState::Maint, "on_down: remove,", (1, [f, f, f, f, t])),
        (AdminState::Maint, "existing: keep,", (1, [f, f, t, t, f])),
        // No policy for the case that all are down has it serve.
        (AdminState::Maint, "all_down: all_up,", (1, [f, f, f, f, f])),
    ];
    for (state, policy, expected) in rows {
        for by_file in [false, true] {
            let written = if by_file { state.name() } else { "ready" };
            let mut stage = Stage::new(&format!(
                "checks: {{tcp: {{type: tcp, initial: up}}}}\nservices:\n  - {{name: web, listen: 10.9.0.1:80/tcp, forward: nat, \
                 checks: tcp, {policy} servers: [{{address: 10.0.0.11, state: {written}}}]}}"
            ));
            let id = stage.id("10.9.0.1:80/tcp", "10.0.0.11:80").unwrap();
            let heard = Event {
                server: id,
                health: Health::Up,
                weight: None,
                why: "fine".to_owned(),
                at: SystemTime::now(),
            };
            let services = stage.services.clone();
            let rests = state == AdminState::Maint && by_file;
            assert_eq!(stage.registry.board.take(&heard, &services), !rests);
            if !by_file {
                ordered(&mut stage.registry, "web/10.0.0.11", Wish::State(state));
            }
            stage.publish();
            assert_eq!(flags(stage.server(id)), expected, "{state:?} {policy} {by_file}");
            let asked = stage.registry.board.members(&stage.registry.model, &stage.services);
            assert_eq!(asked.is_empty(), state == AdminState::Maint, "{state:?}");
            // What was known before maintenance is not known after it.
            ordered(&mut stage.registry, "web/10.0.0.11", Wish::State(AdminState::Ready));
            stage.publish();
            let known = stage.registry.board.known(id).is_some();
            assert_eq!(known, state != AdminState::Maint, "{state:?}");
            let asked = stage.registry.board.members(&stage.registry.model, &stage.services);
            assert_eq!(asked.len(), 1);
        }
    }
}

#[test]
fn a_weight_holds_over_that_of_the_checks_and_counts_for_the_quorum() {
    let mut stage = Stage::new(
        "checks: {tcp: {type: tcp, initial: up}}\nservices:\n  - {name: web, listen: 10.9.0.1:80/tcp, forward: nat, \
         checks: tcp, quorum: 4, servers: [{address: 10.0.0.11, weight: 4}]}",
    );
    let id = stage.id("10.9.0.1:80/tcp", "10.0.0.11:80").unwrap();
    let heard = Event {
        server: id,
        health: Health::Up,
        weight: Some(99),
        why: "fine".to_owned(),
        at: SystemTime::now(),
    };
    let services = stage.services.clone();
    stage.registry.board.take(&heard, &services);
    for (wish, weight, quorum) in [
        (None, 99, true),
        (Some(Wish::Weight(2)), 2, false),
        (Some(Wish::Weight(7)), 7, true),
        (Some(Wish::Weight(0)), 0, false),
        (Some(Wish::FileWeight), 99, true),
    ] {
        if let Some(wish) = wish {
            ordered(&mut stage.registry, "web/10.0.0.11", wish);
        }
        stage.publish();
        let service = stage.server(id).service;
        let decision = stage.registry.board.decision(service).unwrap();
        assert_eq!((stage.server(id).weight, decision.quorum), (weight, quorum), "{wish:?}");
    }
}

/// One server of one service, as a file has it.
fn one(server: &str) -> Model {
    let server = if server.is_empty() { String::new() } else { format!("{{{server}}}") };
    model(&format!(
        "services:\n  - {{name: web, listen: 10.9.0.1:80/tcp, forward: nat, servers: [{server}]}}"
    ))
}

#[test]
fn what_the_file_says_anew_wins() {
    let (first, weight, state) =
        ("address: 10.0.0.11", Wish::Weight(9), Wish::State(AdminState::Maint));
    // The file before and after, what was wanted; what is said, and whether something holds on.
    type Row<'a> = (&'a str, &'a str, &'a [Wish], &'a [&'a str], bool);
    let rows: [Row<'_>; 9] = [
        (first, first, &[weight, state], &[], true),
        (
            first,
            "address: 10.0.0.11, weight: 5",
            &[weight],
            &[
                "its configured weight was 1 and is 5 now: that holds; the override 9 by alice: a new disk is over",
            ],
            false,
        ),
        (
            first,
            "address: 10.0.0.11, weight: 5",
            &[weight, state],
            &[
                "its configured weight was 1 and is 5 now: that holds; the override 9 by alice: a new disk is over",
            ],
            true,
        ),
        // Also if it says what was wanted.
        (
            first,
            "address: 10.0.0.11, weight: 9",
            &[weight],
            &[
                "its configured weight was 1 and is 9 now: that holds; the override 9 by alice: a new disk is over",
            ],
            false,
        ),
        (
            first,
            "address: 10.0.0.11, state: drain",
            &[state],
            &[
                "its configured state was ready and is drain now: that holds; the override maint by alice: a new disk is over",
            ],
            false,
        ),
        // Other keys say nothing of it.
        (first, "address: 10.0.0.11, max_connections: 7, tier: 2", &[weight, state], &[], true),
        (
            first,
            "",
            &[weight],
            &[
                "is not in the configuration any more; its override holds again if it comes back within a day",
            ],
            true,
        ),
        (
            "address: 10.0.0.11, state: maint",
            first,
            &[Wish::State(AdminState::Ready)],
            &[
                "its configured state was maint and is ready now: that holds; the override ready by alice: a new disk is over",
            ],
            false,
        ),
        // What the file says anyway needs no override.
        ("address: 10.0.0.11, weight: 9", first, &[weight], &[], false),
    ];
    for (before, after, wishes, expected, holds) in rows {
        let mut registry = Registry::new(one(before));
        for wish in wishes {
            ordered(&mut registry, "web/10.0.0.11", *wish);
        }
        let settled = registry.overrides.settle(&registry.model.clone(), &one(after));
        let said: Vec<String> = settled.iter().map(ToString::to_string).collect();
        let expected: Vec<String> =
            expected.iter().map(|text| format!("10.9.0.1:80/tcp 10.0.0.11:80: {text}")).collect();
        assert_eq!(said, expected, "{before} to {after}");
        assert_eq!(!registry.overrides.is_empty(), holds, "{before} to {after}");
    }
}

#[test]
fn overrides_wait_a_day_for_servers_that_left() {
    let (with, without) = (one("address: 10.0.0.11"), one(""));
    let mut registry = Registry::new(with.clone());
    ordered(&mut registry, "web/10.0.0.11", Wish::State(AdminState::Drain));
    let hours = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
    let overrides: &mut Overrides = &mut registry.overrides;
    let fates = |settled: Vec<control::registry::Settled>| -> Vec<Fate> {
        settled.into_iter().map(|settled| settled.fate).collect()
    };
    // It comes back in time: a deployment.
    assert_eq!(fates(overrides.settle(&with, &without)), [Fate::Waits]);
    assert_eq!(overrides.age(&without, hours(100)), []);
    assert_eq!(overrides.age(&without, hours(123)), []);
    assert_eq!(fates(overrides.settle(&without, &without)), []);
    assert_eq!(fates(overrides.settle(&without, &with)), [Fate::Holds]);
    assert!(!overrides.is_empty());
    // And too late.
    assert_eq!(fates(overrides.settle(&with, &without)), [Fate::Waits]);
    assert_eq!(overrides.age(&without, hours(200)), []);
    assert_eq!(fates(overrides.age(&without, hours(224))), [Fate::Forgotten]);
    assert!(overrides.is_empty());
    // A clock that goes back forgets nothing.
    ordered(&mut registry, "web/10.0.0.11", Wish::State(AdminState::Drain));
    assert_eq!(registry.overrides.age(&without, hours(300)), []);
    assert_eq!(registry.overrides.age(&without, hours(10)), []);
}

#[test]
fn a_command_that_changes_the_weight_wins_too() {
    let mut stage = Stage::new(FILE);
    ordered(&mut stage.registry, "api/10.0.0.11", Wish::Weight(9));
    let before = stage.registry.model.clone();
    stage.done(&["-e -t 10.9.0.2:80 -r 10.0.0.11:8080 -m -w 4"]);
    let settled = stage.registry.overrides.settle(&before, &stage.registry.model);
    assert!(matches!(settled[0].fate, Fate::FileWins { .. }), "{settled:?}");
    stage.publish();
    let id = stage.id("10.9.0.2:80/tcp", "10.0.0.11:8080").unwrap();
    assert_eq!(stage.server(id).weight, 4);
}

#[test]
fn sources_are_denied_for_a_while() {
    let mut stage = Stage::new(FILE);
    let wish = |source: &str, service: Option<&str>, seconds: Option<u64>| DenyOrder {
        source: source.to_owned(),
        service: service.map(str::to_owned),
        lasts: seconds.map(Duration::from_secs),
        sign: sign("a flood"),
    };
    for (source, service, expected) in [
        (
            "192.0.2.1/24",
            None,
            "192.0.2.1/24: has bits behind its length; did you mean 192.0.2.0/24?",
        ),
        (
            "192.0.2.0/33",
            None,
            "192.0.2.0/33: no network; write it as 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32",
        ),
        ("web", None, "web: no network; write it as 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32"),
        ("0.0.0.0/0", None, "0.0.0.0/0: is everybody; take the servers out instead: xlvs drain"),
        ("192.0.2.0/24", Some("wep"), "wep: no such service; did you mean web?"),
        ("192.0.2.0/24", Some("six"), "six takes nothing of the family of 192.0.2.0/24"),
    ] {
        let refused = order::deny(&mut stage.registry, &wish(source, service, None)).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    let seconds = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let registry = &mut stage.registry;
    assert_eq!(order::deny(registry, &wish("192.0.2.0/24", None, Some(60))).unwrap().len(), 1);
    assert_eq!(order::deny(registry, &wish("192.0.2.9", Some("web"), None)).unwrap().len(), 2);
    assert_eq!(order::deny(registry, &wish("2001:db8::/32", None, Some(90))).unwrap().len(), 1);
    // The same once more counts from now on.
    assert_eq!(order::deny(registry, &wish("192.0.2.0/24", None, Some(70))).unwrap().len(), 1);
    assert_eq!(registry.denials.all().len(), 4);
    stage.publish();
    let compiled = |stage: &Stage| -> Vec<String> {
        let one = |denial: &dataplane::snapshot::Denial| {
            let name = denial
                .service
                .map(|id| stage.services.services[id as usize].as_ref().unwrap().key.to_string());
            format!("{} {}", denial.source, name.unwrap_or("all".to_owned()))
        };
        stage.services.denied.iter().map(one).collect()
    };
    assert_eq!(
        compiled(&stage),
        [
            "192.0.2.9/32 10.9.0.1:80/tcp",
            "192.0.2.9/32 10.9.0.1:443/tcp",
            "2001:db8::/32 all",
            "192.0.2.0/24 all"
        ]
    );
    assert_eq!(stage.registry.denials.expire(seconds(69)), []);
    assert_eq!(stage.registry.denials.expire(seconds(70)).len(), 1);
    let unknown = order::allow(&mut stage.registry, "192.0.2.0/24", None).unwrap_err();
    assert!(
        unknown.to_string().starts_with("192.0.2.0/24: is not denied by xlvs deny"),
        "{unknown}"
    );
    assert_eq!(
        order::allow(&mut stage.registry, "192.0.2.9", Some("10.9.0.1:443/tcp")).unwrap().len(),
        1
    );
    assert_eq!(order::allow(&mut stage.registry, "192.0.2.9", None).unwrap().len(), 1);
    stage.publish();
    assert_eq!(compiled(&stage), ["2001:db8::/32 all"]);
    // There is an end to it.
    let many = |n: u32| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string();
    for n in 0..4095 {
        order::deny(&mut stage.registry, &wish(&many(n), None, None)).unwrap();
    }
    let full = order::deny(&mut stage.registry, &wish("192.0.2.77", None, None)).unwrap_err();
    assert!(matches!(full, Refused::Full(_)), "{full}");
}

#[test]
fn a_filter_in_the_datapath_s_words() {
    let stage = Stage::new(FILE);
    let ids = |filter: &Filter| -> Option<Vec<String>> {
        let chosen = doomed(&stage.services, filter, false).servers?;
        let of = |(id, _): (usize, &bool)| {
            let server = stage.server(id as u32);
            format!("{}:{}", server.address, server.port)
        };
        Some(chosen.iter().enumerate().filter(|(_, is)| **is).map(of).collect())
    };
    let text = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let filter = |name: Option<&str>, server: Option<&str>| Filter {
        name: name.map(str::to_owned),
        server: server.map(|server| server.parse().unwrap()),
        ..Filter::default()
    };
    let rows = [
        (filter(None, None), None),
        (filter(Some("api"), None), text(&["10.0.0.11:8080", "10.0.0.13:80"])),
        (filter(Some("api"), Some("10.0.0.11")), text(&["10.0.0.11:8080"])),
        (
            filter(None, Some("10.0.0.11")),
            text(&["10.0.0.11:80", "10.0.0.11:443", "10.0.0.11:8080"]),
        ),
        (filter(Some("nobody"), None), text(&[])),
    ];
    for (filter, expected) in rows {
        assert_eq!(ids(&filter), expected, "{filter}");
    }
    let client = Filter { client: Some(source("192.0.2.0/24").unwrap()), ..Filter::default() };
    assert_eq!(doomed(&stage.services, &client, true).client, client.client);
    let json = serde_json::to_string(&client).unwrap();
    assert!(json.contains(r#""client":"192.0.2.0/24""#), "{json}");
    let old: Filter = serde_json::from_str(r#"{"client": "192.0.2.1"}"#).unwrap();
    assert_eq!(old.client.unwrap().to_string(), "192.0.2.1/32");
}
