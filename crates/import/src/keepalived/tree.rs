//! Blocks in blocks.

use super::words::Part;
use crate::note::{Notes, Place};

/// A keyword, its words, and its block if it has one.
pub(super) struct Statement {
    pub(super) words: Vec<String>,
    pub(super) place: Place,
    pub(super) block: Option<Block>,
}

/// What stands in braces.
pub(super) struct Block {
    pub(super) statements: Vec<Statement>,
    /// Where the closing brace is.
    pub(super) end: Place,
}

impl Statement {
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The word at a place, from 1; empty words are none.
    pub(super) fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str).filter(|word| !word.is_empty())
    }

    pub(super) fn statements(&self) -> &[Self] {
        self.block.as_ref().map_or(&[], |block| &block.statements)
    }

    /// The last line that belongs to it.
    pub(super) fn end(&self) -> &Place {
        self.block.as_ref().map_or(&self.place, |block| &block.end)
    }

    /// All of its words in one line, as they would be written.
    pub(super) fn text(&self) -> String {
        let mut text = self.words.join(" ");
        if let Some(block) = &self.block {
            text.push_str(" {");
            for statement in &block.statements {
                text.push(' ');
                text.push_str(&statement.text());
            }
            text.push_str(" }");
        }
        text
    }

    /// Calls `look` with the line of each word in it.
    pub(super) fn places(&self, look: &mut dyn FnMut(&Place)) {
        look(&self.place);
        if let Some(block) = &self.block {
            block.statements.iter().for_each(|statement| statement.places(look));
            look(&block.end);
        }
    }
}

/// Blocks deeper than this are none that keepalived has.
const DEPTH_MOST: usize = 32;

/// The statements at the root.
pub(super) fn grow(parts: Vec<(Part, Place)>, notes: &mut Notes) -> Vec<Statement> {
    // Each open block with the statements in it; the root is the first one.
    let mut open: Vec<Vec<Statement>> = vec![Vec::new()];
    let mut last = None;
    for (part, place) in parts {
        last = Some(place.clone());
        match part {
            Part::Words(words) => {
                if let Some(inner) = open.last_mut() {
                    inner.push(Statement { words, place, block: None });
                }
            }
            Part::Open if open.len() > DEPTH_MOST => {
                notes.lost(&place, "{: too many blocks in blocks");
            }
            Part::Open => {
                let headed = open.last().and_then(|inner| inner.last());
                if headed.is_none_or(|statement| statement.block.is_some()) {
                    notes.lost(&place, "{: nothing in front of it");
                    let nameless = Statement { words: Vec::new(), place, block: None };
                    if let Some(inner) = open.last_mut() {
                        inner.push(nameless);
                    }
                }
                open.push(Vec::new());
            }
            Part::Close if open.len() == 1 => notes.lost(&place, "}: it closes nothing"),
            Part::Close => close(&mut open, place),
        }
    }
    while open.len() > 1 {
        let Some(place) = last.clone() else { break };
        notes.lost(&place, "the end of the file: a } is missing");
        close(&mut open, place);
    }
    open.pop().unwrap_or_default()
}

fn close(open: &mut Vec<Vec<Statement>>, end: Place) {
    let Some(statements) = open.pop() else { return };
    let head = open.last_mut().and_then(|inner| inner.last_mut());
    if let Some(head) = head {
        head.block = Some(Block { statements, end });
    }
}
