//! The YAML text as a tree in which every value knows its line and column.
//!
//! The tree is what the configuration is decoded from. `serde_yaml` cannot serve there: it
//! stops at the first fault and forgets places, and an operator wants all faults at once, each
//! with its line. So the parser proper is `saphyr-parser`, behind [`parse`], and `serde_yaml`
//! is the oracle of the tests: both must read every file alike.

mod compose;
mod suspect;

use crate::fault::{Fault, Place};

/// A value and where it starts. A value that came through an alias keeps the place of its
/// anchor: that is where the text is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// Where it starts.
    pub place: Place,
    /// What it is.
    pub node: Node,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A word, number, string or nothing.
    Scalar {
        /// The text, without quotes and with escapes resolved.
        text: String,
        /// Written without quotes, so that it may be a number, a boolean or null.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Marked>),
    /// A mapping in file order, `<<` resolved; no key is there twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key starts.
    pub place: Place,
    /// The value.
    pub value: Marked,
}

impl Marked {
    /// True for what YAML reads as null: nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.node, Node::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Parses one YAML document. On faults the tree is what could be saved: if there is one, its
/// shape is right and other faults can be looked for in it.
pub fn parse(text: &str, faults: &mut Vec<Fault>) -> Option<Marked> {
    let mut suspects: Vec<Fault> = suspect::tabs(text).collect();
    let root = match compose::compose(text, faults) {
        Ok(root) => root,
        Err(scan) => {
            suspects.extend(suspect::unquoted(text));
            if suspects.is_empty() {
                suspects.push(scan.fault());
            }
            None
        }
    };
    faults.extend(suspects);
    root
}
