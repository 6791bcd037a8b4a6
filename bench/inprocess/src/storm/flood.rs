//! A SYN flood: ten SYNs from addresses never seen before beside each packet of an established
//! connection.

use std::{collections::VecDeque, io};

use dataplane::{forward::Forward, worker::BURST};

use super::stage::{Setting, Stage};
use crate::{Session, carousel::FRAMES, measure::Figures, report::Goodput};

/// SYNs beside each established packet.
const SYNS: usize = 10;
/// Packets of a window, whole tens and ones.
const PACKETS: usize = FRAMES / (SYNS + 1) * (SYNS + 1);
/// Frames that a receive ring holds.
const RING: usize = 2048;
/// Packets offered a second, SYNs and established ones.
const OFFERED: [f64; 5] = [1e6, 2e6, 4e6, 8e6, 16e6];
/// Of one window, in packets.
const SHARE_PACKETS: usize = 110_000;

/// What the flood meets.
#[derive(Clone, Copy)]
enum Kind {
    /// Room: each SYN opens a connection.
    Room,
    /// The daemon's defaults after a fraction of a second: `half_open_limit`.
    Limited,
    /// A full table: `table_full`.
    Full,
    /// A full table, and mh in DR.
    Stateless,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Room, "room"),
        (Self::Limited, "limited"),
        (Self::Full, "full"),
        (Self::Stateless, "stateless"),
    ];

    fn stage(self) -> io::Result<Stage> {
        let ample = Setting { room: 2_000_000, ..Setting::default() };
        let full = Setting { room: super::ESTABLISHED as usize, ..ample };
        match self {
            Self::Room => Stage::new(&ample),
            Self::Limited => Stage::new(&Setting { limited: true, ..ample }),
            Self::Full => Stage::new(&full),
            Self::Stateless => {
                Stage::new(&Setting { forward: Forward::Dr, scheduler: sched::Kind::Mh, ..full })
            }
        }
    }
}

pub(super) fn run(session: &mut Session<'_>) -> io::Result<()> {
    if session.wants("flood alone") {
        let mut stage = Stage::new(&Setting::default())?;
        session.measure("flood alone", || stage.window());
    }
    for (kind, name) in Kind::ALL {
        let name = format!("flood {name}");
        if session.wants(&name) {
            let mut stage = kind.stage()?;
            session.measure(&name, || mixed(&mut stage));
            assert_eq!(stage.lost(), 0);
        }
        if session.wants(&format!("goodput {name}")) {
            shares(session, kind, &name)?;
        }
    }
    Ok(())
}

/// A window of the mixture; what it opened is ended outside of the timed part.
fn mixed(stage: &mut Stage) -> (std::time::Duration, usize) {
    for _ in 0..PACKETS / (SYNS + 1) {
        stage.talk(1);
        stage.flood(SYNS);
    }
    let start = std::time::Instant::now();
    for _ in 0..PACKETS.div_ceil(BURST) {
        stage.worker.breathe(&mut stage.carousel, stage.now);
    }
    let took = start.elapsed();
    stage.clear();
    (took, PACKETS)
}

/// Established packets that get through at each load.
fn shares(session: &mut Session<'_>, kind: Kind, name: &str) -> io::Result<()> {
    let mut stage = kind.stage()?;
    for offered in OFFERED {
        let mut lost = 0;
        let windows = session.options.windows.min(9);
        let shares: Vec<f64> = (0..windows)
            .map(|_| {
                let (share, dropped) = share(&mut stage, offered);
                lost += dropped;
                share
            })
            .collect();
        // Whatever the flood did, those who were there are there.
        lost += stage.lost();
        let name = name.to_owned();
        session.report.add_goodput(Goodput { name, offered, share: Figures::of(shares), lost });
    }
    Ok(())
}

/// Packets arrive at an even rate while the worker breathes: what it really takes for a breath
/// decides how many come meanwhile, and what does not fit the ring is gone, whoever sent it.
/// Tells the share of established packets that left, and how many of them xlvs dropped.
fn share(stage: &mut Stage, offered: f64) -> (f64, u64) {
    let mut ring: VecDeque<bool> = VecDeque::with_capacity(RING);
    let (mut time, mut arrived) = (0.0, 0usize);
    let [mut established, mut received, mut left] = [0u64; 3];
    while arrived < SHARE_PACKETS {
        let due = (time * offered) as usize;
        while arrived < due {
            let talks = arrived % (SYNS + 1) == 0;
            arrived += 1;
            established += u64::from(talks);
            if ring.len() < RING {
                ring.push_back(talks);
            }
        }
        let burst = ring.len().min(BURST);
        let mut talking = 0;
        for talks in ring.drain(..burst) {
            talking += u64::from(talks);
            if talks {
                stage.talk(1);
            } else {
                stage.flood(1);
            }
        }
        let [sent, opened, stateless] = counts(stage);
        time += stage.breathe().as_secs_f64();
        let after = counts(stage);
        received += talking;
        // What left beside the SYNs that were forwarded.
        left += (after[0] - sent) - (after[1] - opened) - (after[2] - stateless);
        if after[1] > opened && stage.ground.director.v4.free() < 4 * BURST {
            stage.clear();
        }
    }
    stage.clear();
    let waiting = ring.iter().filter(|talks| **talks).count() as u64;
    (left as f64 / (established - waiting) as f64, received - left)
}

/// Packets that left, those that opened a connection, those that went without an entry.
fn counts(stage: &Stage) -> [u64; 3] {
    let stats = &stage.stats;
    [stats.tx_packets.value(), stats.opened.value(), stats.stateless.value()]
}
