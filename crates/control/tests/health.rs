//! Events of health in, what the workers read out.

use std::{path::Path, time::SystemTime};

use control::{load, registry::Registry};
use dataplane::snapshot::{ServerId, Services};
use health::event::{Event, Health};

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
