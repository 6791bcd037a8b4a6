//! `xlvs list`: asks the daemon, and prints what it says.

mod table;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use control::{
    api::{Way, fetch},
    report::Report,
};

pub(crate) use self::table::duration;
use crate::{another_version, failure, print};

/// Prints the report of the daemon at `socket`.
pub(crate) fn list(socket: &Way, json: bool) -> ExitCode {
    let body = match fetch(socket, "/v1/report") {
        Ok(body) => body,
        Err(error) => return failure(&error),
    };
    if json {
        return print(&mut io::stdout(), &String::from_utf8_lossy(&body));
    }
    match serde_json::from_slice::<Report>(&body) {
        Ok(report) => {
            let mut out = io::stdout();
            let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            print(&mut out, &table::render(&report, colours).trim_end())
        }
        Err(error) => failure(&another_version(socket, &error)),
    }
}
