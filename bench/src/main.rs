//! Benches: the datapath in one process, without a network.
//!
//! `cargo run --release -p bench -- inprocess [FILTER]...` prints a table and writes the raw
//! figures of every window to `bench/runs/<date>-<machine>/`. Nothing here fails on a figure:
//! whoever reads them judges.
#![forbid(unsafe_code)]

mod carousel;
mod director;
mod flows;
mod inprocess;
mod machine;
mod measure;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Benches of xlvs")]
struct Arguments {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Parse, find, admit, rewrite and parse-to-verdict in one pinned thread
    Inprocess(inprocess::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Bench::Inprocess(options) => inprocess::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
