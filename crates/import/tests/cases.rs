//! Each case's YAML and notes, written by hand from keepalived.conf(5), ipvsadm(8) and
//! ldirectord(8); and what no case thought of.

mod case;

use ::ipvsadm::NoNames;
use case::Case;
use import::{Imported, Settings, ipvsadm, keepalived, ldirectord};

fn settings() -> Settings {
    Settings {
        interfaces: vec!["eth0".to_owned()],
        marks: Some(
            "- {mark: 10, destination: 203.0.113.40/32}\n\
             - {mark: 11, destination: \"2001:db8::40/128\"}\n"
                .to_owned(),
        ),
    }
}

/// What became of a case, or of another text in its place.
fn imported(case: &Case, text: &str) -> (Imported, Option<String>) {
    match case.importer.as_str() {
        "keepalived" => {
            let include = |_: &str, pattern: &str| Ok(case.included(pattern));
            let done =
                keepalived::import("keepalived.conf", text, Some("lb1"), &include, &settings());
            (done.imported, done.vrrp)
        }
        "ipvsadm" => (ipvsadm::import("rules", text, &NoNames, &settings()), None),
        _ => (ldirectord::import("ldirectord.cf", text, &NoNames, &settings()), None),
    }
}

/// Without comments and empty lines.
fn bare(yaml: &str) -> String {
    let is_bare = |line: &&str| !line.trim_start().starts_with('#') && !line.trim().is_empty();
    yaml.lines().filter(is_bare).map(|line| line.to_owned() + "\n").collect()
}

/// The lines that only one of the two has.
fn difference(made: &str, expected: &str) -> String {
    let only = |one: &str, other: &str, sign: &str| -> String {
        let other: Vec<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !other.contains(line));
        lines.map(|line| format!("{sign}{line}\n")).collect()
    };
    let only = only(expected, made, "-") + &only(made, expected, "+");
    if only.is_empty() { format!("in this order:\n{made}") } else { only }
}

#[test]
fn cases_become_what_they_say() {
    let mut wrong = Vec::new();
    for case in case::all() {
        let what = format!("{}/{}", case.importer, case.name);
        let source = case.section("source").expect("a source");
        let (imported, vrrp) = imported(&case, source);
        let notes: String = imported.notes.iter().map(|note| format!("{note}\n")).collect();
        for (made, section) in [(bare(&imported.yaml), "yaml"), (notes, "notes")] {
            let expected = case.section(section).unwrap_or("");
            if made != expected {
                wrong.push(format!("{what}, {section}:\n{}", difference(&made, expected)));
            }
        }
        let offered = vrrp.map(|text| {
            let (text, offer) = text.split_once("\n! So that VIPs follow xlvs").expect("an offer");
            assert!(offer.contains("xlvs status"), "{what}");
            text.to_owned() + if text.ends_with('\n') { "" } else { "\n" }
        });
        let offered = offered.map(|text| text.trim_end().to_owned() + "\n");
        let expected = case.section("vrrp");
        if offered.as_deref() != expected {
            let (made, expected) = (offered.unwrap_or_default(), expected.unwrap_or_default());
            wrong.push(format!("{what}, vrrp:\n{}", difference(&made, expected)));
        }
        for note in &imported.notes {
            let first = note.text.split(' ').next().unwrap_or("");
            let comments = imported.yaml.lines().filter(|line| line.trim_start().starts_with('#'));
            assert!(
                comments.into_iter().any(|line| line.contains(first)),
                "{what}: {note} stands nowhere"
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without an interface there is none, and a comment says why.
#[test]
fn interfaces_are_asked_for() {
    let text = "virtual_server 203.0.113.10 80 { protocol TCP }\n\
                vrrp_instance VI { interface eth7 }\n";
    let none = |_: &str, _: &str| Ok(Vec::new());
    let done = keepalived::import("k", text, None, &none, &Settings::default());
    assert!(done.imported.yaml.contains("\ninterfaces: []\n"), "{}", done.imported.yaml);
    assert!(done.imported.yaml.contains("# The source names eth7.\n"), "{}", done.imported.yaml);
}

/// A sequence of numbers that is the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most.max(1)
    }
}

/// A line or an octet is lost, doubled, swapped or bent.
fn mutated(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        if lines.is_empty() {
            break;
        }
        let (one, other) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(6) {
            0 => drop(lines.remove(one)),
            1 => lines.insert(other, lines[one].clone()),
            2 => lines.swap(one, other),
            3 => {
                let mut octets = lines[one].clone().into_bytes();
                if !octets.is_empty() {
                    let at = random.below(octets.len());
                    let odd = b"{}\"'\\$#!@~0-9./:=, \t\xff\x00A";
                    octets[at] = odd[random.below(odd.len())];
                }
                lines[one] = String::from_utf8_lossy(&octets).into_owned();
            }
            4 => {
                let words: Vec<String> = lines[one].split(' ').map(str::to_owned).collect();
                let kept = random.below(words.len() + 1);
                lines[one] = words[..kept].join(" ");
            }
            _ => {
                let more = [
                    "99999999999999999999",
                    "-1",
                    "{",
                    "}",
                    "::",
                    "0",
                    "$A=$A",
                    "$A",
                    "~SEQ(A,1,1000000000) $A",
                ];
                let more = more[random.below(more.len())];
                lines[one] = format!("{} {more}", lines[one]);
            }
        }
    }
    lines.join("\n")
}

#[test]
fn no_text_panics() {
    let mut random = Random(1);
    for case in case::all() {
        let source = case.section("source").expect("a source");
        for _ in 0..300 {
            let text = mutated(source, &mut random);
            let (imported, _) = imported(&case, &text);
            assert!(imported.yaml.contains("version: 1"));
        }
    }
}

/// A word that nobody knows is named with its line, wherever it stands, or stays where
/// keepalived reads it.
#[test]
fn no_line_is_lost() {
    for case in case::all() {
        let source = case.section("source").expect("a source");
        let lines: Vec<&str> = source.lines().collect();
        for at in 0..=lines.len() {
            // Within a definition of several lines it would be the end of it.
            if at > 0 && lines[at - 1].ends_with('\\') {
                continue;
            }
            let mut lines = lines.clone();
            lines.insert(at, "    zzunknown zzvalue");
            let (imported, vrrp) = imported(&case, &(lines.join("\n") + "\n"));
            // One in a block that is unknown is named with the block.
            let said = |note: &&import::Note| {
                let first = note.places.first().expect("a place");
                note.lost && note.text.contains("zzunknown") && first.line <= at + 1
            };
            // A mail's address is any word.
            let kept = vrrp.is_some_and(|text| text.contains("zzunknown zzvalue"))
                || bare(&imported.yaml).contains("zzunknown, zzvalue");
            assert!(
                kept || imported.notes.iter().any(|note| said(&note)),
                "{}/{} line {}: {:#?}",
                case.importer,
                case.name,
                at + 1,
                imported.notes
            );
        }
    }
}

/// Each address and each path of the source is in what is made of it, or in a note.
#[test]
fn no_value_is_lost() {
    for case in case::all() {
        let source = case.section("source").expect("a source");
        let (imported, vrrp) = imported(&case, source);
        let mut all = imported.yaml.clone() + &vrrp.unwrap_or_default();
        imported.notes.iter().for_each(|note| all.push_str(&note.to_string()));
        // What an include names has been read.
        for line in source.lines().filter(|line| !line.starts_with("include")) {
            let line = line.split(['#', '!']).next().unwrap_or("");
            let split = |c: char| c.is_whitespace() || "{}\"'=,".contains(c);
            for word in line.split(split).filter(|word| word.contains(['.', '/'])) {
                let known =
                    word.starts_with("1.0") || word.parse::<f32>().is_ok() || word.contains('$');
                let first =
                    word.split(['-', '/', '>', ':']).find(|part| !part.is_empty()).unwrap_or("");
                let bits = word.starts_with("255.");
                assert!(
                    known || bits || all.contains(word) || all.contains(first),
                    "{}/{}: {word} of \"{line}\" is nowhere",
                    case.importer,
                    case.name
                );
            }
        }
    }
}
