//! Parsing alone, headers fetched ahead as the worker does it.

use std::{hint::black_box, io, time::Instant};

use dataplane::{io::Frame, packet, wire::tcp};

use crate::{ForFamily, PROTOCOLS, Session, for_families};
use crate::{
    carousel::{Carousel, FRAMES},
    flows::{BenchFamily, Template},
    random::Random,
};

/// As in the worker.
const LOOKAHEAD: usize = 4;

struct Parse;

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for_families(&Parse, session)
}

impl ForFamily for Parse {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()> {
        for protocol in PROTOCOLS {
            let name = format!("parse {} {}", A::NAME, protocol.name());
            if !session.wants(&name) {
                continue;
            }
            let mut carousel = Carousel::new();
            let mut random = Random(1);
            let template = Template::<A>::new(protocol, tcp::ACK);
            session.measure(&name, || {
                carousel.fill(|room| template.write(random.below(1000), room));
                let frames = carousel.arrived();
                let start = Instant::now();
                for at in 0..frames.len() {
                    if let Some(ahead) = frames.get(at + LOOKAHEAD) {
                        xsk::prefetch(&ahead.bytes()[0]);
                    }
                    black_box(packet::parse(frames[at].bytes()));
                }
                let took = start.elapsed();
                carousel.empty();
                (took, FRAMES)
            });
        }
        Ok(())
    }
}
