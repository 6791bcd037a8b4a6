//! Parse to verdict: the worker's own breath over packets of established connections.

use std::{io, time::Instant};

use dataplane::{
    capture::{Ends, Filter, tap},
    clock::Now,
    forward::{Forward, Protocol},
    io::Io,
    prefix::Prefix,
    verdict::Drop,
    wire::tcp,
    worker::BURST,
};

use crate::{ForFamily, MODES, PROTOCOLS, SIZES, Session, Size, for_families};
use crate::{
    carousel::{Carousel, FRAMES},
    director,
    flows::{BenchFamily, Template},
    random::Random,
};

/// The time stands still: what happens once a second is not an established packet's cost.
const NOW: Now = Now::at_seconds(1);

struct Verdict(Forward, Protocol, Size, Option<Watch>);

/// What a capture looks for meanwhile.
#[derive(Clone, Copy)]
enum Watch {
    /// A client that is not there.
    Nobody,
    /// Packets that are dropped for a reason that none is.
    Drops,
    /// Everything, up to a breath's share.
    All,
}

impl Watch {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Nobody, "nobody"), (Self::Drops, "drops"), (Self::All, "all")];

    fn filter(self) -> Filter {
        let mut ends = Ends::default();
        ends.drop(Drop::Land);
        match self {
            Self::Nobody => {
                let nobody = Prefix::host([198, 51, 100, 1].into());
                Filter { client: Some(nobody.into()), ..Filter::default() }
            }
            Self::Drops => Filter { ends: Some(ends), ..Filter::default() },
            Self::All => Filter::default(),
        }
    }
}

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    ports_only(session);
    for size in [("1", 1)].into_iter().chain(SIZES) {
        for mode in MODES {
            for protocol in PROTOCOLS {
                // So many take seconds to open, and UDP's are found as TCP's are. The director's local
                // ports end at 1.6 M.
                let many = size.0 == "10M";
                if many && (mode == Forward::FullNat || protocol != Protocol::Tcp) {
                    continue;
                }
                for_families(&Verdict(mode, protocol, size, None), session)?;
            }
        }
    }
    for mode in MODES {
        for (watch, _) in Watch::ALL {
            for_families(&Verdict(mode, Protocol::Tcp, SIZES[0], Some(watch)), session)?;
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
        let Self(mode, protocol, (size, connections), watch) = *self;
        let what = format!("{} {} {} {size}", mode.name(), A::NAME, protocol.name());
        let name = match watch {
            None => format!("verdict {what}"),
            Some(watch) => format!("captured {what} {}", Watch::ALL[watch as usize].1),
        };
        if !session.wants(&name) {
            return Ok(());
        }
        let (director, mut worker) = director::new::<A>(mode, connections as usize)?;
        let well = watch.map(|watch| {
            let (tap, well) = tap(0, watch.filter(), 4096, 2048);
            worker.capture(Some(Box::new(tap)));
            well
        });
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
            let took = start.elapsed();
            while well.as_ref().is_some_and(|well| well.take(|_, _| ())) {}
            (took, FRAMES)
        });
        assert_eq!(carousel.dropped, 0, "every packet leaves");
        Ok(())
    }
}
