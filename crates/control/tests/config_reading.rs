//! The marked tree against an oracle: `serde_yaml` must read every text alike.

use std::{fs, path::PathBuf};

use control::marked::{Marked, Node, parse};
use serde_yaml::Value;

/// The tree without its places.
fn value(marked: &Marked) -> Value {
    match &marked.node {
        Node::Scalar { text, plain: false } => Value::String(text.clone()),
        // What type an unquoted word has is the oracle's to say; here only the text counts.
        Node::Scalar { text, plain: true } => serde_yaml::from_str(text).expect("a scalar"),
        Node::List(items) => Value::Sequence(items.iter().map(value).collect()),
        Node::Map(entries) => {
            let pair = |entry: &control::marked::Entry| {
                (Value::String(entry.key.clone()), value(&entry.value))
            };
            Value::Mapping(entries.iter().map(pair).collect())
        }
    }
}

const TEXTS: [&str; 9] = [
    "a: 1\nb: [x, 'y', \"z\\t\\u00e9\"]\n",
    "a: off\nb: ~\nc:\nd: null\ne: 1.5\nf: 'null'\ng: yes\n",
    "x-a: &a {w: 1, v: 2}\nb: {<<: *a, v: 3}\nc: *a\nd: {v: 3, <<: *a}\n",
    "x: &x {a: 1}\ny: &y {a: 2, b: 3}\nz: {<<: [*x, *y]}\n",
    "# comment\n---\na: b # more\nc: \"# none\"\n...\n",
    "a: |\n  two\n  lines\nb: >-\n  folded\n  text\n",
    "address: fd00:2::11\nmac: 52:54:00:12:34:56\nlisten: 203.0.113.10:80/tcp\nports: 10000-32767\n",
    "list: [fd00:9::10, {address: 2001:db8::1}]\n",
    "- a\n- - b\n  - c\n-\n  d: e\n",
];

#[test]
fn reads_as_the_oracle_does() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let examples = fs::read_dir(examples).expect("configs/ is there");
    let examples = examples.map(|file| file.expect("listed").path()).filter(|path| path.is_file());
    let examples = examples.map(fs::read_to_string);
    let texts = TEXTS.iter().map(|text| (*text).to_owned());
    for text in texts.chain(examples.map(|text| text.expect("readable"))) {
        let mut faults = Vec::new();
        let tree = parse(&text, &mut faults).expect("a document");
        assert_eq!(faults, [], "{text}");
        let mut oracle: Value = serde_yaml::from_str(&text).expect("valid for the oracle");
        oracle.apply_merge().expect("valid merges");
        assert_eq!(value(&tree), oracle, "{text}");
    }
}

/// What the oracle refuses, we refuse.
#[test]
fn refuses_what_the_oracle_refuses() {
    for text in
        ["a: [1\n", "a: b: c\n", "\ta: 1\n", "a: 1\na: 2\n", "a: *b\n", "a: 'b\n", "a\nb: 1\n"]
    {
        assert!(serde_yaml::from_str::<Value>(text).is_err(), "{text}");
        let mut faults = Vec::new();
        parse(text, &mut faults);
        assert!(!faults.is_empty(), "{text}");
    }
}

/// Hostile files end in a fault, in bounded time and memory.
#[test]
fn bounded() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let deep = "[".repeat(10_000);
    let deep_map = "{a: ".repeat(10_000);
    for text in [laughs, deep, deep_map] {
        let mut faults = Vec::new();
        assert!(parse(&text, &mut faults).is_none());
        assert_eq!(faults.len(), 1);
    }
}

/// Every prefix of a valid file, and every file with one octet changed, ends in a tree or in
/// faults, never in a panic.
#[test]
fn damaged_files_do_not_panic() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs/full.yaml");
    let text = fs::read_to_string(&path).expect("readable");
    for end in (0..text.len()).step_by(7).filter(|end| text.is_char_boundary(*end)) {
        let _ = control::load::read(&path, &text[..end], None);
    }
    for at in (0..text.len()).step_by(11) {
        for damage in [b'\t', b'[', b'}', b':', b'"', b'\n', b'&', b'*', b'-', b'9'] {
            let mut octets = text.clone().into_bytes();
            octets[at] = damage;
            if let Ok(text) = String::from_utf8(octets) {
                let _ = control::load::read(&path, &text, None);
            }
        }
    }
}
