//! The two text formats: Prometheus's 0.0.4 and OpenMetrics 1.0.
//!
//! They differ in the header of a family (counters and infos are called without their suffix in
//! OpenMetrics, and there are units), in what HELP escapes, and in the last line. Names of series
//! and labels are the same in both, so queries do not care which one was scraped.

use std::fmt::{Display, Write};

use super::{
    family::{Family, Kind},
    negotiate::Format,
    ratchet::Ratchets,
};

/// A page that is being written, a family after the other.
#[derive(Debug)]
pub struct Page<'a> {
    text: String,
    format: Format,
    ratchets: &'a mut Ratchets,
}

/// The samples of one family: all of them, one after the other.
#[derive(Debug)]
pub struct Samples<'p, 'a> {
    page: &'p mut Page<'a>,
    family: &'static Family,
    begun: bool,
}

impl<'a> Page<'a> {
    /// An empty one.
    pub const fn new(format: Format, ratchets: &'a mut Ratchets) -> Self {
        Self { text: String::new(), format, ratchets }
    }

    /// The next family; it is only mentioned if it gets a sample.
    pub const fn family<'p>(&'p mut self, family: &'static Family) -> Samples<'p, 'a> {
        Samples { page: self, family, begun: false }
    }

    /// The text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn header(&mut self, family: &Family) {
        let openmetrics = self.format == Format::OpenMetrics;
        let (name, kind) = match (openmetrics, family.kind) {
            (true, kind) => (family.name.to_owned(), kind.name()),
            (false, Kind::Info) => (family.series(), "gauge"),
            (false, kind) => (family.series(), kind.name()),
        };
        let help = escaped(family.help, openmetrics);
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        if let Some(unit) = family.unit().filter(|_| openmetrics) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.text, "{line}");
    }
}

impl Samples<'_, '_> {
    /// One sample; a label for each name that the family has.
    pub fn add(&mut self, labels: &[&str], value: impl Display) {
        let suffix = self.family.kind.suffix();
        self.sample(suffix, labels, None, value);
    }

    /// A count, which goes on where it was if it has begun anew.
    pub fn count(&mut self, labels: &[&str], value: u64) {
        if self.family.kind != Kind::RestartingCounter {
            return self.add(labels, value);
        }
        let mut series = String::new();
        series.push_str(self.family.name);
        self.write_labels(&mut series, labels, None);
        let shown = self.page.ratchets.turn(&series, value);
        self.add(labels, shown);
    }

    /// A yes or no.
    pub fn truth(&mut self, labels: &[&str], value: bool) {
        self.add(labels, u8::from(value));
    }

    /// A histogram: by upper bounds how many were in each step, then those beyond the last bound,
    /// and the sum.
    pub fn histogram(
        &mut self,
        labels: &[&str],
        steps: impl Iterator<Item = (String, u64)>,
        beyond: u64,
        sum: f64,
    ) {
        let mut count = 0;
        for (bound, step) in steps {
            count += step;
            self.sample("_bucket", labels, Some(("le", &bound)), count);
        }
        count += beyond;
        self.sample("_bucket", labels, Some(("le", "+Inf")), count);
        self.sample("_sum", labels, None, sum);
        self.sample("_count", labels, None, count);
    }

    /// A summary with one quantile.
    pub fn summary(&mut self, labels: &[&str], quantile: (&str, f64), sum: f64, count: u64) {
        let (part, value) = quantile;
        self.sample("", labels, Some(("quantile", part)), value);
        self.sample("_sum", labels, None, sum);
        self.sample("_count", labels, None, count);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[&str],
        more: Option<(&str, &str)>,
        value: impl Display,
    ) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        if !self.begun {
            self.page.header(self.family);
            self.begun = true;
        }
        let mut line = String::new();
        line.push_str(self.family.name);
        line.push_str(suffix);
        self.write_labels(&mut line, labels, more);
        self.page.line(format_args!("{line} {value}"));
    }

    fn write_labels(&self, line: &mut String, labels: &[&str], more: Option<(&str, &str)>) {
        let own = self.family.labels.iter().copied().zip(labels.iter().copied());
        let mut open = '{';
        for (name, value) in own.chain(more) {
            line.push(open);
            line.push_str(name);
            line.push_str("=\"");
            line.push_str(&escaped(value, true));
            line.push('"');
            open = ',';
        }
        if open == ',' {
            line.push('}');
        }
    }
}

/// A text as it stands in a label, or after HELP, where 0.0.4 leaves quotes alone.
fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            letter => out.push(letter),
        }
    }
    out
}
