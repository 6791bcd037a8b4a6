//! A command line, option by option, as popt 1.19 reads it.
//!
//! Short options may be bundled; one that takes a value takes the rest of its word, without a
//! leading `=`, or else the next word, even one that begins with `-`. Long options are never
//! abbreviated. An optional value is not taken from a next word that begins with `-`.

use super::options::{Opt, Takes, long, short};

/// What popt complains about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Unknown,
    NoArgument,
    UnwantedArgument,
}

impl Fault {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown option",
            Self::NoArgument => "missing argument",
            Self::UnwantedArgument => "option does not take an argument",
        }
    }
}

/// An option and its value.
pub(super) struct Found<'a> {
    pub(super) option: &'static Opt,
    pub(super) value: Option<&'a str>,
}

/// The words of a command line, without the program's name.
pub(super) struct Words<'a> {
    words: &'a [String],
    next: usize,
    /// What is left of a word of short options; never empty.
    bundle: Option<&'a str>,
    /// After `--`.
    only_arguments: bool,
    arguments: Vec<&'a str>,
    argument: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self {
            words,
            next: 0,
            bundle: None,
            only_arguments: false,
            arguments: Vec::new(),
            argument: 0,
        }
    }

    /// The word looked at last, for errors: of a bundle, all of it.
    pub(super) fn current(&self) -> &'a str {
        self.next.checked_sub(1).map_or("", |last| &self.words[last])
    }

    /// The next word that is neither an option nor a value; all are known once [`Words::next`]
    /// has given None.
    pub(super) fn argument(&mut self) -> Option<&'a str> {
        let argument = self.arguments.get(self.argument).copied()?;
        self.argument += 1;
        Some(argument)
    }

    pub(super) fn next(&mut self) -> Result<Option<Found<'a>>, Fault> {
        if let Some(bundle) = self.bundle.take() {
            return self.short(bundle).map(Some);
        }
        while let Some(word) = self.words.get(self.next) {
            self.next += 1;
            match word.strip_prefix('-') {
                Some(rest) if !self.only_arguments && !rest.is_empty() => {
                    if rest == "-" {
                        self.only_arguments = true;
                        continue;
                    }
                    return match rest.strip_prefix('-') {
                        Some(name) => self.long(name),
                        None => self.short(rest),
                    }
                    .map(Some);
                }
                _ => self.arguments.push(word),
            }
        }
        Ok(None)
    }

    fn long(&mut self, text: &'a str) -> Result<Found<'a>, Fault> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let option = long(name).ok_or(Fault::Unknown)?;
        self.value(option, value)
    }

    fn short(&mut self, bundle: &'a str) -> Result<Found<'a>, Fault> {
        let letter = bundle.chars().next().ok_or(Fault::Unknown)?;
        let option = short(letter).ok_or(Fault::Unknown)?;
        let rest = Some(&bundle[letter.len_utf8()..]).filter(|rest| !rest.is_empty());
        let value = rest.map(|rest| rest.strip_prefix('=').unwrap_or(rest));
        if option.takes == Takes::Nothing && !rest.is_some_and(|rest| rest.starts_with('=')) {
            self.bundle = rest;
            return Ok(Found { option, value: None });
        }
        self.value(option, value)
    }

    fn value(&mut self, option: &'static Opt, value: Option<&'a str>) -> Result<Found<'a>, Fault> {
        let next = self.words.get(self.next).map(String::as_str);
        let value = match (option.takes, value, next) {
            (Takes::Nothing, Some(_), _) => return Err(Fault::UnwantedArgument),
            (Takes::Nothing, None, _) => None,
            (_, Some(value), _) => Some(value),
            (Takes::Optional, None, None) => None,
            (Takes::Optional, None, Some(next)) if next.starts_with('-') => None,
            (_, None, Some(next)) => {
                self.next += 1;
                Some(next)
            }
            (Takes::Value, None, None) => return Err(Fault::NoArgument),
        };
        Ok(Found { option, value })
    }
}
