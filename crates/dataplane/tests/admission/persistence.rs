//! Persistence templates (A.5).

use std::net::{IpAddr, Ipv4Addr};

use dataplane::{
    director::Limits,
    forward::{Address, Forward, Protocol, ServiceKey},
    mark::MarkRule,
    policy::{Defence, Lifecycle, Persistence, Policy},
    prefix::Prefix,
    template,
    verdict::Drop,
};
use sched::Kind;

use crate::office::{ACK, FIN, LIMITS, Net, Office, Outcome, Send, add, at, by, one, vip};

fn persistent(timeout: u32, prefix: u8) -> Policy {
    Policy { persistence: Some(Persistence { timeout, prefix }), ..by(Kind::Rr) }
}

fn tcp(client: u16, cport: u16) -> Send {
    let vip = (at(false, Net::Vips, 1), 80);
    Send::new(Protocol::Tcp, (at(false, Net::Clients, client), cport), vip)
}

fn office(policy: Policy, workers: usize) -> Office {
    let key = vip(false, Protocol::Tcp, 80);
    Office::new(one(key, policy, Forward::Nat, (&[1, 2, 3], 80)), workers)
}

/// State and seconds that are left of the only template.
fn template(office: &Office) -> Option<(&'static str, u32)> {
    let mut only = None;
    office.director.templates_v4.table().for_each(&mut |found| {
        assert!(only.is_none(), "two templates");
        let left = (found.stamp + found.meta.timeout()).saturating_sub(office.now.seconds());
        only = Some((template::state_name(found.meta.state()), left));
    });
    only
}

#[test]
fn a_clients_connections_stay_together_on_whatever_worker() {
    for (prefix, together) in [(32, [5, 5, 5]), (24, [5, 77, 200])] {
        let mut office = office(persistent(300, prefix), 2);
        let mut servers = Vec::new();
        for (n, client) in (0..).zip(together) {
            let outcome = office.at_worker(n % 2, tcp(client, 40_000 + n as u16));
            servers.push(outcome.host().expect("a server"));
        }
        assert!(servers.iter().all(|server| *server == servers[0]), "{servers:?}");
        let other = office.at_worker(0, tcp(256 + 5, 40_000)).host();
        assert_ne!(other, Some(servers[0]), "another network");
        assert_eq!(office.director.templates_v4.table().len(), 2);
    }
}

#[test]
fn ipv6_clients_too() {
    let key = vip(true, Protocol::Udp, 53);
    let services = one(key, persistent(300, 64), Forward::Nat, (&[1, 2, 3], 53));
    let mut office = Office::new(services, 1);
    let mut server = |text: &str| {
        let client: IpAddr = text.parse().unwrap();
        let vip = (at(true, Net::Vips, 1), 53);
        office.send(Send::new(Protocol::Udp, (client, 40_000), vip)).host().expect("a server")
    };
    let first = server("2001:db8:3:1::1");
    assert_eq!(server("2001:db8:3:1:ffff::2"), first);
    assert_ne!(server("2001:db8:3:2::1"), first);
}

/// Two services of one client, and the mark 10.1.0.1 beside the VIP of that name.
#[test]
fn services_share_no_templates() {
    let mut services =
        one(vip(false, Protocol::Tcp, 0), persistent(300, 32), Forward::Nat, (&[1], 0));
    let ftp = vip(false, Protocol::Tcp, 21);
    add(&mut services, ftp, persistent(300, 32), Forward::Nat, (&[2], 21));
    let mark = u32::from(Ipv4Addr::new(10, 1, 0, 1));
    let key = ServiceKey::Mark { mark, ipv6: false };
    add(&mut services, key, persistent(300, 32), Forward::Nat, (&[3], 0));
    services.marks = vec![MarkRule {
        mark,
        mask: u32::MAX,
        destination: Prefix::host(at(false, Net::Vips, 1)),
        source: None,
        protocol: None,
        ports: vec![443..=443],
        interface: None,
    }];
    services.derive();
    let mut office = Office::new(services, 1);
    for round in 0..3 {
        for (port, server) in [(80, 1), (21, 2), (443, 3), (5000, 2)] {
            let to = (at(false, Net::Vips, 1), port);
            let from = (at(false, Net::Clients, 1), 40_000 + round);
            assert_eq!(office.send(Send::new(Protocol::Tcp, from, to)).host(), Some(server));
        }
    }
    let mut shown = Vec::new();
    office.director.templates_v4.table().for_each(&mut |found| {
        shown.push(template::virtual_service(&found.connection));
    });
    shown.sort_unstable();
    // As in `ipvsadm -Lnc`: a mark as an address, of protocol IP; port 0 for all three.
    let vip = at(false, Net::Vips, 1);
    let tcp = Some(Protocol::Tcp);
    assert_eq!(shown, [(None, vip, 0), (tcp, vip, 0), (tcp, vip, 0)]);
}

/// A mark holds ports, protocols and addresses together.
#[test]
fn one_template_for_a_mark() {
    let key = ServiceKey::Mark { mark: 7, ipv6: false };
    let mut services = one(key, persistent(300, 32), Forward::Nat, (&[1, 2, 3], 0));
    services.marks = vec![MarkRule {
        mark: 7,
        mask: u32::MAX,
        destination: Prefix::new(at(false, Net::Vips, 0), 16).unwrap(),
        source: None,
        protocol: None,
        ports: vec![],
        interface: None,
    }];
    services.derive();
    let mut office = Office::new(services, 2);
    let mut servers = Vec::new();
    for (n, (protocol, vip, port)) in (0..).zip([
        (Protocol::Tcp, 1, 80),
        (Protocol::Tcp, 2, 443),
        (Protocol::Udp, 1, 53),
        (Protocol::Tcp, 3, 1),
    ]) {
        let from = (at(false, Net::Clients, 1), 40_000);
        let send = Send::new(protocol, from, (at(false, Net::Vips, vip), port));
        let Outcome::Server { host, to, .. } = office.at_worker(n % 2, send) else {
            panic!("not forwarded: {send:?}");
        };
        assert_eq!(to.1, port, "it keeps its port");
        servers.push(host);
    }
    assert!(servers.iter().all(|server| *server == servers[0]), "{servers:?}");
    assert_eq!(office.director.templates_v4.table().len(), 1);
}

#[test]
fn the_time_of_a_template() {
    let mut office = office(persistent(100, 32), 2);
    let first = office.send(tcp(1, 40_000)).host();
    assert_eq!(template(&office), Some(("NONE", 100)));
    office.wait(30);
    assert_eq!(template(&office), Some(("NONE", 70)));
    // A packet of a connection is no use of the template, but makes it a real client's.
    office.send(Send { flags: ACK, ..tcp(1, 40_000) });
    assert_eq!(template(&office), Some(("ASSURED", 70)));
    // A new connection is.
    assert_eq!(office.at_worker(1, tcp(1, 40_001)).host(), first);
    assert_eq!(template(&office), Some(("ASSURED", 100)));
    // Over, but it controls an established connection: a minute more, and again.
    office.wait(103);
    assert_eq!(template(&office), Some(("ASSURED", 57)));
    office.wait(60);
    assert_eq!(template(&office), Some(("ASSURED", 57)));
    // It serves as before, from then on for its full time.
    assert_eq!(office.send(tcp(1, 40_002)).host(), first);
    assert_eq!(template(&office), Some(("ASSURED", 100)));
    // CLOSE after a second FIN ends all in two minutes; then nothing holds it.
    for cport in 40_000..40_003 {
        office.send(Send { flags: FIN | ACK, ..tcp(1, cport) });
    }
    assert_eq!((0..3).map(|id| office.counts(id).2).sum::<u32>(), 1);
    office.wait(300);
    assert_eq!(template(&office), None);
    assert_eq!((0..3).map(|id| office.counts(id).2).sum::<u32>(), 0);
    assert_ne!(office.send(tcp(1, 40_009)).host(), first, "a new pick");
}

/// Weeks do not fit 16 bits of seconds.
#[test]
fn a_month_is_a_month() {
    const MONTH: u32 = 31 * 24 * 3600;
    let mut office = office(persistent(MONTH, 32), 1);
    let first = office.send(tcp(1, 40_000)).host();
    office.now.millis += 1000 * u64::from(MONTH - 10);
    office.wait(5);
    assert_eq!(template(&office), Some(("NONE", 5)));
    assert_eq!(office.send(tcp(1, 40_001)).host(), first);
}

/// UDP: a client that was answered is a real one.
#[test]
fn an_answer_assures() {
    let key = vip(false, Protocol::Udp, 53);
    let mut office = Office::new(one(key, persistent(100, 32), Forward::Nat, (&[1], 53)), 1);
    let from = (at(false, Net::Clients, 1), 40_000);
    let send = Send::new(Protocol::Udp, from, (at(false, Net::Vips, 1), 53));
    for _ in 0..3 {
        office.send(send);
        assert_eq!(template(&office), Some(("NONE", 100)));
    }
    office.send(Send::new(Protocol::Udp, (at(false, Net::Servers, 1), 53), from));
    assert_eq!(template(&office), Some(("ASSURED", 100)));
}

/// What becomes of a template when its server may not have new connections.
#[test]
fn templates_of_servers_that_stand_otherwise() {
    type Change = fn(&mut Office, u32);
    let weight_0: Change = |office, id| office.server(id).weight = 0;
    let drained: Change = |office, id| office.server(id).drained = true;
    let sticky: Change = |office, id| {
        let server = office.server(id);
        (server.drained, server.keeps_clients) = (true, true);
    };
    let down: Change = |office, id| office.server(id).up = false;
    let removed: Change = |office, id| {
        office.server(id).removed = true;
        let service = office.services.services[0].as_mut().unwrap();
        service.servers.retain(|other| *other != id);
    };
    let full: Change = |office, id| office.server(id).upper = 1;
    // Whether the client's next connection goes to it, by our default and by LVS's.
    for (name, change, ours, lvs) in [
        ("weight 0", weight_0, false, true),
        ("drained", drained, false, true),
        ("drained of new clients", sticky, true, true),
        ("down", down, false, false),
        ("removed", removed, false, false),
        ("overloaded", full, true, true),
    ] {
        for (lifecycle, stays) in [(Lifecycle::default(), ours), (Lifecycle::lvs(), lvs)] {
            let mut office = office(Policy { lifecycle, ..persistent(300, 32) }, 1);
            let first = office.send(tcp(1, 40_000)).host().expect("a server");
            change(&mut office, u32::from(first) - 1);
            office.changed();
            let second = office.send(tcp(1, 40_001)).host().expect("a server");
            assert_eq!(second == first, stays, "{name}");
            let templates: u32 = (0..3).map(|id| office.counts(id).2).sum();
            assert_eq!(templates, 1, "{name}");
            assert_eq!(office.counts(u32::from(second) - 1).2, 1, "{name}");
            // And so it goes on.
            assert_eq!(office.send(tcp(1, 40_002)).host(), Some(second), "{name}");
        }
    }
}

#[test]
fn no_room_for_a_template_has_a_name() {
    let limits = Limits { templates_v4: 2, ..LIMITS };
    let key = vip(false, Protocol::Tcp, 80);
    let services = one(key, persistent(10, 32), Forward::Nat, (&[1, 2], 80));
    let mut office = Office::with_limits(services, 1, limits);
    assert!(office.send(tcp(1, 1000)).host().is_some());
    assert!(office.send(tcp(2, 1000)).host().is_some());
    assert_eq!(office.send(tcp(3, 1000)), Outcome::Drop(Drop::TemplateTableFull));
    assert!(office.send(tcp(1, 1001)).host().is_some());
    office.wait(200);
    assert!(office.send(tcp(3, 1001)).host().is_some(), "there is room again");
}

/// `drop_entry`: a flood's templates go after its connections, those of real clients stay.
#[test]
fn a_flood_leaves_no_templates() {
    let mut office = office(persistent(1000, 32), 2);
    office.services.settings.defence = Defence { drop_entry: 3, ..Defence::default() };
    office.changed();
    office.wait(2);
    for client in 1..=40 {
        office.send(tcp(client, 40_000));
    }
    office.send(Send { flags: ACK, ..tcp(1, 40_000) });
    office.wait(70);
    let mut left = Vec::new();
    office.director.templates_v4.table().for_each(&mut |found| {
        left.push((found.connection.client.ip(), template::state_name(found.meta.state())));
    });
    assert_eq!(left, [(at(false, Net::Clients, 1), "ASSURED")]);
    assert_eq!((0..3).map(|id| office.counts(id).2).sum::<u32>(), 1);
}
