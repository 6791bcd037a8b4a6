//! `inprocess [FILTER]...`: see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "inprocess", about = "The datapath of xlvs in one pinned thread")]
struct Arguments {
    #[command(flatten)]
    options: inprocess::Options,
}

fn main() -> ExitCode {
    match inprocess::run(&Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inprocess: {error}");
            ExitCode::FAILURE
        }
    }
}
