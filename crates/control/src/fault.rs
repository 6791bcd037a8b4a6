//! What is wrong with a configuration, in words that an operator can act on.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
};

/// A position in the text, counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which of the configuration's files: 0 is the first, the others are what it includes.
    pub file: u16,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, if the text could be read at all.
    pub place: Option<Place>,
    /// The YAML path, such as `services[0].servers[1].address`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub sentence: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.sentence, self.remedy)
    }
}

/// Everything that is wrong with a configuration, in the order of its files and lines. Displayed as
/// one line a fault: `FILE:LINE:COLUMN: PATH: SENTENCE; REMEDY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    files: Vec<PathBuf>,
    faults: Vec<Fault>,
}

impl Faults {
    /// The faults of a configuration of one file.
    pub fn new(file: &Path, faults: Vec<Fault>) -> Self {
        Self::of(vec![file.to_owned()], faults)
    }

    /// Sorts the faults. `files` are those that places count, of which there is at least one. One
    /// text that is wrong and that aliases repeat is one fault.
    pub fn of(files: Vec<PathBuf>, mut faults: Vec<Fault>) -> Self {
        let mut seen = HashSet::new();
        faults.retain(|f| f.place.is_none() || seen.insert((f.place, f.sentence.clone())));
        faults.sort_by_key(|fault| fault.place);
        Self { files, faults }
    }

    /// The faults, by line.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    /// How many there are; never 0 where a `Faults` is an error.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let file = fault.place.map_or(0, |place| usize::from(place.file));
            write!(f, "{}:", self.files[file].display())?;
            if let Some(Place { line, column, .. }) = fault.place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
