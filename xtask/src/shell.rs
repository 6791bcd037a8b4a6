//! Running other programs: to the end, with their words kept, never asking anything.
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::{Failure, Outcome, fail};

/// Runs a command without input and gives its standard output.
///
/// # Errors
/// When it cannot be started or ends with another code than 0; the message then carries
/// the command line and everything that it printed.
pub fn output(command: &mut Command) -> Outcome<String> {
    let result = start(command.stdin(Stdio::null()), Command::output)?;
    judge(command, &result)
}

/// Like [`output`], with text for its standard input.
///
/// # Errors
/// As [`output`].
pub fn feed(command: &mut Command, input: &str) -> Outcome<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(command, Command::spawn)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends early says why itself; a broken pipe would hide it.
        let _ = stdin.write_all(input.as_bytes());
    }
    let result = child.wait_with_output()?;
    judge(command, &result)
}

/// Runs a command whose words go to the terminal as they come.
///
/// # Errors
/// When it cannot be started or ends with another code than 0.
pub fn stream(command: &mut Command) -> Outcome {
    let status = start(command.stdin(Stdio::null()), Command::status)?;
    if status.success() { Ok(()) } else { fail(format!("{}: {status}", line(command))) }
}

/// The root of the repository: the parent of this package.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The cargo that runs this, or the one of the path.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    cargo
}

/// Whether this process may make namespaces and install packages.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

fn start<T>(
    command: &mut Command,
    how: impl FnOnce(&mut Command) -> std::io::Result<T>,
) -> Outcome<T> {
    how(command).map_err(|error| Failure::from(format!("{}: {error}", line(command))))
}

fn judge(command: &Command, result: &Output) -> Outcome<String> {
    let stdout = String::from_utf8_lossy(&result.stdout);
    if result.status.success() {
        return Ok(stdout.into_owned());
    }
    let stderr = String::from_utf8_lossy(&result.stderr);
    fail(format!("{}: {}\n{}{}", line(command), result.status, stdout, stderr.trim_end()))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
