//! From parser events to the tree: aliases, merge keys, duplicate keys.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::{Entry, Marked, Node};
use crate::fault::{Fault, Place};

/// Lists and mappings may be this deep in each other. The vocabulary needs 6.
const DEPTH: usize = 32;

/// Values in one file, those that aliases repeat counted each time.
const NODES: usize = 2_000_000;

/// The text is not YAML: nothing after this place could be read.
pub(super) struct Scan {
    place: Place,
    sentence: String,
    remedy: &'static str,
}

impl Scan {
    fn new(place: Place, sentence: &str, remedy: &'static str) -> Self {
        Self { place, sentence: sentence.to_owned(), remedy }
    }

    pub(super) fn fault(self) -> Fault {
        Fault {
            place: Some(self.place),
            path: String::new(),
            sentence: self.sentence,
            remedy: self.remedy.to_owned(),
        }
    }
}

impl From<ScanError> for Scan {
    fn from(error: ScanError) -> Self {
        Self {
            place: place(error.marker()),
            sentence: format!("not YAML: {}", error.info()),
            remedy: "look at this line and the one before it for indentation, quotes and brackets",
        }
    }
}

/// Reads the one document of `text`; `None` if there is none.
pub(super) fn compose(text: &str, faults: &mut Vec<Fault>) -> Result<Option<Marked>, Scan> {
    let parser = Parser::new_from_str(text);
    let mut composer =
        Composer { parser, anchors: HashMap::new(), faults, path: String::new(), nodes: 0 };
    let mut root = None;
    while let Some((event, at)) = composer.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            _ if root.is_some() => {
                let sentence = "a second document starts here";
                return Err(Scan::new(at, sentence, "keep everything in one, without ---"));
            }
            event => root = Some(composer.value(event, at, 0)?),
        }
    }
    Ok(root)
}

struct Composer<'a, 'f> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Marked>,
    faults: &'f mut Vec<Fault>,
    path: String,
    nodes: usize,
}

impl<'a> Composer<'a, '_> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Place)>, Scan> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Err(error)) => Err(error.into()),
            Some(Ok((event, span))) => Ok(Some((event, place(&span.start)))),
        }
    }

    /// The next event within a list or mapping, which the parser always closes.
    fn inner(&mut self, opened: Place) -> Result<(Event<'a>, Place), Scan> {
        let unclosed = || Scan::new(opened, "not closed before the file ends", "close it");
        self.next()?.ok_or_else(unclosed)
    }

    fn value(&mut self, event: Event<'a>, at: Place, depth: usize) -> Result<Marked, Scan> {
        self.count(1, at)?;
        if depth > DEPTH {
            return Err(Scan::new(at, "lists within lists, too deep", "make it flatter"));
        }
        let (node, anchor, tag) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                // `!!str 12` is the string "12".
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (Node::Scalar { text: text.into_owned(), plain }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.list(at, depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.map(at, depth)?, anchor, tag),
            _ => return Err(Scan::new(at, "no value here", "write one")),
        };
        if let Some(tag) = tag.filter(|tag| !is_str(tag)) {
            let sentence = format!("the tag {}{} means nothing here", tag.handle, tag.suffix);
            self.fault(at, sentence, "remove it");
        }
        let marked = Marked { place: at, node };
        if anchor > 0 {
            self.anchors.insert(anchor, marked.clone());
        }
        Ok(marked)
    }

    fn alias(&mut self, anchor: usize, at: Place) -> Result<Marked, Scan> {
        let Some(value) = self.anchors.get(&anchor).cloned() else {
            return Err(Scan::new(at, "an alias within its own anchor", "write the value out"));
        };
        self.count(size(&value), at)?;
        Ok(value)
    }

    fn list(&mut self, opened: Place, depth: usize) -> Result<Node, Scan> {
        let mut items = Vec::new();
        let parent = self.path.len();
        loop {
            match self.inner(opened)? {
                (Event::SequenceEnd, _) => return Ok(Node::List(items)),
                (event, at) => {
                    self.path.push_str(&format!("[{}]", items.len()));
                    items.push(self.value(event, at, depth + 1)?);
                    self.path.truncate(parent);
                }
            }
        }
    }

    fn map(&mut self, opened: Place, depth: usize) -> Result<Node, Scan> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        let parent = self.path.len();
        loop {
            let (event, key_at) = match self.inner(opened)? {
                (Event::MappingEnd, _) => break,
                other => other,
            };
            let key = self.value(event, key_at, depth + 1)?;
            let (key, plain) = match key.node {
                Node::Scalar { text, plain } => (text, plain),
                _ => {
                    self.fault(key_at, "a key must be a word".to_owned(), "put the text in quotes");
                    (String::new(), false)
                }
            };
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let (event, at) = self.inner(opened)?;
            let value = self.value(event, at, depth + 1)?;
            if key == "<<" && plain {
                self.merge(value, &mut merged);
            } else if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let line = first.place.line;
                let sentence = format!("the key is there twice, first on line {line}");
                self.fault(key_at, sentence, "keep one of the two");
            } else if !key.is_empty() {
                entries.push(Entry { key, place: key_at, value });
            }
            self.path.truncate(parent);
        }
        // What the mapping says itself counts, then the first mapping that was merged.
        for entry in merged {
            if !entries.iter().any(|own| own.key == entry.key) {
                entries.push(entry);
            }
        }
        Ok(Node::Map(entries))
    }

    /// `<<`: a mapping, or a list of them (YAML 1.1 merge type).
    fn merge(&mut self, value: Marked, merged: &mut Vec<Entry>) {
        match value.node {
            Node::Map(entries) => merged.extend(entries),
            Node::List(items) if items.iter().all(|item| matches!(item.node, Node::Map(_))) => {
                items.into_iter().for_each(|item| self.merge(item, merged));
            }
            _ => {
                let sentence = "only a mapping can be merged".to_owned();
                self.fault(
                    value.place,
                    sentence,
                    "write <<: *anchor of a mapping, or a list of them",
                );
            }
        }
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Scan> {
        self.nodes += nodes;
        if self.nodes > NODES {
            return Err(Scan::new(at, "aliases repeat too much", "write fewer aliases of aliases"));
        }
        Ok(())
    }

    fn fault(&mut self, at: Place, sentence: String, remedy: &str) {
        let path = self.path.clone();
        self.faults.push(Fault { place: Some(at), path, sentence, remedy: remedy.to_owned() });
    }
}

fn is_str(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str"
}

fn size(value: &Marked) -> usize {
    match &value.node {
        Node::Scalar { .. } => 1,
        Node::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Node::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}

fn place(marker: &Marker) -> Place {
    Place { file: 0, line: marker.line(), column: marker.col() + 1 }
}
