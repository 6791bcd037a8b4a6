//! `cargo xtask`: everything around the product, one command each.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::failure::Outcome;
use xtask::lab::{self, Lab, Topology};
use xtask::{bench, churn, deb, demo, guest, oracle, setup, test};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, demo, tests and lab of xlvs")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that the build and the lab need
    Setup,
    /// Show the director at work: a client, a router and three servers, in every mode
    Demo(demo::Options),
    /// Let connections come and go in all modes, and see that memory and frames stay as they are
    Churn(churn::Options),
    /// Format, lints and all tests, those of the lab among them
    Test,
    /// Build the Debian package, with man pages and completions
    Deb(deb::Options),
    /// Measure: the datapath in one process, and xlvs against a bare forwarder on veth
    Bench(bench::Options),
    /// Boot a Debian kernel in an emulated machine and run a script in it
    Guest(guest::Options),
    /// Play the scenarios of tests/oracle to a kernel with IPVS, and compare with the recordings
    Oracle(oracle::Options),
    /// Networks of namespaces to try things in by hand
    #[command(subcommand)]
    Lab(LabTask),
}

#[derive(Subcommand)]
enum LabTask {
    /// Build one and leave it standing: nat, fullnat, dr, dr-routed or tun
    Build {
        /// The topology
        mode: String,
        /// RX and TX queues of every interface
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
        queues: u32,
    },
    /// List those that stand
    List,
    /// Take one down
    Destroy {
        /// Its name, as listed
        run: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Outcome {
    match task {
        Task::Setup => setup::run(),
        Task::Demo(options) => demo::run(&options),
        Task::Churn(options) => churn::run(&options),
        Task::Test => test::run(),
        Task::Deb(options) => deb::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Guest(options) => guest::run(&options),
        Task::Oracle(options) => oracle::run(&options),
        Task::Lab(LabTask::Build { mode, queues }) => {
            let lab = Lab::build(Topology::named(&mode)?, queues)?;
            print!("{}", demo::how_to_play(&lab));
            lab.keep()
        }
        Task::Lab(LabTask::List) => {
            for (run, kept) in lab::list()? {
                println!("{run}  {}", if kept { "kept" } else { "in use" });
            }
            Ok(())
        }
        Task::Lab(LabTask::Destroy { run }) => lab::destroy(&run),
    }
}
