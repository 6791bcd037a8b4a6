//! The rig: xlvs and a bare AF_XDP l2fwd in turns on the same veth pairs.
//!
//! A generator in the kernel (CPU 0) floods the box with UDP; the box (CPU 1) sends what it
//! can to a sink. The order is l2fwd, xlvs, xlvs, l2fwd, so that a machine that slowly gets
//! busier disturbs both alike; each neighbouring pair gives one ratio.

pub(crate) mod config;
mod forwarder;
pub(crate) mod generate;
pub(crate) mod ground;
pub(crate) mod l2fwd;
pub(crate) mod listing;

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use dataplane::forward::Forward;
use serde::Serialize;

pub(crate) use self::forwarder::binary as xlvs_binary;
use self::{
    forwarder::Forwarder,
    ground::{Ground, Sink},
};
use crate::{machine::Machine, measure::Figures, report};

/// The CPUs of generator and box.
const GENERATOR: usize = 0;
const BOX: usize = 1;
/// Connections open and caches warm in this time.
const WARM_UP: Duration = Duration::from_millis(700);
/// The generator goes on for as long as a window may begin late.
const SPARE: Duration = Duration::from_millis(400);

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The xlvs binary; by default the one beside this program
    #[arg(long)]
    xlvs: Option<PathBuf>,
    /// Forwarding methods
    #[arg(long, value_delimiter = ',', default_values = ["nat", "fullnat", "dr", "tun"])]
    modes: Vec<String>,
    /// Octets of a frame on the wire, with the FCS
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1400])]
    octets: Vec<usize>,
    /// Flows; powers of two
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 65536])]
    flows: Vec<u32>,
    /// How the sink drops
    #[arg(long, value_delimiter = ',', default_values = ["plain"])]
    sinks: Vec<Sink>,
    /// Windows of each of the two; even
    #[arg(long, default_value_t = 6)]
    windows: usize,
    /// Seconds of a window
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Write no file
    #[arg(long)]
    no_file: bool,
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    mode: String,
    octets: usize,
    flows: u32,
    sink: Sink,
    /// xlvs over l2fwd, one for each pair.
    ratio: Figures,
    /// Million packets a second out of the box.
    l2fwd: Vec<Window>,
    xlvs: Vec<Window>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    rows: Vec<Row>,
}

/// What one window gave, in million packets a second.
#[derive(Clone, Copy, Serialize)]
struct Window {
    /// Made by the generator; what is more than `sent` was dropped on the way in.
    offered: f64,
    /// Left the box.
    sent: f64,
    /// The forwarder's share of its CPU. It polls, so what is missing went to other work on
    /// this machine, and the window says little.
    cpu: f64,
}

/// Who forwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    L2fwd,
    Xlvs,
}

/// Runs all combinations.
///
/// # Errors
/// No root, no namespaces, xlvs does not start.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let machine = Machine::here();
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
    println!("generator on CPU {GENERATOR}, box on CPU {BOX}; Mpps are medians");
    println!("cpu: what the forwarder had of its CPU in its worst window; repeat below 95 %");
    println!(
        "{:<8} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "mode", "octets", "flows", "sink", "offered", "l2fwd", "xlvs", "ratio", "spread", "cpu"
    );
    let mut report = Report { machine, rows: Vec::new() };
    for sink in &options.sinks {
        let rig = Rig { ground: Ground::build(*sink)?, options };
        for mode in &options.modes {
            for octets in &options.octets {
                for flows in &options.flows {
                    report.rows.push(rig.row(*sink, mode, *octets, *flows)?);
                }
            }
        }
    }
    if !options.no_file {
        println!("{}", report::write(&report.machine, "rig", &report)?.display());
    }
    Ok(())
}

struct Rig<'a> {
    ground: Ground,
    options: &'a Options,
}

impl Rig<'_> {
    fn row(&self, sink: Sink, mode: &str, octets: usize, flows: u32) -> io::Result<Row> {
        let forward = mode_named(mode)?;
        let mut windows = [Vec::new(), Vec::new()];
        for turn in 0..self.options.windows {
            let order =
                if turn % 2 == 0 { [Who::L2fwd, Who::Xlvs] } else { [Who::Xlvs, Who::L2fwd] };
            for who in order {
                windows[who as usize].push(self.window(who, forward, octets, flows)?);
            }
        }
        let [l2fwd, xlvs] = windows;
        let ratios = xlvs.iter().zip(&l2fwd).map(|(ours, bare)| ours.sent / bare.sent).collect();
        let row =
            Row { mode: mode.into(), octets, flows, sink, ratio: Figures::of(ratios), l2fwd, xlvs };
        row.print();
        Ok(row)
    }

    /// One window of one of the two.
    fn window(&self, who: Who, mode: Forward, octets: usize, flows: u32) -> io::Result<Window> {
        let forwarder = match who {
            Who::L2fwd => Forwarder::l2fwd(&self.ground)?,
            Who::Xlvs => {
                let xlvs = self.options.xlvs.as_deref();
                Forwarder::xlvs(&self.ground, xlvs, &config::yaml(mode, BOX, ""))?
            }
        };
        let seconds = Duration::from_secs_f64(self.options.seconds);
        let generator = generate::start(&self.ground, octets, flows, WARM_UP + seconds + SPARE)?;
        thread::sleep(WARM_UP);
        let (before, busy, start) = (self.ground.left()?, forwarder.cpu_seconds()?, Instant::now());
        thread::sleep(seconds);
        let (after, took) = (self.ground.left()?, start.elapsed());
        let cpu = (forwarder.cpu_seconds()? - busy) / took.as_secs_f64();
        let offered = generate::offered(generator)?;
        forwarder.end(&self.ground)?;
        let sent = (after - before) as f64 / took.as_secs_f64();
        Ok(Window { offered: offered / 1e6, sent: sent / 1e6, cpu })
    }
}

impl Row {
    fn print(&self) {
        let median = |windows: &[Window], of: fn(&Window) -> f64| {
            Figures::of(windows.iter().map(of).collect()).median
        };
        println!(
            "{:<8} {:>6} {:>6} {:>6} {:>8.2} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>5.0}%",
            self.mode,
            self.octets,
            self.flows,
            if self.sink == Sink::Plain { "plain" } else { "xdp" },
            median(&self.xlvs, |w| w.offered),
            median(&self.l2fwd, |w| w.sent),
            median(&self.xlvs, |w| w.sent),
            self.ratio.median,
            self.ratio.spread,
            100.0 * self.l2fwd.iter().chain(&self.xlvs).map(|w| w.cpu).fold(1.0, f64::min),
        );
    }
}

pub(crate) fn mode_named(name: &str) -> io::Result<Forward> {
    let modes = [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun];
    let mode = modes.into_iter().find(|mode| mode.name() == name);
    mode.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no such mode: {name}")))
}
