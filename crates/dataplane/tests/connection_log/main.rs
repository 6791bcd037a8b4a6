//! What the connection log tells of connections that come and go.

#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/desk.rs"]
mod desk;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/ground.rs"]
mod ground;
#[allow(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/wire.rs"]
mod wire;

use std::{net::IpAddr, sync::Arc};

use crossbeam_channel::Receiver;
use dataplane::{
    clock::Now,
    connection_log::{ConnectionLog, End, Entry, Event},
    director::Limits,
    forward::Address,
    policy::Lifecycle,
};
use desk::{Desk, LIMITS};
use ground::{BACK, FRONT, Net, at};
use wire::{ACK, FIN, Ip, RST, SYN, Segment, TCP, UDP};

/// A desk whose director logs.
struct Clerk {
    desk: Desk,
    entries: Receiver<Entry>,
    millis: u64,
}

/// What a story does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The client sends to this port of its VIP.
    Client(u16, u8),
    /// A datagram instead.
    Datagram(u16),
    /// The server of the connection answers, where answers pass here.
    Server(u16, u8),
    /// Nothing happens for so many seconds.
    Wait(u64),
    /// All servers go down.
    Down,
}
use Step::{Client, Datagram, Down, Server, Wait};

/// A begin, or an end for this reason.
type Told = Option<End>;

const NAT: u16 = 80;
const FULLNAT: u16 = 81;
const DR: u16 = 82;
const CLIENT: u8 = 2;
const CPORT: u16 = 40_000;

impl Clerk {
    fn new(rate: u32, lifecycle: Lifecycle) -> Self {
        let mut desk = Desk::new(Limits { icmp_rate: 1000, ..LIMITS });
        let services = Arc::make_mut(&mut desk.ground.services);
        for service in services.services.iter_mut().flatten() {
            service.policy.lifecycle = lifecycle;
        }
        let (log, entries) = ConnectionLog::new(rate);
        assert!(desk.director.log_connections(log));
        desk.publish();
        Self { desk, entries, millis: 5_000 }
    }

    fn client(port: u16, protocol: u8, flags: u8) -> Ip {
        let (src, dst) = (at(false, Net::Clients, CLIENT), at(false, Net::Vips, 10));
        packet((src, CPORT), (dst, port), protocol, flags)
    }

    fn play(&mut self, step: Step) {
        match step {
            Client(port, flags) => self.desk.arrive(FRONT, &Self::client(port, TCP, flags)),
            Datagram(port) => self.desk.arrive(FRONT, &Self::client(port, UDP, 0)),
            Server(port, flags) => {
                let mut ends = None;
                self.desk.director.v4.for_each(&mut |found| {
                    let c = found.connection;
                    if c.vport == port {
                        ends = Some(((c.server.ip(), c.rport), (c.local.ip(), c.lport)));
                    }
                });
                let (server, local) = ends.expect("a connection");
                self.desk.arrive(BACK, &packet(server, local, TCP, flags));
            }
            // The table is swept once a second.
            Wait(seconds) => {
                for _ in 0..seconds {
                    self.millis += 1000;
                    self.breathe();
                }
            }
            Down => {
                let before = (*self.desk.ground.services).clone();
                let services = Arc::make_mut(&mut self.desk.ground.services);
                services.servers.iter_mut().flatten().for_each(|server| server.up = false);
                services.follow(&before);
                self.desk.director.prepare(&self.desk.ground.services);
                self.desk.publish();
            }
        }
        self.millis += 10;
        self.breathe();
    }

    fn breathe(&mut self) {
        self.desk.worker.breathe(&mut self.desk.io, Now { millis: self.millis });
        self.desk.io.discard_sent();
        while self.desk.io.take_punted().is_some() {}
    }

    fn told(&self) -> Vec<Entry> {
        self.entries.try_iter().collect()
    }
}

fn packet(from: (IpAddr, u16), to: (IpAddr, u16), protocol: u8, flags: u8) -> Ip {
    let data = vec![7; 8];
    let segment = Segment { protocol, sport: from.1, dport: to.1, flags, data, unchecked: false };
    Ip::new(from.0, to.0, protocol, segment.octets(from.0, to.0))
}

const fn of(entry: &Entry) -> Told {
    match entry.event {
        Event::Begin => None,
        Event::End(end, _) => Some(end),
    }
}

#[test]
fn each_connection_begins_once_and_ends_once() {
    const OPEN: [Step; 3] = [Client(NAT, SYN), Server(NAT, SYN | ACK), Client(NAT, ACK)];
    let open = |rest: &[Step]| [&OPEN[..], rest].concat();
    let (ours, lvs) = (Lifecycle::default(), Lifecycle::lvs());
    let closes = [Client(NAT, FIN | ACK), Server(NAT, FIN | ACK), Client(NAT, ACK), Wait(200)];
    let rows: [(&str, Lifecycle, Vec<Step>, Vec<Told>); 14] = [
        ("closed by both", ours, open(&closes), vec![None, Some(End::Fin)]),
        (
            "closed by the server first",
            ours,
            open(&[Server(NAT, FIN | ACK), Client(NAT, FIN | ACK), Server(NAT, ACK), Wait(200)]),
            vec![None, Some(End::Fin)],
        ),
        (
            "reset by the client",
            ours,
            open(&[Client(NAT, RST), Wait(60)]),
            vec![None, Some(End::Reset)],
        ),
        (
            "refused",
            ours,
            vec![Client(NAT, SYN), Server(NAT, RST | ACK), Wait(60)],
            vec![None, Some(End::Reset)],
        ),
        ("idle, and reset for it", ours, open(&[Wait(990)]), vec![None, Some(End::Expired)]),
        ("idle", lvs, open(&[Wait(990)]), vec![None, Some(End::Expired)]),
        ("never answered", ours, vec![Client(NAT, SYN), Wait(90)], vec![None, Some(End::Expired)]),
        (
            "half closed in DR",
            ours,
            vec![Client(DR, SYN), Client(DR, ACK), Client(DR, FIN | ACK), Wait(200)],
            vec![None, Some(End::Fin)],
        ),
        ("a datagram", ours, vec![Datagram(FULLNAT), Wait(310)], vec![None, Some(End::Expired)]),
        ("it goes on", ours, open(&[Wait(100), Client(NAT, ACK), Wait(100)]), vec![None]),
        (
            "another one from the same port",
            ours,
            open(&[Client(NAT, RST), Client(NAT, SYN), Server(NAT, SYN | ACK)]),
            vec![None, Some(End::Reset), None],
        ),
        (
            "the same entry again, where ports are not reused",
            Lifecycle { conn_reuse_mode: 0, ..ours },
            open(&[Client(NAT, RST), Client(NAT, SYN), Server(NAT, SYN | ACK)]),
            vec![None, Some(End::Reset), None],
        ),
        (
            "its server is gone",
            ours,
            open(&[Down, Client(NAT, ACK), Wait(60)]),
            vec![None, Some(End::ServerGone)],
        ),
        (
            "ended with its server",
            Lifecycle { gone: dataplane::policy::Gone::Expire, ..ours },
            open(&[Down, Wait(3)]),
            vec![None, Some(End::ServerGone)],
        ),
    ];
    for (what, lifecycle, steps, expected) in rows {
        let mut clerk = Clerk::new(1000, lifecycle);
        steps.iter().for_each(|step| clerk.play(*step));
        let entries = clerk.told();
        assert_eq!(entries.iter().map(of).collect::<Vec<_>>(), expected, "{what}");
        let first = entries[0];
        if expected.len() == 2 {
            assert_eq!(entries[1].link, first.link, "{what}");
            assert_eq!(entries[1].place, first.place, "{what}: one number");
        }
        assert_eq!(first.link.client, (at(false, Net::Clients, CLIENT), CPORT));
    }
}

/// In FullNAT the log has what the server sees.
#[test]
fn local_addresses_are_told() {
    let mut clerk = Clerk::new(1000, Lifecycle::default());
    clerk.play(Client(FULLNAT, SYN));
    let entries = clerk.told();
    let Ok([entry]) = <[Entry; 1]>::try_from(entries) else { panic!("one begin") };
    let mut found = None;
    clerk.desk.director.v4.for_each(&mut |one| found = Some(one.connection));
    let c = found.expect("the connection");
    assert_eq!(entry.link.local, (c.local.ip(), c.lport));
    assert_ne!(entry.link.local.0, entry.link.client.0);
    assert_eq!(entry.link.server, (c.server.ip(), 8081));
    assert_eq!(entry.link.vip, (at(false, Net::Vips, 10), FULLNAT));
}

/// Nobody waits: what is beyond the rate is counted, as is what finds the queue full.
#[test]
fn what_is_not_logged_is_counted() {
    let mut clerk = Clerk::new(3, Lifecycle::default());
    for port in [NAT, FULLNAT, DR] {
        clerk.play(Client(port, SYN));
        clerk.play(Datagram(port));
    }
    let log = clerk.desk.director.connection_log().expect("a log");
    assert_eq!((clerk.told().len(), log.lost().rate(), log.lost().queue()), (3, 3, 0));
    clerk.play(Wait(2));
    clerk.play(Client(83, SYN));
    assert_eq!(clerk.told().len(), 1);
}

#[test]
fn only_named_services_are_logged() {
    let mut clerk = Clerk::new(1000, Lifecycle::default());
    let services = Arc::make_mut(&mut clerk.desk.ground.services);
    let fullnat = services.services.iter().flatten().find(|service| service.key.port() == FULLNAT);
    services.settings.logged = Some(vec![fullnat.expect("one").name.clone()]);
    clerk.desk.publish();
    for port in [NAT, FULLNAT, DR] {
        clerk.play(Client(port, SYN));
    }
    let told = clerk.told();
    assert_eq!(told.iter().map(|entry| entry.link.vip.1).collect::<Vec<_>>(), [FULLNAT]);
}
