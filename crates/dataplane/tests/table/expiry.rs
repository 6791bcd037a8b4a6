//! Over time, with an injected clock.

use std::collections::HashMap;

use dataplane::{
    forward::{Forward, V4},
    table::{SweepCursor, Table},
};

use crate::{Random, connection, table};

/// Sweeps of all workers within one second, in portions as the worker loop makes them.
/// The last tenth of the pass falls into the next second.
fn second(
    table: &Table<V4>,
    cursors: &mut [SweepCursor],
    now: u32,
    ended: &mut impl FnMut(u32, u32),
) {
    for tenth in 0..10 {
        for cursor in &mut *cursors {
            let portion = table.pass(cursor).div_ceil(10);
            let now = if tenth == 9 { now + 1 } else { now };
            table.sweep(cursor, now, portion, &mut |expired| {
                ended(u32::from(expired.connection.cport), now);
            });
        }
    }
}

/// Connections that are touched, and whose timeouts are shortened and prolonged, end within
/// two seconds after they should, and never before.
#[test]
fn at_most_two_seconds_late() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let table = table::<V4>(3000, seed);
        let workers = 1 + random.below(4);
        let mut cursors: Vec<_> =
            (0..workers).map(|worker| SweepCursor::new(worker, workers)).collect();
        let mut deadlines = HashMap::new();
        let mut next = 0;
        for now in 1..200 {
            for _ in 0..random.below(60) {
                let timeout = [2, 10, 60, 120, 900][random.below(5)];
                if table.insert(&connection(next, Forward::Nat), 3, timeout, now).is_ok() {
                    deadlines.insert(next, now + timeout);
                }
                next += 1;
            }
            for _ in 0..200 {
                let n = random.below(next as usize + 1) as u32;
                let key = connection::<V4>(n, Forward::Nat).forward_key();
                let Some(found) = table.find(&key) else { continue };
                let timeout = [2, 10, 60, 900][random.below(4)];
                if random.below(2) == 0 {
                    table.touch(&found, now);
                    deadlines.insert(n, now + found.meta.timeout());
                } else if table.transition(&found, 1, timeout, now).is_ok() {
                    deadlines.insert(n, now + timeout);
                }
            }
            second(&table, &mut cursors, now, &mut |n, at| {
                let deadline = deadlines.remove(&n).expect("ends once");
                assert!((deadline..=deadline + 2).contains(&at), "due {deadline}, ended {at}");
            });
            assert!(deadlines.values().all(|deadline| deadline + 2 > now));
            assert_eq!(table.len(), deadlines.len());
        }
    }
}

/// Small portions add up, and a pass visits every entry exactly once.
#[test]
fn a_pass_is_a_pass() {
    for (capacity, workers, portion) in [(1, 1, 1), (1000, 3, 7), (1000, 20, 1), (640, 2, 1000)] {
        let table = table::<V4>(capacity, 5);
        for n in 0..capacity as u32 {
            table.insert(&connection(n, Forward::Nat), 0, 1, 0).expect("room");
        }
        for worker in 0..workers {
            let mut cursor = SweepCursor::new(worker, workers);
            let before = table.len();
            let mut ended = 0;
            let mut left = table.pass(&cursor);
            while left > 0 {
                let entries = left.min(portion);
                table.sweep(&mut cursor, 1, entries, &mut |_| ended += 1);
                assert!(ended <= table.pass(&cursor) - (left - entries));
                left -= entries;
            }
            assert_eq!(table.len(), before - ended);
        }
        assert!(table.is_empty(), "{} left of {capacity}", table.len());
    }
}

/// What ends can be opened again from within the sweep.
#[test]
fn the_end_may_be_a_beginning() {
    let table = table::<V4>(64, 9);
    for n in 0..64 {
        table.insert(&connection(n, Forward::Nat), 0, 5, 0).expect("room");
    }
    let mut cursor = SweepCursor::new(0, 1);
    let mut again = 0;
    table.sweep(&mut cursor, 5, 64, &mut |expired| {
        again += usize::from(table.insert(&expired.connection, 0, 5, 5).is_ok());
    });
    assert_eq!((again, table.len(), table.keys()), (64, 64, 128));
    table.sweep(&mut cursor, 9, 64, &mut |_| panic!("too early"));
    table.sweep(&mut cursor, 10, 64, &mut |_| again += 1);
    assert_eq!((again, table.len()), (128, 0));
}
