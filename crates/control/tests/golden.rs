//! The golden tables of `tests/golden`: configuration and packets in, packets, punts and
//! counters out. The configuration goes the whole way, the packets through the worker. Each case is
//! played once more with a capture on, which must hold what came in and what left.

#[path = "golden/capture.rs"]
mod capture;
#[path = "golden/case.rs"]
mod case;
#[path = "golden/lab.rs"]
mod lab;

use std::{fs, path::PathBuf};

use case::Case;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Runs one table and reports every case that differs.
fn table(name: &str) {
    let text = fs::read_to_string(folder().join(name)).expect("the table is there");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("the table is well formed");
    assert!(!cases.is_empty(), "{name} has no cases");
    let faults: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let run = |captured| lab::Lab::new(&folder(), case, captured).run(case);
            let captured = || run(true).map_err(|fault| format!("while captured: {fault}"));
            let fault = run(false).and_then(|()| captured()).err()?;
            Some(format!("{}\n  why: {}\n  {fault}", case.name, case.why))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {} cases of {name} differ:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

macro_rules! tables {
    ($($test:ident),+ $(,)?) => {
        $(#[test] fn $test() { table(concat!(stringify!($test), ".json")); })+

        #[test]
        fn every_table_is_run() {
            let run = [$(concat!(stringify!($test), ".json")),+, "topology.json"];
            for entry in fs::read_dir(folder()).expect("the folder is there") {
                let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
                assert!(!name.ends_with(".json") || run.contains(&&*name), "{name} is not run");
            }
        }
    };
}

tables!(dr, errors, fragments, fullnat, hostile, icmp, nat, scheduling, sctp, tun, tunnels);
