//! The whole way from a file's name to a checked [`Model`]; [`origin`](crate::origin) has it for
//! files that include others.

use std::path::Path;

use crate::{
    fault::Faults,
    model::Model,
    origin::{self, Origin, Text},
    resolve::Surroundings,
};

/// Reads and checks a configuration. `around` adds the checks against this box.
///
/// # Errors
/// Everything that is wrong with it, or that it cannot be read.
pub fn load(path: &Path, around: Option<&Surroundings>) -> Result<Model, Faults> {
    Origin::new(path).load(around)
}

/// As [`load`], from the file's text; `path` only names it.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn read(path: &Path, text: &str, around: Option<&Surroundings>) -> Result<Model, Faults> {
    let text = Text { path: path.to_owned(), text: text.to_owned() };
    origin::understood(&[text], None, around)
}
