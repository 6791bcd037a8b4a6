//! One thread against a reference model of hash maps.

use std::collections::HashMap;

use dataplane::{
    forward::{Forward, Protocol, Tuple, V4, V6},
    table::{Connection, Found, InsertError, Keys, SweepCursor, Table, TemplateRef, Way},
    topology::NO_HOP,
};

use crate::{Family, Random, keys, table};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record<A> {
    connection: Connection<A>,
    state: u8,
    timeout: u32,
    stamp: u32,
    hops: (u32, u16, u16),
}

impl<A: Family> Record<A> {
    fn of(found: &Found<A>) -> Self {
        let hops = found.hops;
        Self {
            connection: found.connection,
            state: found.meta.state(),
            timeout: found.meta.timeout(),
            stamp: found.stamp,
            hops: (hops.route_generation(), hops.hop_in(), hops.hop_out()),
        }
    }
}

/// The table and what it should hold.
struct World<A> {
    random: Random,
    table: Table<A>,
    records: HashMap<Tuple<A>, Record<A>>,
    /// Every key, with the forward key of its connection.
    owners: HashMap<Tuple<A>, Tuple<A>>,
    /// What was found before, perhaps gone or changed since.
    stale: Vec<Found<A>>,
    cursors: Vec<SweepCursor>,
    now: u32,
}

impl<A: Family> World<A> {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let capacity = 1 + random.below(150);
        let workers = 1 + random.below(3);
        Self {
            table: table(capacity, seed),
            random,
            records: HashMap::new(),
            owners: HashMap::new(),
            stale: Vec::new(),
            cursors: (0..workers).map(|worker| SweepCursor::new(worker, workers)).collect(),
            now: 0,
        }
    }

    /// From a space so small that keys meet, across directions as well.
    fn draw(&mut self) -> Connection<A> {
        let random = &mut self.random;
        let mut address = |count| A::number(random.below(count) as u32);
        let (client, vip, server, local) = (address(8), address(2), address(8), address(2));
        let mut port = |count| random.below(count) as u16;
        let (cport, vport, rport, lport) = (port(8), port(2), port(8), port(2));
        let forward = [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun][random.below(4)];
        let (local, lport) = if forward == Forward::Nat { (client, cport) } else { (local, lport) };
        Connection {
            client,
            cport,
            vip,
            vport,
            server,
            rport,
            local,
            lport,
            protocol: [Protocol::Tcp, Protocol::Udp][random.below(2)],
            forward,
            server_id: random.below(1 << 24) as u32,
            flags: random.next() as u8,
            keys: Keys::Both,
            template: TemplateRef::default(),
        }
    }

    fn insert(&mut self) {
        let connection = self.draw();
        let (state, timeout) = (self.random.next() as u8, self.random.below(12) as u32);
        let key = connection.forward_key();
        let reverse = connection.reverse_key();
        let expected = if self.owners.contains_key(&key) {
            Err(InsertError::Exists)
        } else if reverse.is_some_and(|r| r == key || self.owners.contains_key(&r)) {
            Err(InsertError::ReverseTaken)
        } else if self.records.len() == self.table.capacity() {
            Err(InsertError::Full)
        } else {
            Ok(())
        };
        let result = self.table.insert(&connection, state, timeout, self.now);
        assert_eq!(result.map(|_| ()), expected);
        let Ok(reference) = result else { return };
        let record =
            Record { connection, state, timeout, stamp: self.now, hops: (0, NO_HOP, NO_HOP) };
        self.owners.extend(keys(&connection).map(|k| (k, key)));
        self.records.insert(key, record);
        let found = self.table.get(reference).expect("just inserted");
        assert_eq!((Record::of(&found), found.direction), (record, Way::Forward));
    }

    /// Finds a key that may or may not be there, and compares.
    fn find(&mut self) -> Option<Found<A>> {
        let drawn = self.draw();
        let all: Vec<_> = keys(&drawn).collect();
        let key = all[self.random.below(all.len())];
        let mut probe = self.table.probe(self.table.hash(&key));
        if self.random.below(2) == 0 {
            self.table.probe_again(&mut probe);
        }
        let found = self.table.find_at(&probe, &key);
        assert_eq!(found, self.table.find(&key));
        let expected = self.owners.get(&key).map(|owner| self.records[owner]);
        assert_eq!(found.as_ref().map(Record::of), expected);
        let found = found?;
        let way = if found.connection.forward_key() == key { Way::Forward } else { Way::Reverse };
        assert_eq!(found.direction, way);
        if self.stale.len() < 16 {
            self.stale.push(found);
        }
        Some(found)
    }

    /// Something found now, or long ago.
    fn some(&mut self) -> Option<Found<A>> {
        if self.random.below(3) == 0 && !self.stale.is_empty() {
            let at = self.random.below(self.stale.len());
            return Some(self.stale.swap_remove(at));
        }
        self.find()
    }

    /// The record of what was found, if the table should still know it by that generation.
    fn record(&mut self, found: &Found<A>) -> Option<&mut Record<A>> {
        let key = found.connection.forward_key();
        let live = self.table.find(&key)?;
        let same = live.id == found.id && live.meta.generation() == found.meta.generation();
        same.then(|| self.records.get_mut(&key).expect("found, so known"))
    }

    fn touch(&mut self) {
        let Some(found) = self.some() else { return };
        let now = self.now;
        if let Some(record) = self.record(&found)
            && record.stamp == found.stamp
        {
            record.stamp = now;
        }
        self.table.touch(&found, now);
    }

    fn transition(&mut self) {
        let Some(found) = self.some() else { return };
        let (state, timeout) = (self.random.next() as u8, self.random.below(12) as u32);
        let now = self.now;
        let mut expected = false;
        if let Some(record) = self.record(&found) {
            if record.stamp == found.stamp {
                record.stamp = now;
            }
            let seen = (found.meta.state(), found.meta.timeout());
            if (record.state, record.timeout) == seen {
                (record.state, record.timeout) = (state, timeout);
                expected = true;
            }
        }
        let result = self.table.transition(&found, state, timeout, now);
        assert_eq!(result.is_ok(), expected);
    }

    fn set_hops(&mut self) {
        let Some(found) = self.some() else { return };
        let hops = (self.random.below(1 << 24) as u32, self.now as u16, self.random.next() as u16);
        let mut expected = false;
        if let Some(record) = self.record(&found)
            && record.hops == Record::of(&found).hops
        {
            record.hops = hops;
            expected = true;
        }
        assert_eq!(self.table.set_hops(&found, hops.0, hops.1, hops.2), expected);
    }

    fn remove(&mut self) {
        let Some(found) = self.some() else { return };
        let expected = self.record(&found).is_some();
        assert_eq!(self.table.remove(&found), expected);
        if expected {
            self.forget(&found.connection);
        }
        assert!(!self.table.remove(&found));
    }

    fn forget(&mut self, connection: &Connection<A>) -> Record<A> {
        keys(connection).for_each(|key| assert!(self.owners.remove(&key).is_some()));
        self.records.remove(&connection.forward_key()).expect("known")
    }

    /// A second goes by, and every worker makes a pass in portions.
    fn tick(&mut self) {
        self.now += 1 + self.random.below(2) as u32;
        let now = self.now;
        let mut ended = Vec::new();
        for cursor in &mut self.cursors {
            let mut left = self.table.pass(cursor);
            while left > 0 {
                let portion = left.min(1 + self.random.below(100));
                self.table.sweep(cursor, now, portion, &mut |expired| ended.push(expired));
                left -= portion;
            }
        }
        for expired in ended {
            let record = self.forget(&expired.connection);
            assert_eq!(record.connection, expired.connection);
            let was = (expired.meta.state(), expired.meta.timeout(), expired.stamp);
            assert_eq!((record.state, record.timeout, record.stamp), was);
            assert!(record.stamp + record.timeout <= now);
        }
        let over = |record: &Record<A>| record.stamp + record.timeout <= now;
        assert!(!self.records.values().any(over), "a pass ends all that is over");
    }

    fn check(&self) {
        assert_eq!(self.table.len(), self.records.len());
        assert_eq!(self.table.keys(), self.owners.len());
        let mut seen = 0;
        self.table.for_each(&mut |found| {
            seen += 1;
            assert_eq!(self.records[&found.connection.forward_key()], Record::of(&found));
        });
        assert_eq!(seen, self.records.len());
    }
}

fn run<A: Family>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::<A>::new(seed);
        // Some worlds fill up, some stay nearly empty.
        let eager = 2 + world.random.below(12);
        for _ in 0..1500 {
            match world.random.below(eager + 10) {
                0 | 1 => world.touch(),
                2 | 3 => world.transition(),
                4 => world.set_hops(),
                5 => world.remove(),
                6..8 => drop(world.find()),
                8 if world.random.below(8) == 0 => world.tick(),
                9 if world.random.below(8) == 0 => world.check(),
                8 | 9 => {}
                _ => world.insert(),
            }
        }
        world.check();
    }
}

#[test]
fn ipv4_agrees_with_the_model() {
    run::<V4>(0..300);
}

#[test]
fn ipv6_agrees_with_the_model() {
    run::<V6>(1000..1200);
}
