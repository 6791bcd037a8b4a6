//! This bench and that of another commit in turns: what a change costs.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

use inprocess::callgrind::instructions;

use crate::{machine::Machine, report};

/// What to compare with, and what of it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The bench program of the other commit
    other: PathBuf,
    /// Which commit that is
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Only benches of `inprocess` whose names contain every one of these words
    filters: Vec<String>,
    /// Pairs of runs
    #[arg(long, default_value_t = 10)]
    rounds: usize,
}

/// What one bench gave.
#[derive(Clone, Debug, Default, Serialize)]
struct Row {
    name: String,
    /// The quickest window of each round in ns a packet: the other commit's, ours.
    ns: Vec<[f64; 2]>,
    /// Instructions a packet by callgrind, filling the frame included: the other's, ours.
    instructions: [f64; 2],
}

impl Row {
    /// The quickest window of all rounds: the other's, ours. A machine whose clock changes from
    /// run to run gives nothing better.
    fn quickest(&self) -> [f64; 2] {
        [0, 1].map(|who| self.ns.iter().map(|ns| ns[who]).fold(f64::INFINITY, f64::min))
    }
}

#[derive(Serialize)]
struct Comparison {
    machine: Machine,
    /// The other commit.
    against: String,
    rows: Vec<Row>,
}

/// Runs both in turns, then counts instructions; writes `against.json`.
///
/// # Errors
/// A program cannot be run, or valgrind is missing; the report cannot be written.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let machine = Machine::here();
    let both = [options.other.clone(), std::env::current_exe()?];
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..options.rounds {
        let mut figures = [Vec::new(), Vec::new()];
        // Who begins changes, so that a machine that slows down is fair to both.
        for turn in 0..2 {
            let who = (round + turn) % 2;
            figures[who] = table(&words(&both[who], &options.filters))?;
        }
        let [other, ours] = figures;
        for (name, ns) in ours {
            // A bench that the other commit has not cannot be compared.
            let Some((_, before)) = other.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let at = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
                rows.push(Row { name, ..Row::default() });
                rows.len() - 1
            });
            rows[at].ns.push([*before, ns]);
        }
    }
    println!("quickest window of all rounds, ns a packet; instructions a packet");
    for row in &mut rows {
        for (count, program) in row.instructions.iter_mut().zip(&both) {
            let program = [program.display().to_string(), "inprocess".to_owned()];
            *count = instructions(&program, &row.name, None)?;
        }
        let ([ns, ns_now], [before, now]) = (row.quickest(), row.instructions);
        let (time, work) = (ns_now / ns, now / before);
        println!(
            "{:<36} {ns:.1} -> {ns_now:.1} ({time:.3})  {before:.0} -> {now:.0} ({work:.3})",
            row.name
        );
    }
    let comparison = Comparison { machine, against: options.commit.clone(), rows };
    println!("{}", report::write(&comparison.machine, "against", &comparison)?.display());
    Ok(())
}

/// The command line of one run of `inprocess`.
fn words(program: &Path, filters: &[String]) -> Vec<String> {
    let mut words = vec![program.display().to_string(), "inprocess".into(), "--no-file".into()];
    words.extend(filters.iter().cloned());
    words
}

/// The names and quickest windows that a run prints.
fn table(words: &[String]) -> io::Result<Vec<(String, f64)>> {
    let printed = output(words)?;
    let row = |line: &str| {
        // A name, and behind it least, median and spread.
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (name, figures) = cells.split_at_checked(cells.len().checked_sub(3)?)?;
        figures.iter().all(|cell| cell.parse::<f64>().is_ok()).then_some(())?;
        Some((name.join(" "), figures[0].parse().ok()?))
    };
    Ok(printed.lines().filter_map(row).collect())
}

/// What a program prints to its standard output.
fn output(words: &[String]) -> io::Result<String> {
    let output = Command::new(&words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", words[0])))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{}: {}\n{said}", words.join(" "), output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
