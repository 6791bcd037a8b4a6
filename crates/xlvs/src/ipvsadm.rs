//! `xlvs ipvsadm`, and the program itself when it is called `ipvsadm`, `ipvsadm-save` or
//! `ipvsadm-restore` through a link: the words go to the daemon, the texts come to the terminal.

mod names;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use ::ipvsadm::{Denial, Program};
use control::{
    api::{FetchError, fetch, send},
    front::{self, Answer, Ask, Desk, Terminal},
};

use crate::failure;
pub(crate) use names::System;

/// Names the daemon's socket, if it is not where it usually is: ipvsadm has no option for it.
const SOCKET: &str = "XLVS_SOCKET";

/// The ipvsadm that a command line calls, by the program's name or by `xlvs ipvsadm`, with its
/// words, the program's name first.
pub(crate) fn called(words: impl Iterator<Item = OsString>) -> Option<(Program, Vec<String>)> {
    let mut words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let name = Path::new(words.first()?).file_name()?.to_string_lossy().into_owned();
    match name.as_str() {
        "ipvsadm" => return Some((Program::Ipvsadm, words)),
        "ipvsadm-save" => return Some((Program::Save, words)),
        "ipvsadm-restore" => return Some((Program::Restore, words)),
        _ => {}
    }
    if words.get(1)? != "ipvsadm" {
        return None;
    }
    words.remove(0);
    Some((Program::Ipvsadm, words))
}

/// Runs it.
pub(crate) fn run(program: Program, words: &[String], socket: PathBuf) -> ExitCode {
    let socket = std::env::var_os(SOCKET).map_or(socket, PathBuf::from);
    let mut output = io::BufWriter::new(io::stdout());
    let mut terminal = Terminal {
        input: &mut io::stdin(),
        output: &mut output,
        error: &mut io::stderr(),
        names: &System,
    };
    let result = front::run(program, words, &mut Daemon { socket }, &mut terminal);
    match result.and_then(|code| output.flush().map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        // A reader that has gone (`ipvsadm -Lnc | head`) is no failure of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failure(&format!("cannot read or print: {error}")),
    }
}

/// The daemon behind its socket.
struct Daemon {
    socket: PathBuf,
}

impl Desk for Daemon {
    fn reach(&mut self) -> Result<(), Denial> {
        fetch(&self.socket, "/v1/status").map(drop).map_err(|error| denial(&error))
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer, Denial> {
        let body = send(&self.socket, "/v1/ipvsadm", ask).map_err(|error| denial(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            Denial::Other(format!(
                "cannot read the daemon's answer: {error}; is it of another version?"
            ))
        })
    }
}

fn denial(error: &FetchError) -> Denial {
    match error {
        FetchError::NoDaemon { .. } => Denial::NoProtocol,
        FetchError::Forbidden(_) => Denial::NotPermitted,
        FetchError::Refused(_)
        | FetchError::Status { .. }
        | FetchError::Silent { .. }
        | FetchError::Broken { .. } => Denial::Other(error.to_string()),
    }
}
