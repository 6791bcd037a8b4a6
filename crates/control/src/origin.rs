//! Where a configuration comes from: a file with what it includes, on the disk or sent by a client,
//! and which of a pair's boxes it is for. Puts the parts together into one tree, so that what reads
//! it need not know; every place still knows its file.
//!
//! `include: [conf.d/*.yaml]` adds files: lists are continued in the order of the names, mappings
//! get more keys, and what stands in two files is a fault. `boxes: {lb1: {...}}` holds, by the name
//! of a box, what is different there: mappings are laid over each other, all else is replaced.

mod compound;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    fault::{Fault, Faults},
    file, marked,
    marked::{Marked, Node},
    model::Model,
    resolve::{self, Surroundings},
};

/// A file's text, with the name that faults give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConfigText)]
pub struct Text {
    /// The name.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// A configuration's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The first file.
    pub path: PathBuf,
    /// The box's name in `boxes:`; its host name unless it is said.
    pub name: Option<String>,
}

impl Origin {
    /// A file, for this box by its host name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), name: None }
    }

    /// The file and those that it includes, in order. They are read, not understood.
    ///
    /// # Errors
    /// One of them cannot be read, or the first one is so wrong that its `include` is not found.
    pub fn texts(&self) -> Result<Vec<Text>, Faults> {
        let first = read(&self.path).map_err(|fault| Faults::new(&self.path, vec![fault]))?;
        let mut faults = Vec::new();
        let tree = parse_for("include", &first.text, &mut faults);
        // Its faults are told when it is understood.
        let Some(tree) = tree else { return Ok(vec![first]) };
        let patterns = patterns(&tree, &mut faults);
        faults.clear();
        let mut texts = vec![first];
        for (pattern, spot) in &patterns {
            match found(&self.path, pattern) {
                Ok(paths) => {
                    for path in paths {
                        match read(&path) {
                            Ok(text) => texts.push(text),
                            Err(fault) => faults.push(spot.fault(
                                format!("{}: {}", path.display(), fault.sentence),
                                fault.remedy,
                            )),
                        }
                    }
                }
                Err(sentence) => {
                    let remedy = "name files as conf.d/*.yaml, from where this file is";
                    faults.push(spot.fault(format!("\"{pattern}\": {sentence}"), remedy));
                }
            }
        }
        match faults.is_empty() {
            true => Ok(texts),
            false => Err(Faults::new(&self.path, faults)),
        }
    }

    /// What the first file's `include` says, as far as it can be told. Parses the file.
    pub fn includes(&self) -> Vec<String> {
        let text = read(&self.path).ok();
        let tree = text.and_then(|text| parse_for("include", &text.text, &mut Vec::new()));
        let patterns = tree.map(|tree| patterns(&tree, &mut Vec::new())).unwrap_or_default();
        patterns.into_iter().map(|(pattern, _)| pattern).collect()
    }

    /// The files that there are to be read with these [`Origin::includes`].
    pub fn paths(&self, includes: &[String]) -> Vec<PathBuf> {
        let found = includes.iter().filter_map(|pattern| found(&self.path, pattern).ok());
        [self.path.clone()].into_iter().chain(found.flatten()).collect()
    }

    /// Reads and checks it from the disk. `around` adds the checks against this box.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that it cannot be read.
    pub fn load(&self, around: Option<&Surroundings>) -> Result<Model, Faults> {
        understood(&self.texts()?, self.name.as_deref(), around)
    }

    /// The names in `boxes:`, as far as they can be read.
    pub fn boxes(&self) -> Vec<String> {
        let trees = self.texts().unwrap_or_default();
        let trees = trees.iter().filter_map(|text| parse_for("boxes", &text.text, &mut Vec::new()));
        trees.flat_map(|tree| boxes(&tree)).collect()
    }
}

/// What texts say: the first one and those that it includes, for the box of this name.
///
/// # Errors
/// Everything that is wrong with them.
pub fn understood(
    texts: &[Text],
    name: Option<&str>,
    around: Option<&Surroundings>,
) -> Result<Model, Faults> {
    let mut faults = Vec::new();
    let files: Vec<PathBuf> = texts.iter().map(|text| text.path.clone()).collect();
    let mut trees = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let before = faults.len();
        let tree = marked::parse(&text.text, &mut faults);
        if tree.is_none() && faults.len() > before {
            // Nothing more is known of a configuration with a part that is no YAML.
            number_of(&mut faults[before..], number);
            return Err(Faults::of(files, faults));
        }
        number_of(&mut faults[before..], number);
        trees.push(tree.map(|tree| numbered(tree, number)));
    }
    let mut trees = trees.into_iter();
    let mut tree = trees.next().flatten();
    if let Some(tree) = &mut tree {
        patterns(tree, &mut faults);
        for part in trees.flatten() {
            compound::include(tree, part, &mut faults);
        }
        let host = host_name();
        compound::for_box(tree, name, host.as_deref(), &mut faults);
    }
    let decoded = file::decode(tree.as_ref(), &mut faults);
    let model = decoded.map(|file| resolve::resolve(&file, around, &mut faults));
    match model {
        Some(model) if faults.is_empty() => Ok(model),
        _ => Err(Faults::of(files, faults)),
    }
}

/// The box's own name.
pub fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn read(path: &Path) -> Result<Text, Fault> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Text { path: path.to_owned(), text }),
        Err(error) => Err(Fault {
            place: None,
            path: String::new(),
            sentence: format!("cannot be read: {error}"),
            remedy: "name a file that exists, in UTF-8, that you may read".to_owned(),
        }),
    }
}

/// The tree of a text that may have this key. To parse a large file takes as long as all that follows,
/// and few have the key.
fn parse_for(key: &str, text: &str, faults: &mut Vec<Fault>) -> Option<Marked> {
    // Double quotes may hide it behind a backslash.
    let may_have = text.contains(key) || text.contains('\\');
    may_have.then(|| marked::parse(text, faults)).flatten()
}

/// The files of a pattern, by name; those of a plain name must be there, as reading shows.
fn found(beside: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let whole = beside.parent().unwrap_or(Path::new("")).join(pattern);
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![whole]);
    }
    let whole = whole.to_str().ok_or("not in UTF-8")?;
    let paths = glob::glob(whole).map_err(|error| error.to_string())?;
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(|error| {
        let error: io::Error = error.into();
        error.to_string()
    })?;
    paths.sort();
    Ok(paths)
}

/// What `include` says.
fn patterns(tree: &Marked, faults: &mut Vec<Fault>) -> Vec<(String, file::Spot)> {
    let found = compound::value(tree, "include").map(|value| file::words(value, "include", faults));
    found.unwrap_or_default().into_iter().map(|put| (put.value, put.spot)).collect()
}

fn boxes(tree: &Marked) -> Vec<String> {
    match compound::value(tree, "boxes").map(|value| &value.node) {
        Some(Node::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => Vec::new(),
    }
}

fn number_of(faults: &mut [Fault], number: usize) {
    for place in faults.iter_mut().filter_map(|fault| fault.place.as_mut()) {
        place.file = number as u16;
    }
}

/// The tree with its file's number at every place.
fn numbered(mut tree: Marked, number: usize) -> Marked {
    tree.place.file = number as u16;
    tree.node = match tree.node {
        Node::List(items) => {
            Node::List(items.into_iter().map(|item| numbered(item, number)).collect())
        }
        Node::Map(entries) => Node::Map(
            entries
                .into_iter()
                .map(|mut entry| {
                    entry.place.file = number as u16;
                    entry.value = numbered(entry.value, number);
                    entry
                })
                .collect(),
        ),
        scalar => scalar,
    };
    tree
}
