//! The rig: two forwarders in turns on the same veth pairs, by default a bare AF_XDP l2fwd and
//! xlvs.
//!
//! A generator in the kernel (CPU 0) floods the box with UDP; the box (CPU 1) sends what it
//! can to a sink. The order is l2fwd, xlvs, xlvs, l2fwd, so that a machine that slowly gets
//! busier disturbs both alike; each neighbouring pair gives one ratio.

pub(crate) mod config;
pub(crate) mod forwarder;
pub(crate) mod generate;
pub(crate) mod ground;
pub(crate) mod l2fwd;
mod least;
pub(crate) mod listing;
mod nftables;

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use dataplane::forward::Forward;
use serde::Serialize;

use self::{
    forwarder::{Forwarder, Watch},
    ground::{Ground, Sink},
    nftables::Nftables,
};
use crate::{huge_pages::HugePages, machine::Machine, measure::Figures, report};

/// The CPUs of generator and box.
const GENERATOR: usize = 0;
const BOX: usize = 1;
/// Caches warm in this time, and each connection opens in that time more.
const WARM_UP: Duration = Duration::from_millis(700);
const OPENING: Duration = Duration::from_micros(5);
/// The generator goes on for as long as a window may begin late.
const SPARE: Duration = Duration::from_millis(400);

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The xlvs binary; by default the one beside this program
    #[arg(long)]
    xlvs: Option<PathBuf>,
    /// The binary of `other`: another build of xlvs
    #[arg(long)]
    other: Option<PathBuf>,
    /// Which two: the ratio is that of the second to the first
    #[arg(long, value_delimiter = ',', default_values = ["l2fwd", "xlvs"])]
    pair: Vec<Who>,
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
    /// Huge pages that the machine has for the run, of 2 MiB; 0 leaves it as it is
    #[arg(long, default_value_t = 512)]
    pages: u32,
    /// Only combinations that tell something new: see `bench/runs/README.md`
    #[arg(long)]
    telling: bool,
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
    /// The second of the pair over the first, one for each pair of windows.
    ratio: Figures,
    /// Million packets a second out of the box, of the first and of the second.
    windows: [Vec<Window>; 2],
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    pair: [Who; 2],
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
    /// this machine, and the window says little. The kernel's is not known (NaN).
    cpu: f64,
    /// The share of the window in which an xlvs had packets in its hands: what is missing it spent
    /// looking for some, and the generator was the limit. Of others, and where it is not asked for, it is not known (NaN).
    busy: f64,
}

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    /// The bare loop.
    L2fwd,
    /// The bare loop with the least that a balancer does.
    Least,
    /// xlvs.
    Xlvs,
    /// Another build of xlvs: a change and what was before it, in turns.
    Other,
    /// xlvs while a capture looks for a client that is not there.
    Watched,
    /// The kernel's NAT, in the generator's own CPU time.
    Nftables,
    /// The kernel's NAT on the box's CPU (RPS).
    Steered,
}

/// Runs all combinations.
///
/// # Errors
/// No root, no namespaces, xlvs does not start.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let pair: [Who; 2] = options.pair.clone().try_into().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "--pair: two forwarders, as in l2fwd,xlvs")
    })?;
    let names = pair.map(|who| format!("{who:?}").to_lowercase());
    if pair.contains(&Who::Other) && options.other.is_none() {
        let which = "other: name its binary with --other PATH";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, which));
    }
    let _pages = HugePages::reserve(options.pages)?;
    let machine = Machine::here();
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
    println!("generator on CPU {GENERATOR}, box on CPU {BOX}; Mpps are medians");
    println!("cpu: what the forwarder had of its CPU in its worst window; repeat below 95 %");
    println!("busy: how long of its least busy window an xlvs had packets to forward");
    println!(
        "{:<8} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6}",
        "mode",
        "octets",
        "flows",
        "sink",
        "offered",
        names[0],
        names[1],
        "ratio",
        "spread",
        "cpu",
        "busy"
    );
    let mut report = Report { machine, pair, rows: Vec::new() };
    for sink in &options.sinks {
        let rig = Rig { ground: Ground::build(*sink)?, options, pair };
        for mode in &options.modes {
            for octets in &options.octets {
                for flows in &options.flows {
                    if !options.telling || tells(*sink, mode, *octets, *flows) {
                        report.rows.push(rig.row(*sink, mode, *octets, *flows)?);
                    }
                }
            }
        }
    }
    if !options.no_file {
        let kind = match pair {
            [Who::L2fwd, Who::Xlvs] => "rig".to_owned(),
            _ => format!("rig-{}-{}", names[0], names[1]),
        };
        println!("{}", report::write(&report.machine, &kind, &report)?.display());
    }
    Ok(())
}

/// Large frames and the other sink are looked at with few connections only, and what lies between
/// few and many in two modes.
fn tells(sink: Sink, mode: &str, octets: usize, flows: u32) -> bool {
    const FEW: u32 = 1 << 10;
    const MANY: u32 = 1 << 20;
    let small = octets < 128;
    let of_two = ["nat", "dr"].contains(&mode);
    match (sink, small) {
        (Sink::Plain, true) => of_two || [FEW, MANY].contains(&flows),
        (Sink::Xdp, true) => flows == FEW,
        (Sink::Plain, false) => flows == FEW && of_two,
        (Sink::Xdp, false) => false,
    }
}

struct Rig<'a> {
    ground: Ground,
    options: &'a Options,
    pair: [Who; 2],
}

impl Rig<'_> {
    fn row(&self, sink: Sink, mode: &str, octets: usize, flows: u32) -> io::Result<Row> {
        let forward = mode_named(mode)?;
        let mut windows = [Vec::new(), Vec::new()];
        for turn in 0..self.options.windows {
            for at in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
                windows[at].push(self.window(self.pair[at], forward, octets, flows)?);
            }
        }
        let both = windows[0].iter().zip(&windows[1]);
        let ratio = Figures::of(both.map(|(first, second)| second.sent / first.sent).collect());
        let row = Row { mode: mode.into(), octets, flows, sink, ratio, windows };
        row.print();
        Ok(row)
    }

    /// One window of one of the two.
    fn window(&self, who: Who, mode: Forward, octets: usize, flows: u32) -> io::Result<Window> {
        let running = self.start(who, mode, flows)?;
        // A bare loop has no connections to open.
        let open = if who == Who::L2fwd { 0 } else { flows };
        let warm_up = WARM_UP + OPENING * open;
        let seconds = Duration::from_secs_f64(self.options.seconds);
        let generator = generate::start(&self.ground, octets, flows, warm_up + seconds + SPARE)?;
        thread::sleep(warm_up);
        let used = running.seconds()?;
        let (before, start) = (self.ground.left()?, Instant::now());
        thread::sleep(seconds);
        let (after, took) = (self.ground.left()?, start.elapsed());
        let now = running.seconds()?;
        let [cpu, busy] = [0, 1].map(|at| (now[at] - used[at]) / took.as_secs_f64());
        let offered = generate::offered(generator)?;
        running.end(&self.ground)?;
        let sent = (after - before) as f64 / took.as_secs_f64();
        Ok(Window { offered: offered / 1e6, sent: sent / 1e6, cpu, busy })
    }

    fn start(&self, who: Who, mode: Forward, flows: u32) -> io::Result<Running> {
        let Options { xlvs: binary, other, .. } = self.options;
        let xlvs = |binary: &Option<PathBuf>| {
            let limit = format!("limits: {{connections: {}}}\n", flows.max(1 << 16) * 2);
            let yaml = config::yaml(mode, BOX, &limit);
            Forwarder::xlvs(&self.ground, binary.as_deref(), &yaml)
        };
        Ok(match who {
            Who::L2fwd => Running::Program(Forwarder::l2fwd(&self.ground, None)?, None),
            Who::Least => Running::Program(Forwarder::l2fwd(&self.ground, Some(mode))?, None),
            Who::Xlvs => Running::Program(xlvs(binary)?, None),
            Who::Other => Running::Program(xlvs(other)?, None),
            Who::Watched => {
                let forwarder = xlvs(binary)?;
                let watch = forwarder.watch(&self.ground, binary.as_deref())?;
                Running::Program(forwarder, Some(watch))
            }
            Who::Nftables => Running::Kernel(Nftables::start(&self.ground, mode, None)?),
            Who::Steered => Running::Kernel(Nftables::start(&self.ground, mode, Some(BOX))?),
        })
    }
}

/// A forwarder at work.
enum Running {
    Program(Forwarder, Option<Watch>),
    Kernel(Nftables),
}

impl Running {
    /// CPU time that it has used, and for how long it had packets to forward.
    fn seconds(&self) -> io::Result<[f64; 2]> {
        match self {
            Self::Program(forwarder, _) => {
                Ok([forwarder.cpu_seconds()?, forwarder.busy_seconds()?.unwrap_or(f64::NAN)])
            }
            Self::Kernel(_) => Ok([f64::NAN; 2]),
        }
    }

    fn end(self, ground: &Ground) -> io::Result<()> {
        match self {
            Self::Program(forwarder, watch) => {
                drop(watch);
                forwarder.end(ground)
            }
            Self::Kernel(nftables) => nftables.end(ground),
        }
    }
}

impl Row {
    fn print(&self) {
        let median = |windows: &[Window], of: fn(&Window) -> f64| {
            Figures::of(windows.iter().map(of).collect()).median
        };
        let least = |of: fn(&Window) -> f64| {
            100.0 * self.windows.iter().flatten().map(of).fold(1.0, f64::min)
        };
        println!(
            "{:<8} {:>6} {:>6} {:>6} {:>8.2} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>5.0}% {:>5.0}%",
            self.mode,
            self.octets,
            self.flows,
            if self.sink == Sink::Plain { "plain" } else { "xdp" },
            median(&self.windows[1], |w| w.offered),
            median(&self.windows[0], |w| w.sent),
            median(&self.windows[1], |w| w.sent),
            self.ratio.median,
            self.ratio.spread,
            least(|w| w.cpu),
            least(|w| w.busy),
        );
    }
}

pub(crate) fn mode_named(name: &str) -> io::Result<Forward> {
    let modes = [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun];
    let mode = modes.into_iter().find(|mode| mode.name() == name);
    mode.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no such mode: {name}")))
}
