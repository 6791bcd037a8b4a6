//! Parse to verdict: the worker's own breath over packets of established connections.

use std::{io, time::Instant};

use dataplane::{
    clock::Now,
    forward::{Forward, Protocol},
    io::Io,
    wire::tcp,
    worker::BURST,
};

use super::{ForFamily, MODES, PROTOCOLS, SIZES, Session, Size, for_families};
use crate::{
    carousel::{Carousel, FRAMES},
    director,
    flows::{BenchFamily, Random, Template},
};

/// The time stands still: what happens once a second is not an established packet's cost.
const NOW: Now = Now::at_seconds(1);

struct Verdict(Forward, Protocol, Size);

pub(super) fn run(session: &mut Session<'_>) -> io::Result<()> {
    ports_only(session);
    for size in SIZES {
        for mode in MODES {
            // One mode tells what 10 M connections cost.
            if size.0 == "10M" && mode != Forward::Nat {
                continue;
            }
            for protocol in PROTOCOLS {
                for_families(&Verdict(mode, protocol, size), session)?;
            }
        }
    }
    Ok(())
}

/// The bench's own share: frames in and out again, nothing between.
fn ports_only(session: &mut Session<'_>) {
    if !session.wants("verdict ports only") {
        return;
    }
    let mut carousel = Carousel::new();
    let mut burst = Vec::with_capacity(BURST);
    session.measure("verdict ports only", || {
        carousel.fill(|_| 60);
        let start = Instant::now();
        for _ in 0..FRAMES / BURST {
            carousel.receive(0, &mut burst, BURST);
            for frame in burst.drain(..) {
                let _ = carousel.send(1, frame);
            }
        }
        (start.elapsed(), FRAMES)
    });
}

impl ForFamily for Verdict {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()> {
        let Self(mode, protocol, (size, connections)) = *self;
        let name = format!("verdict {} {} {} {size}", mode.name(), A::NAME, protocol.name());
        if !session.wants(&name) {
            return Ok(());
        }
        let (director, mut worker) = director::new::<A>(mode, connections as usize)?;
        let mut carousel = Carousel::new();
        let mut breathe = |carousel: &mut Carousel| {
            for _ in 0..FRAMES / BURST {
                worker.breathe(carousel, NOW);
            }
        };
        for flags in [tcp::SYN, tcp::ACK] {
            let template = Template::<A>::new(protocol, flags);
            let mut flows = (0..connections).cycle();
            for _ in 0..connections.div_ceil(FRAMES as u64) {
                carousel.fill(|room| template.write(flows.next().unwrap_or(0), room));
                breathe(&mut carousel);
            }
        }
        assert_eq!(A::table(&director).len() as u64, connections, "all connections are open");
        let template = Template::<A>::new(protocol, tcp::ACK);
        let mut random = Random(3);
        session.measure(&name, || {
            carousel.fill(|room| template.write(random.below(connections), room));
            let start = Instant::now();
            breathe(&mut carousel);
            (start.elapsed(), FRAMES)
        });
        assert_eq!(carousel.dropped, 0, "every packet leaves");
        Ok(())
    }
}
