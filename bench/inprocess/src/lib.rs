//! The datapath in one thread, stage by stage and whole, without rings and kernel; and what all
//! benches need: the [`machine`], how it is [measured](measure), where the [`report`] goes.
//!
//! A crate of its own, so that its program is soon built: the budget of instructions is a part of
//! each test run.
#![forbid(unsafe_code)]

mod admit;
pub mod callgrind;
mod carousel;
mod director;
mod find;
pub mod flows;
mod insert;
pub mod machine;
pub mod measure;
mod parse;
pub mod random;
pub mod report;
mod rewrite;
mod storm;
mod verdict;
mod workers;

use std::{io, time::Duration};

use dataplane::forward::{Forward, Protocol, V4, V6};

use crate::{flows::BenchFamily, measure::Figures, report::Report};

/// What to run.
#[derive(clap::Args)]
pub struct Options {
    /// Only benches whose names contain every one of these words
    filters: Vec<String>,
    /// Windows to take of each bench
    #[arg(long, default_value_t = 33, value_parser = clap::value_parser!(u64).range(9..))]
    windows: u64,
    /// The CPU to run on
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Count the instructions of the longest breaths, too: valgrind, some minutes
    #[arg(long)]
    instructions: bool,
    /// Write no file
    #[arg(long)]
    no_file: bool,
}

const MODES: [Forward; 4] = [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun];
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// A number of connections and how it is called.
type Size = (&'static str, u64);
const SIZES: [Size; 4] = [("1k", 1000), ("64k", 64_000), ("1M", 1_000_000), ("10M", 10_000_000)];

/// Runs all benches that the filters let pass.
///
/// # Errors
/// Not enough memory for a table; the report cannot be written.
pub fn run(options: &Options) -> io::Result<()> {
    let machine = machine::Machine::here();
    machine::pin(options.cpu);
    let mut session = Session { options, cpus: machine.cpus, report: Report::begin(machine) };
    parse::run(&mut session)?;
    find::run(&mut session)?;
    rewrite::run(&mut session)?;
    insert::run(&mut session)?;
    admit::run(&mut session)?;
    verdict::run(&mut session)?;
    workers::run(&mut session)?;
    storm::run(&mut session)?;
    if !options.no_file {
        println!("{}", session.report.write("inprocess")?.display());
    }
    Ok(())
}

/// A run in progress.
struct Session<'a> {
    options: &'a Options,
    cpus: usize,
    report: Report,
}

impl Session<'_> {
    /// Whether the filters let a bench pass; it may be costly to prepare.
    fn wants(&self, name: &str) -> bool {
        let words: Vec<&str> = name.split(' ').collect();
        self.options.filters.iter().all(|filter| words.contains(&filter.as_str()))
    }

    /// Takes the windows of a bench. Nothing happens between its timed parts but what the
    /// window itself does.
    fn measure(&mut self, name: &str, window: impl FnMut() -> (Duration, usize)) -> Figures {
        let figures = measure::windows(self.options.windows as usize, window);
        self.report.add(name, figures.clone());
        figures
    }
}

/// A bench that is generic over the family, for both.
trait ForFamily {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()>;
}

fn for_families(bench: &impl ForFamily, session: &mut Session<'_>) -> io::Result<()> {
    bench.run::<V4>(session)?;
    bench.run::<V6>(session)
}
