//! Reading values out of the marked tree: every wrong type, unknown key and missing key
//! becomes a fault, and reading goes on.

use std::net::Ipv6Addr;

use super::scalar::Wrong;
use crate::{
    fault::{Fault, Place},
    marked::{Entry, Marked, Node},
    words,
};

/// Where something stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Its line and column.
    pub place: Place,
    /// Its YAML path.
    pub path: String,
}

impl Spot {
    /// The fault that this is `sentence`; `remedy` says what to write instead.
    pub fn fault(&self, sentence: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault {
            place: Some(self.place),
            path: self.path.clone(),
            sentence: sentence.into(),
            remedy: remedy.into(),
        }
    }
}

/// A value as it was put in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub spot: Spot,
}

/// A value of the tree with its path.
pub(super) struct Cursor<'a> {
    node: &'a Marked,
    path: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Marked) -> Self {
        Self { node, path: String::new() }
    }

    /// The value of a key at the top.
    pub(super) fn below(node: &'a Marked, key: &str) -> Self {
        Self { node, path: key.to_owned() }
    }

    pub(super) fn spot(&self) -> Spot {
        Spot { place: self.node.place, path: self.path.clone() }
    }

    pub(super) fn fault(&self, sentence: impl Into<String>, remedy: impl Into<String>) -> Fault {
        self.spot().fault(sentence, remedy)
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.node, Node::Map(_))
    }

    /// The mapping's keys, to be taken one after the other.
    pub(super) fn keys(&self, faults: &mut Vec<Fault>) -> Option<Keys<'a>> {
        if let Node::Map(entries) = &self.node.node {
            return Some(Keys {
                spot: self.spot(),
                entries,
                asked: Vec::new(),
                refused: Vec::new(),
            });
        }
        faults.push(self.fault(
            format!("{} where keys are expected", self.kind()),
            "write {key: value, ...}, or one key: value a line, indented",
        ));
        None
    }

    /// Name and value of each entry of a mapping whose keys are the operator's own names.
    pub(super) fn named(&self, faults: &mut Vec<Fault>) -> Vec<(Put<String>, Self)> {
        let Some(keys) = self.keys(faults) else { return Vec::new() };
        let entry = |entry: &'a Entry| {
            let path = keys.path_of(&entry.key);
            let spot = Spot { place: entry.place, path: path.clone() };
            (Put { value: entry.key.clone(), spot }, Self { node: &entry.value, path })
        };
        keys.entries.iter().map(entry).collect()
    }

    /// The items of a list.
    pub(super) fn items(&self, faults: &mut Vec<Fault>) -> Vec<Self> {
        if let Node::List(items) = &self.node.node {
            let item = |(index, node)| Self { node, path: format!("{}[{index}]", self.path) };
            return items.iter().enumerate().map(item).collect();
        }
        let remedy = "write [one, two], or one - a line; [] for none";
        faults.push(self.fault(format!("{} where a list is expected", self.kind()), remedy));
        Vec::new()
    }

    /// The items of a list, or the one value that stands for a list of one.
    pub(super) fn one_or_more(&self, faults: &mut Vec<Fault>) -> Vec<Self> {
        match self.node.node {
            Node::Scalar { .. } if !self.node.is_null() => {
                vec![Self { node: self.node, path: self.path.clone() }]
            }
            _ => self.items(faults),
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self, faults: &mut Vec<Fault>) -> Option<&'a str> {
        match &self.node.node {
            _ if self.node.is_null() => {
                faults.push(self.fault("nothing here", "write a value, or remove the key"));
            }
            Node::Scalar { text, .. } => return Some(text),
            other => faults.push(match unquoted_ipv6(other) {
                Some(address) => self.fault(
                    format!("{address}: an IPv6 address without quotes"),
                    format!("quote it: \"{address}\""),
                ),
                None => self.fault(
                    format!("{} where one value is expected", self.kind()),
                    "write a single value",
                ),
            }),
        }
        None
    }

    /// The scalar, read by `read`.
    pub(super) fn read<T>(
        &self,
        faults: &mut Vec<Fault>,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<Put<T>> {
        let text = self.text(faults)?;
        match read(text) {
            Ok(value) => Some(Put { value, spot: self.spot() }),
            Err(Wrong { sentence, remedy }) => {
                faults.push(self.fault(format!("\"{text}\": {sentence}"), remedy));
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(
        &self,
        faults: &mut Vec<Fault>,
        least: u32,
        most: u32,
    ) -> Option<Put<u32>> {
        if let Node::Scalar { text, plain: false } = &self.node.node {
            let sentence = format!("\"{text}\": a text where a number is expected");
            faults.push(self.fault(sentence, "remove the quotes"));
            return None;
        }
        self.read(faults, |text| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let range = format!("write a number from {least} to {most}");
            match text.parse() {
                Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
                _ if digits => Err(Wrong::new("out of range", range)),
                _ => Err(Wrong::new("not a whole number", range)),
            }
        })
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, faults: &mut Vec<Fault>) -> Option<bool> {
        self.word(faults, &[("true", true), ("false", false)]).map(|put| put.value)
    }

    /// A setting of `net.ipv4.vs` that is on or off, as sysctl or as YAML has it.
    pub(super) fn switch(&self, faults: &mut Vec<Fault>) -> Option<bool> {
        let words = [("0", false), ("1", true), ("false", false), ("true", true)];
        self.word(faults, &words).map(|put| put.value)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        faults: &mut Vec<Fault>,
        words: &[(&str, T)],
    ) -> Option<Put<T>> {
        self.read(faults, |text| {
            if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(Wrong::new("not a word that is known here", format!("write {}", any_of(&known))))
        })
    }

    fn kind(&self) -> &'static str {
        match &self.node.node {
            _ if self.node.is_null() => "nothing",
            Node::Scalar { .. } => "a single value",
            Node::List(_) => "a list",
            Node::Map(_) => "keys and values",
        }
    }
}

/// The keys of one mapping. What was not asked for when [`Keys::finish`] is called is unknown.
pub(super) struct Keys<'a> {
    spot: Spot,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// The value of a key that may be missing.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Cursor { node: &entry.value, path: self.path_of(key) })
    }

    /// The value of a key that has no default; `remedy` tells what to write.
    pub(super) fn need(
        &mut self,
        key: &'static str,
        faults: &mut Vec<Fault>,
        remedy: &str,
    ) -> Option<Cursor<'a>> {
        let found = self.take(key);
        if found.is_none() {
            faults.push(self.spot.fault(format!("{key} is missing"), remedy));
        }
        found
    }

    /// True if the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// A key that somebody may well write and that cannot hold here.
    pub(super) fn refuse(
        &mut self,
        key: &'static str,
        sentence: &str,
        remedy: &str,
        faults: &mut Vec<Fault>,
    ) {
        self.asked.retain(|asked| *asked != key);
        self.refused.push(key);
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            faults.push(self.spot_of(entry).fault(sentence, remedy));
        }
    }

    /// Reports the keys that nobody asked for, but for those that `free` lets pass.
    pub(super) fn finish(self, faults: &mut Vec<Fault>, free: impl Fn(&str) -> bool) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.asked.contains(&key) || self.refused.contains(&key) || free(key) {
                continue;
            }
            let remedy = match words::nearest(key, &self.asked) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the keys here are {}", any_of(&self.asked)),
            };
            faults.push(self.spot_of(entry).fault("unknown key", remedy));
        }
    }

    fn spot_of(&self, entry: &Entry) -> Spot {
        Spot { place: entry.place, path: self.path_of(&entry.key) }
    }

    fn path_of(&self, key: &str) -> String {
        if self.spot.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.spot.path) }
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn any_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// `[2001:db8::1]` is a list to YAML, and `2001:db8:: ` may be a mapping.
fn unquoted_ipv6(node: &Node) -> Option<String> {
    let text = match node {
        Node::List(items) => match items.as_slice() {
            [Marked { node: Node::Scalar { text, .. }, .. }] => text.clone(),
            _ => return None,
        },
        Node::Map(entries) => match entries.as_slice() {
            [entry] if entry.value.is_null() => format!("{}:", entry.key),
            _ => return None,
        },
        Node::Scalar { .. } => return None,
    };
    text.parse::<Ipv6Addr>().is_ok().then_some(text)
}
