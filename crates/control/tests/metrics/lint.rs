//! A strict reader of both formats, with the rules of promlint (client_golang), and with those
//! that Debian's promtool 2.42 does not look at: groups that are split, and series that are there
//! twice.

use std::collections::{BTreeMap, BTreeSet};

use control::metrics::Format;

/// A family as it was read.
#[derive(Default)]
struct Family {
    kind: Option<String>,
    help: bool,
    unit: Option<String>,
    series: BTreeSet<String>,
    /// Of a histogram, by its other labels: bounds and counts in order.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
    counts: BTreeMap<String, f64>,
}

/// Everything that is wrong with a page.
pub(crate) fn lint(page: &str, format: Format) -> Vec<String> {
    let mut reader = Reader {
        format,
        families: BTreeMap::new(),
        done: BTreeSet::new(),
        current: String::new(),
        faults: Vec::new(),
    };
    if !page.ends_with('\n') {
        reader.faults.push("no line end at the end".to_owned());
    }
    let mut lines: Vec<&str> = page.lines().collect();
    if format == Format::OpenMetrics && lines.pop() != Some("# EOF") {
        reader.faults.push("no # EOF at the end".to_owned());
    }
    for line in lines {
        if let Err(fault) = reader.line(line) {
            reader.faults.push(format!("{line}: {fault}"));
        }
    }
    reader.finish()
}

struct Reader {
    format: Format,
    families: BTreeMap<String, Family>,
    /// Families that were left for another one.
    done: BTreeSet<String>,
    current: String,
    faults: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let text = words.next().ok_or("nothing is said")?;
            let openmetrics = self.format == Format::OpenMetrics;
            let family = self.enter(name)?;
            if !family.series.is_empty() {
                return Err("comes after samples".to_owned());
            }
            let twice = match word {
                "HELP" => std::mem::replace(&mut family.help, true),
                "TYPE" => family.kind.replace(text.to_owned()).is_some(),
                "UNIT" if openmetrics => family.unit.replace(text.to_owned()).is_some(),
                _ => return Err("no word of this format".to_owned()),
            };
            return if twice { Err("said twice".to_owned()) } else { Ok(()) };
        }
        self.sample(line)
    }

    /// The family of that name, which must not have been left.
    fn enter(&mut self, name: &str) -> Result<&mut Family, String> {
        if self.current != name {
            let left = std::mem::replace(&mut self.current, name.to_owned());
            self.done.insert(left);
            if self.done.contains(name) {
                return Err("its group is split".to_owned());
            }
        }
        Ok(self.families.entry(name.to_owned()).or_default())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (name, labels, value) = parts(line)?;
        let base = self.base(&name);
        let kind = self.families.get(&base).and_then(|family| family.kind.clone());
        let kind = kind.ok_or("no TYPE before it")?;
        well_named(&name, &labels, &kind)?;
        let number = number(&value).ok_or("no number")?;
        let family = self.enter(&base)?;
        let series = format!("{name}{labels:?}");
        if !family.series.insert(series) {
            return Err("there twice".to_owned());
        }
        let mut others = labels.clone();
        let bound = others.remove("le");
        let others = format!("{others:?}");
        if kind == "histogram" && name.ends_with("_bucket") {
            let bound = bound.as_deref().and_then(self::number).ok_or("no le")?;
            family.buckets.entry(others).or_default().push((bound, number));
        } else if kind == "histogram" && name.ends_with("_count") {
            family.counts.insert(others, number);
        }
        Ok(())
    }

    /// To which family a series belongs.
    fn base(&self, name: &str) -> String {
        let suffixes: &[&str] = match self.format {
            Format::Text => &["_bucket", "_sum", "_count"],
            Format::OpenMetrics => &["_bucket", "_sum", "_count", "_total", "_info"],
        };
        let mut bases = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
        let known = |base: &&str| self.families.contains_key(*base);
        bases.find(known).unwrap_or(name).to_owned()
    }

    fn finish(mut self) -> Vec<String> {
        for (name, family) in &self.families {
            let kind = family.kind.as_deref().unwrap_or("untyped");
            let mut fault = |words: &str| self.faults.push(format!("{name}: {words}"));
            if !family.help {
                fault("no HELP");
            }
            let total = name.ends_with("_total");
            match self.format {
                Format::Text if (kind == "counter") != total => fault("_total and counters"),
                Format::OpenMetrics if total => fault("a family's name has no _total there"),
                _ => {}
            }
            if family.unit.as_ref().is_some_and(|unit| !name.ends_with(&format!("_{unit}"))) {
                fault("its unit is not in its name");
            }
            for (labels, buckets) in &family.buckets {
                let rises =
                    buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
                let last = buckets.last().filter(|last| last.0.is_infinite()).map(|last| last.1);
                if !rises || last.is_none() || last != family.counts.get(labels).copied() {
                    fault("buckets that do not add up");
                }
            }
        }
        self.faults
    }
}

/// promlint's rules of names.
fn well_named(name: &str, labels: &BTreeMap<String, String>, kind: &str) -> Result<(), String> {
    const UNITS: &[&str] = &[
        "s",
        "ms",
        "us",
        "ns",
        "sec",
        "b",
        "kb",
        "mb",
        "gb",
        "tb",
        "pb",
        "m",
        "h",
        "d",
        "minutes",
        "hours",
        "days",
        "weeks",
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "kilobytes",
        "megabytes",
        "bits",
        "percent",
        "miles",
        "gauge",
        "counter",
        "histogram",
        "summary",
    ];
    let letters = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if let Some(bad) =
        std::iter::once(name).chain(labels.keys().map(String::as_str)).find(|text| !letters(text))
    {
        return Err(format!("{bad}: not in snake_case"));
    }
    if let Some(unit) = name.split('_').find(|part| UNITS.contains(part)) {
        return Err(format!("{unit} in its name"));
    }
    let parts = ["_bucket", "_sum", "_count"];
    if !matches!(kind, "histogram" | "summary") && parts.iter().any(|part| name.ends_with(part)) {
        return Err("the name of a histogram's part".to_owned());
    }
    for (label, owner) in [("le", "histogram"), ("quantile", "summary")] {
        if labels.contains_key(label) && kind != owner {
            return Err(format!("a label {label}"));
        }
    }
    if ["instance", "job"].iter().any(|target| labels.contains_key(*target)) {
        return Err("a label of Prometheus's own".to_owned());
    }
    if kind == "counter" && !name.ends_with("_total") {
        return Err("a counter without _total".to_owned());
    }
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        text if text.chars().all(|c| c.is_ascii_digit() || ".-+e".contains(c)) => text.parse().ok(),
        _ => None,
    }
}

/// Name, labels and value of a sample: `name{label="value"} 1`.
fn parts(line: &str) -> Result<(String, BTreeMap<String, String>, String), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("no value of a label")?;
            let (value, after) = quoted(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("{label} twice"));
            }
            match after.split_at_checked(1) {
                Some((",", more)) => rest = more,
                Some(("}", more)) => {
                    rest = more;
                    break;
                }
                _ => return Err("labels do not end".to_owned()),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    Ok((name.to_owned(), labels, value.to_owned()))
}

/// A label's value up to its quote, and what comes behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, letter @ ('\\' | '"'))) => value.push(letter),
                _ => return Err("an unknown escape".to_owned()),
            },
            letter => value.push(letter),
        }
    }
    Err("a label's value does not end".to_owned())
}

/// The reader itself: each fault is seen.
#[test]
fn faults_are_seen() {
    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"1\"} 1\n";
    assert_eq!(lint(GOOD, Format::Text), [] as [String; 0]);
    let open = "# HELP a A.\n# TYPE a counter\na_total{b=\"\\\\\\n\\\"\"} 1\n# EOF\n";
    assert_eq!(lint(open, Format::OpenMetrics), [] as [String; 0]);
    let head = |name: &str, kind: &str| format!("# HELP {name} A.\n# TYPE {name} {kind}\n");
    let rows = [
        ("a_total 1\n".to_owned(), "no TYPE"),
        ("# TYPE a gauge\na 1\n".to_owned(), "no HELP"),
        (GOOD.to_owned() + "a_total{b=\"1\"} 2\n", "there twice"),
        (GOOD.to_owned() + &head("c", "gauge") + "c 1\na_total{b=\"2\"} 1\n", "split"),
        (GOOD.to_owned() + "# HELP a_total A.\n", "after samples"),
        (GOOD.trim_end().to_owned(), "no line end"),
        (head("a", "counter") + "a 1\n", "without _total"),
        (head("a_total", "gauge") + "a_total 1\n", "_total and counters"),
        (head("a_ms", "gauge") + "a_ms 1\n", "ms in its name"),
        (head("a_gauge", "gauge") + "a_gauge 1\n", "gauge in its name"),
        (head("a_count", "gauge") + "a_count 1\n", "histogram's part"),
        (head("aB", "gauge") + "aB 1\n", "snake_case"),
        (head("a", "gauge") + "a{le=\"1\"} 1\n", "a label le"),
        (head("a", "gauge") + "a{job=\"1\"} 1\n", "Prometheus's own"),
        (head("a", "gauge") + "a{b=\"\\t\"} 1\n", "unknown escape"),
        (head("a", "gauge") + "a{b=\"1} 1\n", "does not end"),
        (head("a", "gauge") + "a{b=\"1\",b=\"2\"} 1\n", "b twice"),
        (head("a", "gauge") + "a inf\n", "no number"),
        (head("a", "gauge") + "\n", "no value"),
        (head("a", "histogram") + "a_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n", "add up"),
        (
            head("a", "histogram") + "a_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\n",
            "add up",
        ),
        (head("a", "histogram") + "a_bucket{le=\"+Inf\"} 1\na_count 2\n", "add up"),
    ];
    for (page, fault) in rows {
        let found = lint(&page, Format::Text);
        assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}\n{page}");
    }
    for (page, fault) in [
        (GOOD, "# EOF"),
        ("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# EOF\n", "no _total there"),
        ("# HELP a A.\n# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n", "unit is not in its name"),
    ] {
        let found = lint(page, Format::OpenMetrics);
        assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}");
    }
}
