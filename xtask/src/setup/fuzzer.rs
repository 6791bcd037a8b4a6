//! The fuzzer of the API: schemathesis, from PyPI, in a virtual environment of its own below
//! `target/`. It and all that it needs have the versions that `schemathesis.txt` lists.
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Outcome, fail};
use crate::shell;

/// What `pip freeze` said in such an environment.
const VERSIONS: &str = include_str!("schemathesis.txt");

/// Where the environment is.
fn home() -> PathBuf {
    shell::repository().join("target/schemathesis")
}

/// The program.
///
/// # Errors
/// When it is not installed.
pub fn program() -> Outcome<PathBuf> {
    let program = home().join("bin/schemathesis");
    match is_current() {
        true => Ok(program),
        false => fail("schemathesis is not installed: cargo xtask setup"),
    }
}

/// Installs it, if it is not there or not in these versions, and says so.
///
/// # Errors
/// When the environment cannot be made, or pip gets nothing.
pub(super) fn install() -> Outcome {
    if is_current() {
        return Ok(());
    }
    let home = home();
    println!("setup: schemathesis from PyPI into {}", home.display());
    shell::output(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let versions = home.join("wanted.txt");
    fs::write(&versions, VERSIONS)?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
    shell::stream(pip.arg("--requirement").arg(&versions))?;
    fs::rename(versions, installed())?;
    Ok(())
}

/// Written when everything is there.
fn installed() -> PathBuf {
    home().join("installed.txt")
}

fn is_current() -> bool {
    fs::read_to_string(installed()).is_ok_and(|versions| versions == VERSIONS)
}
