//! Ids, counts and shares over time: what comes back, what is forgotten, what joins slowly.

use std::sync::Arc;

use control::matches::match_entries;
use dataplane::{
    forward::{Forward, Tunnel},
    policy::OnJoin,
    tcp::State,
};
use ipvsadm::Counters;

use crate::{connections::connection as one, stage::Stage};

const WEB: &str = "10.9.0.1:80/tcp";
const TABLE: [&str; 3] = [
    "-A -t 10.9.0.1:80 -s rr",
    "-a -t 10.9.0.1:80 -r 10.0.0.11:80 -m",
    "-a -t 10.9.0.1:80 -r 10.0.0.12:80 -m",
];
const ESTABLISHED: u8 = State::Established as u8;

fn stage() -> Stage {
    let mut stage = Stage::new("services: []");
    stage.done(&TABLE);
    stage
}

/// A connection with a packet each way.
fn connection(stage: &Stage, id: u32) {
    stage.director.opened(id, ESTABLISHED);
    let traffic = stage.stats[0].server(id);
    traffic.in_packets.add(1);
    traffic.in_bytes.add(60);
    traffic.out_packets.add(1);
    traffic.out_bytes.add(1500);
}

fn counted(connections: u64) -> Counters {
    Counters {
        connections,
        in_packets: connections,
        out_packets: connections,
        in_bytes: 60 * connections,
        out_bytes: 1500 * connections,
    }
}

#[test]
fn what_is_removed_and_added_again_has_its_connections_and_counts() {
    let mut stage = stage();
    let id = stage.id(WEB, "10.0.0.11:80").unwrap();
    let service = stage.server(id).service;
    connection(&stage, id);
    connection(&stage, id);
    for round in [
        &["-d -t 10.9.0.1:80 -r 10.0.0.11:80", TABLE[1]][..],
        &["-D -t 10.9.0.1:80", TABLE[0], TABLE[1], TABLE[2]],
        &["-C", TABLE[0], TABLE[2], TABLE[1]],
    ] {
        for (at, line) in round.iter().enumerate() {
            stage.done(&[line]);
            stage.now += 200;
            let services = Arc::clone(&stage.services);
            stage.registry.release(&services, &stage.director, &stage.stats, stage.now);
            if at == 0 {
                assert!(stage.server(id).removed, "{line}");
            }
        }
        assert_eq!(stage.id(WEB, "10.0.0.11:80"), Some(id), "{round:?}");
        assert_eq!(stage.server(id).service, service);
        let listing = stage.listing();
        let web = &listing.services[0];
        let server = web.servers.iter().find(|s| s.spec.address.to_string() == "10.0.0.11");
        let server = server.unwrap();
        assert_eq!((server.active, server.inactive), (2, 0), "{round:?}");
        assert_eq!(server.stats, counted(2), "{round:?}");
        assert_eq!(web.stats, counted(2), "{round:?}");
    }
}

/// `IP_VS_DEST_TRASH_PERIOD`: 120 s after the last connection.
#[test]
fn ids_are_free_120_seconds_after_the_last_connection() {
    let mut stage = stage();
    let id = stage.id(WEB, "10.0.0.11:80").unwrap();
    connection(&stage, id);
    stage.done(&["-d -t 10.9.0.1:80 -r 10.0.0.11:80"]);
    let release = |stage: &mut Stage, now: u32| {
        stage.now = now;
        let services = Arc::clone(&stage.services);
        let free = stage.registry.release(&services, &stage.director, &stage.stats, now);
        if free {
            stage.publish();
        }
        free
    };
    assert!(!release(&mut stage, 1000), "it has a connection");
    stage.director.ended(&one(0, id, "10.0.0.11"), ESTABLISHED);
    assert!(!release(&mut stage, 1001));
    assert!(!release(&mut stage, 1120));
    // A connection that comes meanwhile (a packet of one that was on its way) begins anew.
    stage.director.opened(id, ESTABLISHED);
    assert!(!release(&mut stage, 1121));
    stage.director.ended(&one(0, id, "10.0.0.11"), ESTABLISHED);
    assert!(!release(&mut stage, 1122));
    assert!(!release(&mut stage, 1241));
    assert!(release(&mut stage, 1242));
    assert!(!release(&mut stage, 1243), "once");
    assert_eq!(stage.id(WEB, "10.0.0.11:80"), None);
    // The id's next owner begins at nothing; what the service had stays its own.
    stage.done(&["-a -t 10.9.0.1:80 -r 10.0.0.99:80 -m"]);
    assert_eq!(stage.id(WEB, "10.0.0.99:80"), Some(id));
    let listing = stage.listing();
    let new =
        listing.services[0].servers.iter().find(|s| s.spec.address.to_string().ends_with("99"));
    assert_eq!(new.unwrap().stats, Counters::default());
    let stats = listing.services[0].stats;
    assert_eq!((stats.connections, stats.in_packets), (2, 1));
}

#[test]
fn counts_are_set_to_zero() {
    let mut stage = stage();
    stage.done(&["-A -t 10.9.0.2:80", "-a -t 10.9.0.2:80 -r 10.0.0.11:80 -m"]);
    let ids = [
        stage.id(WEB, "10.0.0.11:80").unwrap(),
        stage.id("10.9.0.2:80/tcp", "10.0.0.11:80").unwrap(),
    ];
    let stats = |stage: &mut Stage| -> Vec<Counters> {
        stage.listing().services.iter().flat_map(|s| [s.stats, s.servers[0].stats]).collect()
    };
    ids.iter().for_each(|id| connection(&stage, *id));
    assert_eq!(stats(&mut stage), [counted(1); 4]);
    assert_eq!(stage.run("-Z -t 10.9.0.1:80", ""), (0, String::new(), String::new()));
    let zero = Counters::default();
    assert_eq!(stats(&mut stage), [zero, zero, counted(1), counted(1)]);
    ids.iter().for_each(|id| connection(&stage, *id));
    assert_eq!(stats(&mut stage), [counted(1), counted(1), counted(2), counted(2)]);
    assert_eq!(stage.run("-Z", ""), (0, String::new(), String::new()));
    assert_eq!(stats(&mut stage), [zero; 4]);
    // Connections are not counters: they stay.
    assert_eq!(stage.listing().services[0].servers[0].active, 2);
    let unknown = stage.run("-Z -t 10.9.0.9:80", "");
    assert_eq!(unknown, (u8::MAX, String::new(), "No such service\n".to_owned()));
    // In a batch too.
    ids.iter().for_each(|id| connection(&stage, *id));
    stage.change(&["-A -t 10.9.0.3:80", "-Z"]).unwrap();
    assert_eq!(stats_of_first(&mut stage), zero);
}

fn stats_of_first(stage: &mut Stage) -> Counters {
    stage.listing().services[0].stats
}

/// All services start slowly, within 8 s.
fn slow(stage: &mut Stage) {
    for service in &mut stage.registry.model.services {
        service.policy.on_join = OnJoin::SlowStart(8);
    }
    stage.publish();
}

fn share(stage: &Stage, server: &str) -> u16 {
    stage.server(stage.id(WEB, server).unwrap()).share
}

fn at(stage: &mut Stage, now: u32) {
    stage.now = now;
    stage.publish();
}

#[test]
fn a_server_that_joins_gets_its_share_second_by_second() {
    let mut stage = stage();
    slow(&mut stage);
    // Those that were there do not join; nothing is due.
    assert!(!stage.registry.ramps());
    assert_eq!(share(&stage, "10.0.0.11:80"), 256);
    stage.now = 100;
    stage.done(&["-a -t 10.9.0.1:80 -r 10.0.0.13:80 -m -w 4"]);
    for (now, expected) in [(100, 1), (101, 32), (104, 128), (104, 128), (107, 224), (108, 256)] {
        at(&mut stage, now);
        assert_eq!(share(&stage, "10.0.0.13:80"), expected, "at {now}");
        assert_eq!(share(&stage, "10.0.0.11:80"), 256);
        assert_eq!(stage.registry.ramps(), expected < 256, "at {now}");
    }
}

/// What makes a server join again: (the line that takes it out, the line that brings it back).
#[test]
fn a_server_that_returns_joins_again() {
    let edit = |weight: u32| format!("-e -t 10.9.0.1:80 -r 10.0.0.12:80 -m -w {weight}");
    let rows = [
        (edit(0), edit(3), true),
        ("-d -t 10.9.0.1:80 -r 10.0.0.12:80".to_owned(), TABLE[2].to_owned(), true),
        (edit(9), edit(3), false),
    ];
    for (out, back, joins) in rows {
        let mut stage = stage();
        slow(&mut stage);
        stage.now = 10;
        stage.done(&[&out]);
        assert!(!stage.registry.ramps(), "{out}");
        stage.now = 20;
        stage.done(&[&back]);
        assert_eq!(stage.registry.ramps(), joins, "{back}");
        assert_eq!(share(&stage, "10.0.0.12:80"), if joins { 1 } else { 256 }, "{back}");
        // One that leaves on its way is not waited for.
        stage.done(&["-d -t 10.9.0.1:80 -r 10.0.0.12:80"]);
        assert!(!stage.registry.ramps(), "{back}");
    }
}

/// Health and the operator's drain are overlaid on what was published.
#[test]
fn a_server_that_comes_up_or_is_not_drained_any_more_joins() {
    for change in [(|server| server.up = false) as fn(&mut dataplane::snapshot::Server), |server| {
        server.drained = true
    }] {
        let mut stage = stage();
        slow(&mut stage);
        let id = stage.id(WEB, "10.0.0.12:80").unwrap() as usize;
        let mut without = (*stage.services).clone();
        change(without.servers[id].as_mut().unwrap());
        let before = stage.services.clone();
        stage.registry.ramp(&before, &mut without, 10);
        assert!(!stage.registry.ramps());
        let mut with = (*before).clone();
        stage.registry.ramp(&without, &mut with, 20);
        assert!(stage.registry.ramps());
        assert_eq!(with.servers[id].as_ref().unwrap().share, 1);
        let again = with.clone();
        stage.registry.ramp(&again, &mut with, 28);
        assert_eq!(with.servers[id].as_ref().unwrap().share, 256);
        assert!(!stage.registry.ramps());
    }
}

#[test]
fn without_slow_start_nothing_ramps() {
    let mut stage = stage();
    stage.done(&["-a -t 10.9.0.1:80 -r 10.0.0.13:80 -m"]);
    assert_eq!((share(&stage, "10.0.0.13:80"), stage.registry.ramps()), (256, false));
}

/// Live connections keep the method that they began with, so what it needs stays: the tunnel,
/// and the answers that the XDP program takes.
#[test]
fn a_server_that_gets_another_method_keeps_what_its_connections_need() {
    let gue = Tunnel::Gue { port: 6080, checksum: false };
    let add = "-a -t 10.9.0.1:80 -r 10.0.0.11:80 -i --tun-type gue --tun-port 6080";
    for (compat, kept) in [("none", gue), ("lvs", Tunnel::Ipip)] {
        let mut stage = Stage::new(&format!("compat: {compat}\nservices: []"));
        stage.done(&[TABLE[0], add, TABLE[2]]);
        let [tun, nat] = ["10.0.0.11:80", "10.0.0.12:80"].map(|at| stage.id(WEB, at).unwrap());
        // (by a tunnel, the port from which answers of a NAT server are taken)
        let takes = |stage: &Stage| {
            let entries = match_entries(&stage.services);
            let of = |id| &entries.addresses[&stage.server(id).address];
            let answers = entries.endpoints.iter().filter(|(_, roles)| roles.server);
            let answers: Vec<_> = answers.map(|(end, _)| end.to_string()).collect();
            (of(tun).tunnel_server, of(nat).nat_server, answers.join(" "))
        };
        let before = takes(&stage);
        assert_eq!(before, (true, true, "10.0.0.12:80/tcp".to_owned()));
        assert_eq!(stage.server(tun).tunnel(), Some(gue));
        assert_eq!(stage.server(nat).tunnel(), None);
        for id in ["10.0.0.11:80", "10.0.0.12:80"] {
            stage.done(&[&format!("-e -t 10.9.0.1:80 -r {id} -g")]);
        }
        // Also when something else is changed after that.
        stage.done(&["-e -t 10.9.0.1:80 -r 10.0.0.11:80 -g -w 5"]);
        assert_eq!(takes(&stage), before, "{compat}");
        assert_eq!(stage.server(tun).tunnel(), Some(kept), "{compat}");
        assert!([tun, nat].iter().all(|id| stage.server(*id).forward == Forward::Dr));
        stage.done(&["-e -t 10.9.0.1:80 -r 10.0.0.11:80 -i"]);
        assert_eq!(stage.server(tun).tunnel(), Some(Tunnel::Ipip), "an edit to another tunnel");
    }
}
