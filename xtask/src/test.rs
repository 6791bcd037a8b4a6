//! The test command: format, lints, every test of the workspace, and among them the lab.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::failure::{Outcome, fail};
use crate::{setup, shell};

/// Runs everything. The last line is the runner's own summary; with plain `cargo test`,
/// which has one summary for each binary, it is `N passed, N failed`.
///
/// # Errors
/// At the first stage that fails.
pub fn run() -> Outcome {
    setup::run()?;
    stage("format", shell::cargo().args(["fmt", "--all", "--check"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    stage("lints", shell::cargo().args(lints))?;
    // The lab starts the product as a user does; the dev build keeps its overflow checks.
    stage("build", shell::cargo().args(["build", "--package", "xlvs"]))?;
    if has_nextest() {
        let run = ["nextest", "run", "--workspace", "--no-fail-fast"];
        return stage("tests", shell::cargo().args(run));
    }
    println!("== tests");
    plain_cargo_test()
}

fn stage(name: &str, command: &mut Command) -> Outcome {
    println!("== {name}");
    shell::stream(command)
}

fn has_nextest() -> bool {
    shell::output(shell::cargo().args(["nextest", "--version"])).is_ok()
}

fn plain_cargo_test() -> Outcome {
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut total = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            total.add(&line);
        }
    }
    let ended_well = child.wait()?.success();
    println!("{} passed, {} failed", total.passed, total.failed);
    if ended_well { Ok(()) } else { fail("cargo test failed") }
}

/// The sum of cargo test's `test result:` lines.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let count = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn tally_sums_the_result_lines_of_all_binaries() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 16, failed: 2 });
    }
}
