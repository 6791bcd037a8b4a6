//! Instructions, counted by valgrind: the same on a busy machine, and nearly so on another one.

use std::{io, process::Command};

/// Numbers of windows between which instructions are counted, so that what a bench does
/// before its windows cancels out.
const WINDOWS: [u64; 2] = [9, 25];
/// Packets in a window.
const PACKETS: u64 = crate::carousel::FRAMES as u64;

/// Instructions a packet of the bench with this name. `program` is the command line of the bench's
/// program as far as its options. With `within` only those count that are made while a function
/// of this name (with `*`) runs.
///
/// # Errors
/// valgrind is missing, or says nothing; the program fails.
pub fn instructions(program: &[String], name: &str, within: Option<&str>) -> io::Result<f64> {
    Ok(in_window(program, name, within)? / PACKETS as f64)
}

/// The same for a window, however many packets are in it.
///
/// # Errors
/// As [`instructions`].
pub fn in_window(program: &[String], name: &str, within: Option<&str>) -> io::Result<f64> {
    let mut counts = [0; 2];
    for (count, windows) in counts.iter_mut().zip(WINDOWS) {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        valgrind.args(within.map(|function| format!("--toggle-collect={function}")));
        valgrind.args(program).arg("--no-file").args(name.split(' '));
        let output = valgrind.arg(format!("--windows={windows}")).output();
        let output = output.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("valgrind: {error}; cargo xtask setup installs it"),
            )
        })?;
        let said = String::from_utf8_lossy(&output.stderr);
        let number = said.split("Collected : ").nth(1);
        *count = number
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .filter(|_| output.status.success())
            .ok_or_else(|| io::Error::other(format!("{name}: no count from valgrind: {said}")))?;
    }
    Ok((counts[1] - counts[0]) as f64 / (WINDOWS[1] - WINDOWS[0]) as f64)
}
