//! The bench command: every bench, one after the other, and the table of goals; or this commit
//! against another one. No figure makes it fail.
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use crate::failure::{Outcome, fail};
use crate::{setup, shell};

/// What to run.
#[derive(clap::Args)]
pub struct Options {
    /// Only these, instead of those that goals and curves are made of
    parts: Vec<Part>,
    /// All parts
    #[arg(long, conflicts_with = "parts")]
    all: bool,
    /// Short windows, and few of them: to see that all runs
    #[arg(long)]
    quick: bool,
    /// Instead: established packets here and at this commit in turns, and their instructions
    #[arg(long, conflicts_with_all = ["quick", "parts", "all"])]
    against: Option<String>,
    /// Instead: the curves of a run as SVG beside its raw figures, of the newest if none is named
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = ["quick", "parts", "all", "against"])]
    plot: Option<Option<PathBuf>>,
    /// Instead: README's table and curves anew, of the run that it names or of this one
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = ["quick", "parts", "all", "against", "plot"])]
    readme: Option<Option<PathBuf>>,
}

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The datapath in one thread.
    Inprocess,
    /// xlvs and a bare AF_XDP loop in turns on veth.
    Rig,
    /// The least that a balancer does and the bare loop in turns on veth.
    Least,
    /// xlvs and nftables in turns on veth.
    Nftables,
    /// xlvs with a capture that finds nothing, and without.
    Watched,
    /// Requests and latency over TCP.
    Tcp,
    /// A million connections listed.
    Listing,
    /// 10,000 servers asked.
    Health,
    /// Instructions of xlvs, a bare loop and IPVS in a guest.
    Guest,
}

/// A command line of the bench program: its words, those of a run that counts, and those that make
/// it short.
struct Run {
    part: Part,
    /// Of a run that counts, on a machine with two cores.
    minutes: u32,
    words: &'static [&'static str],
    full: &'static [&'static str],
    quick: &'static [&'static str],
    /// Whether goals or curves are made of it: others only run when they are asked for.
    told: bool,
}

const SIZES: &[&str] = &["--flows", "1024,65536,1048576"];
const WINDOWS: &[&str] = &["--windows", "2", "--seconds", "1", "--flows", "1024"];

/// In this order.
const RUNS: [Run; 9] = [
    Run {
        part: Part::Inprocess,
        minutes: 6,
        words: &["inprocess", "--instructions"],
        full: &[],
        quick: &["--windows", "9", "1k"],
        told: true,
    },
    Run {
        part: Part::Rig,
        minutes: 19,
        words: &["rig", "--telling", "--sinks", "plain,xdp", "--octets", "64,1400"],
        full: SIZES,
        quick: WINDOWS,
        told: true,
    },
    Run {
        part: Part::Least,
        minutes: 14,
        words: &[
            "rig",
            "--pair",
            "l2fwd,least",
            "--telling",
            "--sinks",
            "plain,xdp",
            "--octets",
            "64",
        ],
        full: &["--flows", "1024,1048576"],
        quick: WINDOWS,
        told: true,
    },
    Run {
        part: Part::Nftables,
        minutes: 9,
        words: &["rig", "--pair", "nftables,xlvs", "--modes", "nat,fullnat", "--octets", "64"],
        full: SIZES,
        quick: WINDOWS,
        told: true,
    },
    Run {
        part: Part::Tcp,
        minutes: 13,
        words: &["tcp", "--ways", "direct,nat,dr,fullnat,haproxy,nginx"],
        full: &["--rounds", "5"],
        quick: &["--quick"],
        told: true,
    },
    Run {
        part: Part::Guest,
        minutes: 29,
        words: &["guest", "l2fwd", "nat", "dr"],
        full: &[],
        quick: &["--windows", "2", "--flows", "1024", "--no-new"],
        told: true,
    },
    Run {
        part: Part::Watched,
        minutes: 2,
        words: &["rig", "--pair", "xlvs,watched", "--modes", "nat,dr", "--octets", "64"],
        full: &["--flows", "1024"],
        quick: WINDOWS,
        told: false,
    },
    Run {
        part: Part::Listing,
        minutes: 4,
        words: &["listing"],
        full: &[],
        quick: &["--pairs", "1", "--seconds", "1"],
        told: false,
    },
    Run {
        part: Part::Health,
        minutes: 4,
        words: &["health"],
        full: &[],
        quick: &["--runs", "1", "--seconds", "12"],
        told: false,
    },
];

/// Runs them; tables go to the terminal, raw figures to `bench/runs/`.
///
/// # Errors
/// When something cannot be built or a bench cannot be run.
pub fn run(options: &Options) -> Outcome {
    setup::run()?;
    if let Some((kind, of)) = options.pictures() {
        return pictures(kind, of);
    }
    let release = ["build", "--release", "--package", "xlvs", "--package", "bench"];
    shell::stream(shell::cargo().args(release))?;
    if let Some(commit) = &options.against {
        return against(commit);
    }
    let wanted = |run: &&Run| match options.parts.as_slice() {
        [] => run.told || options.all,
        parts => parts.contains(&run.part),
    };
    let runs: Vec<&Run> = RUNS.iter().filter(wanted).collect();
    if !shell::is_root() && runs.iter().any(|run| run.part != Part::Inprocess) {
        return fail("benches with namespaces need root: run it with sudo, or `bench inprocess`");
    }
    for (at, run) in runs.iter().enumerate() {
        let left: u32 = runs[at..].iter().map(|run| run.minutes).sum();
        let time = if options.quick { String::new() } else { format!(", some {left} min to go") };
        println!("bench: {:?}, {} of {}{time}", run.part, at + 1, runs.len());
        // What is short is no run to keep.
        let more = if options.quick { &[run.quick, &["--no-file"]].concat() } else { run.full };
        bench(&[run.words, more].concat())?;
    }
    if !options.quick {
        bench(&["plot"])?;
    }
    bench(&["goals"])
}

impl Options {
    /// What is made of a run that there is, by the bench's word for it, and of which.
    fn pictures(&self) -> Option<(&'static str, Option<&PathBuf>)> {
        let plot = self.plot.as_ref().map(|run| ("plot", run.as_ref()));
        plot.or_else(|| self.readme.as_ref().map(|run| ("readme", run.as_ref())))
    }
}

fn pictures(kind: &str, run: Option<&PathBuf>) -> Outcome {
    let run = run.map(|run| run.to_string_lossy());
    let words: Vec<&str> = [kind].into_iter().chain(run.as_deref()).collect();
    bench(&words)
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
