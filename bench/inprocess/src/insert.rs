//! What a new connection costs the table alone: its keys are looked for, locked and put into the
//! index, and an entry is taken and written. Nothing is parsed, chosen, counted or sent.

use std::{io, time::Instant};

use dataplane::{
    forward::Forward,
    table::{Connection, Secret, Table, TableConfig},
    worker::BURST,
};

use crate::{ForFamily, Session, for_families};
use crate::{
    carousel::FRAMES,
    flows::{BenchFamily, connection},
};

/// NAT has two keys, DR has one.
struct Insert(Forward);

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    [Forward::Nat, Forward::Dr]
        .into_iter()
        .try_for_each(|mode| for_families(&Insert(mode), session))
}

impl ForFamily for Insert {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()> {
        let name = format!("insert {} {}", self.0.name(), A::NAME);
        if !session.wants(&name) {
            return Ok(());
        }
        // As large as that of `admit`.
        let table =
            Table::<A>::new(TableConfig { capacity: 8 * FRAMES, secret: Secret::random() })?;
        let mut flow = 0;
        session.measure(&name, || {
            let mut next = || {
                flow += 1;
                connection(flow, self.0)
            };
            let connections: Vec<Connection<A>> = (0..FRAMES).map(|_| next()).collect();
            let start = Instant::now();
            for burst in connections.chunks(BURST) {
                for connection in burst {
                    table.prefetch(table.hash(&connection.forward_key()));
                }
                for connection in burst {
                    table.insert(connection, 1, 900, 1).expect("there is room");
                }
            }
            let took = start.elapsed();
            table.for_each(&mut |found| {
                table.remove(&found);
            });
            (took, FRAMES)
        });
        Ok(())
    }
}
