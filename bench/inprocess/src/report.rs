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
}

impl Report {
    /// An empty report from this machine; prints the head of the table.
    pub fn begin(machine: Machine) -> Self {
        println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, machine.commit);
        println!("{:<36} {:>8} {:>8} {:>8}", "ns a packet", "min", "median", "spread");
        Self { machine, rows: Vec::new() }
    }

    /// Adds a line and prints it.
    pub fn add(&mut self, name: &str, ns: Figures) {
        println!("{name:<36} {:>8.1} {:>8.1} {:>8.1}", ns.min, ns.median, ns.spread);
        self.rows.push(Row { name: name.to_owned(), ns });
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
