//! A rehearsal says what happens: random boxes and packets, each packet first rehearsed, then
//! really passed, and both must have come to the same end with the same octets. And it leaves no
//! trace. `XLVS_SEED=n` runs one box alone.

mod ground;
mod packets;
#[path = "../simulation/random.rs"]
mod random;
#[path = "../simulation/wire.rs"]
#[allow(dead_code, reason = "reading is for the simulation")]
mod wire;

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, bounded};
use dataplane::{
    clock::Now,
    director::{Director, Family, Limits, ResolveRequest},
    forward::{Address, Forward, V4, V6},
    memory::{MemoryFrame, MemoryIo},
    rehearse::{Account, End, Rehearsal},
    snapshot::{Services, Snapshot},
    stats::Stats,
    topology::PortId,
    verdict::{Answer, Drop, Punt},
    worker::Worker,
};
use random::Random;

const BOXES: u64 = 300;
const STEPS: usize = 40;

/// Makes a random box one that shows something.
type Adapt = fn(&mut Services, &mut Limits);

/// A box that runs.
struct Running {
    director: Arc<Director>,
    published: Arc<ArcSwap<Snapshot>>,
    services: Services,
    stats: Arc<Stats>,
    asked: Receiver<ResolveRequest>,
    now: Now,
    generation: u64,
}

/// What became of one packet.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    sent: Vec<(PortId, Vec<u8>)>,
    drops: Vec<Drop>,
    punts: Vec<Punt>,
    answers: Vec<Answer>,
    held: i64,
    asked: Vec<ResolveRequest>,
    /// Connections opened by server.
    opened: Vec<(u32, u64)>,
    /// The server that a packet reached without an entry.
    stateless: Option<u32>,
}

impl Running {
    fn new(random: &mut Random, adapt: Adapt) -> Self {
        let (mut services, mut limits) = (ground::services(random), ground::limits(random));
        adapt(&mut services, &mut limits);
        services.derive();
        let (resolve, asked) = bounded(1024);
        let director = Director::new(limits, resolve).expect("memory");
        director.prepare(&services);
        let topology = ground::topology(random, 1, !services.probe_sources.is_empty());
        let snapshot = ground::snapshot(1, &services, topology);
        for id in 0..services.servers.len().min(8) as u32 {
            director.pins.pin(id);
        }
        Self {
            stats: Arc::new(Stats::new(director.limits().servers)),
            director: Arc::new(director),
            published: Arc::new(ArcSwap::new(snapshot)),
            services,
            asked,
            now: Now::at_seconds(100),
            generation: 1,
        }
    }

    /// Servers and neighbours come and go.
    fn change(&mut self, random: &mut Random) {
        let services = ground::changed(&self.services, random);
        self.generation += 1;
        let generation = self.generation as u32 / (1 + random.below(2) as u32);
        let topology = ground::topology(random, generation, !services.probe_sources.is_empty());
        self.director.retire(&services);
        self.published.store(ground::snapshot(self.generation, &services, topology));
        self.director.enlist(&services);
        self.services = services;
    }

    /// A worker that has done its upkeep of this moment.
    fn worker(&self) -> (Worker<MemoryFrame>, MemoryIo) {
        let shared = (Arc::clone(&self.director), Arc::clone(&self.published));
        let mut worker = Worker::new((0, 1), shared.0, shared.1, Arc::clone(&self.stats));
        let mut io = MemoryIo::new(3, 128);
        worker.breathe(&mut io, self.now);
        // What upkeep asks idle ends for.
        io.discard_sent();
        while self.asked.try_recv().is_ok() {}
        (worker, io)
    }

    fn pass(
        &self,
        (worker, io): &mut (Worker<MemoryFrame>, MemoryIo),
        (port, frame): &(PortId, Vec<u8>),
    ) -> Outcome {
        let opened = || (0..=64).map(|id| self.director.server(id).opened()).collect::<Vec<_>>();
        let count = || {
            let value = |counters: &[dataplane::stats::Counter]| {
                counters.iter().map(dataplane::stats::Counter::value).collect::<Vec<_>>()
            };
            let Stats { drops, punts, answers, stateless, servers, .. } = &*self.stats;
            let forwarded: Vec<u64> = servers.iter().map(|s| s.in_packets.value()).collect();
            (value(drops), value(punts), value(answers), (stateless.value(), forwarded))
        };
        let (before, were_open, held) = (count(), opened(), worker.held());
        assert!(io.arrive(*port, frame));
        worker.breathe(io, self.now);
        let after = count();
        let opened = opened().into_iter().zip(were_open).enumerate();
        let ((passed, to), (had_passed, had_to)) = (after.3, before.3);
        let rose = to.iter().zip(&had_to).position(|(now, then)| now > then);
        Outcome {
            stateless: rose.filter(|_| passed > had_passed).map(|id| id as u32),
            sent: std::iter::from_fn(|| io.take_sent()).collect(),
            drops: risen(Drop::ALL, &before.0, &after.0),
            punts: risen(Punt::ALL, &before.1, &after.1),
            answers: risen(Answer::ALL, &before.2, &after.2),
            held: worker.held() as i64 - held as i64,
            asked: self.asked.try_iter().collect(),
            opened: opened
                .map(|(id, (now, then))| (id as u32, now - then))
                .filter(|(_, more)| *more > 0)
                .collect(),
        }
    }

    /// Everything that a rehearsal could have disturbed, as text.
    fn state(&self) -> String {
        let mut text = format!("{:?} {}\n", self.director.defences, self.director.half_open());
        family::<V4>(&self.director, &mut text);
        family::<V6>(&self.director, &mut text);
        for id in 0..=64 {
            let _ = writeln!(text, "{:?}", self.director.server(id));
        }
        for id in 0..self.services.services.len() as u32 {
            let _ = writeln!(text, "{:?}", *self.director.admission(id));
        }
        let _ = writeln!(text, "{:?} {:?}", self.director.fragments.epoch(), self.stats);
        text
    }
}

fn family<A: Family + Address>(director: &Director, text: &mut String) {
    A::table(director).for_each(&mut |found| {
        let _ = writeln!(text, "{found:?}");
    });
    A::templates(director).table().for_each(&mut |found| {
        let controlled = A::templates(director).controlled(found.reference());
        let _ = writeln!(text, "{found:?} {controlled}");
    });
}

fn risen<T: Copy>(all: &[T], before: &[u64], after: &[u64]) -> Vec<T> {
    let by = before.iter().zip(after).map(|(before, after)| (after - before) as usize);
    all.iter().zip(by).flat_map(|(one, by)| std::iter::repeat_n(*one, by)).collect()
}

fn compare(account: &Account, really: &Outcome) -> Result<(), String> {
    let said = Outcome {
        sent: account.sent.clone(),
        drops: account.drops.clone(),
        punts: account.punts.clone(),
        answers: account.answers.clone(),
        held: account.held,
        asked: account.asked.clone(),
        opened: really.opened.clone(),
        stateless: account.stateless,
    };
    if said != *really {
        return Err(format!("said {said:?}\nreally {really:?}"));
    }
    let picked: Vec<u32> = account.picked.into_iter().collect();
    let opened: Vec<u32> = really.opened.iter().map(|(id, _)| *id).collect();
    if picked != opened {
        return Err(format!("picks: said {picked:?}, really {opened:?}"));
    }
    Ok(())
}

/// Runs one box; what its packets came to, for the tally, and how many there were.
fn run(seed: u64, adapt: Adapt, tally: &mut BTreeMap<String, u64>) -> u64 {
    let mut random = Random::new(seed);
    let mut running = Running::new(&mut random, adapt);
    let mut passed = 0;
    let mut late = Vec::new();
    for step in 0..STEPS {
        if random.chance(8) {
            running.change(&mut random);
        }
        running.now.millis += random.pick(&[0, 0, 0, 0, 1, 40, 900, 2_000, 20_000, 200_000]);
        let mut real = running.worker();
        let mut frames = packets::packets(&mut random, &running.director, &running.services);
        // The rest of a datagram may come later, when its first fragment was really passed.
        let rest = (frames.len() > 1 && random.chance(50)).then(|| frames.split_off(1));
        frames.splice(0..0, std::mem::replace(&mut late, rest.unwrap_or_default()));
        if running.services.probe_sources.is_empty() {
            frames.retain(|(port, _)| *port != ground::PROBES);
        }
        let before = running.state();
        let snapshot = running.published.load_full();
        let mut stage =
            Rehearsal::new(&running.director, snapshot, running.now, frames.len()).expect("memory");
        let accounts: Vec<Account> = frames
            .iter()
            .map(|(port, frame)| match stage.play(*port, frame) {
                Ok(account) => account,
                Err(error) => panic!("seed {seed} step {step}: {error}"),
            })
            .collect();
        drop(stage);
        let after = running.state();
        assert!(before == after, "seed {seed} step {step}: a trace was left");
        for (account, frame) in accounts.iter().zip(&frames) {
            let really = running.pass(&mut real, frame);
            if let Err(wrong) = compare(account, &really) {
                panic!("seed {seed} step {step}: {wrong}\n{account:#?}");
            }
            *tally.entry(end(account.end)).or_default() += 1;
            *tally.entry("stateless".to_owned()).or_default() += really.stateless.map_or(0, |_| 1);
            passed += 1;
        }
        // What is held goes its way.
        if real.0.held() > 0 {
            running.now.millis += 1_001;
            real.0.breathe(&mut real.1, running.now);
        }
        assert_eq!(real.0.held(), 0);
    }
    passed
}

fn end(end: End) -> String {
    match end {
        End::Sent(1) => "sent".to_owned(),
        End::Sent(_) => "sent in parts".to_owned(),
        End::Waits => "waits".to_owned(),
        End::Dropped(reason) => reason.name().to_owned(),
        End::Answered(reason) => format!("{} (answered)", reason.name()),
        End::Punted(reason) => format!("punt {}", reason.name()),
    }
}

fn run_all(boxes: u64, adapt: Adapt, expected: &[(&str, u64)]) {
    let mut tally = BTreeMap::new();
    if let Ok(seed) = std::env::var("XLVS_SEED") {
        run(seed.parse().expect("XLVS_SEED is a number"), adapt, &mut tally);
        return println!("{tally:#?}");
    }
    let packets: u64 = (0..boxes).map(|seed| run(seed, adapt, &mut tally)).sum();
    println!("{packets} packets: {tally:#?}");
    assert!(packets >= 30 * boxes, "{packets}");
    for (what, least) in expected {
        assert!(tally.get(*what).is_some_and(|n| n >= least), "{what}: {tally:#?}");
    }
}

#[test]
fn what_was_rehearsed_happens() {
    let expected =
        [("sent", 2_000), ("sent in parts", 20), ("waits", 100), ("no_server (answered)", 50)];
    run_all(BOXES, |_, _| {}, &expected);
}

/// Full tables, and services that need none of their entries.
#[test]
fn what_goes_without_an_entry_was_rehearsed() {
    let few = |services: &mut Services, limits: &mut Limits| {
        (limits.connections_v4, limits.connections_v6) = (1, 1);
        for service in services.services.iter_mut().flatten() {
            service.policy.scheduler.kind = sched::Kind::Mh;
            service.policy.persistence = None;
        }
        for server in services.servers.iter_mut().flatten() {
            if server.forward.two_way() {
                server.forward = Forward::Dr;
            }
        }
    };
    run_all(BOXES / 3, few, &[("stateless", 100)]);
}
