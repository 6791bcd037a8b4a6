//! What importers make of other programs' files is a file that xlvs takes, also of files that
//! nobody would write.

#[path = "../../import/tests/case/mod.rs"]
mod case;

use std::path::Path;

use ::ipvsadm::NoNames;
use case::Case;
use control::load;
use import::{Settings, ipvsadm, keepalived, ldirectord};

fn imported(case: &Case, text: &str) -> String {
    let settings = Settings {
        interfaces: vec!["eth0".to_owned()],
        marks: Some(
            "- {mark: 10, destination: 203.0.113.40/32}\n\
             - {mark: 11, destination: \"2001:db8::40/128\"}\n"
                .to_owned(),
        ),
    };
    match case.importer.as_str() {
        "keepalived" => {
            let include = |_: &str, pattern: &str| Ok(case.included(pattern));
            let done = keepalived::import("k", text, Some("lb1"), &include, &settings);
            let vrrp = done.vrrp.map(|text| keepalived::commented(&text)).unwrap_or_default();
            done.imported.yaml + &vrrp
        }
        "ipvsadm" => ipvsadm::import("i", text, &NoNames, &settings).yaml,
        _ => ldirectord::import("l", text, &NoNames, &settings).yaml,
    }
}

#[test]
fn every_case_is_taken() {
    for case in case::all() {
        let yaml = imported(&case, case.section("source").expect("a source"));
        if let Err(faults) = load::read(Path::new("x.yaml"), &yaml, None) {
            panic!("{}/{}: {faults}\n{yaml}", case.importer, case.name);
        }
    }
}

/// Lines lost, doubled, swapped, and numbers that are others. What no rule marks is the only
/// fault that is left to the operator.
#[test]
fn bent_cases_are_taken() {
    let mut state = 7_u64;
    let mut below = |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % most.max(1)
    };
    for case in case::all() {
        for round in 0..400 {
            let source = case.section("source").expect("a source");
            let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
            for _ in 0..=below(3) {
                let (one, other) = (below(lines.len()), below(lines.len()));
                match below(4) {
                    0 => drop(lines.remove(one)),
                    1 => lines.insert(other, lines[one].clone()),
                    2 => lines.swap(one, other),
                    _ => {
                        let numbers = [
                            "0",
                            "1",
                            "3",
                            "65536",
                            "4294967295",
                            "-1",
                            "0.001",
                            "10.0.2.1",
                            "::1",
                            "fd00::7",
                        ];
                        let mut words: Vec<&str> = lines[one].split(' ').collect();
                        let at = below(words.len());
                        words[at] = numbers[below(numbers.len())];
                        lines[one] = words.join(" ");
                    }
                }
                if lines.is_empty() {
                    break;
                }
            }
            let text = lines.join("\n");
            let yaml = imported(&case, &text);
            let Err(faults) = load::read(Path::new("x.yaml"), &yaml, None) else { continue };
            let shown = faults.to_string();
            let other = shown.lines().find(|line| !line.contains("no rule gives"));
            if let Some(other) = other {
                panic!(
                    "{}/{} round {round}: {other}\n--- from\n{text}\n--- made\n{yaml}",
                    case.importer, case.name
                );
            }
        }
    }
}
