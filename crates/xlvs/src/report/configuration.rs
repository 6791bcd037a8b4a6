//! The configuration's part of the archive: the files as trees, written anew. Comments do not come
//! along: they may have anything in them.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use control::{
    load,
    marked::{self, Entry, Marked, Node},
    origin::Origin,
};

use super::{
    archive::Archive,
    secrets::{Kind, MASK, Secrets, kind},
};

/// What the files have of them.
pub(super) fn secrets(origin: &Origin) -> Secrets {
    let paths = paths(origin);
    let trees: Vec<Marked> = paths.iter().filter_map(|path| tree(path).ok()).collect();
    Secrets::of(trees.iter())
}

fn paths(origin: &Origin) -> Vec<PathBuf> {
    origin.paths(&origin.includes())
}

fn tree(path: &Path) -> Result<Marked, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut faults = Vec::new();
    let tree = marked::parse(&text, &mut faults);
    // A file that cannot be read as YAML cannot be told from its secrets.
    let places = faults.iter().filter_map(|fault| fault.place);
    let lines: Vec<String> = places.map(|place| place.line.to_string()).collect();
    tree.ok_or_else(|| format!("is no YAML; faults in lines {}", lines.join(", ")))
}

/// Each file, and whether they are right.
pub(super) fn collect(archive: &mut Archive, origin: &Origin) {
    let mut whole = true;
    for path in paths(origin) {
        let name = path.display().to_string();
        let part = format!("configuration/{}", name.trim_start_matches('/'));
        let tree = tree(&path);
        whole &= tree.is_ok();
        let text = tree.map(|tree| {
            let mut text = format!("# {name}, written anew: secrets masked, comments gone\n");
            write(&mut text, &tree, 0, Kind::Open);
            text
        });
        archive.add(&part, text);
    }
    // Faults quote what they are about.
    let said = match load::load(&origin.path, None) {
        Ok(model) => Ok(format!("all is well: {} services\n", model.services.len())),
        Err(faults) if whole => Ok(faults.to_string()),
        Err(_) => Err("left out: it may quote secrets of a file that is no YAML".to_owned()),
    };
    archive.add("configuration/check.txt", said);
}

/// A value in block style, behind what was written of its line.
fn write(text: &mut String, tree: &Marked, depth: usize, kind: Kind) {
    match &tree.node {
        Node::Scalar { text: scalar, plain } => {
            let _ = writeln!(text, " {}", shown(scalar, *plain, kind));
        }
        Node::List(members) if members.is_empty() => text.push_str(" []\n"),
        Node::Map(entries) if entries.is_empty() => text.push_str(" {}\n"),
        Node::List(members) => {
            text.push('\n');
            for (number, member) in members.iter().enumerate() {
                let _ = write!(text, "{:1$}-", "", depth * 2);
                let below = match kind {
                    Kind::Words if number == 0 => Kind::Open,
                    Kind::Words => Kind::Secret,
                    other => other,
                };
                write(text, member, depth + 1, below);
            }
        }
        Node::Map(entries) => {
            text.push('\n');
            for Entry { key, value, .. } in entries {
                let below = if kind == Kind::Secret { kind } else { self::kind(key) };
                let _ = write!(text, "{:1$}{2}:", "", depth * 2, scalar(key, true));
                write(text, value, depth + 1, below);
            }
        }
    }
}

fn shown(text: &str, plain: bool, kind: Kind) -> String {
    match kind {
        Kind::Secret => MASK.to_owned(),
        Kind::Path => match text.split_once('?') {
            Some((path, _)) => scalar(&format!("{path}?{MASK}"), false),
            None => scalar(text, plain),
        },
        Kind::Open | Kind::Words => scalar(text, plain),
    }
}

/// A string of JSON is one of YAML, too.
fn scalar(text: &str, plain: bool) -> String {
    let simple = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    if plain && text.chars().all(simple) && !text.starts_with('-') {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_the_same_but_for_secrets() {
        let yaml = "version: 1 # a remark\nchecks: {db: {type: mysql, password: hunter22, ports: [1, \"2\"]}}\nservices: []\n";
        let mut faults = Vec::new();
        let tree = marked::parse(yaml, &mut faults).unwrap();
        let mut text = String::new();
        write(&mut text, &tree, 0, Kind::Open);
        let expected = "
version: 1
checks:
  db:
    type: mysql
    password: (masked)
    ports:
      - 1
      - \"2\"
services: []
";
        assert_eq!(text, expected);
        assert!(marked::parse(&text, &mut faults).is_some() && faults.is_empty(), "{faults:?}");
    }
}
