//! The bench command: the datapath in one process, then the rig; or this commit against another
//! one. No figure makes it fail.
use std::process::Command;

use crate::failure::Outcome;
use crate::{setup, shell};

/// What to leave out.
#[derive(clap::Args)]
pub struct Options {
    /// One short window of each kind in the rig, instead of many minutes
    #[arg(long)]
    quick: bool,
    /// Instead: established packets here and at this commit in turns, and their instructions
    #[arg(long, conflicts_with = "quick")]
    against: Option<String>,
}

/// Runs both; tables go to the terminal, raw figures to `bench/runs/`.
///
/// # Errors
/// When something cannot be built or a bench cannot be run.
pub fn run(options: &Options) -> Outcome {
    setup::run()?;
    let release = ["build", "--release", "--package", "xlvs", "--package", "bench"];
    shell::stream(shell::cargo().args(release))?;
    if let Some(commit) = &options.against {
        return against(commit);
    }
    bench(&["inprocess"])?;
    if !shell::is_root() {
        println!("bench: the rig needs root, left out");
        return Ok(());
    }
    let quick = ["--windows", "2", "--seconds", "1", "--octets", "64", "--flows", "1024"];
    let rig: &[&str] = if options.quick { &quick } else { &[] };
    bench(&[&["rig"], rig].concat())
}

/// Builds the bench of another commit below `target/` and runs both.
fn against(commit: &str) -> Outcome {
    let place = shell::repository().join("target/against");
    let tree = place.join("tree");
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(shell::repository()).args(words).arg(&tree);
        git
    };
    // One that an interrupted run left behind.
    let _ = shell::output(&mut git(&["worktree", "remove", "--force"]));
    shell::output(git(&["worktree", "add", "--detach"]).arg(commit))?;
    let build = ["build", "--release", "--package", "bench", "--target-dir"];
    let built =
        shell::stream(shell::cargo().current_dir(&tree).args(build).arg(place.join("build")));
    let ran = built.and_then(|()| {
        let program = place.join("build/release/bench");
        bench(&["against", &program.to_string_lossy(), "--commit", commit, "verdict", "1k"])
    });
    shell::output(&mut git(&["worktree", "remove", "--force"]))?;
    ran
}

fn bench(words: &[&str]) -> Outcome {
    let run = ["run", "--quiet", "--release", "--package", "bench", "--"];
    shell::stream(shell::cargo().args(run).args(words))
}
