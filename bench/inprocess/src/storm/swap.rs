//! Another snapshot every few breaths, while established packets go on.

use std::{io, time::Duration};

use dataplane::worker::BURST;

use super::stage::{Setting, Stage};
use crate::{Session, carousel::FRAMES};

/// How many breaths there are between two snapshots.
const EVERY: [usize; 3] = [1, 8, 64];

/// What is another one in it.
#[derive(Clone, Copy)]
enum News {
    /// Nothing that concerns packets: a health state, a weight.
    Weight,
    /// Routes: each connection looks for its hop anew.
    Routes,
}

pub(super) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for (news, what) in [(News::Weight, "weight"), (News::Routes, "routes")] {
        for every in EVERY {
            let name = format!("snapshot {what} every {every}");
            if session.wants(&name) {
                let mut stage = Stage::new(&Setting::default())?;
                let mut number = 1;
                session.measure(&name, || window(&mut stage, (news, every), &mut number));
            }
        }
    }
    if session.wants("snapshot none") {
        let mut stage = Stage::new(&Setting::default())?;
        session.measure("snapshot none", || window(&mut stage, (News::Weight, FRAMES), &mut 1));
    }
    Ok(())
}

/// Making and publishing is control's work and not timed; the worker's part is.
fn window(stage: &mut Stage, (news, every): (News, usize), number: &mut u32) -> (Duration, usize) {
    stage.talk(FRAMES);
    let mut took = Duration::ZERO;
    for breath in 1..=FRAMES / BURST {
        if breath % every == 0 {
            *number += 1;
            let routes = match news {
                News::Weight => 1,
                News::Routes => *number,
            };
            let weight = 1 + *number % 7;
            stage.publish(routes, |services| {
                let server = services.servers[0].as_mut();
                server.expect("it is there").weight = weight;
            });
        }
        took += stage.breathe();
    }
    (took, FRAMES)
}
