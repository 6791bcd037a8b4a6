//! The table of goals, filled from the raw figures of a run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Which run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A directory of `bench/runs`; the newest one if none is named
    run: Option<PathBuf>,
}

/// A figure and what is known of its spread.
#[derive(Clone, Copy)]
struct Figure {
    value: f64,
    spread: f64,
}

/// Where a figure is to lie.
#[derive(Clone, Copy)]
enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// A line of the table.
struct Line {
    number: u8,
    what: String,
    goal: Aim,
    stretch: Option<f64>,
    figure: Option<Figure>,
}

/// Prints the table.
///
/// # Errors
/// There is no run, or what is in it cannot be read.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let run = match &options.run {
        Some(run) => run.clone(),
        None => newest()?,
    };
    let sheets = Sheets::read(&run)?;
    println!("{}: {}", run.display(), sheets.machine());
    println!(
        "{:>2}  {:<52} {:>8} {:>8} {:>9} {:>7}  met",
        "#", "what", "goal", "stretch", "figure", "spread"
    );
    for line in lines(&sheets) {
        line.print();
    }
    Ok(())
}

fn newest() -> io::Result<PathBuf> {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
    let entries = fs::read_dir(&runs)?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = entries.filter(|path| path.is_dir()).max();
    newest.ok_or_else(|| io::Error::other(format!("{}: no run", runs.display())))
}

impl Line {
    fn print(&self) {
        let (goal, sign) = match self.goal {
            Aim::AtLeast(goal) => (goal, ">="),
            Aim::AtMost(goal) => (goal, "<="),
        };
        let stretch = self.stretch.map_or(String::new(), number);
        let (figure, spread, met) = match self.figure {
            None => ("-".to_owned(), String::new(), "not measured"),
            Some(figure) => {
                (number(figure.value), number(figure.spread), verdict(figure, self.goal))
            }
        };
        println!(
            "{:>2}  {:<52} {:>8} {stretch:>8} {figure:>9} {spread:>7}  {met}",
            self.number,
            self.what,
            format!("{sign} {}", number(goal)),
        );
    }
}

/// Half of the spread lies on either side: what it reaches over is not resolved.
fn verdict(Figure { value, spread }: Figure, goal: Aim) -> &'static str {
    let ahead = match goal {
        Aim::AtLeast(goal) => value - goal,
        Aim::AtMost(goal) => goal - value,
    };
    match ahead {
        ahead if ahead.abs() < spread / 2.0 => "not resolved",
        ahead if ahead >= 0.0 => "yes",
        _ => "no",
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1e5 => format!("{:.2} M", value / 1e6),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The raw figures of a run, by the kind of bench.
struct Sheets {
    inprocess: Value,
    rig: Value,
    nftables: Value,
    guest: Value,
}

impl Sheets {
    fn read(run: &Path) -> io::Result<Self> {
        let sheet = |kind: &str| match fs::read_to_string(run.join(format!("{kind}.json"))) {
            Ok(text) => serde_json::from_str(&text).map_err(io::Error::other),
            // Parts can be run alone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
            Err(error) => Err(error),
        };
        Ok(Self {
            inprocess: sheet("inprocess")?,
            rig: sheet("rig")?,
            nftables: sheet("rig-nftables-xlvs")?,
            guest: sheet("guest")?,
        })
    }

    fn machine(&self) -> String {
        let sheets = [&self.inprocess, &self.rig, &self.nftables, &self.guest];
        let machine = sheets.into_iter().map(|sheet| &sheet["machine"]).find(|m| !m.is_null());
        let Some(machine) = machine else { return "nothing was measured".to_owned() };
        let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
        format!("{}, kernel {}, commit {}", text("cpu"), text("kernel"), text("commit"))
    }

    /// Nanoseconds a packet of one bench of `inprocess`: the quickest window.
    fn ns(&self, name: &str) -> Option<Figure> {
        let rows = self.inprocess["rows"].as_array()?;
        let row = rows.iter().find(|row| row["name"] == name)?;
        Some(Figure { value: row["ns"]["min"].as_f64()?, spread: row["ns"]["spread"].as_f64()? })
    }

    /// As [`Self::ratio`], of the medians: where two threads meet, no window is undisturbed.
    fn medians(&self, over: &str, under: &str) -> Option<Figure> {
        let rows = self.inprocess["rows"].as_array()?;
        let ns = |name: &str| {
            let ns = &rows.iter().find(|row| row["name"] == name)?["ns"];
            Some((ns["median"].as_f64()?, ns["spread"].as_f64()?))
        };
        let ((over, wide), (under, wider)) = (ns(over)?, ns(under)?);
        let value = over / under;
        Some(Figure { value, spread: value * (wide / over + wider / under) })
    }

    /// Instructions of one forwarder over those of another, in the guest with 1 k connections.
    fn in_guest(&self, what: &str) -> Option<Figure> {
        let ratios = self.guest["ratios"].as_array()?;
        let wanted = |ratio: &&Value| ratio["what"] == what && ratio["connections"] == 1024;
        // Counted, not timed: one window is like another.
        Some(Figure { value: ratios.iter().find(wanted)?["ratio"].as_f64()?, spread: 0.0 })
    }

    /// What one bench takes by another one's measure.
    fn ratio(&self, over: &str, under: &str) -> Option<Figure> {
        let (over, under) = (self.ns(over)?, self.ns(under)?);
        let value = over.value / under.value;
        Some(Figure {
            value,
            spread: value * (over.spread / over.value + under.spread / under.value),
        })
    }
}

/// The median of the pairs' ratios in a rig's sheet.
fn pairs(sheet: &Value, mode: &str, flows: u64, sink: &str) -> Option<Figure> {
    let rows = sheet["rows"].as_array()?;
    let wanted = |row: &&Value| {
        row["mode"] == mode && row["octets"] == 64 && row["flows"] == flows && row["sink"] == sink
    };
    let ratio = &rows.iter().find(wanted)?["ratio"];
    Some(Figure { value: ratio["median"].as_f64()?, spread: ratio["spread"].as_f64()? })
}

fn lines(sheets: &Sheets) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |number, what: String, goal, stretch, figure| {
        lines.push(Line { number, what, goal, stretch, figure });
    };
    const THOUSAND: u64 = 1024;
    const MILLION: u64 = 1 << 20;
    let least = [("nat", 0.93), ("fullnat", 0.93), ("dr", 0.95), ("tun", 0.95)];
    for (mode, goal) in least {
        let what = format!("of bare l2fwd, {mode}, 64 B, 1 k, plain sink");
        let figure = pairs(&sheets.rig, mode, THOUSAND, "plain");
        line(1, what, Aim::AtLeast(goal), Some(0.97), figure);
    }
    for (mode, _) in least {
        let what = format!("of bare l2fwd, {mode}, 64 B, 1 k, XDP sink");
        let figure = pairs(&sheets.rig, mode, THOUSAND, "xdp");
        line(1, what, Aim::AtLeast(0.95), Some(0.97), figure);
    }
    for (mode, _) in least {
        let what = format!("of bare l2fwd, {mode}, 64 B, 1 M, plain sink");
        let figure = pairs(&sheets.rig, mode, MILLION, "plain");
        line(2, what, Aim::AtLeast(0.92), Some(0.95), figure);
    }
    for (mode, goal, stretch) in
        [("dr", 30.0, 20.0), ("nat", 45.0, 30.0), ("fullnat", 45.0, 30.0), ("tun", 40.0, 28.0)]
    {
        let what = format!("ns a packet, {mode} v4 tcp, 1 k");
        let figure = sheets.ns(&format!("verdict {mode} v4 tcp 1k"));
        line(3, what, Aim::AtMost(goal), Some(stretch), figure);
    }
    let figure = sheets.ratio("find v4 10M burst 64", "find v4 1k burst 64");
    line(4, "find, 10 M over 1 k".into(), Aim::AtMost(1.8), Some(1.5), figure);
    let figure = sheets.ratio("find v4 10M burst 1", "find v4 10M burst 64");
    line(5, "find at 10 M, burst 1 over burst 64".into(), Aim::AtLeast(2.5), Some(3.5), figure);
    for (flows, name, goal) in
        [(THOUSAND, "1 k", 1.0), (1 << 16, "64 k", 1.5), (MILLION, "1 M", 2.0)]
    {
        for mode in ["nat", "fullnat"] {
            let what = format!("of nftables, {mode}, 64 B, {name}, plain sink");
            let figure = pairs(&sheets.nftables, mode, flows, "plain");
            line(6, what, Aim::AtLeast(goal), None, figure);
        }
    }
    for mode in ["nat", "fullnat", "dr", "tun"] {
        let name = format!("admit {mode} v4 tcp");
        let figure = sheets.ratio(&name, &format!("verdict {mode} v4 tcp 1k"));
        let what = format!("new connection over established packet, {mode}");
        line(7, what, Aim::AtMost(3.0), Some(2.0), figure);
        let figure = sheets.ns(&name).map(|ns| {
            let value = 1e9 / ns.value;
            Figure { value, spread: value * ns.spread / ns.value }
        });
        let what = format!("new connections a second, {mode}");
        line(7, what, Aim::AtLeast(2e6), Some(4e6), figure);
    }
    for (kind, goal) in [("own", 0.97), ("crossed", 0.95)] {
        let name = |tables| format!("workers {kind} {tables} nat v4 tcp 64k");
        let figure = sheets.medians(&name("separate"), &name("shared"));
        let what = format!("two workers, one table over two, connections {kind}");
        line(9, what, Aim::AtLeast(goal), Some(1.0), figure);
    }
    for (other, goal) in [("l2fwd", 0.92), ("ipvs", 1.9)] {
        for mode in ["nat", "dr"] {
            let what = format!("instructions in a guest, {other} over xlvs, {mode}, 1 k");
            let figure = sheets.in_guest(&format!("{other} / xlvs {mode}"));
            line(11, what, Aim::AtLeast(goal), None, figure);
        }
    }
    lines
}
