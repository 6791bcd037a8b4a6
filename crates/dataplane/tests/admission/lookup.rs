//! Which service a packet is for (A.1).

use dataplane::{
    forward::{Endpoint, Forward, Protocol, ServiceKey},
    mark::MarkRule,
    policy::{Lifecycle, Persistence, Policy},
    prefix::Prefix,
    snapshot::Services,
    verdict::{Drop, Punt},
};
use sched::Kind;

use crate::office::{ACK, FIN, Net, Office, Outcome, RST, SYN, Send, add, at, by, one, vip};

fn persistent() -> Policy {
    Policy { persistence: Some(Persistence { timeout: 300, prefix: 128 }), ..by(Kind::Rr) }
}

/// Each service has one server, by whose number it is told: 1 exact, 2 FTP, 3 port 0, 4 mark,
/// 5 UDP's port 0, 6 FTP without persistence on VIP 2.
fn services(v6: bool) -> Services {
    let mut all = Services::default();
    let prefix = if v6 { 128 } else { 32 };
    let persistent =
        || Policy { persistence: Some(Persistence { timeout: 300, prefix }), ..persistent() };
    add(&mut all, vip(v6, Protocol::Tcp, 80), by(Kind::Rr), Forward::Nat, (&[1], 8080));
    add(&mut all, vip(v6, Protocol::Tcp, 21), persistent(), Forward::Dr, (&[2], 21));
    let any = Policy { except_ports: vec![22..=23, 179..=179], ..persistent() };
    add(&mut all, vip(v6, Protocol::Tcp, 0), any, Forward::Nat, (&[3], 0));
    let mark = ServiceKey::Mark { mark: 7, ipv6: v6 };
    add(&mut all, mark, by(Kind::Rr), Forward::Nat, (&[4], 0));
    add(&mut all, vip(v6, Protocol::Udp, 0), persistent(), Forward::Nat, (&[5], 0));
    let second = |port| Endpoint { protocol: Protocol::Tcp, address: at(v6, Net::Vips, 2), port };
    add(&mut all, second(21).into(), by(Kind::Rr), Forward::Dr, (&[6], 21));
    let rule = |mark, net, ports: &[u16], interface| MarkRule {
        mark,
        mask: u32::MAX,
        destination: Prefix::new(at(v6, net, 0), if v6 { 48 } else { 16 }).unwrap(),
        source: None,
        protocol: None,
        ports: ports.iter().map(|port| *port..=*port).collect(),
        interface,
    };
    all.marks = vec![
        rule(7, Net::Vips, &[443], None),
        rule(7, Net::Vips, &[80], Some(1)),
        // A mark without a service.
        rule(8, Net::Vips, &[81], None),
        rule(7, Net::Elsewhere, &[], None),
    ];
    all.derive();
    all
}

#[test]
fn a_mark_then_the_port_then_ftp_then_any_port() {
    const ALIEN: Result<(u16, u16), Punt> = Err(Punt::Alien);
    const KERNELS: Result<(u16, u16), Punt> = Err(Punt::NoConnection);
    // Protocol, VIP, port, arrival port; the server's number and the port that it is asked for.
    let rows = [
        (Protocol::Tcp, 1, 80, 0, Ok((1, 8080))),
        (Protocol::Tcp, 1, 80, 1, Ok((4, 80))),
        (Protocol::Tcp, 1, 443, 0, Ok((4, 443))),
        (Protocol::Udp, 1, 443, 0, Ok((4, 443))),
        (Protocol::Tcp, 9, 443, 0, Ok((4, 443))),
        (Protocol::Tcp, 1, 81, 0, Ok((3, 81))),
        (Protocol::Tcp, 9, 81, 0, ALIEN),
        (Protocol::Tcp, 1, 21, 0, Ok((2, 21))),
        (Protocol::Tcp, 1, 20, 0, Ok((2, 20))),
        (Protocol::Tcp, 1, 1024, 0, Ok((2, 1024))),
        (Protocol::Tcp, 1, 1023, 0, Ok((3, 1023))),
        (Protocol::Udp, 1, 2000, 0, Ok((5, 2000))),
        (Protocol::Tcp, 1, 22, 0, ALIEN),
        (Protocol::Tcp, 1, 23, 0, ALIEN),
        (Protocol::Tcp, 1, 24, 0, Ok((3, 24))),
        (Protocol::Tcp, 1, 179, 0, ALIEN),
        (Protocol::Tcp, 2, 21, 0, Ok((6, 21))),
        // `ip_vs_leave`: it may be another program's.
        (Protocol::Tcp, 2, 5000, 0, KERNELS),
        (Protocol::Tcp, 2, 80, 0, ALIEN),
        (Protocol::Udp, 2, 21, 0, ALIEN),
    ];
    for v6 in [false, true] {
        let mut office = Office::new(services(v6), 1);
        for (n, (protocol, vip, port, arrived, expected)) in (0..).zip(rows) {
            let client = (at(v6, Net::Clients, 1), 40_000 + n);
            let send = Send {
                port: arrived,
                ..Send::new(protocol, client, (at(v6, Net::Vips, vip), port))
            };
            let got = match office.send(send) {
                Outcome::Server { host, to, .. } => Ok((host, to.1)),
                Outcome::Punt(reason) => Err(reason),
                other => panic!("{send:?}: {other:?}"),
            };
            assert_eq!(got, expected, "{send:?}");
        }
    }
}

/// Active FTP in DR: the server opens the data connection from the VIP, past the director; the
/// client's SYN+ACK comes here, to port 20, and follows the client's template.
#[test]
fn both_ways_of_ftp_stay_with_the_server() {
    let policy =
        Policy { persistence: Some(Persistence { timeout: 300, prefix: 32 }), ..by(Kind::Rr) };
    let key = vip(false, Protocol::Tcp, 21);
    let mut office = Office::new(one(key, policy, Forward::Dr, (&[1, 2, 3], 21)), 1);
    for client in 1..=6 {
        let address = at(false, Net::Clients, client);
        let vip = at(false, Net::Vips, 1);
        let tcp = |cport, vport| Send::new(Protocol::Tcp, (address, cport), (vip, vport));
        let server = office.send(tcp(40_000, 21)).host();
        assert!(server.is_some());
        let active = Send { flags: SYN | ACK, ..tcp(40_001, 20) };
        assert_eq!(office.send(active).host(), server, "active");
        assert_eq!(office.send(tcp(40_002, 51_515)).host(), server, "passive");
        // What FTP servers send themselves is never scheduled.
        assert_eq!(office.send(tcp(20, 50_000)), Outcome::Punt(Punt::NoConnection));
    }
    // One template a client, for all three.
    assert_eq!((0..3).map(|id| office.counts(id).2).sum::<u32>(), 6);
}

/// Who opens a connection (`tcp_conn_schedule`).
#[test]
fn what_opens_a_connection() {
    // Flags; whether it opens one, and whether with `sloppy_tcp`.
    let rows = [
        (SYN, true, true),
        (SYN | ACK, true, true),
        (SYN | FIN, true, true),
        (ACK, false, true),
        (FIN, false, true),
        (0, false, true),
        (RST, false, false),
        (SYN | RST, false, false),
        (RST | ACK, false, false),
    ];
    for sloppy_tcp in [false, true] {
        let lifecycle = Lifecycle { sloppy_tcp, ..Lifecycle::default() };
        let policy = Policy { lifecycle, ..by(Kind::Rr) };
        let key = vip(false, Protocol::Tcp, 80);
        let mut office = Office::new(one(key, policy, Forward::Nat, (&[1], 80)), 1);
        for (n, (flags, opens, opens_sloppily)) in (0..).zip(rows) {
            let client = (at(false, Net::Clients, 1), 40_000 + n);
            let vip = (at(false, Net::Vips, 1), 80);
            let outcome = office.send(Send { flags, ..Send::new(Protocol::Tcp, client, vip) });
            let expected = if sloppy_tcp { opens_sloppily } else { opens };
            assert_eq!(outcome.host().is_some(), expected, "{flags:#x} {outcome:?}");
            assert!(expected || outcome == Outcome::Punt(Punt::NoConnection));
        }
    }
}

/// Without a server a mark service passes packets on to where they were going, if it may.
#[test]
fn cache_bypass_goes_past_the_servers() {
    for (cache_bypass, v6) in [(true, false), (true, true), (false, false)] {
        let mut services = services(v6);
        services.servers[3].as_mut().unwrap().weight = 0;
        let mut office = Office::new(services, 1);
        office.policy(3).lifecycle.cache_bypass = cache_bypass;
        office.changed();
        let from = (at(v6, Net::Clients, 5), 40_000);
        let to = (at(v6, Net::Elsewhere, 9), 3128);
        let send = Send::new(Protocol::Tcp, from, to);
        let bypassed = Outcome::Out { from, to };
        let refused = Outcome::Drop(Drop::NoServer);
        assert_eq!(office.send(send), if cache_bypass { bypassed } else { refused });
        let data = Send { flags: ACK, ..send };
        let kernels = Outcome::Punt(Punt::NoConnection);
        assert_eq!(office.send(data), if cache_bypass { bypassed } else { kernels });
        // To ourselves there is no way past.
        let own = Send::new(Protocol::Tcp, from, (at(v6, Net::Vips, 1), 443));
        assert_eq!(office.send(own), refused);
        let counted = u32::from(cache_bypass);
        let bypass = office.director.bypass();
        assert_eq!(office.counts(bypass).0, counted);
        office.wait(1000);
        assert_eq!(office.counts(bypass).0, 0);
        assert_eq!(office.director.server(bypass).opened(), counted.into());
    }
}
