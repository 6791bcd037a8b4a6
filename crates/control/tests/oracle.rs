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

/// Plays a file; the error tells where each scenario differs.
fn play(topic: &str) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
    let read = |path: PathBuf| {
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let scenarios = read(home.join(format!("scenarios/{topic}.yaml")));
    let scenarios = scenario::read(&scenarios).unwrap_or_else(|why| panic!("{topic}: {why}"));
    let recording = read(home.join(format!("recorded/{topic}.txt")));
    let recording = Recording::read(&recording).unwrap_or_else(|why| panic!("{topic}: {why}"));
    let wanted = std::env::var("XLVS_SCENARIO").unwrap_or_default();
    let chosen = scenarios.iter().filter(|scenario| scenario.name.contains(&wanted));
    let mut differing = Vec::new();
    let mut count = 0;
    for scenario in chosen {
        count += 1;
        let explained = departures::why(&scenario.name);
        match (compare(scenario, &recording), explained) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(why), None) => {
                differing.push(format!("== {} ({})\n{why}", scenario.name, scenario.why));
            }
            (Ok(()), Some(why)) => {
                differing.push(format!(
                    "== {} is as the kernel has it; no longer: {why}",
                    scenario.name
                ));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{topic}: {} of {count} scenarios differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
}

fn compare(scenario: &Scenario, recording: &Recording) -> Result<(), String> {
    let transcript = recording
        .transcript(&scenario.name)
        .ok_or("is not recorded: cargo xtask oracle --record")?;
    let mut player = Player::new(scenario);
    for (at, (step, (text, recorded))) in scenario.steps.iter().zip(&transcript.steps).enumerate() {
        assert_eq!(&step.text, text, "recorded before the scenario changed");
        let departure = scenario.departs.as_ref().and_then(|d| d.steps.get(&(at + 1)));
        let expected = departure.unwrap_or(recorded);
        let actual = player.step(step);
        if let Some(difference) = scenario.difference(text, expected, &actual, SLACK) {
            let actual = actual.join("\n    ");
            return Err(format!("step {}: {difference}\n  all of it:\n    {actual}", at + 1));
        }
    }
    player.settled();
    Ok(())
}

/// A firewall between two directors sees both directions of a connection: what one picks by the
/// source, the other picks by the destination. Not with weights, which dh does not count.
#[test]
fn sh_out_and_dh_back_choose_the_same_firewall() {
    let place =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/recorded/firewalls.txt");
    let recording =
        Recording::read(&fs::read_to_string(place).expect("recorded")).expect("legible");
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
            let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/scenarios");
            for entry in fs::read_dir(home).expect("the scenarios").flatten() {
                let path = entry.path();
                let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
                assert!([$(stringify!($topic)),*].contains(&stem.as_str()), "{stem} has no test");
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
