//! The lines of keepalived.conf as keepalived sees them: `include`, `@condition`, `$NAME=`,
//! `~SEQ` and `~LST` are worked out here.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::words::{Part, parts, without_comment};
use crate::note::{Notes, Place};

/// Finds what an `include` names: the files' names and texts, in order. It is asked with the
/// name of the file that includes, and the pattern.
pub type Include<'a> = dyn Fn(&str, &str) -> Result<Vec<(String, String)>, String> + 'a;

/// Lines of all files together, and what sequences and definitions make of them.
const LINES_MOST: usize = 200_000;
/// Files that include files, definitions in definitions.
const DEPTH_MOST: usize = 32;
/// Octets of a line; keepalived's own is 1 KiB.
const LINE_MOST: usize = 1 << 16;

/// A file that was read.
pub(super) struct File {
    pub(super) name: Rc<str>,
    pub(super) lines: Vec<String>,
    /// What its lines include: by line, the numbers of the files.
    pub(super) includes: BTreeMap<usize, Vec<usize>>,
}

/// What the files come to.
#[derive(Default)]
pub(super) struct Source {
    /// The first one is the one that was named.
    pub(super) files: Vec<File>,
    pub(super) parts: Vec<(Part, Place)>,
    /// Lines for other boxes (`@name`): what stands there.
    pub(super) elsewhere: Vec<(Place, String)>,
    pub(super) notes: Notes,
}

/// Reads a file and all that it includes.
pub(super) fn read(name: &str, text: &str, id: Option<&str>, include: &Include<'_>) -> Source {
    let mut reader = Reader {
        source: Source::default(),
        defined: HashMap::new(),
        building: None,
        id,
        include,
        lines: 0,
    };
    reader.file(name, text, 0);
    if reader.lines >= LINES_MOST {
        let place = Place::new(&reader.source.files[0].name, 1);
        let text =
            format!("all that comes after {LINES_MOST} lines, includes and sequences counted");
        reader.source.notes.lost(&place, text);
    }
    reader.source
}

struct Reader<'a> {
    source: Source,
    defined: HashMap<String, String>,
    /// A definition of several lines that goes on.
    building: Option<(String, String)>,
    id: Option<&'a str>,
    include: &'a Include<'a>,
    lines: usize,
}

impl Reader<'_> {
    /// Returns the file's number.
    fn file(&mut self, name: &str, text: &str, depth: usize) -> usize {
        let name: Rc<str> = name.into();
        let number = self.source.files.len();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let file = File { name: Rc::clone(&name), lines: lines.clone(), includes: BTreeMap::new() };
        self.source.files.push(file);
        for (at, line) in lines.iter().enumerate() {
            let place = Place::new(&name, at + 1);
            if line.trim_end_matches('\r').is_empty() {
                // As in keepalived: an empty line ends a definition.
                self.define_rest(None);
                continue;
            }
            let line = without_comment(line);
            if self.building.is_some() {
                self.define_rest(Some(&line));
            } else if !line.is_empty() {
                self.line(line, &place, number, depth);
            }
        }
        self.define_rest(None);
        number
    }

    /// One more line of a definition, or its end.
    fn define_rest(&mut self, line: Option<&str>) {
        let Some((name, mut value)) = self.building.take() else { return };
        let more = line.and_then(|line| line.strip_suffix('\\'));
        let last = more.or(line).unwrap_or("").trim_end_matches([' ', '\t']);
        if !last.is_empty() && value.len() < LINE_MOST {
            if !value.is_empty() {
                value.push('\n');
            }
            value.push_str(last);
        }
        if more.is_some() {
            self.building = Some((name, value));
        } else {
            self.defined.insert(name, value);
        }
    }

    fn line(&mut self, mut line: String, place: &Place, file: usize, depth: usize) {
        if depth > DEPTH_MOST || line.len() > LINE_MOST {
            self.source.notes.lost(place, "includes, sequences or definitions that never end");
            return;
        }
        // Each definition in it may bring a condition, another definition or a sequence.
        for _ in 0..1000 {
            self.lines += 1;
            if self.lines >= LINES_MOST || line.len() > LINE_MOST {
                return;
            }
            if let Some(rest) = line.strip_prefix('@') {
                match self.condition(rest) {
                    Some(rest) => line = rest.to_owned(),
                    None => return self.source.elsewhere.push((place.clone(), line)),
                }
            }
            if let Some((name, value)) = definition(&line) {
                if value == "\\" {
                    self.building = Some((name.to_owned(), String::new()));
                } else {
                    self.defined.insert(name.to_owned(), value.to_owned());
                }
                return;
            }
            if line.starts_with("~SEQ") || line.starts_with("~LST") {
                return self.repeat(&line, place, file, depth);
            }
            let Some(replaced) = self.replaced(&line, place) else { break };
            if replaced.contains('\n') {
                return self.several(&replaced, place, file, depth);
            }
            line = without_comment(&replaced);
            if line.is_empty() {
                return;
            }
        }
        match included(&line) {
            Some(pattern) => self.included(pattern, place, file, depth),
            None => {
                self.source.parts.extend(parts(&line).into_iter().map(|p| (p, place.clone())));
            }
        }
    }

    /// What a definition of several lines stands for.
    fn several(&mut self, lines: &str, place: &Place, file: usize, depth: usize) {
        for line in lines.lines() {
            let line = without_comment(line);
            if self.building.is_some() {
                self.define_rest(Some(&line));
            } else if !line.is_empty() {
                self.line(line, place, file, depth + 1);
            }
        }
        self.define_rest(None);
    }

    /// The rest of a line whose `@` holds here.
    fn condition<'l>(&self, line: &'l str) -> Option<&'l str> {
        let (line, not) = line.strip_prefix('^').map_or((line, false), |line| (line, true));
        let (name, rest) = line.split_once([' ', '\t'])?;
        ((self.id == Some(name)) != not).then(|| rest.trim_start_matches([' ', '\t']))
    }

    /// The line with the first definition in it replaced.
    fn replaced(&mut self, line: &str, place: &Place) -> Option<String> {
        for (at, _) in line.match_indices('$') {
            let rest = &line[at + 1..];
            let (name, used) = match rest.strip_prefix('{') {
                Some(inner) => {
                    let Some(end) = inner.find('}') else { continue };
                    (&inner[..end], end + 2)
                }
                None => {
                    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
                    (&rest[..end], end)
                }
            };
            if let Some(value) = self.value(name, place) {
                return Some(format!("{}{value}{}", &line[..at], &rest[used..]));
            }
        }
        None
    }

    fn value(&mut self, name: &str, place: &Place) -> Option<String> {
        if let Some(value) = self.defined.get(name) {
            return Some(value.clone());
        }
        let directory = || match place.file.rsplit_once('/') {
            Some((directory, _)) => directory.to_owned(),
            None => ".".to_owned(),
        };
        match name.split_whitespace().next()? {
            "_PWD" => Some(directory()),
            "_INSTANCE" => self.id.map(str::to_owned),
            "_HASH" => Some("\\#".to_owned()),
            "_BANG" => Some("\\!".to_owned()),
            "_RANDOM" => {
                let least = name.split_whitespace().nth(1).unwrap_or("0").to_owned();
                let text = format!("{name}: a number at random; {least} is written instead");
                self.source.notes.lost(place, text);
                Some(least)
            }
            _ => None,
        }
    }

    fn included(&mut self, pattern: &str, place: &Place, file: usize, depth: usize) {
        let found = (self.include)(&place.file, pattern);
        let files = match found {
            Ok(files) if files.is_empty() => {
                self.source.notes.lost(place, format!("include {pattern}: there is no such file"));
                return;
            }
            Ok(files) => files,
            Err(error) => {
                self.source.notes.lost(place, format!("include {pattern}: {error}"));
                return;
            }
        };
        if depth >= DEPTH_MOST {
            self.source
                .notes
                .lost(place, format!("include {pattern}: files that include themselves"));
            return;
        }
        for (name, text) in files {
            let number = self.file(&name, &text, depth + 1);
            self.source.files[file].includes.entry(place.line).or_default().push(number);
        }
    }

    /// `~SEQ(NAME, FIRST, STEP, LAST) REST` and `~LST(NAME, VALUE, ...) REST`.
    fn repeat(&mut self, line: &str, place: &Place, file: usize, depth: usize) {
        let Some((rounds, rest)) = rounds(line) else {
            self.source.notes.lost(place, format!("{line}: not a sequence that can be read"));
            return;
        };
        for round in rounds {
            if self.lines >= LINES_MOST {
                return;
            }
            self.defined.extend(round);
            self.line(rest.to_owned(), place, file, depth + 1);
        }
    }
}

/// `$NAME=VALUE`.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let first = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    (letters && first).then(|| (name, value.trim_matches([' ', '\t'])))
}

/// The pattern behind `include`, `includer` and their like.
fn included(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("include")?;
    let rest = rest.strip_prefix(['r', 'm', 'w', 'b', 'a']).unwrap_or(rest);
    let pattern = rest.strip_prefix([' ', '\t'])?.trim();
    (!pattern.is_empty()).then(|| pattern.trim_matches('"'))
}

type Round = Vec<(String, String)>;

/// What the names stand for in each round, and the rest of the line.
fn rounds(line: &str) -> Option<(Vec<Round>, &str)> {
    let open = line.find('(')?;
    let close = open + line[open..].find(')')?;
    let (kind, inner, rest) = (&line[..open], &line[open + 1..close], line[close + 1..].trim());
    if rest.is_empty() {
        return None;
    }
    let rounds = match kind {
        "~SEQ" => numbers(inner, false)?,
        "~SEQx" => numbers(inner, true)?,
        "~LST" => listed(inner)?,
        _ => return None,
    };
    Some((rounds, rest))
}

fn numbers(inner: &str, hexadecimal: bool) -> Option<Vec<Round>> {
    let mut items = inner.split(',').map(str::trim);
    let name = items.next()?.to_owned();
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse::<i64>().ok(),
    };
    let items: Vec<i64> = items.map(number).collect::<Option<_>>()?;
    let (first, step, last) = match items[..] {
        [last] => (if last > 0 { 1 } else { -1 }, None, last),
        [first, last] => (first, None, last),
        [first, step, last] => (first, Some(step), last),
        _ => return None,
    };
    let step = step.unwrap_or(if last >= first { 1 } else { -1 });
    if step == 0 || first.checked_sub(last).is_none() {
        return None;
    }
    let mut rounds = Vec::new();
    let mut at = first;
    while (step > 0 && at <= last || step < 0 && at >= last) && rounds.len() < LINES_MOST {
        let text = if hexadecimal { format!("{at:x}") } else { at.to_string() };
        rounds.push(vec![(name.clone(), text)]);
        at = at.checked_add(step)?;
    }
    Some(rounds)
}

fn listed(inner: &str) -> Option<Vec<Round>> {
    if !inner.trim_start().starts_with('{') {
        let mut items = inner.split(',').map(|item| item.trim().to_owned());
        let name = items.next()?;
        return Some(items.map(|value| vec![(name.clone(), value)]).collect());
    }
    let group = |text: &str| -> Vec<String> {
        text.split(',').map(|item| item.trim().to_owned()).collect()
    };
    let mut groups = Vec::new();
    let mut rest = inner;
    while let Some(open) = rest.find('{') {
        let close = open + rest[open..].find('}')?;
        groups.push(group(&rest[open + 1..close]));
        rest = &rest[close + 1..];
    }
    let (names, values) = groups.split_first()?;
    let round = |values: &Vec<String>| names.iter().cloned().zip(values.iter().cloned()).collect();
    Some(values.iter().map(round).collect())
}
