//! Several threads on one small table.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    thread,
};

use dataplane::{
    forward::{Forward, Tuple, V4, V6},
    table::{Connection, SweepCursor, Table, Way},
};

use crate::{Family, Random, connection, keys, table};

const THREADS: usize = 4;
const STEPS: usize = 3000;
/// Connections that nobody ends, and that must be found at any time.
const STEADY: u32 = 4;

/// The connection of key number `n` in its life number `serial`: each life has its own
/// values beside the forward key, so that a mixture of two lives would show.
fn life<A: Family>(n: u32, serial: u32) -> Connection<A> {
    let forward = [Forward::Nat, Forward::FullNat, Forward::Dr][serial as usize % 3];
    let mut life = connection::<A>(n, forward);
    life.server = A::number((1 << 21) + serial % 5);
    life.rport = 1000 + (serial % 5) as u16;
    if forward == Forward::Dr {
        life.local = A::number(serial);
        life.lport = serial as u16;
    }
    life.server_id = serial;
    life.flags = (serial * 7) as u8;
    life
}

struct World<A> {
    table: Table<A>,
    key_count: u32,
    serial: AtomicU32,
    /// By serial: how often it was inserted minus how often it ended.
    alive: Vec<AtomicU32>,
    now: AtomicU32,
}

impl<A: Family> World<A> {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = Self {
            table: table(STEADY as usize + 8 + random.below(120), seed),
            key_count: 16 + random.below(150) as u32,
            serial: AtomicU32::new(STEADY),
            alive: (0..THREADS * STEPS + STEADY as usize).map(|_| AtomicU32::new(0)).collect(),
            now: AtomicU32::new(1),
        };
        for n in 0..STEADY {
            world.table.insert(&life(n, n), 0, u32::from(u16::MAX), 1).expect("room");
            world.alive[n as usize].store(1, Relaxed);
        }
        world
    }

    fn end(&self, connection: &Connection<A>) {
        let was = self.alive[connection.server_id as usize].swap(0, Relaxed);
        assert_eq!(was, 1, "ended twice, or never begun");
    }

    /// Checks that what was found is what was asked for, in one piece.
    fn find(&self, key: &Tuple<A>) -> Option<dataplane::table::Found<A>> {
        let mut probe = self.table.probe(self.table.hash(key));
        self.table.probe_again(&mut probe);
        let found = self.table.find_at(&probe, key)?;
        let c = found.connection;
        let asked = match found.direction {
            Way::Forward => Some(c.forward_key()),
            Way::Reverse => c.reverse_key(),
        };
        assert_eq!(asked, Some(*key));
        let n = u32::from(c.cport);
        assert_eq!(c, life(n, c.server_id), "a mixture of two lives");
        Some(found)
    }

    fn step(&self, random: &mut Random, cursor: &mut SweepCursor) {
        let n = STEADY + random.below(self.key_count as usize) as u32;
        let now = self.now.load(Relaxed);
        match random.below(16) {
            0..6 => {
                let serial = self.serial.fetch_add(1, Relaxed);
                let life = life(n, serial);
                self.alive[serial as usize].store(1, Relaxed);
                if self.table.insert(&life, 0, random.below(8) as u32, now).is_err() {
                    self.end(&life);
                }
            }
            6 => self.sweep(cursor, now),
            7 if random.below(20) == 0 => drop(self.now.fetch_add(1, Relaxed)),
            choice => {
                let serial = self.serial.load(Relaxed).saturating_sub(random.below(40) as u32);
                let all: Vec<_> = keys(&life::<A>(n, serial)).collect();
                let Some(found) = self.find(&all[random.below(all.len())]) else { return };
                match choice {
                    8..10 => self.table.touch(&found, now),
                    10..12 => {
                        let state = found.meta.state().wrapping_add(1);
                        let timeout = random.below(8) as u32;
                        let _ = self.table.transition(&found, state, timeout, now);
                    }
                    12 => drop(self.table.set_hops(&found, now, 1, 2)),
                    13..15 if self.table.remove(&found) => self.end(&found.connection),
                    _ => {}
                }
            }
        }
    }

    fn sweep(&self, cursor: &mut SweepCursor, now: u32) {
        self.table.sweep(cursor, now, 64, &mut |expired| self.end(&expired.connection));
    }

    fn work(&self, worker: usize, seed: u64) {
        let mut random = Random::new(seed << 8 | worker as u64);
        let mut cursor = SweepCursor::new(worker, THREADS);
        for step in 0..STEPS {
            self.step(&mut random, &mut cursor);
            let n = random.below(STEADY as usize) as u32;
            for key in keys(&life::<A>(n, n)) {
                assert!(self.find(&key).is_some(), "a steady connection was missed");
            }
            if step.is_multiple_of(64) {
                self.table.for_each(&mut |found| {
                    let c = found.connection;
                    assert_eq!(c, life(u32::from(c.cport), c.server_id));
                });
            }
        }
    }

    /// Nothing is lost, nothing is left over, and all of the room is there again.
    fn settle(&self) {
        let alive = self.alive.iter().map(|alive| alive.load(Relaxed)).sum::<u32>();
        assert_eq!(self.table.len(), alive as usize);
        let later = self.now.load(Relaxed) + 10;
        for worker in 0..THREADS {
            let mut cursor = SweepCursor::new(worker, THREADS);
            for _ in 0..self.table.capacity().div_ceil(64) {
                self.sweep(&mut cursor, later);
            }
        }
        assert_eq!(self.table.len(), STEADY as usize);
        self.table.for_each(&mut |found| assert!(self.table.remove(&found)));
        assert_eq!((self.table.len(), self.table.keys()), (0, 0));
        for n in 0..self.table.capacity() as u32 {
            self.table.insert(&connection(n, Forward::Nat), 0, 1, later).expect("all room is back");
        }
    }
}

fn run<A: Family>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let world = World::<A>::new(seed);
        thread::scope(|scope| {
            for worker in 0..THREADS {
                let world = &world;
                scope.spawn(move || world.work(worker, seed));
            }
        });
        world.settle();
    }
}

#[test]
fn ipv4_churn() {
    run::<V4>(0..60);
}

#[test]
fn ipv6_churn() {
    run::<V6>(100..130);
}

/// Ends the readers of a test, also when it fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Everyone opens the same connections at once: each is there once, with its two keys.
#[test]
fn no_twins() {
    for seed in 0..40 {
        let table = table::<V4>(4000, seed);
        let inserted = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for n in 0..2000 {
                        let result = table.insert(&connection(n, Forward::Nat), 0, 9, 0);
                        inserted.fetch_add(usize::from(result.is_ok()), Relaxed);
                    }
                });
            }
        });
        let inserted = inserted.load(Relaxed);
        assert_eq!((inserted, table.len(), table.keys()), (2000, 2000, 4000), "seed {seed}");
    }
}

/// Keys that meet in the same few buckets do not overwrite each other.
#[test]
fn neighbours_keep_their_words() {
    for seed in 0..20 {
        let table = table::<V6>(THREADS, seed);
        thread::scope(|scope| {
            for worker in 0..THREADS as u32 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..3000 {
                        let own = connection(worker + 4 * (round % 50), Forward::FullNat);
                        table.insert(&own, 0, 9, 0).expect("room for one each");
                        for key in keys(&own) {
                            let found = table.find(&key).expect("own key");
                            assert_eq!(found.connection, own);
                        }
                        assert!(table.remove(&table.find(&own.forward_key()).expect("own")));
                    }
                });
            }
        });
        assert_eq!((table.len(), table.keys()), (0, 0));
    }
}

/// One slot, used again and again, while others read it without a pause.
#[test]
fn reuse_under_readers() {
    let table = table::<V6>(1, 3);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut serial = 0;
                while !over.load(Relaxed) {
                    serial += 1;
                    for key in keys(&life::<V6>(serial % 3, serial)) {
                        if let Some(found) = table.find(&key) {
                            let c = found.connection;
                            assert_eq!(c, life(u32::from(c.cport), c.server_id));
                            assert!(keys(&c).any(|own| own == key));
                        }
                    }
                }
            });
        }
        let _ending = Ending(&over);
        for serial in 0..100_000 {
            let reference = table.insert(&life(serial % 3, serial), 0, 1, 0).expect("empty");
            let found = table.get(reference).expect("there");
            assert!(table.remove(&found));
            assert!(table.get(reference).is_none());
        }
    });
    assert_eq!(table.keys(), 0);
}

/// Of many workers that see the same packet, one makes the change of state, one removes.
#[test]
fn one_worker_wins() {
    for seed in 0..200 {
        let table = table::<V4>(1, seed);
        let connection = connection(1, Forward::Nat);
        let inserted = AtomicUsize::new(0);
        let moved = AtomicUsize::new(0);
        let removed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let result = table.insert(&connection, 0, 100, 0);
                    inserted.fetch_add(usize::from(result.is_ok()), Relaxed);
                    for _ in 0..50 {
                        let found = table.find(&connection.forward_key()).expect("there");
                        let state = found.meta.state() + 1;
                        let won = table.transition(&found, state, 100, 0).is_ok();
                        moved.fetch_add(usize::from(won), Relaxed);
                    }
                });
            }
        });
        let found = table.find(&connection.forward_key()).expect("there");
        assert_eq!(usize::from(found.meta.state()), moved.load(Relaxed));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let (table, removed) = (&table, &removed);
                scope.spawn(move || {
                    removed.fetch_add(usize::from(table.remove(&found)), Relaxed);
                });
            }
        });
        assert_eq!((inserted.load(Relaxed), removed.load(Relaxed)), (1, 1));
    }
}
