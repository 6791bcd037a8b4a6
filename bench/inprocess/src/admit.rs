//! New connections: parse to verdict of packets that nobody has seen before.

use std::{io, sync::Arc, time::Instant};

use dataplane::{
    clock::Now,
    director::Director,
    forward::{Forward, Protocol},
    wire::tcp,
    worker::BURST,
};

use crate::{ForFamily, MODES, PROTOCOLS, Session, for_families};
use crate::{
    carousel::{Carousel, FRAMES},
    director,
    flows::{BenchFamily, Template},
};

struct Admit(Forward, Protocol);

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for mode in MODES {
        for protocol in PROTOCOLS {
            for_families(&Admit(mode, protocol), session)?;
        }
    }
    Ok(())
}

impl ForFamily for Admit {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()> {
        let Self(mode, protocol) = *self;
        let name = format!("admit {} {} {}", mode.name(), A::NAME, protocol.name());
        if !session.wants(&name) {
            return Ok(());
        }
        let (director, mut worker) = director::new::<A>(mode, 8 * FRAMES)?;
        let mut carousel = Carousel::new();
        let template = Template::<A>::new(protocol, tcp::SYN);
        let mut flow = 0;
        session.measure(&name, || {
            carousel.fill(|room| {
                flow += 1;
                template.write(flow, room)
            });
            let start = Instant::now();
            for _ in 0..FRAMES / BURST {
                worker.breathe(&mut carousel, Now::at_seconds(1));
            }
            let took = start.elapsed();
            assert_eq!(carousel.dropped, 0, "every packet opens a connection and leaves");
            assert_eq!(A::table(&director).len(), FRAMES);
            end_all::<A>(&director);
            (took, FRAMES)
        });
        Ok(())
    }
}

fn end_all<A: BenchFamily>(director: &Arc<Director>) {
    let table = A::table(director);
    table.for_each(&mut |found| {
        if let Some(meta) = table.take(&found) {
            director.ended(&found.connection, meta.state());
        }
    });
}
