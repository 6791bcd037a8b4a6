//! What is to be known about a line of the source.

use std::{fmt, rc::Rc};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named.
    pub file: Rc<str>,
    /// From 1.
    pub line: usize,
}

impl Place {
    /// A line of `file`.
    pub fn new(file: &Rc<str>, line: usize) -> Self {
        Self { file: Rc::clone(file), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is to be known about one line, or about several in the same words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// At least one.
    pub places: Vec<Place>,
    /// Something has no equal; else it is done in another way, or what the other program made
    /// of it is told.
    pub lost: bool,
    /// One sentence or two.
    pub text: String,
}

impl fmt::Display for Note {
    /// `keepalived.conf:12, 19: what is to be known`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&Place> = None;
        for place in &self.places {
            match before {
                None => write!(f, "{place}")?,
                Some(before) if before.file == place.file => write!(f, ", {}", place.line)?,
                Some(_) => write!(f, ", {place}")?,
            }
            before = Some(place);
        }
        let sign = if self.lost { "not translated: " } else { "" };
        write!(f, ": {sign}{}", self.text)
    }
}

/// Notes that belong to one part of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(pub(crate) Vec<Note>);

impl Notes {
    /// Something that has no equal.
    pub(crate) fn lost(&mut self, place: &Place, text: impl Into<String>) {
        self.push(Note { places: vec![place.clone()], lost: true, text: text.into() });
    }

    /// Something that is otherwise, or that the other program made of it.
    pub(crate) fn say(&mut self, place: &Place, text: impl Into<String>) {
        self.push(Note { places: vec![place.clone()], lost: false, text: text.into() });
    }

    pub(crate) fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|note| self.push(note));
    }

    /// The same words about another line are one note.
    fn push(&mut self, note: Note) {
        let same = |known: &&mut Note| known.lost == note.lost && known.text == note.text;
        match self.0.iter_mut().find(same) {
            Some(known) => {
                for place in note.places {
                    if let Err(at) = known.places.binary_search(&place) {
                        known.places.insert(at, place);
                    }
                }
            }
            None => self.0.push(note),
        }
    }

    pub(crate) fn comments(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}
