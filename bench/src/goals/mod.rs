//! The table of goals, filled from the raw figures of a run.

mod figure;
mod list;
pub(crate) mod readme;
mod remarks;
mod sheets;

use std::{io, path::PathBuf};

use self::{
    figure::{Aim, Figure, Verdict},
    list::{Line, lines},
    remarks::Remarks,
    sheets::Sheets,
};
use crate::sheet::Run;

/// Which run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A directory of `bench/runs`; the newest one if none is named
    run: Option<PathBuf>,
    /// As README has it
    #[arg(long)]
    markdown: bool,
}

/// Prints the table.
///
/// # Errors
/// There is no run, or what is in it cannot be read.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let run = Run::named_or_newest(options.run.as_deref())?;
    let sheets = Sheets::read(&run)?;
    if options.markdown {
        print!("{}", markdown(&sheets)?);
        return Ok(());
    }
    println!("{}", run.directory().display());
    for origin in sheets.origins() {
        println!("{origin}");
    }
    println!(
        "{:>2}  {:<74} {:>8} {:>8} {:>8}  {:<18} {:<24} met",
        "#", "what", "goal", "stretch", "figure", "range", "the least"
    );
    for line in lines(&sheets) {
        line.print();
    }
    Ok(())
}

/// The table and the remarks on it, for README.
fn markdown(sheets: &Sheets) -> io::Result<String> {
    let remarks = Remarks::read()?;
    let mut text = String::from(
        "| # | what | goal | stretch | figure | range | the least | met |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let lines = lines(sheets);
    for line in &lines {
        text += &line.markdown(remarks.of(line.number).is_some());
    }
    for (number, remark) in remarks.all() {
        text += &format!("\n**{number}**: {remark}\n");
    }
    Ok(text)
}

/// A line as it is shown, cell by cell.
struct Cells {
    goal: String,
    stretch: String,
    figure: String,
    range: String,
    bound: String,
    met: &'static str,
}

impl Line {
    fn cells(&self) -> Cells {
        let (goal, sign) = match self.goal {
            Aim::AtLeast(goal) => (goal, ">="),
            Aim::AtMost(goal) => (goal, "<="),
        };
        let (figure, range) = match self.figure {
            None => (String::new(), String::new()),
            Some(figure) => (number(figure.value), range(figure)),
        };
        Cells {
            goal: format!("{sign} {}", number(goal)),
            stretch: self.stretch.map(number).unwrap_or_default(),
            figure,
            range,
            bound: self.bound.map(with_range).unwrap_or_default(),
            met: self.met(),
        }
    }

    fn met(&self) -> &'static str {
        let Some(figure) = self.figure else { return "not measured" };
        let stretch = self.stretch.map(|stretch| match self.goal {
            Aim::AtLeast(_) => figure.verdict(Aim::AtLeast(stretch)),
            Aim::AtMost(_) => figure.verdict(Aim::AtMost(stretch)),
        });
        match (figure.verdict(self.goal), stretch) {
            (Verdict::Yes, Some(Verdict::Yes)) => "yes, stretch",
            (Verdict::Yes, _) => "yes",
            (Verdict::Unresolved, _) => "not resolved",
            (Verdict::No, _) if self.misses_by_the_least() => "no, nor the least",
            (Verdict::No, _) => "no",
        }
    }

    /// The least misses the goal as well, in all of its range.
    fn misses_by_the_least(&self) -> bool {
        self.bound.is_some_and(|bound| bound.verdict(self.goal) == Verdict::No)
    }

    fn print(&self) {
        let Cells { goal, stretch, figure, range, bound, met } = self.cells();
        let Self { number, what, .. } = self;
        println!(
            "{number:>2}  {what:<74} {goal:>8} {stretch:>8} {figure:>8}  {range:<18} {bound:<24} {met}"
        );
    }

    fn markdown(&self, remark: bool) -> String {
        let Cells { goal, stretch, figure, range, bound, met } = self.cells();
        let Self { number, what, .. } = self;
        let see =
            if remark && !met.starts_with("yes") { format!(", see {number}") } else { "".into() };
        format!(
            "| {number} | {what} | {goal} | {stretch} | {figure} | {range} | {bound} | {met}{see} |\n"
        )
    }
}

fn range(Figure { low, high, .. }: Figure) -> String {
    match () {
        () if low == high => String::new(),
        () if low.is_finite() && high.is_finite() => format!("{} to {}", number(low), number(high)),
        () => "too few windows".to_owned(),
    }
}

fn with_range(figure: Figure) -> String {
    match range(figure) {
        none if none.is_empty() => number(figure.value),
        range => format!("{} ({range})", number(figure.value)),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1e5 => format!("{:.2} M", value / 1e6),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_least_misses_is_said() {
        let figure = |low, high| Some(Figure { value: (low + high) / 2.0, low, high });
        let [poor, near, good] = [figure(0.8, 0.85), figure(0.88, 0.96), figure(0.96, 0.97)];
        let table = [
            (poor, None, "no"),
            (poor, poor, "no, nor the least"),
            (poor, near, "no"),
            (poor, good, "no"),
            (near, poor, "not resolved"),
            (good, poor, "yes"),
            (None, poor, "not measured"),
        ];
        for (figure, bound, met) in table {
            let goal = Aim::AtLeast(0.95);
            let line = Line { number: 1, what: String::new(), goal, stretch: None, figure, bound };
            assert_eq!(line.met(), met, "{figure:?}, {bound:?}");
        }
    }
}
