//! The oracle's scenarios, played to xlvs with `compat: lvs` through its ipvsadm front, against
//! what a kernel did (`tests/oracle/recorded`; `cargo xtask oracle` plays them to a kernel).
//!
//! One test for each file of scenarios. `XLVS_SCENARIO=name` plays those whose names contain it.

#[path = "oracle/departures.rs"]
mod departures;
#[path = "oracle/box.rs"]
mod ground_box;
#[path = "oracle/player.rs"]
mod player;

use std::{
    fs,
    path::{Path, PathBuf},
};

use oracle::{Recording, Scenario, scenario};
use player::Player;

/// Seconds by which expiry times may differ: a kernel is asked a moment later, and xlvs counts
/// whole seconds.
const SLACK: i64 = 3;

/// A recorded or written file of a topic.
fn place(directory: &str, topic: &str, ending: &str) -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
    home.join(format!("{directory}/{topic}.{ending}"))
}

fn recording(topic: &str) -> Recording {
    let text = fs::read_to_string(place("recorded", topic, "txt"));
    let text = text.unwrap_or_else(|error| panic!("{topic}: {error}"));
    Recording::read(&text).unwrap_or_else(|why| panic!("{topic}: {why}"))
}

fn scenarios(topic: &str) -> Vec<Scenario> {
    let text = fs::read_to_string(place("scenarios", topic, "yaml"));
    let text = text.unwrap_or_else(|error| panic!("{topic}: {error}"));
    scenario::read(&text).unwrap_or_else(|why| panic!("{topic}: {why}"))
}

/// Plays a file; the error tells which steps of each scenario differ.
fn play(topic: &str) {
    let recording = recording(topic);
    let wanted = std::env::var("XLVS_SCENARIO").unwrap_or_default();
    let mut chosen = scenarios(topic);
    chosen.retain(|scenario| scenario.name.contains(&wanted));
    let mut differing = Vec::new();
    for scenario in &chosen {
        let found = compare(scenario, &recording);
        if !found.is_empty() {
            let (name, why) = (&scenario.name, &scenario.why);
            differing.push(format!("== {name} ({why})\n{}", found.join("\n")));
        }
    }
    assert!(
        differing.is_empty(),
        "{topic}: {} of {} scenarios differ:\n{}",
        differing.len(),
        chosen.len(),
        differing.join("\n")
    );
}

/// Plays all steps; tells of each that is not as it should be.
fn compare(scenario: &Scenario, recording: &Recording) -> Vec<String> {
    let Some(transcript) = recording.transcript(&scenario.name) else {
        return vec!["is not recorded: cargo xtask oracle --record".to_owned()];
    };
    let texts = scenario.steps.iter().map(|step| &step.text);
    let recorded = transcript.steps.iter().map(|(text, _)| text);
    assert!(texts.eq(recorded), "{}: recorded before it changed; --record it", scenario.name);
    let mut player = Player::new(scenario);
    let mut wrong = Vec::new();
    for (at, (step, (_, recorded))) in scenario.steps.iter().zip(&transcript.steps).enumerate() {
        let actual = player.step(step);
        if let Err(why) = judge(scenario, at + 1, recorded, &actual) {
            wrong.push(format!("step {}: {why}", at + 1));
        }
    }
    player.settled();
    wrong
}

/// Whether a step, counted from 1, is as the kernel has it, or departs as it is written.
fn judge(
    scenario: &Scenario,
    number: usize,
    recorded: &[String],
    actual: &[String],
) -> Result<(), String> {
    let text = &scenario.steps[number - 1].text;
    let differs = |expected: &[String]| scenario.difference(text, expected, actual, SLACK);
    let all = |difference| format!("{difference}\n  all of it:\n    {}", actual.join("\n    "));
    let explained = departures::why(&scenario.name, number);
    if let Some(departs) = scenario.departs.as_ref().filter(|d| d.steps.contains_key(&number)) {
        return match (differs(recorded), differs(&departs.steps[&number])) {
            (None, _) => Err(format!(
                "is as the kernel has it; take it out of the scenario's departs: {}",
                departs.why
            )),
            (_, Some(why)) => Err(all(format!("not what departs says instead\n{why}"))),
            (Some(_), None) => Ok(()),
        };
    }
    match (differs(recorded), explained) {
        (None, None) | (Some(_), Some(_)) => Ok(()),
        (None, Some(why)) => {
            Err(format!("is as the kernel has it; take it out of departures.rs: {why}"))
        }
        (Some(why), None) => Err(all(format!(
            "a fault of xlvs; or a departure: then the scenario's departs says what it does instead\n{why}"
        ))),
    }
}

/// A firewall between two directors sees both directions of a connection: what one picks by the
/// source, the other picks by the destination. Not with weights, which dh does not count.
#[test]
fn sh_out_and_dh_back_choose_the_same_firewall() {
    let recording = recording("firewalls");
    let picks = |name: String| {
        let transcript = recording.transcript(&name).expect("recorded");
        transcript.steps.last().expect("picks").1.concat()
    };
    for (case, same) in
        [("two", true), ("three", true), ("seven", true), ("ipv6", true), ("weights", false)]
    {
        let (out, back) = (picks(format!("out_{case}")), picks(format!("back_{case}")));
        assert_eq!(out.chars().filter(char::is_ascii_digit).count(), 4000, "{case}: {out}");
        assert_eq!(out == back, same, "{case}");
    }
}

/// A test for each file, so that one that has none here is noticed.
macro_rules! topics {
    ($($topic:ident),* $(,)?) => {
        $(
            #[test]
            fn $topic() {
                play(stringify!($topic));
            }
        )*

        #[test]
        fn every_file_has_a_test() {
            let home = place("scenarios", "any", "yaml");
            for entry in fs::read_dir(home.parent().expect("a directory")).expect("it").flatten() {
                let path = entry.path();
                let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
                assert!([$(stringify!($topic)),*].contains(&stem.as_str()), "{stem} has no test");
            }
        }

        #[test]
        fn every_departure_is_a_scenarios() {
            let all: Vec<Scenario> =
                [$(stringify!($topic)),*].into_iter().flat_map(scenarios).collect();
            for (name, steps) in departures::all() {
                let scenario = all.iter().find(|scenario| scenario.name == name);
                let last = scenario.map_or(0, |scenario| scenario.steps.len());
                assert!(steps.iter().all(|step| (1..=last).contains(step)), "{name} has no {steps:?}");
            }
        }
    };
}

topics! {
    defence,
    errors,
    firewalls,
    forwarding,
    fragments,
    golden_picks,
    hashes,
    icmp,
    lifecycle,
    listings,
    persistence,
    picks_dh,
    picks_fo,
    picks_lblc,
    picks_lblcr,
    picks_lc,
    picks_mh,
    picks_nq,
    picks_ovf,
    picks_rr,
    picks_sed,
    picks_sh,
    picks_twos,
    picks_wlc,
    picks_wrr,
    services,
    states_sctp,
    states_tcp,
    stats,
    thresholds,
}
