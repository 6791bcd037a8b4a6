//! YAML as far as a file needs it: words, lists and mappings, each in one line but the outermost.

use std::{fmt::Display, time::Duration};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// In quotes where it needs them.
    Word(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// A mapping that is being filled, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Map(Vec<(String, Node)>);

/// A word or a number.
pub(super) fn word(text: impl Display) -> Node {
    Node::Word(quoted(&text.to_string()))
}

pub(super) fn list(items: impl Iterator<Item = Node>) -> Node {
    Node::List(items.collect())
}

pub(super) const fn map() -> Map {
    Map(Vec::new())
}

/// A time as the file has it.
pub(super) fn time(time: Duration) -> Node {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => word(format!("{seconds}s")),
        _ => word(format!("{}ms", time.as_millis())),
    }
}

pub(super) fn seconds(seconds: u32) -> Node {
    word(format!("{seconds}s"))
}

impl Map {
    pub(super) fn put(&mut self, key: &str, value: Node) {
        self.0.push((key.to_owned(), value));
    }

    pub(super) fn put_some(&mut self, key: &str, value: Option<Node>) {
        self.0.extend(value.map(|value| (key.to_owned(), value)));
    }

    /// Unless it is empty.
    pub(super) fn if_any(self) -> Option<Node> {
        (!self.0.is_empty()).then(|| self.into())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A line for each key; long lists and mappings have a line for each entry.
    pub(super) fn block(&self) -> String {
        self.lines().into_iter().map(|line| line + "\n").collect()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, value) in &self.0 {
            let key = quoted(key);
            let flow = value.flow();
            match value {
                Node::List(items) if flow.len() > WIDE && !items.is_empty() => {
                    lines.push(format!("{key}:"));
                    lines.extend(items.iter().map(|item| format!("  - {}", item.flow())));
                }
                Node::Map(entries) if flow.len() > WIDE && !entries.is_empty() => {
                    lines.push(format!("{key}:"));
                    let entry = |(key, value): &(String, Node)| {
                        format!("  {}: {}", quoted(key), value.flow())
                    };
                    lines.extend(entries.iter().map(entry));
                }
                _ => lines.push(format!("{key}: {flow}")),
            }
        }
        lines
    }
}

/// What is longer gets several lines.
const WIDE: usize = 80;

impl From<Map> for Node {
    fn from(map: Map) -> Self {
        Self::Map(map.0)
    }
}

impl Node {
    pub(super) fn named(entries: impl Iterator<Item = (String, Self)>) -> Self {
        Self::Map(entries.collect())
    }

    /// Unless it is empty.
    pub(super) fn if_any(self) -> Option<Self> {
        let empty = match &self {
            Self::Word(_) => false,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        };
        (!empty).then_some(self)
    }

    pub(super) fn into_map(self) -> Option<Map> {
        match self {
            Self::Map(entries) => Some(Map(entries)),
            _ => None,
        }
    }

    /// In one line.
    pub(super) fn flow(&self) -> String {
        match self {
            Self::Word(text) => text.clone(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => {
                let entry =
                    |(key, value): &(String, Self)| format!("{}: {}", quoted(key), value.flow());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Plain where every reader of YAML takes it for the same word; else in double quotes, whose
/// escapes are those of JSON.
fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let escaped = text.chars().map(|c| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
            format!("\\u{:04x}", u32::from(c))
        }
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn is_plain(text: &str) -> bool {
    let number = !text.is_empty() && text.len() < 10 && text.bytes().all(|b| b.is_ascii_digit());
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/.".contains(&b));
    let lower = text.to_ascii_lowercase();
    let taken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    // A time or a range begins with a digit, and no reader takes it for a number.
    let unit = text.strip_suffix("ms").or_else(|| text.strip_suffix('s'));
    let time = unit.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let truth = ["true", "false"].contains(&text);
    number || time || truth || first && rest && !taken.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_need_quotes_where_yaml_would_take_them_for_something_else() {
        for (text, expected) in [
            ("web", "web"),
            ("tcp_established", "tcp_established"),
            ("15", "15"),
            ("15s", "15s"),
            ("/usr/bin/check", "/usr/bin/check"),
            ("10.0.2.11:80", "\"10.0.2.11:80\""),
            ("fd00::1", "\"fd00::1\""),
            ("1e3", "\"1e3\""),
            ("0x10", "\"0x10\""),
            ("No", "\"No\""),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\"\\\n", "\"a\\\"\\\\\\u000a\""),
            ("- a", "\"- a\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
