//! `cargo xtask churn`: one director in all modes, connections that come and go all the time,
//! and a look at its memory and its frames every few seconds.
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Outcome, fail};
use crate::lab::{Director, Lab, Preparation, Process, Topology};
use crate::shell;

const LOAD: &str = include_str!("churn.py");

/// New connections a second, over all modes and both families.
const TCP_RATE: u32 = 300;
const UDP_RATE: u32 = 600;

/// Each mode has a VIP of its own in either family: ….10 to ….13.
const MODES: [&str; 4] = ["dr", "nat", "fullnat", "tun"];

/// What the command is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long connections come and go
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// Resident memory in kB, over time; the first one after a tenth of it.
    pub resident: Vec<u64>,
    /// Frames in all ledgers at the end, every one of them accounted for.
    pub frames: u64,
    /// Connections that the director made.
    pub opened: u64,
    /// The client's ICMP errors that reached a server.
    pub errors: u64,
    /// What the client counted: begun, reset, left, failed.
    pub client: Value,
    /// The director's drops that happened, and what it gave to the kernel, by name.
    pub counted: Vec<(String, u64)>,
}

/// Builds what it needs, runs it, prints the report.
///
/// # Errors
/// When a step fails, or the report is a bad one.
pub fn run(options: &Options) -> Outcome {
    shell::stream(shell::cargo().args(["build", "--package", "xlvs"]))?;
    let report = exercise(Duration::from_secs_f64(options.minutes * 60.0))?;
    println!("{report}");
    report.judge()
}

/// Lets connections come and go for that long, two queues and two workers.
///
/// # Errors
/// When the lab or the director fails, or frames are missing in the end.
pub fn exercise(time: Duration) -> Outcome<Report> {
    let all_modes = Topology {
        name: "churn",
        preparation: Preparation::VipOnLoAndDecapsulation,
        ..*Topology::named("dr-routed")?
    };
    let lab = Lab::build(&all_modes, 2)?;
    add_vips(&lab)?;
    let director = Director::start_with_text(&lab, &yaml(&lab))?;
    let mut load = start_load(&lab, time)?;
    let resident = watch(&director, time)?;
    let status = load.wait(Duration::from_secs(30))?;
    if !status.success() {
        return fail(format!("the load: {status}: {}", load.words()));
    }
    let frames = director.settled_ledgers()?.iter().map(|ledger| ledger.total).sum();
    let json = director.json()?;
    let report = Report {
        resident,
        frames,
        errors: errors_at_servers(&lab)?,
        opened: json["totals"]["opened"].as_u64().unwrap_or(0),
        client: serde_json::from_str(&load.words())?,
        counted: ["drops", "punts", "answers"]
            .iter()
            .flat_map(|set| happened(&json["totals"][*set], set))
            .collect(),
    };
    director.stop()?;
    Ok(report)
}

/// Those that are not 0.
fn happened(counts: &Value, set: &str) -> Vec<(String, u64)> {
    let all = counts.as_object().into_iter().flatten();
    all.filter_map(|(name, count)| {
        let count = count.as_u64().filter(|count| *count > 0)?;
        Some((format!("{set}.{name}"), count))
    })
    .collect()
}

/// What all servers' kernels have counted of ICMP destination unreachable.
fn errors_at_servers(lab: &Lab) -> Outcome<u64> {
    let mut errors = 0;
    for (name, _) in lab.topology().servers() {
        // nstat prints a name, the count, and a rate; -a: since the host was made.
        let words = lab.host(&name).run("nstat -asz IcmpInDestUnreachs Icmp6InDestUnreachs")?;
        let counts = words.lines().filter(|line| line.starts_with("Icmp"));
        errors += counts
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(errors)
}

/// The VIP of a mode and a family.
fn vip(mode: usize, family: usize) -> String {
    [format!("203.0.113.1{mode}"), format!("2001:db8:f::1{mode}")][family].clone()
}

/// The VIPs beside the topology's own: on the director, and on lo of the servers for the modes
/// that leave the address as it is. What servers say by their own address, translated it will
/// be, goes back by the director.
fn add_vips(lab: &Lab) -> Outcome {
    let added = (1..MODES.len()).flat_map(|mode| [(mode, 0), (mode, 1)]);
    let line = |(mode, family), device: &str| {
        let (length, quick) = [(32, ""), (128, "nodad preferred_lft 0")][family];
        format!("address add {}/{length} dev {device} {quick}", vip(mode, family))
    };
    lab.director().batch(&added.clone().map(|one| line(one, "eth0")).collect::<Vec<_>>())?;
    let untouched = added.filter(|(mode, _)| MODES[*mode] == "tun");
    let on_lo: Vec<String> = untouched.map(|one| line(one, "lo")).collect();
    let [local4, local6] = lab.topology().local;
    for (name, [own4, own6]) in lab.topology().servers() {
        let host = lab.host(&name);
        host.batch(&on_lo)?;
        host.run(&format!("ip rule add from {own4} lookup 100"))?;
        host.run(&format!("ip -6 rule add from {own6} lookup 100"))?;
        host.run(&format!("ip route add default via {local4} table 100"))?;
        host.run(&format!("ip -6 route add default via {local6} table 100"))?;
    }
    Ok(())
}

/// Short idle times, so that connections leave the table as fast as they come.
fn yaml(lab: &Lab) -> String {
    let [local4, local6] = lab.topology().local;
    let mut text = format!(
        "version: 1\ninterfaces: [eth0, eth1]\nlimits: {{connections: 200000}}\n\
         local_addresses: {{back: {{addresses: [\"{local4}\", \"{local6}\"], ports: 10000-32767}}}}\n\
         services:\n"
    );
    let timeouts = "timeouts: {udp: 5s, tcp_time_wait: 5s, tcp_fin_wait: 5s, tcp_close: 2s}";
    for (mode, forward) in MODES.iter().enumerate() {
        for family in [0, 1] {
            let vip = vip(mode, family);
            let at = if family == 1 { format!("[{vip}]") } else { vip };
            let local = if *forward == "fullnat" { ", local_addresses: back" } else { "" };
            let servers: Vec<String> = lab
                .topology()
                .servers
                .iter()
                .map(|own| format!("{{address: \"{}\"}}", own[family]))
                .collect();
            text.push_str(&format!(
                "  - {{name: {forward}{}, listen: [\"{at}:80/tcp\", \"{at}:53/udp\"], \
                 forward: {forward}{local}, scheduler: rr, {timeouts}, servers: [{}]}}\n",
                [4, 6][family],
                servers.join(", ")
            ));
        }
    }
    text
}

fn start_load(lab: &Lab, time: Duration) -> Outcome<Process> {
    let script = lab.file("churn.py");
    fs::write(&script, LOAD)?;
    let host = lab.host("client");
    let mut python = host.command("/usr/bin/python3");
    python.arg(&script).arg(time.as_secs_f64().to_string());
    python.args([TCP_RATE, UDP_RATE].map(|rate| rate.to_string()));
    python.args((0..MODES.len()).flat_map(|mode| [vip(mode, 0), vip(mode, 1)]));
    host.start(&mut python, &lab.file("churn.log"))
}

/// Looks at the daemon thirty times after a first tenth, and says what it sees.
fn watch(director: &Director<'_>, time: Duration) -> Outcome<Vec<u64>> {
    let begun = Instant::now();
    std::thread::sleep(time / 10);
    let mut resident = Vec::new();
    let pause = time * 9 / 10 / 30;
    for _ in 0..30 {
        std::thread::sleep(pause);
        let kilobytes = resident_kilobytes(director.process().pid())?;
        let json = director.json()?;
        let tables = &json["tables"];
        println!(
            "{:>4} s  {kilobytes} kB resident  {} made  {} + {} live",
            begun.elapsed().as_secs(),
            json["totals"]["opened"],
            tables["ipv4"]["connections"],
            tables["ipv6"]["connections"],
        );
        resident.push(kilobytes);
    }
    Ok(resident)
}

/// `VmRSS` of /proc/PID/status (proc(5)).
fn resident_kilobytes(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    match line.and_then(|line| line.split_whitespace().next()?.parse().ok()) {
        Some(kilobytes) => Ok(kilobytes),
        None => fail(format!("no VmRSS of pid {pid}")),
    }
}

impl Report {
    /// Memory must be flat, and what clients asked for answered.
    ///
    /// # Errors
    /// When memory grew by more than one part in a hundred, or more than one connection in a
    /// hundred failed.
    pub fn judge(&self) -> Outcome {
        let (first, last) = (self.resident.first(), self.resident.last());
        let (Some(first), Some(last)) = (first, last) else { return fail("nothing was seen") };
        if *last > first + first / 100 {
            return fail(format!("memory grew from {first} to {last} kB"));
        }
        for kind in ["tcp", "udp"] {
            let count = |name: &str| self.client[name].as_u64().unwrap_or(0);
            let (begun, failed) = (count(kind), count(&format!("{kind}_failed")));
            if begun == 0 || failed * 100 > begun {
                return fail(format!("{failed} of {begun} by {kind} failed\n{self}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kilobytes = |at: Option<&u64>| at.copied().unwrap_or(0);
        let [first, last] = [self.resident.first(), self.resident.last()].map(kilobytes);
        writeln!(out, "resident: {first} kB at first, {last} kB at last")?;
        writeln!(out, "frames: {}, every one accounted for", self.frames)?;
        writeln!(out, "connections made: {}; by the client: {}", self.opened, self.client)?;
        writeln!(out, "ICMP errors of the client that reached servers: {}", self.errors)?;
        for (name, count) in &self.counted {
            writeln!(out, "{name}: {count}")?;
        }
        Ok(())
    }
}
