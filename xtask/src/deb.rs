//! `cargo xtask deb`: the Debian package, with man pages and completions that the binary itself
//! writes. `cargo-deb` packs it; where that is missing, it is built below `target/`.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::failure::{Outcome, fail};
use crate::shell;

/// What packs; the release matters, since its words do.
const CARGO_DEB: &str = "3.8.0";

/// What `cargo xtask deb` is told.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Pack the dev build: no package for a director, but one for tests
    #[arg(long)]
    pub dev: bool,
}

/// Builds the package, and says where it is.
///
/// # Errors
/// At the first step that fails.
pub fn run(options: &Options) -> Outcome {
    let package = build(options)?;
    println!("deb: {}", package.display());
    Ok(())
}

/// Builds the package.
///
/// # Errors
/// As [`run`].
pub fn build(options: &Options) -> Outcome<PathBuf> {
    let tool = cargo_deb()?;
    let (profile, directory) = if options.dev { ("dev", "debug") } else { ("release", "release") };
    shell::stream(shell::cargo().args(["build", "--package", "xlvs", "--profile", profile]))?;
    let target = shell::repository().join("target");
    let binary = target.join(directory).join("xlvs");
    furnish(&binary, &target.join("packaging"))?;
    let mut pack = Command::new(tool);
    pack.current_dir(shell::repository());
    pack.args(["--package", "xlvs", "--no-build", "--profile", profile, "--quiet"]);
    let package = target.join("packaging/xlvs.deb");
    pack.arg("--output").arg(&package);
    if options.dev {
        pack.arg("--fast");
    }
    shell::output(&mut pack)?;
    Ok(package)
}

/// What the binary writes for the package, and the change log.
fn furnish(binary: &Path, to: &Path) -> Outcome {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let completions = to.join("completions");
    fs::create_dir_all(&completions)?;
    shell::output(Command::new(binary).args(["generate", "man"]).arg(to.join("man")))?;
    for (shell_name, file) in [("bash", "xlvs.bash"), ("zsh", "_xlvs"), ("fish", "xlvs.fish")] {
        let script = shell::output(Command::new(binary).args(["completions", shell_name]))?;
        fs::write(completions.join(file), script)?;
    }
    let version = shell::output(Command::new(binary).arg("--version"))?;
    let Some(version) = version.split_whitespace().nth(1) else {
        return fail(format!("{version:?} is no version"));
    };
    fs::write(to.join("changelog"), changelog(version)?)?;
    Ok(())
}

/// Of the last commit: its time, so that two builds of one commit are alike.
fn changelog(version: &str) -> Outcome<String> {
    let mut git = Command::new("git");
    git.current_dir(shell::repository()).args(["log", "-1", "--format=%h %aD"]);
    let last = shell::output(&mut git)?;
    let Some((commit, time)) = last.trim().split_once(' ') else {
        return fail("git log says nothing");
    };
    Ok(format!(
        "xlvs ({version}-1) unstable; urgency=medium\n\n  * As of commit {commit}.\n\n \
         -- xlvs maintainers <maintainers@xlvs.example>  {time}\n"
    ))
}

/// The tool, built if it is not here.
fn cargo_deb() -> Outcome<PathBuf> {
    let root = shell::repository().join("target/tools");
    let tool = root.join("bin/cargo-deb");
    if tool.is_file() {
        return Ok(tool);
    }
    println!("deb: building cargo-deb {CARGO_DEB} into {}", root.display());
    let mut install = shell::cargo();
    install.args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked", "--quiet", "--root"]);
    // It packs for seconds: what it is built with matters less than how long that takes.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    shell::stream(install.arg(&root))?;
    Ok(tool)
}
