//! xlvs, a bare AF_XDP loop and the kernel's IPVS in turns in the same guest: a new kernel of
//! Debian's with virtio-net, emulated, so that one virtual nanosecond is one instruction.
//!
//! The guest has one CPU, so all that a packet takes is counted on it: interrupts, driver, stack
//! and forwarder. It is flooded by this process, so it always has something to do; its clock and
//! counters are read in it ([`beat`]), and what it sends is looked at here ([`witness`]).

pub(crate) mod beat;
mod flood;
mod forwarder;
mod ground;
mod witness;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use xtask::{
    failure::{Outcome, fail},
    guest::{Guest, Kernel, Plan, Release, Trunk},
};

use self::{
    beat::Window,
    flood::{Flood, Flows},
    forwarder::Forwarder,
    witness::Witness,
};
use crate::{machine::Machine, measure::Figures, report};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only rows with one of these words in their names, as `xlvs nat`
    words: Vec<String>,
    /// The xlvs binary; by default the one beside this program
    #[arg(long)]
    xlvs: Option<PathBuf>,
    /// The program with the bare loop for the guest; by default this one
    #[arg(long)]
    bench: Option<PathBuf>,
    /// Connections, in turns
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 65536])]
    flows: Vec<u64>,
    /// Windows of each row
    #[arg(long, default_value_t = 7)]
    windows: usize,
    /// Milliseconds of a window, in the guest: a million instructions each
    #[arg(long, default_value_t = 60)]
    milliseconds: u64,
    /// Without new connections
    #[arg(long)]
    no_new: bool,
    /// Shell commands to run in the guest during the flood; prints what they say, measures nothing
    #[arg(long)]
    look: Option<String>,
    /// Programs of this machine to have in the guest for `look`
    #[arg(long, value_delimiter = ',')]
    programs: Vec<String>,
    /// Write no file
    #[arg(long)]
    no_file: bool,
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    forwarder: &'static str,
    mode: &'static str,
    /// Connections in turns; 0 where each packet opens one.
    connections: u64,
    /// Guest instructions a forwarded packet.
    instructions: Figures,
    /// Share of the windows in which the guest had nothing to do: those instructions were none.
    idle: f64,
    /// Share of the frames that went in and did not come out.
    lost: f64,
    /// Share of xlvs's breaths that found nothing, of the whole run.
    empty_breaths: Option<f64>,
    /// Frames of the others.
    frames_a_breath: Option<f64>,
}

/// How much less one needs than another.
#[derive(Serialize)]
struct Ratio {
    what: String,
    connections: u64,
    ratio: f64,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    guest_kernel: String,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

/// For one forwarder, with its boot.
const LIFETIME: Duration = Duration::from_secs(1800);
/// New connections have other numbers than those before.
const FIRST_NEW: u64 = 1 << 22;
/// How long nothing may be forwarded before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames before a measurement: a kernel that forwards takes so many to settle.
const WARM_UP: u64 = 100_000;

/// Boots a guest for each forwarder and measures.
///
/// # Errors
/// What a guest needs is missing, or a forwarder does not forward.
pub(crate) fn run(options: &Options) -> Outcome {
    let machine = Machine::here();
    let kernel = Release::TrixieBackports.kernel()?;
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
    println!("guest: kernel {}, virtio-net, one CPU; instructions a packet", kernel.release);
    println!(
        "{:<14} {:>11} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>7}",
        "", "connections", "min", "median", "spread", "idle", "lost", "empty", "frames"
    );
    let mut rows = Vec::new();
    for forwarder in forwarder::ALL {
        let name = format!("{} {}", forwarder.name(), forwarder.mode());
        let wanted = options.words.is_empty() || options.words.iter().any(|w| name.contains(w));
        if wanted {
            println!("{name}: a guest boots");
            let began = Instant::now();
            let measured = measure(options, &kernel, forwarder, &mut rows);
            measured.map_err(|why| why.during(&name))?;
            println!("  {:.0} s", began.elapsed().as_secs_f32());
        }
    }
    let ratios = ratios(&rows);
    for ratio in &ratios {
        println!("{:<22} {:>8} {:.3}", ratio.what, connections(ratio.connections), ratio.ratio);
    }
    if !options.no_file && options.look.is_none() {
        let report = Report { guest_kernel: kernel.release, rows, ratios, machine };
        println!("{}", report::write(&report.machine, "guest", &report)?.display());
    }
    Ok(())
}

fn measure(
    options: &Options,
    kernel: &Kernel,
    forwarder: Forwarder,
    rows: &mut Vec<Row>,
) -> Outcome {
    let xlvs = crate::rig::forwarder::binary(options.xlvs.as_deref())?;
    let here = std::env::current_exe()?;
    let bench = options.bench.clone().unwrap_or(here);
    let system = Forwarder::system(&bench, &xlvs).programs(&options.programs);
    let plan = Plan {
        memory: 2048,
        nics: ground::nics(),
        lifetime: LIFETIME,
        counted: true,
        ..Plan::default()
    };
    let mut guest = Guest::boot(kernel, &system, &plan)?;
    let (trunk, witness) = (guest.trunk(0)?, Witness::start(guest.drain(1)?));
    let most = options.flows.iter().copied().max().unwrap_or_default();
    forwarder.start(&mut guest, most + (1 << 20))?;
    let mut bench = Bench { options, forwarder, guest, witness, trunk: Some(trunk) };
    for flows in &options.flows {
        rows.extend(bench.row(Flows::Cycle(*flows))?);
    }
    if forwarder.has_connections() && !options.no_new {
        rows.extend(bench.row(Flows::New(FIRST_NEW))?);
    }
    Ok(())
}

/// A guest with a running forwarder.
struct Bench<'a> {
    options: &'a Options,
    forwarder: Forwarder,
    guest: Guest,
    witness: Witness,
    trunk: Option<Trunk>,
}

/// What a flood gave.
struct Measured {
    windows: Vec<Window>,
    /// Of xlvs: the share of breaths that found nothing, and the frames of the others.
    breaths: Option<(f64, f64)>,
}

impl Bench<'_> {
    /// Floods it with these flows and measures, once all of them are open.
    fn row(&mut self, flows: Flows) -> Outcome<Option<Row>> {
        let Some(trunk) = self.trunk.take() else { return fail("the trunk is gone") };
        let (right, wrong) = self.witness.counts();
        let flood = Flood::start(trunk, flows);
        let measured = self.windows(flows);
        let measured = measured.map_err(|why| why.during(&self.log()))?;
        self.trunk = Some(flood.stop()?);
        self.wait_for_silence()?;
        let Some(Measured { windows, breaths }) = measured else { return Ok(None) };
        let seen = self.witness.counts();
        if seen.0 == right || seen.1 > wrong {
            let (right, wrong) = (seen.0 - right, seen.1 - wrong);
            return fail(format!("of the frames looked at, {right} were right, {wrong} wrong"));
        }
        let octets = self.forwarder.octets();
        let per_packet = |window: &Window| {
            (window.nanoseconds as f64 * octets as f64 / window.octets as f64 * 10.0).round() / 10.0
        };
        let sum = |of: fn(&Window) -> u64| windows.iter().map(of).sum::<u64>() as f64;
        let sent = sum(|w| w.octets) / octets as f64;
        let row = Row {
            forwarder: self.forwarder.name(),
            mode: self.forwarder.mode(),
            connections: if let Flows::Cycle(flows) = flows { flows } else { 0 },
            instructions: Figures::of(windows.iter().map(per_packet).collect()),
            idle: sum(|w| w.idle_milliseconds) * 1e6 / sum(|w| w.nanoseconds),
            lost: 1.0 - sent / sum(|w| w.received),
            empty_breaths: breaths.map(|(empty, _)| empty),
            frames_a_breath: breaths.map(|(_, frames)| frames),
        };
        row.print();
        Ok(Some(row))
    }

    fn windows(&mut self, flows: Flows) -> Outcome<Option<Measured>> {
        let open = if let Flows::Cycle(flows) = flows { flows } else { 0 };
        self.wait_for(open + WARM_UP)?;
        if let Some(look) = &self.options.look {
            println!("{}", self.guest.run(look)?);
            return Ok(None);
        }
        let before = self.forwarder.breaths(&mut self.guest)?;
        let Options { milliseconds, windows, .. } = self.options;
        let beat = format!("bench beat --every {milliseconds} --times {windows}");
        let windows = beat::windows(&self.guest.run(&beat)?);
        let after = self.forwarder.breaths(&mut self.guest)?;
        if windows.is_empty() || windows.iter().any(|window| window.octets == 0) {
            return fail("nothing was forwarded");
        }
        let breaths = before.zip(after).map(|(before, after)| after.since(before));
        Ok(Some(Measured { windows, breaths }))
    }

    /// Waits until the guest has sent so many more frames.
    fn wait_for(&mut self, more: u64) -> Outcome {
        let begin = self.sent()?;
        let (mut last, mut since) = (begin, Instant::now());
        while last - begin < more {
            thread::sleep(Duration::from_millis(100));
            let sent = self.sent()?;
            if sent != last {
                (last, since) = (sent, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return fail(format!("only {} of {more} frames were forwarded", last - begin));
            }
        }
        Ok(())
    }

    /// Waits until nothing is on its way any more.
    fn wait_for_silence(&mut self) -> Outcome {
        let mut last = None;
        loop {
            let sent = self.sent()?;
            if last == Some(sent) {
                return Ok(());
            }
            last = Some(sent);
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn sent(&mut self) -> Outcome<u64> {
        let words = self.guest.run("cat /sys/class/net/out/statistics/tx_bytes")?;
        let octets: Result<u64, _> = words.trim().parse();
        octets.map_or_else(|_| fail(words), |octets| Ok(octets / self.forwarder.octets()))
    }

    fn log(&mut self) -> String {
        self.guest.run("cat /run/log; ip -s link").unwrap_or_default()
    }
}

impl Row {
    fn print(&self) {
        let share = |part: f64| format!("{:.1}%", part * 100.0);
        let Figures { min, median, spread, .. } = self.instructions;
        println!(
            "{:<14} {:>11} {min:>8.0} {median:>8.0} {spread:>8.0} {:>6} {:>6} {:>6} {:>7}",
            format!("{} {}", self.forwarder, self.mode),
            connections(self.connections),
            share(self.idle),
            share(self.lost),
            self.empty_breaths.map(share).unwrap_or_default(),
            self.frames_a_breath.map(|frames| format!("{frames:.1}")).unwrap_or_default(),
        );
    }
}

fn connections(count: u64) -> String {
    if count == 0 { "new".into() } else { count.to_string() }
}

/// The others' medians over those of xlvs.
fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for ours in rows.iter().filter(|row| row.forwarder == "xlvs") {
        let beside = |row: &&Row| {
            row.connections == ours.connections
                && row.forwarder != "xlvs"
                && (row.mode.is_empty() || row.mode == ours.mode)
        };
        ratios.extend(rows.iter().filter(beside).map(|row| Ratio {
            what: format!("{} / xlvs {}", row.forwarder, ours.mode),
            connections: ours.connections,
            ratio: row.instructions.median / ours.instructions.median,
        }));
    }
    ratios
}
