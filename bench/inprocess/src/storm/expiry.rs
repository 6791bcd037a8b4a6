//! Connections whose time ends in the same second, while established ones go on.

use std::{
    io,
    time::{Duration, Instant},
};

use dataplane::{clock::Now, tcp::State, worker::BURST};

use super::stage::{Setting, Stage};
use crate::{Session, carousel::FRAMES, measure::Figures};

/// How many end, and how they are called.
const SIZES: [(&str, usize); 2] = [("64k", 64_000), ("1M", 1_000_000)];

pub(super) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for (size, count) in SIZES {
        for (kind, ends) in [("calm", false), ("storm", true)] {
            let name = format!("expiry {kind} {size}");
            if !session.wants(&name) {
                continue;
            }
            let room = count + 2 * super::ESTABLISHED as usize;
            let mut stage = Stage::new(&Setting { room, ..Setting::default() })?;
            // A storm takes a second.
            let windows = session.options.windows.min(9) as usize;
            let mut second = || storm(&mut stage, count, ends);
            second();
            let figures: Vec<f64> = std::iter::repeat_with(second).take(windows).collect();
            session.report.add(&name, Figures::of(figures));
        }
    }
    Ok(())
}

/// Nanoseconds a packet of the established ones in the seconds in which the others end; or do not.
fn storm(stage: &mut Stage, count: usize, ends: bool) -> f64 {
    const TIMEOUT: u32 = 10;
    stage.insert(count, State::Close, if ends { TIMEOUT } else { 10 * TIMEOUT });
    // Stamps are rounded down, so they live one second longer.
    let begin = Now { millis: stage.now.millis + 1000 * u64::from(TIMEOUT + 1) };
    stage.now = begin;
    let started = Instant::now();
    let (mut busy, mut packets) = (Duration::ZERO, 0);
    while started.elapsed() < Duration::from_millis(2_500) {
        stage.talk(FRAMES);
        for _ in 0..FRAMES / BURST {
            stage.now.millis = begin.millis + started.elapsed().as_millis() as u64;
            busy += stage.breathe();
        }
        packets += FRAMES;
        let over = stage.ground.director.v4.len() as u64 == stage.established;
        if over || !ends && started.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    if ends {
        assert_eq!(stage.ground.director.v4.len() as u64, stage.established, "all are gone");
    }
    stage.clear();
    busy.as_nanos() as f64 / packets as f64
}
