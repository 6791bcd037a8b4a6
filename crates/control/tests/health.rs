//! Events of health in, what the workers read out.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use control::{
    load,
    registry::{Failures, Registry},
};
use dataplane::snapshot::{ServerId, Services};
use health::{
    event::{Event, Health},
    runner::{CheckReport, ServerReport},
};

/// A registry with a service of these words and three checked servers, 11 to 13, of weights 1, 2, 3.
fn registry(words: &str, third: &str) -> (Registry, Services) {
    let text = format!(
        "version: 1\ninterfaces: [eth0]\nchecks: {{web: {{type: http}}}}\nservices:\n  - {{name: web, listen: 203.0.113.10:80/tcp, forward: nat, checks: web, {words} servers: [{{address: 10.0.2.11}}, {{address: 10.0.2.12, weight: 2}}, {{address: 10.0.2.13, weight: 3{third}}}]}}\n"
    );
    let model = load::read(Path::new("x.yaml"), &text, None).unwrap_or_else(|why| panic!("{why}"));
    let mut registry = Registry::new(model);
    let services = registry.compile(&Services::default());
    (registry, services)
}

fn event(server: ServerId, health: Health) -> Event {
    Event { server, health, weight: None, why: "as the test wants".into(), at: SystemTime::now() }
}

/// Each server in a word: its weight as schedulers see it, and `+` if it takes new connections; `-` if
/// its old ones are over; `x` if it is out of the list.
fn shown(services: &Services) -> String {
    let service = services.services.iter().flatten().next().expect("the service");
    let candidates = services.candidates(service);
    let words = service.servers.iter().map(|id| {
        let Some(seen) = candidates.iter().find(|candidate| candidate.id == *id) else {
            return "x".to_owned();
        };
        let takes = if seen.up { "+" } else { "" };
        let over = if services.is_gone(*id) { "-" } else { "" };
        format!("{}{takes}{over}", seen.weight)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Events as `1d` (server 11 down), `2u`, and what the workers read after them.
#[test]
fn events_in_services_out() {
    let rows = [
        ("", "", "", "1 2 3"),
        ("", "", "1u 2u 3u", "1+ 2+ 3+"),
        ("", "", "1u 2d 3u", "1+ 2- 3+"),
        ("existing: keep,", "", "1u 2d 3u", "1+ 2 3+"),
        ("on_down: weight0,", "", "1u 2d 3u", "1+ 0+ 3+"),
        ("on_down: remove,", "", "1u 2d 3u", "1+ x 3+"),
        ("", ", tier: 1", "1u 2u 3u", "1+ 2+ 3"),
        ("", ", tier: 1", "1d 2d 3u", "1- 2- 3+"),
        ("quorum: 4,", ", tier: 1", "1u 2u 3u", "1+ 2+ 3+"),
        // The sorry server is the last of the list.
        ("quorum: 3, sorry: {address: 10.0.2.30},", "", "1u 2u 3u", "1+ 2+ 3+ 1"),
        ("quorum: 4, sorry: {address: 10.0.2.30},", "", "1u 2u 3d", "1 2 3- 1+"),
        ("", "", "1d 2d 3d", "1- 2- 3-"),
        ("all_down: all_up,", "", "1d 2d 3d", "1+ 2+ 3+"),
        ("all_down: keep_last,", "", "1u 2u 3d | 1d 2d", "1+ 2+ 3-"),
    ];
    for (words, third, events, expected) in rows {
        let (mut registry, mut services) = registry(words, third);
        let ids: Vec<ServerId> =
            services.services.iter().flatten().next().expect("the service").servers.clone();
        for batch in events.split('|') {
            for word in batch.split_whitespace() {
                let server = ids[usize::from(word.as_bytes()[0] - b'1')];
                let health = if word.ends_with('u') { Health::Up } else { Health::Down };
                assert!(registry.board.take(&event(server, health), &services));
            }
            services = registry.compile(&services);
        }
        assert_eq!(shown(&services), expected, "{words} {third} {events}");
    }
}

#[test]
fn checks_may_give_weights() {
    let (mut registry, services) = registry("", "");
    let server = services.services.iter().flatten().next().expect("the service").servers[0];
    let heavy = Event { weight: Some(70), ..event(server, Health::Up) };
    registry.board.take(&heavy, &services);
    assert_eq!(shown(&registry.compile(&services)), "70+ 2 3");
}

/// Whom to ask, and what is worth knowing after a restart.
#[test]
fn members_and_memory() {
    let (mut registry, services) = registry("require: any,", "");
    let members = registry.board.members(&registry.model, &services);
    assert_eq!(members.len(), 3);
    assert_eq!(members[0].checks[0].question.target.port, 80);
    let memory = registry.board.memory(&registry.model, &services);
    assert!(memory.is_empty(), "nobody has answered");
    registry.board.take(&event(members[0].server, Health::Down), &services);
    let memory = registry.board.memory(&registry.model, &services);
    assert_eq!(memory.len(), 1);

    let (mut again, _) = self::registry("", "");
    again.board.recall(memory);
    let services = again.compile(&Services::default());
    assert_eq!(shown(&services), "1- 2 3");
    let known = again.board.members(&again.model, &services)[0].known;
    assert_eq!(known, Some(Health::Down));
}

/// Failed handshakes, unanswered and refused, of the three servers at each look, half a second
/// apart; and which of them are then asked at once. Three within a second are enough.
#[test]
fn what_traffic_tells() {
    let rows: [(&str, &[&str]); 7] = [
        ("one at a time", &["1.0 0.0 0.0: ", "0.0 0.0 0.0: ", "2.0 0.0 0.0: "]),
        ("at once", &["0.0 3.0 0.0: 2"]),
        ("over two looks", &["0.0 0.2 0.0: ", "0.0 0.1 0.0: 2"]),
        ("of both kinds", &["1.2 0.0 0.0: 1"]),
        ("not for the same ones again", &["0.3 0.0 0.0: 1", "0.0 0.0 0.0: ", "0.0 0.0 0.0: "]),
        ("while it goes on", &["0.3 0.0 0.0: 1", "0.2 0.0 0.0: ", "0.1 0.0 0.0: 1"]),
        ("more than one", &["3.0 2.0 0.9: 1 3"]),
    ];
    for (what, looks) in rows {
        let (mut registry, services) = registry("", "");
        let mut totals = [Failures::default(); 3];
        assert_eq!(registry.hints.look(&registry.model, &services, |id| totals[id as usize]), []);
        for look in looks {
            let (failed, expected) = look.split_once(": ").expect("two parts");
            for (total, more) in totals.iter_mut().zip(failed.split(' ')) {
                let (unanswered, refused) = more.split_once('.').expect("two numbers");
                total.unanswered += unanswered.parse::<u64>().expect("a number");
                total.refused += refused.parse::<u64>().expect("a number");
            }
            let hints = registry.hints.look(&registry.model, &services, |id| totals[id as usize]);
            let asked: Vec<String> =
                hints.iter().map(|hint| (hint.server + 1).to_string()).collect();
            assert_eq!(asked.join(" "), expected, "{what}: {look}");
        }
    }
}

/// A suspect waits, and its connections go on; the last one that serves is never suspect.
#[test]
fn suspects() {
    let (mut registry, mut services) = registry("hints: {suspect: 1m},", "");
    for server in 0..3 {
        registry.board.take(&event(server, Health::Up), &services);
    }
    services = registry.compile(&services);
    let suspect = |registry: &mut Registry, services: &Services, server| {
        let service = services.service_of(server).expect("the service");
        registry.board.suspect(server, service, Duration::from_secs(60), "as the test wants".into())
    };
    assert!(suspect(&mut registry, &services, 0));
    services = registry.compile(&services);
    assert_eq!(shown(&services), "1 2+ 3+");
    assert!(suspect(&mut registry, &services, 1));
    assert!(!suspect(&mut registry, &services, 1), "it is already");
    assert!(!suspect(&mut registry, &services, 2), "nobody would be left");
    services = registry.compile(&services);
    assert_eq!(shown(&services), "1 2 3+");
    // Down is down, whatever was suspected.
    registry.board.take(&event(1, Health::Down), &services);
    assert_eq!(shown(&registry.compile(&services)), "1 2- 3+");
}

/// A good answer ends the suspicion if it came after it; else only time does.
#[test]
fn who_is_suspect_no_more() {
    let answer = |good, ago: u64| {
        let at = SystemTime::now() + Duration::from_secs(5) - Duration::from_secs(ago);
        Some((good, String::new(), Duration::ZERO, at))
    };
    let rows = [
        ("a good one since", vec![answer(true, 0)], 60, true),
        ("a good one before", vec![answer(true, 10)], 60, false),
        ("a bad one", vec![answer(false, 0)], 60, false),
        ("no answer", vec![None], 60, false),
        ("one of two", vec![answer(true, 0), answer(true, 10)], 60, false),
        ("the time is over", vec![answer(false, 0)], 0, true),
    ];
    for (what, answers, most, over) in rows {
        let (mut registry, services) = registry("", "");
        for server in 0..2 {
            registry.board.take(&event(server, Health::Up), &services);
        }
        let service = services.service_of(0).expect("the service");
        assert!(registry.board.suspect(0, service, Duration::from_secs(most), String::new()));
        let check = |last| CheckReport {
            name: "web".into(),
            kind: "http",
            health: Health::Up,
            row: (1, 0),
            last,
            next: None,
            tally: Default::default(),
        };
        let report = ServerReport {
            health: Health::Up,
            since: SystemTime::now(),
            why: String::new(),
            paused: false,
            held: false,
            suspect: None,
            turns: Default::default(),
            checks: answers.into_iter().map(check).collect(),
        };
        assert_eq!(registry.board.suspects.settle(|_| Some(&report)), over, "{what}");
    }
}
