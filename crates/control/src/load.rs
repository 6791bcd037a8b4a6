//! The whole way from a file's name to a checked [`Model`].

use std::{fs, path::Path};

use crate::{
    fault::{Fault, Faults},
    file, marked,
    model::Model,
    resolve::{self, Surroundings},
};

/// Reads and checks a configuration file. `around` adds the checks against this box.
///
/// # Errors
/// Everything that is wrong with the file, or that it cannot be read.
pub fn load(path: &Path, around: Option<&Surroundings>) -> Result<Model, Faults> {
    match fs::read_to_string(path) {
        Ok(text) => read(path, &text, around),
        Err(error) => {
            let fault = Fault {
                place: None,
                path: String::new(),
                sentence: format!("cannot be read: {error}"),
                remedy: "name a file that exists, in UTF-8, that you may read".to_owned(),
            };
            Err(Faults::new(path, vec![fault]))
        }
    }
}

/// As [`load`], from the file's text; `path` only names it.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn read(path: &Path, text: &str, around: Option<&Surroundings>) -> Result<Model, Faults> {
    let mut faults = Vec::new();
    let tree = marked::parse(text, &mut faults);
    let broken = tree.is_none() && !faults.is_empty();
    let decoded = if broken { None } else { file::decode(tree.as_ref(), &mut faults) };
    let model = decoded.map(|file| resolve::resolve(&file, around, &mut faults));
    match model {
        Some(model) if faults.is_empty() => Ok(model),
        _ => Err(Faults::new(path, faults)),
    }
}
