//! mh in DR and TUN goes on without an entry while the connection table is full. To which server:
//! the one that a box with room picks (mh's picks are a kernel's, `sched/tests`).

use dataplane::{
    policy::{Access, Persistence},
    prefix::Prefix,
    snapshot::Services,
    tcp::State,
    verdict::Punt,
};
use sched::{Kind, Plan};

use crate::{
    full::{End, Stage, each_server, each_service, packet, sized, too_big},
    ground::{FRONT, MACHINES, Net, at},
    wire::{ACK, FIN, Ip, RST, SYN, TCP, UDP},
};

/// The VIP's last octet and port of the services in DR, in TUN and in TUN over the other family.
const STATELESS: [(u8, u16); 3] = [(10, 82), (10, 83), (20, 83)];
/// Clients' last octets: mh goes by the address.
const CLIENTS: std::ops::Range<u8> = 1..40;
/// An established connection's idle time, in milliseconds.
const IDLE_MS: u64 = 900_000;

fn mh(services: &mut Services) {
    with(services, Plan::new(Kind::Mh));
}

fn with(services: &mut Services, plan: Plan) {
    each_service(services, |service| service.policy.scheduler = plan);
}

fn server(end: &End) -> &End {
    assert!(matches!(end, End::To(..)), "{end:?}");
    end
}

#[test]
fn every_packet_goes_where_a_box_with_room_sends_it() {
    for v6 in [false, true] {
        for vip in STATELESS {
            for (protocol, flags) in [(TCP, &[SYN, ACK, FIN | ACK, RST][..]), (UDP, &[0, 0])] {
                let (mut roomy, mut full) = (Stage::new(64, mh), Stage::full(mh));
                let (opened, mut sent) = (full.desk.stats.opened.value(), 0);
                let mut servers = Vec::new();
                for client in CLIENTS {
                    let expected = roomy.passes(&packet(v6, protocol, (client, 5000), vip, SYN));
                    servers.push(server(&expected).clone());
                    for flags in flags {
                        let end = full.passes(&packet(v6, protocol, (client, 5000), vip, *flags));
                        assert_eq!(end, expected, "{v6} {vip:?} {protocol} {client} {flags}");
                        sent += 1;
                    }
                }
                servers.dedup();
                assert!(servers.len() > 3, "one server gets all");
                assert_eq!((full.connections(v6), full.stateless()), (4, sent));
                assert_eq!(full.desk.stats.opened.value(), opened, "nothing was opened");
            }
        }
    }
}

/// What needs an entry is dropped by name, as before.
#[test]
fn others_need_an_entry() {
    type Change = fn(&mut Services);
    let persistent: Change = |services| {
        mh(services);
        let persistence = Some(Persistence { timeout: 60, prefix: 32 });
        each_service(services, |service| service.policy.persistence = persistence);
    };
    let rows: [(&str, Change, (u8, u16)); 5] = [
        ("rr", |services| with(services, Plan::new(Kind::Rr)), STATELESS[0]),
        ("sh", |services| with(services, Plan::new(Kind::Sh)), STATELESS[1]),
        ("NAT", mh, (10, 80)),
        ("FullNAT", mh, (10, 81)),
        ("persistence", persistent, STATELESS[0]),
    ];
    for (name, change, vip) in rows {
        let mut full = Stage::full(change);
        for protocol in [TCP, UDP] {
            let end = full.passes(&packet(false, protocol, (1, 5000), vip, SYN));
            assert_eq!(end, End::Dropped("table_full"), "{name}");
        }
        let end = full.passes(&packet(false, TCP, (1, 5000), vip, ACK));
        assert_eq!((end, full.stateless()), (End::Punted(Punt::NoConnection), 0), "{name}");
    }
}

/// A segment of no known connection is the kernel's, before the table was full and when none can
/// be alive any more that began then.
#[test]
fn for_as_long_as_a_connection_may_be_alive() {
    let vip = STATELESS[0];
    for v6 in [false, true] {
        let ack = |client| packet(v6, TCP, (client, 5000), vip, ACK);
        let mut full = Stage::full(mh);
        assert_eq!(full.passes(&ack(1)), End::Punted(Punt::NoConnection));
        let expected = full.passes(&packet(v6, TCP, (1, 5000), vip, SYN));
        assert_eq!(full.passes(&ack(1)), *server(&expected));
        // What the other family's table lacks is not this one's.
        let other = full.passes(&packet(!v6, TCP, (1, 5000), vip, ACK));
        assert_eq!(other, End::Punted(Punt::NoConnection));
        for (after, followed) in [(IDLE_MS - 1_500, true), (2_500, false)] {
            // Those who had the room are gone by then.
            full.millis += after;
            let end = full.passes(&packet(v6, TCP, (1, 5001), vip, RST));
            assert_eq!(matches!(end, End::To(..)), followed, "{end:?}");
        }
        assert_eq!(full.connections(v6), 0, "a reset makes no entry");
    }
}

/// The first segment that finds room makes the entry; from then on it is a connection as any.
#[test]
fn with_room_again_it_gets_its_entry() {
    for v6 in [false, true] {
        for vip in STATELESS {
            let mut full = Stage::full(mh);
            let expected = full.passes(&packet(v6, TCP, (1, 5000), vip, SYN));
            full.makes_room(v6);
            let stateless = full.stateless();
            for flags in [RST, ACK, ACK] {
                let end = full.passes(&packet(v6, TCP, (1, 5000), vip, flags));
                assert_eq!(end, *server(&expected));
            }
            assert_eq!((full.connections(v6), full.stateless()), (4, stateless + 1));
            let mut states = Vec::new();
            full.desk.director.v4.for_each(&mut |found| states.push(found.meta.state()));
            full.desk.director.v6.for_each(&mut |found| states.push(found.meta.state()));
            assert!(states.contains(&(State::Established as u8)), "{states:?}");
        }
    }
}

/// Servers that take no new connections. Without the fallback flag those who came before stay;
/// with it nobody can tell who came before.
#[test]
fn drained_full_and_failed_servers() {
    type Change = fn(&mut dataplane::snapshot::Server);
    let closed: [(&str, Change); 3] = [
        ("weight 0", |server| server.weight = 0),
        ("drained", |server| server.drained = true),
        ("down", |server| server.up = false),
    ];
    let vip = STATELESS[0];
    for (name, change) in closed {
        for fallback in [false, true] {
            let plan = Plan { fallback, ..Plan::new(Kind::Mh) };
            let mut full = Stage::full(|services| with(services, plan));
            let before: Vec<End> = CLIENTS
                .map(|client| full.passes(&packet(false, TCP, (client, 5000), vip, SYN)))
                .collect();
            full.desk.reconfigure(|services| each_server(services, MACHINES[0], change));
            let mut moved = 0;
            for (client, before) in CLIENTS.zip(&before) {
                let [syn, ack] = [SYN, ACK]
                    .map(|flags| full.passes(&packet(false, TCP, (client, 5000), vip, flags)));
                match (&syn == before, fallback || name == "down") {
                    (true, _) => assert_eq!(ack, syn, "{name}"),
                    (false, true) => assert_eq!(ack, *server(&syn), "{name}"),
                    (false, false) => {
                        assert_eq!((&syn, &ack), (&End::Dropped("no_server"), before), "{name}");
                    }
                }
                moved += usize::from(&syn != before);
            }
            assert!((5..30).contains(&moved), "{name}: a third of {}: {moved}", before.len());
        }
    }
}

/// The client's port counts where it does for a new connection.
#[test]
fn by_port_too() {
    let by_port = |services: &mut Services| {
        with(services, Plan { port: true, ..Plan::new(Kind::Mh) });
    };
    let (mut roomy, mut full) = (Stage::new(64, by_port), Stage::full(by_port));
    let mut servers = Vec::new();
    for sport in 5000..5040 {
        let packet = packet(false, TCP, (1, sport), STATELESS[0], SYN);
        let end = full.passes(&packet);
        assert_eq!(roomy.passes(&packet), *server(&end));
        servers.push(end);
    }
    servers.dedup();
    assert!(servers.len() > 3);
}

/// Later fragments follow the first one, also one that came before it.
#[test]
fn fragments() {
    for v6 in [false, true] {
        for vip in STATELESS {
            let (mut roomy, mut full) = (Stage::new(64, mh), Stage::full(mh));
            let expected = roomy.passes(&packet(v6, UDP, (1, 5000), vip, 0));
            let parts = sized(v6, UDP, (1, 5000), vip, (0, 3000)).cut(1300);
            assert_eq!(full.passes(&parts[0]), *server(&expected));
            for part in &parts[1..] {
                assert_eq!(full.passes(part), expected);
            }
            let parts = sized(v6, UDP, (2, 5001), vip, (0, 2000)).cut(1300);
            assert_eq!(full.passes(&parts[1]), End::Held);
            full.desk.arrive(FRONT, &parts[0]);
            let sent = [full.millis + 1, full.millis + 2].map(|millis| full.desk.breathe(millis));
            assert_eq!(sent.map(|sent| sent.len()), [1, 1]);
        }
    }
}

/// What a router says of a server's answer to such a client reaches that server: DR servers send
/// by themselves, and must learn the path's MTU.
#[test]
fn errors_about_answers_reach_the_server() {
    for v6 in [false, true] {
        let (vip, router) = (STATELESS[0], at(v6, Net::Clients, 200));
        let mut full = Stage::full(mh);
        for client in CLIENTS {
            let asked = packet(v6, TCP, (client, 5000), vip, SYN);
            let mut answer = sized(v6, TCP, (client, 5000), vip, (ACK, 1300));
            // From the VIP's port to the client's: addresses and ports the other way round.
            (answer.src, answer.dst) = (asked.dst, asked.src);
            let (to, from) = (5000u16.to_be_bytes(), vip.1.to_be_bytes());
            answer.payload[..2].copy_from_slice(&from);
            answer.payload[2..4].copy_from_slice(&to);
            let error = too_big(router, &answer);
            if client == CLIENTS.start {
                assert_eq!(full.passes(&error), End::Punted(Punt::Icmp), "not yet");
            }
            let expected = full.passes(&asked);
            assert_eq!(full.passes(&error), *server(&expected));
        }
    }
}

/// Who may not open connections gets nothing by them.
#[test]
fn denied_sources_are_the_kernels() {
    let denied = Prefix::host(at(false, Net::Clients, 1));
    let mut full = Stage::full(|services| {
        mh(services);
        each_service(services, |service| {
            service.policy.access = Access { deny: vec![denied], ..Access::default() };
        });
    });
    let vip = STATELESS[0];
    assert!(matches!(full.passes(&packet(false, TCP, (2, 5000), vip, SYN)), End::To(..)));
    let rows = [(SYN, End::Dropped("source_denied")), (ACK, End::Punted(Punt::NoConnection))];
    for (flags, expected) in rows {
        assert_eq!(full.passes(&packet(false, TCP, (1, 5000), vip, flags)), expected);
    }
}

/// A packet that would not leave does not leave without an entry either.
#[test]
fn what_hinders_others_hinders_these() {
    let vip = STATELESS[0];
    let mut full = Stage::full(mh);
    let syn = packet(false, TCP, (1, 5000), vip, SYN);
    let expected = [
        (Ip { ttl: 1, ..syn.clone() }, "ttl_exceeded"),
        (Ip { df: true, ..sized(false, TCP, (1, 5000), vip, (SYN, 1500)) }, "too_big"),
    ];
    for (ip, name) in expected {
        assert_eq!(full.passes(&ip), End::Dropped(name));
    }
    full.desk.ground.neighbours.iter_mut().for_each(|neighbour| neighbour.known = false);
    full.desk.reconfigure(|_| {});
    assert_eq!(full.passes(&syn), End::Dropped("neighbour_unresolved"));
    assert_eq!(full.stateless(), 0);
}
