//! The simulation: workers over one director, a random worker for every packet, fake
//! clients, servers and routers, and the seven laws checked after every breath.
//!
//! A failing seed prints itself and the last events; `XLVS_SEED=<seed>` runs that one alone
//! and prints every event.

mod abuse;
mod crowd;
mod desk;
mod errors;
mod golden;
mod ground;
mod hosts;
mod laws;
mod lives;
mod random;
mod scenarios;
mod talk;
mod tally;
mod trouble;
mod verdicts;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use tally::Tally;
use world::World;

const SEEDS: u64 = 1_000;
const STEPS: usize = 400;

fn run(seed: u64, trace: bool) -> Tally {
    let mut world = World::new(seed, trace);
    for _ in 0..STEPS {
        world.step();
    }
    world.finish();
    std::mem::take(&mut world.tally)
}

fn run_all() -> Tally {
    let next = AtomicU64::new(0);
    let work = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return sum;
            }
            sum.merge(run(seed, false));
        }
    };
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(work));
        let mut sum = Tally::default();
        for thread in threads {
            sum.merge(thread.join().expect("no law was broken"));
        }
        sum
    })
}

#[test]
fn laws_hold_whatever_happens() {
    if let Ok(seed) = std::env::var("XLVS_SEED") {
        run(seed.parse().expect("XLVS_SEED is a number"), true);
        return;
    }
    let tally = run_all();
    println!("{tally:?}");
    tally.check();
}
