//! 10,000 servers, asked every 2 s by one thread that has a core for itself: how late probes begin,
//! and what the thread takes.
//!
//! The servers are addresses of 127.0.0.0/8, one listener for all of them on CPU 0; the thread `xlvs-health` is on CPU 1. On loopback the
//! kernel does the servers' part of TCP on the CPU of who asks, so the thread's time has that,
//! too. Every half second a report is taken, as the daemon does.

use std::{
    fs, io,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use health::{
    check::{Body, Check, Http, HttpVersion, Probe, Question, Require, Target, Tcp, Timing, Via},
    event::Health,
    member::Member,
    probe::Net,
    runner::{Report as Known, Runner},
};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use crate::{
    machine::{self, Machine},
    report,
};

/// Where the servers are, and where the thread is.
const SERVERS_CPU: usize = 0;
const HEALTH_CPU: usize = 1;
/// Threads that answer, and connections that may wait for each of them.
const ANSWERERS: usize = 16;
const BACKLOG: i32 = 4096;
/// How often control looks.
const LOOK: Duration = Duration::from_millis(500);
/// Clock ticks a second of `/proc` (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Servers
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..65_000))]
    servers: u32,
    /// Seconds from one probe of a server to the next
    #[arg(long, default_value_t = 2.0)]
    interval: f64,
    /// Seconds of a run
    #[arg(long, default_value_t = 40.0)]
    seconds: f64,
    /// Runs of each kind
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Write no file
    #[arg(long)]
    no_file: bool,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    /// How it was built.
    profile: &'static str,
    /// Its real-time priority (`chrt -r`); 0 is none, and then other work makes probes late.
    priority: String,
    servers: u32,
    interval: f64,
    /// A probe is late if it began more than a tenth of its interval after its time.
    runs: Vec<Run>,
}

/// One run, from its first probe on.
#[derive(Serialize)]
struct Run {
    kind: &'static str,
    seconds: f64,
    probes: u64,
    failed: u64,
    /// Servers that were up at the end.
    up: usize,
    late: u64,
    /// What the machine did beside: processes that ran or waited, on average of a minute.
    load: String,
    /// How late probes began, in milliseconds.
    p50: f64,
    p99: f64,
    p999: f64,
    most: f64,
    /// The thread's CPU time a second.
    cpu: f64,
    /// The same, for each half second's look.
    looks: Vec<Look>,
}

/// Half a second.
#[derive(Serialize)]
struct Look {
    cpu: f64,
    late: u64,
    probes: u64,
}

/// Asks by TCP and by HTTP, in turns.
///
/// # Errors
/// No thread, no socket.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let machine = Machine::here();
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
    let port = listen()?;
    let mut runs = Vec::new();
    println!(
        "{:<7} {:>8} {:>7} {:>6} {:>5} {:>8} {:>8} {:>8} {:>8} {:>5}",
        "", "probes", "failed", "up", "late", "p50 ms", "p99", "p99.9", "most", "CPU"
    );
    for _ in 0..options.runs {
        for (kind, probe) in [("tcp", Probe::Tcp(Tcp::default())), ("http", page())] {
            let run = one(kind, probe, port, options)?;
            run.print();
            runs.push(run);
        }
    }
    let profile = if cfg!(debug_assertions) { "dev, opt-level 1" } else { "release" };
    let Options { servers, interval, .. } = *options;
    let report = Report { machine, profile, priority: priority()?, servers, interval, runs };
    if !options.no_file {
        println!("{}", report::write(&report.machine, "health", &report)?.display());
    }
    Ok(())
}

/// Listeners for all of the addresses: they read what comes, if anything does, and give a page.
fn listen() -> io::Result<u16> {
    let mut port = 0;
    for _ in 0..ANSWERERS {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        port = listener.local_addr()?.port();
        thread::spawn(move || {
            machine::pin(SERVERS_CPU);
            let mut asked = [0; 2048];
            for mut stream in listener.incoming().flatten() {
                if stream.read(&mut asked).is_ok_and(|read| read > 0) {
                    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok\n";
                    let _ = stream.write_all(page);
                }
            }
        });
    }
    Ok(port)
}

fn page() -> Probe {
    Probe::Http(Http {
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: None,
        version: HttpVersion::Http11,
        headers: Vec::new(),
        status: vec![200..=299],
        body: Body::Contains("ok".to_owned()),
        body_limit: 65_536,
        tls: None,
    })
}

/// A server; each has an address of its own.
fn member(server: u32, probe: &Arc<Probe>, port: u16, interval: Duration) -> Member {
    let address = IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + server));
    let target = Target { address, port, source: None, interface: None, via: Via::Direct };
    let timeout = Duration::from_secs(1);
    let question = Question { probe: Arc::clone(probe), target, timeout };
    let timing = Timing { interval, retry: interval, spread: interval, ..Timing::default() };
    let checks = vec![Check { name: "check".to_owned(), question, timing }];
    Member { server, checks, require: Require::All, damping: None, known: None }
}

/// A thread of its own for a while.
fn one(kind: &'static str, probe: Probe, port: u16, options: &Options) -> io::Result<Run> {
    // A thread begins where the one is that starts it.
    machine::pin(HEALTH_CPU);
    let (runner, mut events) = Runner::start(Net::default(), || {})?;
    machine::pin(SERVERS_CPU);
    let thread = health_thread()?;
    let interval = Duration::from_secs_f64(options.interval);
    let probe = Arc::new(probe);
    let members = (0..options.servers).map(|server| member(server, &probe, port, interval));
    runner.set(members.collect());
    let (begun, mut looks) = (Instant::now(), Vec::new());
    let (mut known, mut busy) = (Known::default(), thread.busy()?);
    let first = busy;
    while begun.elapsed().as_secs_f64() < options.seconds {
        let from = Instant::now();
        thread::sleep(LOOK);
        while events.try_recv().is_ok() {}
        let (before, was) = (known, busy);
        known = look(&runner)?;
        busy = thread.busy()?;
        looks.push(Look {
            cpu: (busy - was) / from.elapsed().as_secs_f64(),
            late: known.lateness.late - before.lateness.late,
            probes: known.lateness.count - before.lateness.count,
        });
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Run::of(kind, seconds, &known, (busy - first) / seconds, looks))
}

/// This process's real-time priority (proc(5), `stat`).
fn priority() -> io::Result<String> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    Ok(fields.skip(37).take(1).collect())
}

/// What the thread knows.
fn look(runner: &Runner) -> io::Result<Known> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let known = runtime.block_on(runner.report());
    known.ok_or_else(|| io::Error::other("the thread is gone"))
}

/// A thread by its folder in `/proc`.
struct Thread(std::path::PathBuf);

/// The one that asks; it gives itself its name.
fn health_thread() -> io::Result<Thread> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        for entry in fs::read_dir("/proc/self/task")? {
            let path = entry?.path();
            // One that has ended meanwhile has no name.
            if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "xlvs-health")
            {
                return Ok(Thread(path));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other("no thread xlvs-health"))
}

impl Thread {
    /// Seconds of CPU time until now, in user mode and in the kernel (proc(5), `stat`).
    fn busy(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(self.0.join("stat"))?;
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS)
    }
}

impl Run {
    fn of(kind: &'static str, seconds: f64, known: &Known, cpu: f64, looks: Vec<Look>) -> Self {
        let lateness = &known.lateness;
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let up = known.servers.values().filter(|server| server.health == Health::Up).count();
        Self {
            kind,
            seconds,
            probes: lateness.count,
            failed: known.failures.values().sum(),
            up,
            late: lateness.late,
            load: fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned(),
            p50: millis(lateness.quantile(0.5)),
            p99: millis(lateness.quantile(0.99)),
            p999: millis(lateness.quantile(0.999)),
            most: millis(lateness.most),
            cpu,
            looks,
        }
    }

    fn print(&self) {
        let Self { kind, probes, failed, up, late, p50, p99, p999, most, cpu, .. } = self;
        println!(
            "{kind:<7} {probes:>8} {failed:>7} {up:>6} {late:>5} {p50:>8.2} {p99:>8.2} \
            {p999:>8.2} {most:>8.2} {cpu:>5.2}"
        );
    }
}
