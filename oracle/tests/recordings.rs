//! Every scenario is recorded, and every recording is that of a scenario as it stands now.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oracle::{Recording, difference, scenario};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle")
}

/// Names of the files in a directory, without their endings.
fn stems(directory: &str, ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(home().join(directory)).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    wanted.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn recording(topic: &str) -> Recording {
    let text = fs::read_to_string(home().join(format!("recorded/{topic}.txt"))).unwrap();
    Recording::read(&text).unwrap_or_else(|fault| panic!("{topic}: {fault}"))
}

#[test]
fn every_scenario_is_recorded_as_it_stands() {
    let topics = stems("scenarios", "yaml");
    assert_eq!(topics, stems("recorded", "txt"));
    for topic in topics {
        let text = fs::read_to_string(home().join(format!("scenarios/{topic}.yaml"))).unwrap();
        let scenarios = scenario::read(&text).unwrap_or_else(|fault| panic!("{topic}: {fault}"));
        let recording = recording(&topic);
        let names = |all: Vec<&String>| all.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(scenarios.iter().map(|scenario| &scenario.name).collect()),
            names(recording.transcripts.iter().map(|transcript| &transcript.name).collect()),
            "{topic}: cargo xtask oracle --record {topic}"
        );
        for (scenario, transcript) in scenarios.iter().zip(&recording.transcripts) {
            let steps: Vec<&str> = scenario.steps.iter().map(|step| step.text.as_str()).collect();
            let recorded: Vec<&str> =
                transcript.steps.iter().map(|(step, _)| step.as_str()).collect();
            assert_eq!(steps, recorded, "{topic}: {}", scenario.name);
            if let Some(departs) = &scenario.departs {
                let last = departs.steps.keys().next_back().copied().unwrap_or_default();
                assert!(last <= steps.len(), "{topic}: {} departs at {last}", scenario.name);
            }
        }
    }
}

#[test]
fn a_recording_does_not_differ_from_itself() {
    for topic in stems("recorded", "txt") {
        for transcript in recording(&topic).transcripts {
            for (step, lines) in &transcript.steps {
                assert_eq!(difference(step, lines, lines, 0), None, "{topic}: {}", transcript.name);
            }
        }
    }
}

/// The table of `README.md` names topics and scenarios; one that is described many times over by
/// what they have in common.
#[test]
fn the_readme_names_what_there_is() {
    let readme = fs::read_to_string(home().join("README.md")).unwrap();
    let (_, table) = readme.split_once("## What shows what").unwrap();
    let (table, _) = table.split_once("\nTimes:").unwrap();
    let topics = stems("scenarios", "yaml");
    let recordings = topics.iter().map(|topic| recording(topic));
    let scenarios: BTreeSet<String> =
        recordings.flat_map(|all| all.transcripts).map(|transcript| transcript.name).collect();
    let rows = table.lines().filter_map(|row| row.split('|').nth(2));
    let names: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let known = |name: &&&str| {
        topics.contains(**name) || scenarios.iter().any(|scenario| scenario.starts_with(**name))
    };
    let unknown: Vec<&&str> = names.iter().filter(|name| !known(name)).collect();
    assert!(names.len() > 100 && unknown.is_empty(), "{} names, unknown: {unknown:?}", names.len());
    // Each topic is named, or some scenario of it.
    for topic in &topics {
        let all = recording(topic).transcripts;
        let here = |name: &&str| all.iter().any(|one| one.name.starts_with(*name));
        assert!(names.contains(&topic.as_str()) || names.iter().any(here), "{topic}");
    }
}
