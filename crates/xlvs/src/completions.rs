//! `xlvs completions SHELL`: what completes its words there.

use std::{io, process::ExitCode};

use clap_complete::{Shell, generate};

use crate::command;

/// Prints them.
pub(crate) fn print(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    generate(shell, &mut command::tree(), "xlvs", &mut script);
    crate::print(&mut io::stdout(), &String::from_utf8_lossy(&script).trim_end())
}
