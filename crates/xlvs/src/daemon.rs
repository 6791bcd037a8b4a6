//! The daemon behind its socket, for verbs: asks, and reads the answer or says what is wrong.

use std::{process::ExitCode, time::Duration};

use control::api::{FetchError, Way, delete, fetch, send_within};
use serde::{Serialize, de::DeserializeOwned};

use crate::{another_version, failure};

/// How long an answer may take that the daemon has at hand.
const AT_HAND: Duration = Duration::from_secs(5);

/// What is at `path`; what is wrong has been said.
pub(crate) fn get<T: DeserializeOwned>(socket: &Way, path: &str) -> Result<T, ExitCode> {
    read(socket, fetch(socket, path))
}

/// Sends something.
pub(crate) fn post<T: DeserializeOwned>(
    socket: &Way,
    path: &str,
    what: &impl Serialize,
) -> Result<T, ExitCode> {
    read(socket, send_within(socket, path, what, AT_HAND))
}

/// Sends something that takes the daemon a while.
pub(crate) fn post_within<T: DeserializeOwned>(
    socket: &Way,
    path: &str,
    what: &impl Serialize,
    patience: Duration,
) -> Result<T, ExitCode> {
    read(socket, send_within(socket, path, what, patience))
}

/// Deletes what is at `path`.
pub(crate) fn remove<T: DeserializeOwned>(socket: &Way, path: &str) -> Result<T, ExitCode> {
    read(socket, delete(socket, path))
}

fn read<T: DeserializeOwned>(
    socket: &Way,
    told: Result<Vec<u8>, FetchError>,
) -> Result<T, ExitCode> {
    let body = told.map_err(|error| failure(&error))?;
    serde_json::from_slice(&body).map_err(|error| failure(&another_version(socket, &error)))
}

/// Prints a value as a line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> ExitCode {
    match serde_json::to_string(value) {
        Ok(text) => crate::print(&mut std::io::stdout(), &text),
        Err(error) => failure(&error),
    }
}

/// What the operator should know goes to standard error.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// A word of a query in a URL.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    let shown = |octet: u8| match plain(octet) {
        true => char::from(octet).to_string(),
        false => format!("%{octet:02X}"),
    };
    text.bytes().map(shown).collect()
}
