//! Writing YAML with comments, as people lay it out.

use std::fmt::Write;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Yaml {
    /// A number, a time or a word of xlvs: written as it is.
    Plain(String),
    /// A text from elsewhere: quoted where YAML would read something else.
    Text(String),
    /// `[a, b]`.
    List(Vec<Self>),
    /// `{a: b}`.
    Map(Vec<(&'static str, Self)>),
    /// An entry a line.
    Block(Vec<Entry>),
    /// A `- ` a line.
    Items(Vec<Item>),
    /// Lines as they are, indented.
    Lines(String),
}

/// A key and its value, with comments above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) comments: Vec<String>,
    pub(crate) key: String,
    pub(crate) value: Yaml,
}

/// An element of a list, with comments above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) comments: Vec<String>,
    pub(crate) value: Yaml,
}

impl Yaml {
    pub(crate) fn plain(value: impl ToString) -> Self {
        Self::Plain(value.to_string())
    }

    pub(crate) fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    /// Milliseconds, in the largest unit that needs no fraction.
    pub(crate) fn time(milliseconds: u64) -> Self {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let whole =
            |(unit, _): &&(u64, &str)| milliseconds > 0 && milliseconds.is_multiple_of(*unit);
        match units.iter().find(whole) {
            _ if milliseconds == 0 => Self::plain("0s"),
            Some((unit, name)) => Self::Plain(format!("{}{name}", milliseconds / unit)),
            None => Self::Plain(format!("{milliseconds}ms")),
        }
    }
}

impl Entry {
    pub(crate) fn new(key: &str, value: Yaml) -> Self {
        Self { comments: Vec::new(), key: key.to_owned(), value }
    }
}

/// A whole document.
pub(crate) fn document(entries: &[Entry]) -> String {
    let mut text = String::new();
    for (number, entry) in entries.iter().enumerate() {
        let tall = !entry.comments.is_empty()
            || matches!(&entry.value, Yaml::Block(_) | Yaml::Items(_) | Yaml::Lines(_));
        if number > 0 && tall {
            text.push('\n');
        }
        write_entry(&mut text, entry, 0);
    }
    text
}

/// A sentence behind `#`, in lines of about a hundred columns; what would end a line is a blank.
pub(crate) fn comment(text: &mut String, sentence: &str, indent: usize) {
    let mut line = String::new();
    let clean: String = sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let first = clean.len() - clean.trim_start().len();
    for word in clean.split(' ') {
        if !line.trim().is_empty() && indent + line.chars().count() + word.chars().count() > 98 {
            let _ = writeln!(text, "{:indent$}#{}", "", line.trim_end());
            line = " ".repeat(first + 3);
            line.pop();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{:indent$}#{}", "", line.trim_end());
}

fn write_entry(text: &mut String, entry: &Entry, indent: usize) {
    entry.comments.iter().for_each(|line| comment(text, line, indent));
    let _ = write!(text, "{:indent$}{}:", "", scalar(&entry.key));
    below(text, &entry.value, indent);
}

/// What stands behind `key:`.
fn below(text: &mut String, value: &Yaml, indent: usize) {
    match value {
        Yaml::Block(entries) if !entries.is_empty() => {
            text.push('\n');
            entries.iter().for_each(|entry| write_entry(text, entry, indent + 2));
        }
        Yaml::Items(items) if !items.is_empty() => {
            text.push('\n');
            items.iter().for_each(|item| write_item(text, item, indent + 2));
        }
        Yaml::Lines(lines) => {
            text.push('\n');
            for line in lines.lines() {
                let _ = writeln!(text, "{:1$}{line}", "", indent + 2);
            }
        }
        flow => {
            let _ = writeln!(text, " {}", inline(flow));
        }
    }
}

fn write_item(text: &mut String, item: &Item, indent: usize) {
    item.comments.iter().for_each(|line| comment(text, line, indent));
    let Yaml::Block(entries) = &item.value else {
        let _ = writeln!(text, "{:indent$}- {}", "", inline(&item.value));
        return;
    };
    for (number, entry) in entries.iter().enumerate() {
        if number > 0 {
            write_entry(text, entry, indent + 2);
            continue;
        }
        let _ = write!(text, "{:indent$}- {}:", "", scalar(&entry.key));
        below(text, &entry.value, indent + 2);
    }
}

fn inline(value: &Yaml) -> String {
    match value {
        Yaml::Plain(text) => text.clone(),
        Yaml::Text(text) => scalar(text),
        Yaml::List(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Yaml::Map(entries) => {
            let pair = |(key, value): &(&str, Yaml)| format!("{key}: {}", inline(value));
            format!("{{{}}}", entries.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Yaml::Items(_) | Yaml::Lines(_) => "[]".to_owned(),
        Yaml::Block(_) => "{}".to_owned(),
    }
}

/// A text as YAML reads it back, in quotes where it must be.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Letters, digits and a little more, and nothing that is another type to YAML.
fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    let begins = first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '/');
    let body = |c: char| c.is_ascii_alphanumeric() || "/._-@+".contains(c);
    // An IPv4 address and a port; an IPv6 address has more colons, and is quoted.
    let colons = text.matches(':').count();
    let endpoint = colons == 1 && text.contains('.') && !text.ends_with(':');
    if !begins || !(text.chars().all(body) || endpoint && text.replace(':', "").chars().all(body)) {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let number = text.chars().all(|c| c.is_ascii_digit() || "._+-exoabcdfABCDEF".contains(c))
        && first.is_some_and(|c| c.is_ascii_digit())
        && text.parse::<std::net::Ipv4Addr>().is_err();
    !words.contains(&lower.as_str()) && !number && text.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars() {
        let table = [
            ("eth0", "eth0"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.1:80/tcp", "10.0.0.1:80/tcp"),
            ("[fd00::1]:80", "\"[fd00::1]:80\""),
            ("fd00::1", "\"fd00::1\""),
            ("12:30", "\"12:30\""),
            ("12", "\"12\""),
            ("0x1f", "\"0x1f\""),
            ("1e3", "\"1e3\""),
            ("1.0", "\"1.0\""),
            ("12345678901234567890123456789012", "\"12345678901234567890123456789012\""),
            ("no", "\"no\""),
            ("Off", "\"Off\""),
            (".", "\".\""),
            ("", "\"\""),
            ("-x", "\"-x\""),
            ("a b", "\"a b\""),
            ("a\"\\\n", "\"a\\\"\\\\\\n\""),
            ("/usr/bin/env", "/usr/bin/env"),
            ("#", "\"#\""),
        ];
        for (text, written) in table {
            assert_eq!(scalar(text), written, "{text}");
        }
    }

    #[test]
    fn times() {
        let table = [
            (0, "0s"),
            (500, "500ms"),
            (1500, "1500ms"),
            (6000, "6s"),
            (360_000, "6m"),
            (86_400_000, "1d"),
        ];
        for (milliseconds, written) in table {
            assert_eq!(Yaml::time(milliseconds), Yaml::plain(written));
        }
    }
}
