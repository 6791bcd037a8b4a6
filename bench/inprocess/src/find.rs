//! The connection table alone: bursts in the worker's stages, and one find at a time.

use std::{hint::black_box, io, time::Instant};

use dataplane::{
    forward::{Forward, Protocol, Tuple},
    table::{Probe, Secret, Table, TableConfig},
    worker::BURST,
};

use crate::{ForFamily, SIZES, Session, Size, for_families};
use crate::{
    flows::{BenchFamily, connection, tuple},
    random::Random,
};

/// Finds in a window.
const FINDS: usize = 8192;

struct Find(Size);

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    SIZES.into_iter().try_for_each(|size| for_families(&Find(size), session))
}

impl ForFamily for Find {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()> {
        let (size, connections) = self.0;
        let names = ["64", "1"].map(|burst| format!("find {} {size} burst {burst}", A::NAME));
        if !names.iter().any(|name| session.wants(name)) {
            return Ok(());
        }
        let table = filled::<A>(connections)?;
        let mut random = Random(2);
        let mut prepare = || -> Vec<Tuple<A>> {
            (0..FINDS).map(|_| tuple(Protocol::Tcp, random.below(connections))).collect()
        };
        if session.wants(&names[0]) {
            let mut probes: Vec<Probe> = Vec::with_capacity(BURST);
            let mut hashes: Vec<u64> = Vec::with_capacity(BURST);
            session.measure(&names[0], || {
                let tuples = prepare();
                let start = Instant::now();
                for burst in tuples.chunks(BURST) {
                    find_burst(&table, burst, &mut hashes, &mut probes);
                }
                (start.elapsed(), FINDS)
            });
        }
        if session.wants(&names[1]) {
            session.measure(&names[1], || {
                let tuples = prepare();
                let start = Instant::now();
                for tuple in &tuples {
                    assert!(black_box(table.find(tuple)).is_some());
                }
                (start.elapsed(), FINDS)
            });
        }
        Ok(())
    }
}

fn find_burst<A: BenchFamily>(
    table: &Table<A>,
    burst: &[Tuple<A>],
    hashes: &mut Vec<u64>,
    probes: &mut Vec<Probe>,
) {
    for tuple in burst {
        let hash = table.hash(tuple);
        table.prefetch(hash);
        hashes.push(hash);
    }
    probes.extend(hashes.drain(..).map(|hash| table.probe(hash)));
    // As a worker does it: nearly each burst has keys in their second bucket.
    if probes.iter().any(Probe::is_missing) {
        probes.iter_mut().for_each(|probe| table.probe_again(probe));
    }
    for (tuple, probe) in burst.iter().zip(probes.drain(..)) {
        assert!(black_box(table.find_at(&probe, tuple)).is_some());
    }
}

/// A table full of NAT connections, both keys of each.
fn filled<A: BenchFamily>(connections: u64) -> io::Result<Table<A>> {
    let table =
        Table::new(TableConfig { capacity: connections as usize, secret: Secret::random() })?;
    for flow in 0..connections {
        let connection = connection::<A>(flow, Forward::Nat);
        table.insert(&connection, 1, 900, 1).map_err(io::Error::other)?;
    }
    Ok(table)
}
