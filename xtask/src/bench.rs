//! The bench command: the datapath in one process, then the rig. No figure makes it fail.
use crate::failure::Outcome;
use crate::{setup, shell};

/// What to leave out.
#[derive(clap::Args)]
pub struct Options {
    /// One short window of each kind in the rig, instead of many minutes
    #[arg(long)]
    quick: bool,
}

/// Runs both; tables go to the terminal, raw figures to `bench/runs/`.
///
/// # Errors
/// When something cannot be built or a bench cannot be run.
pub fn run(options: &Options) -> Outcome {
    setup::run()?;
    let release = ["build", "--release", "--package", "xlvs", "--package", "bench"];
    shell::stream(shell::cargo().args(release))?;
    bench(&["inprocess"])?;
    if !shell::is_root() {
        println!("bench: the rig needs root, left out");
        return Ok(());
    }
    let quick = ["--windows", "2", "--seconds", "1", "--octets", "64", "--flows", "1024"];
    let rig: &[&str] = if options.quick { &quick } else { &[] };
    bench(&[&["rig"], rig].concat())
}

fn bench(words: &[&str]) -> Outcome {
    let run = ["run", "--quiet", "--release", "--package", "bench", "--"];
    shell::stream(shell::cargo().args(run).args(words))
}
