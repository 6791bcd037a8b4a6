//! The budget of instructions: a change that makes established packets cost more fails here, on
//! whatever machine, however busy. `bench/budget.txt` has a bench and its instructions a packet in
//! each line, as callgrind counts them within a worker's breath in a release build.
use std::path::{Path, PathBuf};
use std::process::Command;

use inprocess::callgrind::instructions;

/// A count may be so much above its budget: the table's hash has another secret in each run, so more
/// or fewer connections lie in their second bucket.
const SLACK: f64 = 1.03;

/// Where a worker's work is done.
const BREATH: &str = "*Hands*::breathe*";

/// The program as it is released; built where the workspace's other programs are.
fn program() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(cargo)
        // Whoever builds tests incrementally would get other instructions: 30 more.
        .env_remove("CARGO_INCREMENTAL")
        .current_dir(here)
        .args(["build", "--quiet", "--release", "--package", "inprocess"])
        .status();
    assert!(built.expect("cargo runs").success());
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| here.ancestors().nth(2).unwrap().join("target"));
    target.join("release/inprocess")
}

#[test]
fn established_packets_keep_to_their_budget() {
    let program = [program().display().to_string()];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("budget.txt");
    let budget = std::fs::read_to_string(&file).unwrap();
    let (mut measured, mut over) = (String::new(), Vec::new());
    for line in budget.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            measured += &format!("{line}\n");
            continue;
        }
        let (name, limit) = line.split_once(':').unwrap();
        let limit: f64 = limit.trim().parse().unwrap();
        let count = instructions(&program, name, Some(BREATH)).unwrap();
        measured += &format!("{name}: {count:.0}\n");
        assert!(count > 100.0, "{name}: {count:.0} instructions: was a breath seen at all?");
        if count > limit * SLACK {
            over.push(format!("{name}: {count:.0}, budget {limit:.0}"));
        }
    }
    println!("bench/budget.txt as it is now:\n{measured}");
    assert!(
        over.is_empty(),
        "more instructions a packet than bench/budget.txt has; make it cheaper, or write there what it takes and say why in the commit: {over:#?}"
    );
}
