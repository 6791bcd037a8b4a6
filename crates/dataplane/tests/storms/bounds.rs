//! Whatever comes: no breath does more than it may, nothing is allocated, and every packet that was
//! refused is counted by its name. In operations, not in time.

use std::{net::IpAddr, sync::Arc};

use dataplane::{
    clock::Now,
    director::Limits,
    effort::Effort,
    forward::{Address, Protocol, Tuple, V4},
    kill::{Doomed, Kill},
    memory::MemoryIo,
    policy::Gone,
    snapshot::{Services, Snapshot},
    stats::{Counter, Stats},
    tcp::State,
    topology::PortId,
    verdict::{Answer, Drop},
    worker::BURST,
};
use sched::{Kind, Plan};

use crate::{
    desk::{Desk, LIMITS},
    full::{each_server, each_service},
    ground::{BACK, FRONT, MACHINES, Net, at},
    verdicts::packets,
    wire::{ACK, Ip, SYN, Segment, TCP},
};

/// Entries of each family.
const ROOM: usize = 16_384;
const NAT: u16 = 80;
const DR: u16 = 82;
/// Who talks all the time.
const ESTABLISHED: u32 = 64;

/// A box in a storm.
struct Storm {
    desk: Desk,
    millis: u64,
    offered: u64,
    /// Packets of established connections among them.
    talked: u64,
    /// The most of one breath.
    most: Work,
    measuring: bool,
    /// What was published: control keeps it, too.
    kept: Vec<Arc<Snapshot>>,
}

/// What a breath did, in operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    packets: u64,
    looks: u64,
    ends: u64,
    originated: u64,
}

impl Work {
    fn of(stats: &Stats) -> Self {
        let answers: u64 = stats.answers.iter().map(Counter::value).sum();
        Self {
            packets: stats.rx_packets.value(),
            looks: stats.upkeep_looks.value(),
            ends: stats.upkeep_ends.value(),
            originated: answers,
        }
    }

    fn with(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            packets: of(self.packets, other.packets),
            looks: of(self.looks, other.looks),
            ends: of(self.ends, other.ends),
            originated: of(self.originated, other.originated),
        }
    }
}

/// A breath may do so much: what is due is done in steps, so one of them may go beyond; a kill under
/// way has its own part (`kill.rs`).
const BOUND: Work = Work {
    packets: 2 * BURST as u64,
    looks: (Effort::LOOKS + Effort::STEP + 1024) as u64,
    ends: (Effort::ENDS + Effort::STEP + 2 * 32) as u64,
    // An answer for each packet, and two questions for each idle connection or killed one.
    originated: 2 * BURST as u64 + 2 * (Effort::PROBES as u64 + 2 * 32),
};

impl Storm {
    fn new(limits: impl FnOnce(&mut Limits), services: impl FnOnce(&mut Services)) -> Self {
        let mut all = Limits {
            connections_v4: ROOM,
            connections_v6: ROOM,
            half_open: u32::MAX,
            held_frames: 512,
            ..LIMITS
        };
        limits(&mut all);
        let mut desk = Desk::new(all);
        desk.io = MemoryIo::new(2, 1024);
        desk.io.keep_punts = false;
        let kept = vec![desk.published.load_full()];
        let mut storm = Self {
            desk,
            millis: 1_000,
            offered: 0,
            talked: 0,
            most: Work::default(),
            measuring: false,
            kept,
        };
        storm.open(0..ESTABLISHED, NAT);
        storm.publish(services);
        storm.breathe(1_000);
        storm
    }

    fn publish(&mut self, change: impl FnOnce(&mut Services)) {
        self.desk.reconfigure(change);
        self.kept.push(self.desk.published.load_full());
    }

    fn arrive(&mut self, port: PortId, ip: &Ip) {
        self.desk.arrive(port, ip);
        self.offered += 1;
    }

    /// One breath, so many milliseconds later; how many frames it moved.
    fn breathe(&mut self, millis: u64) -> usize {
        self.millis += millis;
        let now = Now { millis: self.millis };
        let before = Work::of(&self.desk.stats);
        let (desk, mut moved) = (&mut self.desk, 0);
        let info = allocation_counter::measure(|| {
            moved = desk.worker.breathe(&mut desk.io, now);
            desk.io.discard_sent();
        });
        let work = Work::of(&self.desk.stats).with(before, |after, before| after - before);
        if self.measuring {
            assert_eq!((info.count_total, info.count_current), (0, 0), "allocated");
            self.most = self.most.with(work, u64::max);
        }
        moved
    }

    /// Breathes until nothing is left to do.
    fn settle(&mut self) -> usize {
        let breaths = (0..100_000).take_while(|_| self.breathe(0) > 0).count();
        assert!(breaths < 100_000, "no end");
        breaths
    }

    /// Opens connections, and establishes them.
    fn open(&mut self, connections: std::ops::Range<u32>, port: u16) {
        for flags in [SYN, ACK] {
            self.send(connections.clone(), port, flags);
        }
    }

    /// A segment of each, in full bursts.
    fn send(&mut self, connections: std::ops::Range<u32>, port: u16, flags: u8) {
        for n in connections {
            self.arrive(FRONT, &segment(n, port, flags));
            if n % BURST as u32 == BURST as u32 - 1 {
                self.breathe(0);
            }
        }
        self.breathe(0);
    }

    /// A full burst of those who talk all the time, on both ports.
    fn talk(&mut self) {
        for n in 0..BURST as u32 {
            self.arrive(FRONT, &segment(n % ESTABLISHED, NAT, ACK));
            self.talked += 2;
            let answer = self.answer(n % ESTABLISHED).expect("it is in the table");
            self.arrive(BACK, &answer);
        }
    }

    /// What the server says on a connection.
    fn answer(&self, n: u32) -> Option<Ip> {
        let (client, sport) = client(n);
        let tuple = Tuple {
            src: V4::from_ip(client)?,
            dst: V4::from_ip(vip())?,
            sport,
            dport: NAT,
            protocol: Protocol::Tcp,
        };
        let c = self.desk.director.v4.find(&tuple)?.connection;
        Some(said((c.server.ip(), c.rport), (c.local.ip(), c.lport), ACK))
    }

    fn drops(&self, reason: Drop) -> u64 {
        self.desk.stats.drops[reason as usize].value()
    }
}

fn vip() -> IpAddr {
    at(false, Net::Vips, 10)
}

/// The address and port of a client by number.
fn client(n: u32) -> (IpAddr, u16) {
    (at(false, Net::Clients, 2 + (n / 20_000) as u8), 1_024 + (n % 20_000) as u16)
}

fn segment(n: u32, port: u16, flags: u8) -> Ip {
    said(client(n), (vip(), port), flags)
}

fn said(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Ip {
    let (sport, dport) = (from.1, to.1);
    let segment = Segment { protocol: TCP, sport, dport, flags, data: vec![], unchecked: false };
    Ip { id: sport.into(), ..Ip::new(from.0, to.0, TCP, segment.octets(from.0, to.0)) }
}

/// Established traffic, and ten SYNs from new clients beside each packet of it.
fn flood(storm: &mut Storm, syns: u32, port: u16) {
    let stats = Arc::clone(&storm.desk.stats);
    let count = || [&stats.tx_packets, &stats.opened, &stats.stateless].map(Counter::value);
    let (before, talked) = (count(), storm.talked);
    let mut new = 1_000;
    while new < 1_000 + syns {
        storm.talk();
        for _ in 0..10 {
            storm.breathe(0);
            for _ in 0..BURST {
                storm.arrive(FRONT, &segment(new, port, SYN));
                new += 1;
            }
        }
        storm.breathe(1);
    }
    let [left, opened, stateless] = count();
    let forwarded = storm.talked - talked + opened - before[1] + stateless - before[2];
    assert_eq!(left - before[0], forwarded, "of established connections nothing is lost");
}

/// So many connections that all end in one second.
fn opened_at_once(storm: &mut Storm, count: u32) {
    storm.measuring = false;
    storm.open(1_000..1_000 + count, NAT);
    storm.measuring = true;
}

/// A limit or a service is changed, and what happens then.
struct Row {
    name: &'static str,
    limits: fn(&mut Limits),
    services: fn(&mut Services),
    happens: fn(&mut Storm),
    /// All reasons for which packets are dropped.
    drops: &'static [Drop],
}

const ROWS: [Row; 13] = [
    Row {
        name: "established",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            for _ in 0..100 {
                storm.talk();
                storm.breathe(1);
            }
        },
        drops: &[],
    },
    Row {
        name: "flood, table full",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            flood(storm, 40_000, NAT);
            assert_eq!(storm.desk.director.v4.len(), ROOM);
        },
        drops: &[Drop::TableFull],
    },
    Row {
        name: "flood, half-open limit",
        limits: |limits| limits.half_open = 4_096,
        services: |_| {},
        happens: |storm| {
            flood(storm, 40_000, NAT);
            assert_eq!(storm.desk.director.v4.len(), 4_096 + ESTABLISHED as usize);
        },
        drops: &[Drop::HalfOpenLimit],
    },
    Row {
        name: "flood, one source's limit",
        limits: |_| {},
        services: |services| {
            each_service(services, |service| {
                service.policy.access.new_connections = Some(100);
            });
        },
        happens: |storm| flood(storm, 40_000, NAT),
        drops: &[Drop::SourceRate],
    },
    Row {
        name: "flood, drop_packet and drop_entry",
        limits: |_| {},
        services: |services| {
            let defence = &mut services.settings.defence;
            (defence.drop_packet, defence.drop_entry, defence.am_droprate) = (3, 3, 2);
        },
        happens: |storm| {
            flood(storm, 40_000, NAT);
            // A worker that was away for long has much to do.
            for _ in 0..40 {
                storm.talk();
                storm.breathe(1_000);
                storm.settle();
            }
            assert!(storm.desk.stats.dropped_entries.value() > 10_000);
        },
        drops: &[Drop::TableFull, Drop::DropPacket],
    },
    Row {
        name: "flood, mh in DR",
        limits: |_| {},
        services: |services| {
            each_service(services, |service| service.policy.scheduler = Plan::new(Kind::Mh));
        },
        happens: |storm| {
            flood(storm, 40_000, DR);
            assert!(storm.desk.stats.stateless.value() > 20_000);
        },
        drops: &[],
    },
    Row {
        name: "expiry",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            opened_at_once(storm, 16_000);
            for _ in 0..906 {
                storm.talk();
                storm.breathe(1_000);
            }
            expired(storm, 2_000);
        },
        drops: &[],
    },
    Row {
        name: "expiry while the worker was away",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            opened_at_once(storm, 16_000);
            storm.millis += 899_000;
            storm.talk();
            storm.breathe(0);
            storm.millis += 60_000;
            storm.talk();
            let most = 16_000 / Effort::ENDS + 200;
            let breaths = storm.settle();
            assert!((16_000 / (2 * Effort::ENDS)..most).contains(&breaths), "{breaths} breaths");
            assert_eq!(storm.desk.director.v4.len(), ESTABLISHED as usize);
        },
        drops: &[],
    },
    Row {
        name: "expiry with resets",
        limits: |_| {},
        services: |services| {
            each_service(services, |service| service.policy.lifecycle.reset_idle = true);
        },
        happens: |storm| {
            opened_at_once(storm, 10_000);
            storm.millis += 899_000;
            storm.talk();
            storm.breathe(0);
            storm.millis += 30_000;
            storm.settle();
            storm.millis += 30_000;
            storm.settle();
            assert_eq!(storm.desk.director.v4.len(), ESTABLISHED as usize);
            assert!(storm.desk.stats.answers[Answer::Probe as usize].value() > 1_000);
        },
        drops: &[],
    },
    Row {
        name: "a snapshot with each breath",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            for weight in 0..300 {
                storm.talk();
                storm.publish(|services| {
                    each_server(services, MACHINES[0], |server| server.weight = 1 + weight % 7);
                });
                storm.breathe(1);
            }
        },
        drops: &[],
    },
    Row {
        name: "a server goes",
        limits: |_| {},
        services: |services| {
            each_service(services, |service| service.policy.lifecycle.gone = Gone::Expire);
        },
        happens: |storm| {
            opened_at_once(storm, 16_000);
            storm.publish(|services| {
                each_server(services, MACHINES[0], |server| server.removed = true);
            });
            let before = storm.desk.director.v4.len();
            // The worker was away, too.
            storm.breathe(2_000);
            storm.settle();
            let left = storm.desk.director.v4.len();
            assert!((before * 6 / 10..before * 7 / 10).contains(&left), "{left} of {before}");
        },
        drops: &[],
    },
    Row {
        name: "a kill",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            opened_at_once(storm, 10_000);
            let kill = Arc::new(Kill::new(Doomed::default(), 1));
            storm.desk.worker.kill(Arc::clone(&kill));
            let living = |storm: &Storm| {
                let mut living = 0;
                storm.desk.director.v4.for_each(&mut |found| {
                    living += usize::from(found.meta.state() == State::Established as u8);
                });
                living
            };
            for _ in 0..2_000 {
                storm.breathe(1);
            }
            assert_eq!((living(storm), kill.is_done()), (0, true));
            // The worker and this story hold it.
            storm.measuring = false;
        },
        drops: &[],
    },
    Row {
        name: "neighbours return",
        limits: |_| {},
        services: |_| {},
        happens: |storm| {
            for known in [false, true] {
                let neighbours = &mut storm.desk.ground.neighbours;
                neighbours.iter_mut().for_each(|neighbour| neighbour.known = known);
                storm.desk.ground.route_generation += 1;
                storm.publish(|_| {});
                if known {
                    break;
                }
                for _ in 0..10 {
                    storm.talk();
                    storm.breathe(1);
                }
                assert_eq!(storm.desk.worker.held(), 512);
            }
            let breaths = storm.settle();
            assert!(breaths >= 512 / Effort::HELD, "{breaths}");
            assert_eq!(storm.desk.worker.held(), 0);
        },
        drops: &[Drop::WaitingFull],
    },
];

/// All but those who talk are gone within so many milliseconds after their time.
fn expired(storm: &mut Storm, within: u64) {
    let until = storm.millis + within;
    while storm.millis < until {
        storm.talk();
        storm.breathe(1);
    }
    assert_eq!(storm.desk.director.v4.len(), ESTABLISHED as usize);
}

#[test]
fn no_breath_is_longer_than_it_may() {
    for Row { name, limits, services, happens, drops } in ROWS {
        let mut storm = Storm::new(limits, services);
        storm.measuring = true;
        let bytes = storm.desk.director.v4.bytes();
        happens(&mut storm);
        println!("{name}: {} packets, at most {:?}", storm.offered, storm.most);
        let within = storm.most.with(BOUND, |most, bound| u64::from(most <= bound));
        let all = Work { packets: 1, looks: 1, ends: 1, originated: 1 };
        assert_eq!(within, all, "{name}: {:?}, allowed {BOUND:?}", storm.most);
        assert_eq!(storm.desk.director.v4.bytes(), bytes, "{name}");
        // Every packet has one end, and those that were refused have these names.
        let stats = &storm.desk.stats;
        let (ended, held) = (packets(stats, storm.desk.io.parts()), storm.desk.worker.held());
        assert_eq!((stats.rx_packets.value(), held), (storm.offered, 0), "{name}");
        assert_eq!(ended, storm.offered, "{name}");
        for reason in Drop::ALL {
            let came = storm.drops(*reason) > 0;
            assert_eq!(came, drops.contains(reason), "{name}: {}", reason.name());
        }
        // Nobody who was there before lost a packet: the kernel got none.
        assert_eq!(stats.punts.iter().map(Counter::value).sum::<u64>(), 0, "{name}");
    }
}
