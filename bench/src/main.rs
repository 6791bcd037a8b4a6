//! Benches: the datapath in one process, without a network, and a rig with one.
//!
//! `cargo run --release -p bench -- inprocess [FILTER]...` prints a table and writes the raw
//! figures of every window to `bench/runs/<date>-<machine>/`; `-- rig` does so for packets
//! through xlvs and through a bare loop, in namespaces of its own, as root; `-- listing` lists a
//! million connections meanwhile; `-- tcp` has real clients and servers; `-- health` has 10,000
//! servers asked; `-- guest` counts instructions beside a kernel's IPVS in an emulated machine. Nothing
//! here fails on a figure: whoever reads them judges.
#![forbid(unsafe_code)]

mod against;
mod goals;
mod guest;
mod health;
mod huge_pages;
mod namespaces;
mod plot;
mod process;
mod rig;
mod sheet;
mod tcp;

pub(crate) use inprocess::{flows, machine, measure, report};

use std::{error::Error, io, process::ExitCode};

use clap::{Parser, Subcommand};

use self::huge_pages::HugePages;

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
    /// `inprocess` in turns with that of another commit, and both by callgrind's count
    Against(against::Options),
    /// The table of goals, filled from the raw figures of a run
    Goals(goals::Options),
    /// Curves of a run, as SVG beside its raw figures
    Plot(plot::Options),
    /// README's table and curves, written from a run
    Readme(goals::readme::Options),
    /// xlvs against a bare AF_XDP forwarder on the same veth pairs; needs root
    Rig(rig::Options),
    /// A million connections in a running xlvs: listed, and what that takes from forwarding;
    /// needs root
    Listing(rig::listing::Options),
    /// 10,000 servers asked by one thread every 2 s: how late probes begin, what the thread takes
    Health(health::Options),
    /// xlvs, a bare AF_XDP loop and IPVS in an emulated machine: instructions a packet
    Guest(guest::Options),
    /// A guest's clock, for `guest`
    #[command(hide = true)]
    Beat(guest::beat::Options),
    /// Real TCP through xlvs, HAProxy, nginx and nothing: requests, connections, latency by load;
    /// needs root
    Tcp(tcp::Options),
    /// The generator of `tcp` with requests at a rate
    #[command(hide = true)]
    Pace(tcp::pace::Options),
    /// The rig's bare forwarder
    #[command(hide = true)]
    L2fwd(rig::l2fwd::Options),
    /// A listing's work without a daemon, for `listing`
    #[command(hide = true)]
    Babble(rig::listing::Babble),
    /// The rig's generator
    #[command(hide = true)]
    Generate(rig::generate::Options),
}

/// As a director has them; who is not root has what the machine has.
fn inprocess_on_huge_pages(options: &inprocess::Options) -> io::Result<()> {
    /// For ten million connections of IPv6, and what is beside them.
    const PAGES: u32 = 1024;
    let _pages = HugePages::reserve(PAGES).inspect_err(|why| println!("huge pages: {why}")).ok();
    inprocess::run(options)
}

fn main() -> ExitCode {
    let outcome: Result<(), Box<dyn Error>> = match Arguments::parse().command {
        Bench::Inprocess(options) => inprocess_on_huge_pages(&options).map_err(Into::into),
        Bench::Against(options) => against::run(&options).map_err(Into::into),
        Bench::Goals(options) => goals::run(&options).map_err(Into::into),
        Bench::Plot(options) => plot::run(&options).map_err(Into::into),
        Bench::Readme(options) => goals::readme::run(&options).map_err(Into::into),
        Bench::Rig(options) => rig::run(&options).map_err(Into::into),
        Bench::Listing(options) => rig::listing::run(&options).map_err(Into::into),
        Bench::Health(options) => health::run(&options).map_err(Into::into),
        Bench::Guest(options) => guest::run(&options).map_err(Into::into),
        Bench::Beat(options) => guest::beat::run(&options).map_err(Into::into),
        Bench::Tcp(options) => tcp::run(&options).map_err(Into::into),
        Bench::Pace(options) => tcp::pace::run(&options).map_err(Into::into),
        Bench::Babble(options) => rig::listing::babble(&options).map_err(Into::into),
        Bench::L2fwd(options) => rig::l2fwd::run(&options),
        Bench::Generate(options) => rig::generate::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
