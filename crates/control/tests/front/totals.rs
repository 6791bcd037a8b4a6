//! What reports count only grows: whatever is removed, added again, edited or set to zero, each
//! service and each server has all that it ever had, though ids change their owners.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, UNIX_EPOCH},
};

use control::{
    report::{self, Facts, Report},
    traffic::{Odometer, Traffic},
};
use dataplane::{clock::Now, snapshot::Snapshot, tcp::State};

use crate::{connections::connection as one, stage::Stage};

const ESTABLISHED: u8 = State::Established as u8;
const SERVICES: [&str; 3] = ["10.9.0.1:80", "10.9.0.2:80", "10.9.0.3:80"];
const SERVERS: u64 = 4;

fn look(stage: &Stage) -> Report {
    let facts = Facts {
        started: Instant::now(),
        started_at: UNIX_EPOCH,
        now: Now::default(),
        interfaces: Vec::new(),
        cores: Vec::new(),
        rings: Vec::new(),
        alive: Vec::new(),
        health: Arc::default(),
        outlook: Arc::default(),
        hooks: Default::default(),
        connection_log: None,
        events: Default::default(),
        odometer: Arc::clone(&stage.registry.odometer),
    };
    let snapshot = Snapshot::new(1, Arc::clone(&stage.services), Arc::default());
    report::build(&stage.director, &snapshot, &stage.stats, &facts)
}

/// Who has had how many packets, and how many connections are open.
#[derive(Default)]
struct Account {
    servers: HashMap<(String, String), u64>,
    services: HashMap<String, u64>,
    open: HashMap<u32, u64>,
}

impl Account {
    fn agrees(&self, stage: &Stage, step: &str) {
        let report = look(stage);
        assert_eq!(report.totals.all.in_packets, self.services.values().sum::<u64>(), "{step}");
        for service in &report.services {
            let had = self.services.get(&service.key).copied().unwrap_or_default();
            let counts = service.counts;
            let told = (counts.in_packets, counts.in_bytes, counts.connections);
            assert_eq!(told, (had, 60 * had, had), "{}: {step}", service.key);
            for server in &service.servers {
                let who = (service.key.clone(), server.endpoint().to_string());
                let had = self.servers.get(&who).copied().unwrap_or_default();
                let counts = server.counts;
                assert_eq!((counts.in_packets, counts.connections), (had, had), "{who:?}: {step}");
            }
        }
    }
}

struct Chance(u64);

impl Chance {
    /// xorshift64.
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// A random step, in words.
fn step(stage: &mut Stage, account: &mut Account, chance: &mut Chance) -> String {
    let service = SERVICES[chance.below(SERVICES.len() as u64) as usize];
    let server = format!("10.0.0.{}:80", 11 + chance.below(SERVERS));
    let line = match chance.below(16) {
        0 | 1 => format!("-A -t {service} -s rr"),
        2..5 => format!("-a -t {service} -r {server} -m"),
        5 => format!("-d -t {service} -r {server}"),
        6 => format!("-e -t {service} -r {server} -m -w {}", chance.below(3)),
        7 => format!("-D -t {service}"),
        8 => format!("-Z -t {service}"),
        9 => ["-Z", "-C"][usize::from(chance.below(4) == 0)].to_owned(),
        10..12 => {
            stage.now += 61;
            let services = Arc::clone(&stage.services);
            if stage.registry.release(&services, &stage.director, &stage.stats, stage.now) {
                stage.publish();
            }
            return format!("a minute later: {}", stage.now);
        }
        12 => {
            for (id, count) in account.open.drain() {
                (0..count)
                    .for_each(|_| stage.director.ended(&one(0, id, "10.0.0.11"), ESTABLISHED));
            }
            return "all connections end".to_owned();
        }
        _ => {
            let key = format!("{service}/tcp");
            let there = stage.id(&key, &server).filter(|id| !stage.server(*id).removed);
            let Some(id) = there else { return String::new() };
            stage.director.opened(id, ESTABLISHED);
            stage.stats[0].server(id).in_packets.add(1);
            stage.stats[0].server(id).in_bytes.add(60);
            *account.open.entry(id).or_default() += 1;
            *account.services.entry(key.clone()).or_default() += 1;
            *account.servers.entry((key.clone(), server.clone())).or_default() += 1;
            return format!("{key} {server} id {id}: a connection");
        }
    };
    // What cannot be done is refused, and that is well.
    let _ = stage.change(&[&line]);
    line
}

#[test]
fn nothing_that_was_counted_is_lost_or_counted_for_another() {
    let mut owners = 0;
    for seed in 1..=40 {
        let mut stage = Stage::new("limits: {servers: 64, services: 16}\nservices: []");
        let (mut account, mut chance) = (Account::default(), Chance(seed * 0x9e37_79b9));
        let mut story = Vec::new();
        let mut who: HashMap<u32, String> = HashMap::new();
        for _ in 0..400 {
            story.push(step(&mut stage, &mut account, &mut chance));
            let from = story.len().saturating_sub(12);
            account.agrees(&stage, &format!("seed {seed}: {:#?}", &story[from..]));
            for (id, server) in stage.services.servers.iter().enumerate() {
                let Some(server) = server else { continue };
                let name = format!("{} {}", server.service, server.address);
                let before = who.insert(id as u32, name.clone());
                owners += u64::from(before.is_some_and(|before| before != name));
            }
        }
    }
    assert!(owners > 100, "ids changed their owners {owners} times: the story tells too little");
}

#[test]
fn what_is_gone_longest_is_forgotten_and_what_has_an_id_is_not() {
    let mut stage = Stage::new("services: []");
    stage.done(&["-A -t 10.9.0.1:80 -s rr"]);
    for server in 11..=14 {
        stage.done(&[&format!("-a -t 10.9.0.1:80 -r 10.0.0.{server}:80 -m")]);
    }
    let mut odometer = Odometer::default();
    let had = Traffic { in_packets: 5, ..Traffic::default() };
    for id in 0..4 {
        odometer.release(&stage.services, id, had);
    }
    assert_eq!(odometer.remembered(), (1, 4));
    let first = "10.0.0.11".parse::<std::net::IpAddr>().unwrap();
    odometer.keep_services(1, |_| false);
    odometer.keep_servers(2, |server| server.address == first);
    // The first one has an id; of the three others two may stay, and the oldest goes.
    assert_eq!(odometer.remembered(), (1, 3));
    let service = stage.services.services[0].as_ref().unwrap().key;
    assert_eq!(odometer.gone(&service).in_packets, 20, "its service keeps it all");
}
