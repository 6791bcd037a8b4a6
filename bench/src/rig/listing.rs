//! A million connections in a running daemon: each is listed once, by `ipvsadm -Lnc` and through
//! the socket page by page with filters; and what listings take from the packets that one worker
//! forwards meanwhile.
//!
//! The generator opens them: each frame is of another flow. Then it floods the box with frames of
//! all of them, in windows with and without listings, and in windows beside a program that does a
//! listing's work on the same rows without a daemon ([`babble`]), in turns: the other core is busy
//! then, too, and what such a neighbour costs is no matter of the table. The worker has CPU 1 before all
//! others; the generator, the daemon's control thread and who lists share CPU 0, so the generator
//! makes fewer frames then: still more than the worker can take.
//!
//! What counts is packets a second of the worker's own CPU time. Where other work runs on the
//! machine, it is pushed over to CPU 1 while something is listed, so packets a second say less.

use std::{
    collections::HashSet,
    io,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use control::{
    api::{fetch, send},
    front::{Answer, Ask, Filter, Page},
    report::Report as DaemonReport,
};
use dataplane::{forward::Forward, prefix::Prefix};
use serde::Serialize;

use super::{
    BOX, GENERATOR, SPARE, WARM_UP, Window, config,
    forwarder::{Forwarder, binary},
    generate,
    ground::{CLIENT, Ground, Sink, VIP},
};
use crate::{machine::Machine, measure::Figures, report};

/// The generator makes a power of two.
const FLOWS: u32 = 1 << 20;
/// Flows of one client, and their first port: the generator's.
const OF_A_CLIENT: u32 = 1 << 14;
const FIRST_PORT: u32 = 1024;
/// Servers of the rig.
const SERVERS: u32 = 10;
/// Octets of a frame on the wire.
const OCTETS: usize = 64;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The xlvs binary; by default the one beside this program
    #[arg(long)]
    xlvs: Option<PathBuf>,
    /// Rounds of three windows: alone, with listings, beside another program
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seconds of a window
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Write no file
    #[arg(long)]
    no_file: bool,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    connections: u32,
    /// Nothing else was going on.
    listings: Vec<Listing>,
    /// Packets a second of the worker's CPU time, with listings over without, for each round.
    ratio: Figures,
    /// The same, with listings over beside another program.
    ratio_beside: Figures,
    pairs: Vec<Pair>,
}

/// Three windows; their `cpu` is the worker's.
#[derive(Serialize)]
struct Pair {
    alone: Window,
    listed: Window,
    beside: Window,
    /// Rows that were listed a second.
    rows: f64,
}

/// One that was looked at.
#[derive(Serialize)]
struct Listing {
    /// `ipvsadm -Lnc`, or the filter.
    only: String,
    rows: usize,
    seconds: f64,
}

/// Opens them, looks at listings, measures.
///
/// # Errors
/// No root, no namespaces, xlvs does not start; a connection that is not listed once.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let machine = Machine::here();
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
    let bench = Bench::start(options)?;
    bench.open()?;
    let mut listings = vec![bench.by_ipvsadm()?];
    for (filter, expected) in filters() {
        listings.push(bench.by_pages(filter, expected)?);
    }
    for Listing { only, rows, seconds } in &listings {
        println!("{only:<28} {rows:>9} rows, once each, {seconds:>6.2} s");
    }
    let report = bench.measure(machine, listings)?;
    report.print();
    bench.end()?;
    if !options.no_file {
        println!("{}", report::write(&report.machine, "listing", &report)?.display());
    }
    Ok(())
}

/// The filters and how many connections fit.
fn filters() -> [(Filter, u32); 5] {
    let client = Ipv4Addr::from(u32::from_be_bytes(CLIENT) + 5);
    let state = |state: &str| Filter { state: Some(state.to_owned()), ..Filter::default() };
    let server = Filter { server: Some([10, 0, 2, 20].into()), ..Filter::default() };
    [
        (Filter { client: Some(Prefix::host(client.into())), ..Filter::default() }, OF_A_CLIENT),
        (Filter { vip: Some(VIP.into()), ..Filter::default() }, FLOWS),
        // The tenth in round robin.
        (server, FLOWS / SERVERS),
        (state("UDP"), FLOWS),
        (state("ESTABLISHED"), 0),
    ]
}

struct Bench<'a> {
    options: &'a Options,
    ground: Ground,
    xlvs: Forwarder,
    socket: PathBuf,
}

impl<'a> Bench<'a> {
    fn start(options: &'a Options) -> io::Result<Self> {
        let ground = Ground::build(Sink::Plain)?;
        let yaml = config::yaml(Forward::Nat, BOX, "limits: {connections: 1200000}\n");
        let xlvs = Forwarder::xlvs(&ground, options.xlvs.as_deref(), &yaml)?;
        xlvs.bind_control(GENERATOR)?;
        let socket = xlvs.socket();
        Ok(Self { options, ground, xlvs, socket })
    }

    fn end(self) -> io::Result<()> {
        self.xlvs.end(&self.ground)
    }

    /// Sends until every flow is a connection: the box takes as many frames as it can.
    fn open(&self) -> io::Result<()> {
        let begun = Instant::now();
        let mut time = Duration::from_secs(2);
        loop {
            generate::offered(generate::start(&self.ground, OCTETS, FLOWS, time)?)?;
            let report = fetch(&self.socket, "/v1/report").map_err(io::Error::other)?;
            let report: DaemonReport = serde_json::from_slice(&report)?;
            let open = report.tables.ipv4.connections;
            if open == u64::from(FLOWS) {
                println!("{open} connections open after {:.0} s", begun.elapsed().as_secs_f64());
                return Ok(());
            }
            // Each run begins with the first flow: on a slow machine a short one sees no others.
            time = (time * 2).min(Duration::from_secs(16));
            if begun.elapsed() > Duration::from_secs(180) {
                return Err(io::Error::other(format!("only {open} of {FLOWS} were opened")));
            }
        }
    }

    /// All rows of `ipvsadm -Lnc`: every flow must be there, and once.
    fn by_ipvsadm(&self) -> io::Result<Listing> {
        let begun = Instant::now();
        let mut seen = Seen::default();
        self.rows(&mut |row| seen.note(client_of(row)))?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Listing { only: "ipvsadm -Lnc".to_owned(), rows: seen.all(FLOWS)?, seconds })
    }

    /// Runs `ipvsadm -Lnc` to its end.
    fn rows(&self, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let xlvs = binary(self.options.xlvs.as_deref())?;
        let mut command = beside_the_generator(&xlvs);
        Self::lines(command.args(["ipvsadm", "-Lnc"]).env("XLVS_SOCKET", &self.socket), each)
    }

    /// Runs [`babble`] to its end: as many rows.
    fn other_rows(&self, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let mut command = beside_the_generator(&std::env::current_exe()?);
        let answer = send(&self.socket, "/v1/ipvsadm", &Ask::Connections(Page::default()));
        let page = self.socket.with_extension("page");
        std::fs::write(&page, answer.map_err(io::Error::other)?)?;
        Self::lines(command.arg("babble").arg(&page), each)
    }

    fn lines(command: &mut Command, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        if let Some(out) = child.stdout.take() {
            // The first two lines are titles.
            for line in BufReader::new(out).lines().skip(2) {
                each(&line?);
            }
        }
        match child.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("{command:?}: {status}"))),
        }
    }

    /// All pages of the connections that fit.
    fn by_pages(&self, only: Filter, expected: u32) -> io::Result<Listing> {
        let (begun, mut seen) = (Instant::now(), Seen::default());
        let mut page = Page { only, ..Page::default() };
        loop {
            let ask = Ask::Connections(page.clone());
            let answer = send(&self.socket, "/v1/ipvsadm", &ask).map_err(io::Error::other)?;
            let Answer::Connections { rows, next } = serde_json::from_slice(&answer)? else {
                return Err(io::Error::other("that is no page of connections"));
            };
            for row in rows {
                seen.note(flow(row.source.address, row.source.port));
            }
            match next {
                Some(next) => page.from = next,
                None => break,
            }
        }
        let (rows, seconds) = (seen.all(expected)?, begun.elapsed().as_secs_f64());
        let Filter { client, vip, server, state, .. } = page.only;
        let only = match (client.map(|client| client.address()).or(vip).or(server), state) {
            (Some(address), _) => address.to_string(),
            (None, state) => state.unwrap_or_default(),
        };
        Ok(Listing { only: format!("API, {only}"), rows, seconds })
    }

    /// Rounds of windows, in changing order.
    fn measure(&self, machine: Machine, listings: Vec<Listing>) -> io::Result<Report> {
        let pairs = (0..self.options.pairs).map(|turn| {
            println!("round {}/{}", turn + 1, self.options.pairs);
            self.pair(turn % 2 == 0)
        });
        let pairs: Vec<Pair> = pairs.collect::<io::Result<_>>()?;
        let ratio = Figures::of(pairs.iter().map(|p| p.listed.rate() / p.alone.rate()).collect());
        let ratio_beside =
            Figures::of(pairs.iter().map(|p| p.listed.rate() / p.beside.rate()).collect());
        Ok(Report { machine, connections: FLOWS, listings, ratio, ratio_beside, pairs })
    }

    /// A window alone, one with listings, and one beside another program, in this order or
    /// backwards.
    fn pair(&self, alone_first: bool) -> io::Result<Pair> {
        let before = if alone_first { Some(self.window(|| 0)?.0) } else { None };
        let last = if alone_first { None } else { Some(self.busy_window(Self::other_rows)?.0) };
        let (listed, rows) = self.busy_window(Self::rows)?;
        let beside = match last {
            Some(window) => window,
            None => self.busy_window(Self::other_rows)?.0,
        };
        let alone = match before {
            Some(window) => window,
            None => self.window(|| 0)?.0,
        };
        Ok(Pair { alone, listed, beside, rows: rows as f64 / self.options.seconds })
    }

    /// A window during which one listing follows another.
    fn busy_window(&self, list: Lister<'a>) -> io::Result<(Window, u64)> {
        let (rows, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let lists = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut listed = 0;
                    list(self, &mut |_| {
                        listed += 1;
                        rows.fetch_add(1, Ordering::Relaxed);
                    })?;
                    if listed != FLOWS {
                        return Err(io::Error::other(format!("{listed} rows of {FLOWS}")));
                    }
                }
                Ok(())
            });
            let window = self.window(|| rows.load(Ordering::Relaxed));
            done.store(true, Ordering::Relaxed);
            let ended = lists.join().map_err(|_| io::Error::other("listing panicked"));
            ended??;
            window
        })
    }

    /// Packets out of the box in a window, and how much `progress` rose in it.
    fn window(&self, progress: impl Fn() -> u64) -> io::Result<(Window, u64)> {
        let seconds = Duration::from_secs_f64(self.options.seconds);
        let time = WARM_UP + seconds + SPARE;
        let generator = generate::start(&self.ground, OCTETS, FLOWS, time)?;
        thread::sleep(WARM_UP);
        let (left, busy) = (self.ground.left()?, self.xlvs.worker_seconds()?);
        let (rows, start) = (progress(), Instant::now());
        thread::sleep(seconds);
        let sent = (self.ground.left()? - left) as f64;
        let (rows, took) = (progress() - rows, start.elapsed().as_secs_f64());
        let cpu = (self.xlvs.worker_seconds()? - busy) / took;
        let offered = generate::offered(generator)?;
        // Control has listings to answer.
        let busy = f64::NAN;
        Ok((Window { offered: offered / 1e6, sent: sent / took / 1e6, cpu, busy }, rows))
    }
}

/// What is told of a window.
type Figure = fn(&Window) -> f64;
/// What lists, row by row.
type Lister<'a> = fn(&Bench<'a>, &mut dyn FnMut(&str)) -> io::Result<()>;

/// A command on the CPU that the generator has.
fn beside_the_generator(program: &std::path::Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &GENERATOR.to_string()]).arg(program);
    command
}

/// What to babble.
#[derive(clap::Args)]
pub(crate) struct Babble {
    /// A page of connections, as the API gave it
    page: PathBuf,
}

/// A listing's work on the rows of one page, again and again, as many as there are flows: read as
/// the front reads them, written as the daemon writes them, printed.
///
/// # Errors
/// The page is none, or nobody reads what is printed.
pub(crate) fn babble(options: &Babble) -> io::Result<()> {
    use io::Write;
    let page = std::fs::read(&options.page)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    out.write_all(b"as many titles as\na listing has\n")?;
    let mut left = FLOWS as usize;
    while left > 0 {
        let answer: Answer = serde_json::from_slice(&page)?;
        let written = serde_json::to_vec(&answer)?;
        let Answer::Connections { rows, .. } = serde_json::from_slice(&written)? else { break };
        for row in rows.iter().take(left) {
            let (source, to) = (&row.source, &row.destination);
            let vip = &row.virtual_service;
            writeln!(
                out,
                "TCP {:>5} {:<11} {}:{} {}:{} {}:{}",
                row.expires,
                row.state,
                source.address,
                source.port,
                vip.address,
                vip.port,
                to.address,
                to.port,
            )?;
        }
        left = left.saturating_sub(rows.len().max(1));
    }
    out.flush()
}

/// Which flows were listed.
#[derive(Default)]
struct Seen {
    flows: HashSet<u32>,
    rows: usize,
    strange: usize,
}

impl Seen {
    fn note(&mut self, flow: Option<u32>) {
        self.rows += 1;
        match flow {
            Some(flow) => drop(self.flows.insert(flow)),
            None => self.strange += 1,
        }
    }

    /// So many, each once, and nothing else.
    fn all(&self, expected: u32) -> io::Result<usize> {
        let Self { flows, rows, strange } = self;
        let (flows, expected) = (flows.len(), expected as usize);
        if *rows != expected || flows != expected || *strange > 0 {
            let said = format!("{rows} rows, {flows} flows, {strange} others, of {expected}");
            return Err(io::Error::other(said));
        }
        Ok(*rows)
    }
}

/// The flow in a row of `-Lnc`: its fourth column is the client.
fn client_of(row: &str) -> Option<u32> {
    let client: SocketAddrV4 = row.split_whitespace().nth(3)?.parse().ok()?;
    flow(IpAddr::V4(*client.ip()), client.port())
}

/// The generator's number of the flow that this client has.
fn flow(client: IpAddr, port: u16) -> Option<u32> {
    let IpAddr::V4(client) = client else { return None };
    let client = u32::from(client).checked_sub(u32::from_be_bytes(CLIENT))?;
    let port = u32::from(port).checked_sub(FIRST_PORT).filter(|port| *port < OF_A_CLIENT)?;
    Some(client * OF_A_CLIENT + port).filter(|flow| *flow < FLOWS)
}

impl Window {
    /// Million packets a second of the forwarder's CPU time.
    fn rate(&self) -> f64 {
        self.sent / self.cpu
    }
}

impl Report {
    fn print(&self) {
        let median = |of: fn(&Pair) -> f64| Figures::of(self.pairs.iter().map(of).collect()).median;
        println!("medians {:>20} {:>10} {:>10}", "alone", "listed", "beside");
        let rows: [(&str, Figure); 4] = [
            ("Mpps, of CPU time", Window::rate),
            ("Mpps", |window| window.sent),
            ("Mpps offered", |window| window.offered),
            ("the worker's CPU", |window| window.cpu),
        ];
        for (name, of) in rows {
            let windows: [fn(&Pair) -> &Window; 3] = [|p| &p.alone, |p| &p.listed, |p| &p.beside];
            let figures = windows.map(|window| {
                Figures::of(self.pairs.iter().map(|pair| of(window(pair))).collect()).median
            });
            let [alone, listed, beside] = figures;
            println!("{name:<17} {alone:>10.3} {listed:>10.3} {beside:>10.3}");
        }
        println!("{:.0} rows a second were listed", median(|p| p.rows));
        for (what, ratio) in [("alone", &self.ratio), ("beside", &self.ratio_beside)] {
            let Figures { median, spread, .. } = ratio;
            println!("Mpps of CPU time, listed over {what}: {median:.3}, spread {spread:.3}");
        }
    }
}
