//! Real TCP: clients and servers of other projects, with xlvs, HAProxy, nginx and nothing between.
//!
//! Clients and servers have CPU 0, the box CPU 1. Every window has namespaces of its own. First
//! [`wrk`] finds for each way how many requests and connections a second go, when each connection
//! asks as soon as it has its answer. Clients who do not wait for each other come one by one, and
//! cost more each: which rate of theirs a way holds is searched for with [`pace`]. At parts of that
//! rate latencies are read. The ways take turns, in every other round from the last one to the
//! first, so that a machine that slowly gets busier disturbs all alike.

mod ground;
pub(crate) mod pace;
mod row;
mod usage;
mod way;
mod wrk;

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Serialize;

use self::{
    ground::{Ground, VIP},
    pace::Paced,
    row::{Capacity, CapacityWindow, Kind, Latency, LatencyWindow},
    usage::Usage,
    way::{Middle, Way},
};
use crate::{machine::Machine, report};

/// The CPUs of clients and servers, and of the box.
const ENDS: usize = 0;
const BOX: usize = 1;
/// The generator's real-time priority: it is on time, whatever the servers do.
const PRIORITY: &str = "10";
/// Searches for the rate that a way holds, and their steps: each halves the factor that is open.
const SEARCHES: u32 = 2;
const STEPS: u32 = 6;
/// The search begins between the way's requests a second by wrk and this part of them.
const LOWEST: f64 = 0.05;
/// A rate is held if the median latency of a second is below this, in microseconds: with one
/// request of a hundred too many, half of them wait longer at its end.
const HELD: f64 = 5_000.0;
/// What must be installed.
const PROGRAMS: [&str; 7] = ["wrk", "haproxy", "nginx", "curl", "chrt", "taskset", "ss"];

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The xlvs binary; by default the one beside this program
    #[arg(long)]
    xlvs: Option<PathBuf>,
    /// Ways from the client to the servers
    #[arg(long, value_delimiter = ',', default_values = ["direct", "forward", "nat", "dr", "fullnat", "haproxy", "nginx"])]
    ways: Vec<Way>,
    /// Rates at which latencies are read, in percent of the rate that the way holds
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 80])]
    loads: Vec<u32>,
    /// Rounds of all ways; even
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of a window
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=4))]
    seconds: u64,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Two rounds of a second, to see whether it works
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Write no file
    #[arg(long)]
    no_file: bool,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    connections: usize,
    seconds: u64,
    rounds: u32,
    capacities: Vec<Capacity>,
    latencies: Vec<Latency>,
}

/// Runs all ways.
///
/// # Errors
/// No root, a program is missing or does not start, no page comes through.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    look_for_programs()?;
    let machine = Machine::here();
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
    println!(
        "clients and servers on CPU {ENDS}, box on CPU {BOX}, {} connections",
        options.connections
    );
    let (rounds, seconds) = if options.quick { (2, 1) } else { (options.rounds, options.seconds) };
    let bench = Bench { options, rounds, seconds };
    let capacities = bench.capacities()?;
    Capacity::print_all(&capacities);
    let held = bench.held(&capacities)?;
    let latencies = bench.latencies(&held)?;
    Latency::print_all(&latencies);
    let connections = options.connections;
    let report = Report { machine, connections, seconds, rounds, capacities, latencies };
    if !options.no_file {
        println!("{}", report::write(&report.machine, "tcp", &report)?.display());
    }
    Ok(())
}

fn look_for_programs() -> io::Result<()> {
    for program in PROGRAMS {
        let found = Command::new("which").arg(program).stdout(Stdio::null()).status()?;
        if !found.success() {
            let remedy = format!("no {program} here: cargo xtask setup installs it");
            return Err(io::Error::new(io::ErrorKind::NotFound, remedy));
        }
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    rounds: u32,
    seconds: u64,
}

impl Bench<'_> {
    /// Requests and connections a second of all ways.
    fn capacities(&self) -> io::Result<Vec<Capacity>> {
        let mut windows: Vec<(Way, Kind, CapacityWindow)> = Vec::new();
        self.in_turns(self.rounds, |round, way| {
            for kind in [Kind::Requests, Kind::Connections] {
                let window = self.capacity(way, kind)?;
                println!(
                    "round {}/{}: {:<8} {:>8.0} {}/s",
                    round + 1,
                    self.rounds,
                    way.name(),
                    window.per_second,
                    kind.name()
                );
                windows.push((way, kind, window));
            }
            Ok(())
        })?;
        Ok(Capacity::of_all(&self.options.ways, &windows))
    }

    /// The rate that each way holds: the lower one of two searches.
    fn held(&self, capacities: &[Capacity]) -> io::Result<Vec<(Way, f64)>> {
        let mut found = Vec::new();
        self.in_turns(SEARCHES, |_, way| {
            let rate = self.search(way, Capacity::requests(capacities, way))?;
            println!("{:<8} holds {rate:.0} requests/s", way.name());
            found.push((way, rate));
            Ok(())
        })?;
        let lowest = |way: &Way| {
            let rates = found.iter().filter(|(of, _)| of == way).map(|(_, rate)| *rate);
            (*way, rates.fold(f64::INFINITY, f64::min))
        };
        Ok(self.options.ways.iter().map(lowest).collect())
    }

    /// One search, between a low rate and one that is too high.
    fn search(&self, way: Way, most: f64) -> io::Result<f64> {
        let (ground, middle) = self.stand(way)?;
        let (mut held, mut too_high) = (most * LOWEST, most);
        for step in 0..STEPS {
            let rate = (held * too_high).sqrt();
            match self.paced(&ground, rate, 1, step)?.p50 < HELD {
                true => held = rate,
                false => too_high = rate,
            }
        }
        middle.end(&ground)?;
        Ok(held.round())
    }

    /// Latencies of all ways at all loads.
    fn latencies(&self, held: &[(Way, f64)]) -> io::Result<Vec<Latency>> {
        let mut windows: Vec<(Way, u32, LatencyWindow)> = Vec::new();
        self.in_turns(self.rounds, |round, way| {
            let most = held.iter().find(|(of, _)| *of == way).map_or(f64::NAN, |(_, rate)| *rate);
            for load in &self.options.loads {
                let rate = (most * f64::from(*load) / 100.0).round();
                let window = self.latency(way, rate, round)?;
                println!(
                    "round {}/{}: {:<8} {load:>3} %: p50 {:.0} p99 {:.0} p99.9 {:.0} us",
                    round + 1,
                    self.rounds,
                    way.name(),
                    window.paced.p50,
                    window.paced.p99,
                    window.paced.p999
                );
                windows.push((way, *load, window));
            }
            Ok(())
        })?;
        Ok(Latency::of_all(&self.options.ways, &self.options.loads, &windows))
    }

    /// All ways in every round, in changing order.
    fn in_turns(
        &self,
        rounds: u32,
        mut sitting: impl FnMut(u32, Way) -> io::Result<()>,
    ) -> io::Result<()> {
        for round in 0..rounds {
            let mut ways = self.options.ways.clone();
            if round % 2 == 1 {
                ways.reverse();
            }
            for way in ways {
                sitting(round, way).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", way.name()))
                })?;
            }
        }
        Ok(())
    }

    /// One window of wrk, after a second to warm up.
    fn capacity(&self, way: Way, kind: Kind) -> io::Result<CapacityWindow> {
        let (ground, middle) = self.stand(way)?;
        let wrk = |seconds| {
            wrk::run(&ground, self.options.connections, seconds, kind == Kind::Connections)
        };
        wrk(1)?;
        let before = Usage::now(&middle)?;
        let run = wrk(self.seconds)?;
        let spent = before.since(&middle)?;
        middle.end(&ground)?;
        Ok(CapacityWindow::of(&run, &spent))
    }

    /// One window at a rate, with arrivals that are the same in all ways of a round.
    fn latency(&self, way: Way, rate: f64, round: u32) -> io::Result<LatencyWindow> {
        let (ground, middle) = self.stand(way)?;
        let before = Usage::now(&middle)?;
        let paced = self.paced(&ground, rate, self.seconds, round)?;
        let spent = before.since(&middle)?;
        middle.end(&ground)?;
        Ok(LatencyWindow::of(rate, paced, &spent))
    }

    fn stand(&self, way: Way) -> io::Result<(Ground, Middle)> {
        let ground = Ground::build(way)?;
        let middle = Middle::start(&ground, way, self.options.xlvs.as_deref())?;
        Ok((ground, middle))
    }

    fn paced(&self, ground: &Ground, rate: f64, seconds: u64, seed: u32) -> io::Result<Paced> {
        let here = std::env::current_exe()?.to_string_lossy().into_owned();
        let server = format!("{VIP}:80");
        let (rate, seconds) = (rate.to_string(), seconds.to_string());
        let (connections, seed) = (self.options.connections.to_string(), (seed + 1).to_string());
        let pace = ["chrt", "-f", PRIORITY, &here, "pace", &server];
        let how = ["--rate", &rate, "--seconds", &seconds];
        let who = ["--connections", &connections, "--seed", &seed];
        let words = [&pace[..], &how[..], &who[..]].concat();
        let mut command = ground.pinned("client", ENDS, &words);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
