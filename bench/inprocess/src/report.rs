//! The table for people and the file with everything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{machine::Machine, measure::Figures};

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Nanoseconds a packet.
    pub ns: Figures,
}

/// All that a run gave.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    machine: Machine,
    rows: Vec<Row>,
    /// What a flood leaves of established connections.
    goodput: Vec<Goodput>,
    /// The longest breaths.
    breaths: Vec<Breath>,
    /// What connections take.
    memory: Vec<Memory>,
}

/// Established packets that got through at one offered load, ten SYNs beside each.
#[derive(Clone, Debug, Serialize)]
pub struct Goodput {
    /// Which flood.
    pub name: String,
    /// Packets offered a second, SYNs and established ones.
    pub offered: f64,
    /// Of the established ones this share left, one figure a window.
    pub share: Figures,
    /// Established packets that xlvs itself dropped, and established connections that it lost.
    pub lost: u64,
}

/// Breaths of one kind, all of them as long as they may be.
#[derive(Clone, Debug, Serialize)]
pub struct Breath {
    /// Which kind.
    pub name: String,
    /// How many were timed.
    pub breaths: usize,
    /// The longest one, in nanoseconds of wall time.
    pub longest_ns: u64,
    /// A thousandth of them was longer.
    pub p999_ns: u64,
    /// What the host took from this CPU meanwhile, in seconds.
    pub stolen_s: f64,
    /// The most packets of one, and entries that it looked at and ended beside them.
    pub packets: u64,
    /// See `packets`.
    pub looks: u64,
    /// See `packets`.
    pub ends: u64,
    /// Instructions of one, if they were counted.
    pub instructions: Option<f64>,
}

/// What one connection takes, of all that the table has mapped.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The connections that fit.
    pub connections: usize,
    /// Octets of the table a connection.
    pub table: f64,
    /// With everything that grows with the connections: the templates' table, by its default.
    pub with_templates: f64,
    /// By how much the process grew a connection while the table was made and filled.
    pub resident: f64,
}

impl Report {
    /// An empty report from this machine; prints the head of the table.
    pub fn begin(machine: Machine) -> Self {
        println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
        println!("{:<36} {:>8} {:>8} {:>8}", "ns a packet", "min", "median", "spread");
        let (rows, goodput, breaths, memory) = Default::default();
        Self { machine, rows, goodput, breaths, memory }
    }

    /// Adds a line and prints it.
    pub fn add(&mut self, name: &str, ns: Figures) {
        println!("{name:<36} {:>8.1} {:>8.1} {:>8.1}", ns.min, ns.median, ns.spread);
        self.rows.push(Row { name: name.to_owned(), ns });
    }

    /// Adds a line of a flood and prints it.
    pub fn add_goodput(&mut self, row: Goodput) {
        println!(
            "{:<36} {:>8.3} {:>8.3} {:>8.3}  of established packets at {:.1} M packets a second, {} lost",
            row.name,
            row.share.min,
            row.share.median,
            row.share.spread,
            row.offered / 1e6,
            row.lost
        );
        self.goodput.push(row);
    }

    /// Adds a line of the longest breaths and prints it.
    pub fn add_breath(&mut self, row: Breath) {
        println!(
            "{:<36} {:>8.1} us longest, {:.1} us p99.9 of {}, stolen {:.2} s; {} packets, {} looks, {} ends{}",
            row.name,
            row.longest_ns as f64 / 1e3,
            row.p999_ns as f64 / 1e3,
            row.breaths,
            row.stolen_s,
            row.packets,
            row.looks,
            row.ends,
            row.instructions.map_or(String::new(), |n| format!(", {n:.0} instructions"))
        );
        self.breaths.push(row);
    }

    /// Adds a line about memory and prints it.
    pub fn add_memory(&mut self, row: Memory) {
        println!(
            "memory {:<29} {:>8.1} octets a connection, {:.1} with templates, {:.1} resident",
            row.family, row.table, row.with_templates, row.resident
        );
        self.memory.push(row);
    }

    /// Writes everything to `runs/<date>-<machine>/<kind>.json` and tells where that is.
    pub fn write(&self, kind: &str) -> io::Result<PathBuf> {
        write(&self.machine, kind, self)
    }
}

/// Writes a report of any shape to the run's directory.
pub fn write(machine: &Machine, kind: &str, report: &impl Serialize) -> io::Result<PathBuf> {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("runs");
    let directory = runs.join(format!("{}-{}", machine.date, machine.name));
    fs::create_dir_all(&directory)?;
    let file = directory.join(format!("{kind}.json"));
    fs::write(&file, serde_json::to_string(report)?.replace("},{", "},\n{") + "\n")?;
    Ok(file)
}
