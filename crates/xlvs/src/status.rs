//! `xlvs status`: is the director well? In words, in JSON, and as an exit code for keepalived's
//! `track_script`, within a bounded time.

use std::{
    fmt::{Display, Write},
    io,
    process::ExitCode,
    time::Duration,
};

use control::{
    api::{FetchError, Way, fetch_within},
    report::{Ill, IllKind, Status, Wanted},
};
use serde_json::{Value, json};

use crate::{another_version, failure, list::duration, print};

/// Nobody can say: it may not be asked, is of another version, or has not what was asked about.
const UNKNOWN: u8 = 1;
/// No daemon runs.
const NO_DAEMON: u8 = 3;
/// It runs and does not answer in time.
const SILENT: u8 = 4;

const fn code(kind: IllKind) -> u8 {
    match kind {
        IllKind::Unknown => UNKNOWN,
        IllKind::Stopping => 5,
        IllKind::Worker => 6,
        IllKind::Interface => 7,
        IllKind::Quorum => 8,
    }
}

/// Prints how the daemon at `socket` is; the exit code is that of the worst of its ills.
pub(crate) fn status(socket: &Way, wanted: &Wanted, patience: Duration, json: bool) -> ExitCode {
    let told = fetch_within(socket, "/v1/status", patience);
    let unread = |code: u8, kind: &str, why: &dyn Display| {
        if json {
            let ills = [json!({"kind": kind, "text": why.to_string()})];
            print(&mut io::stdout(), &json!({"code": code, "ills": ills}));
        } else {
            failure(why);
        }
        ExitCode::from(code)
    };
    let body = match told {
        Ok(body) => body,
        Err(error @ FetchError::NoDaemon { .. }) => return unread(NO_DAEMON, "no_daemon", &error),
        Err(error @ (FetchError::Silent { .. } | FetchError::Broken { .. })) => {
            return unread(SILENT, "silent", &error);
        }
        Err(error) => return unread(UNKNOWN, "unknown", &error),
    };
    let status: Status = match serde_json::from_slice(&body) {
        Ok(status) => status,
        Err(error) => return unread(UNKNOWN, "unknown", &another_version(socket, &error)),
    };
    let ills = status.ills(wanted);
    let code = ills.first().map_or(0, |ill| code(ill.kind));
    let text = if json { as_json(&status, &ills, code) } else { in_words(&status, &ills) };
    print(&mut io::stdout(), &text.trim_end());
    ExitCode::from(code)
}

fn as_json(status: &Status, ills: &[Ill], code: u8) -> String {
    let mut object = json!(status);
    object["code"] = Value::from(code);
    object["ills"] = json!(ills);
    object.to_string()
}

/// What is wrong comes first; what nobody asked about and is worth knowing, last.
fn in_words(status: &Status, ills: &[Ill]) -> String {
    let well = if ills.is_empty() { "well" } else { "not well" };
    let mut text = format!("xlvs {}: {well}, up {}\n", status.version, duration(status.uptime_s));
    for ill in ills {
        let _ = writeln!(text, "  {}", ill.text);
    }
    let Status { workers, interfaces, services, servers, connections, .. } = status;
    let _ = writeln!(
        text,
        "workers {workers}, interfaces {interfaces}, services {services}, servers {servers}, \
         connections {connections}"
    );
    for quorum in status.quorums.iter().filter(|quorum| !quorum.standing.quorum) {
        let line = quorum.to_string();
        if ills.iter().all(|ill| ill.text != line) {
            let _ = writeln!(text, "{line}");
        }
    }
    for vip in &status.withdrawn {
        let _ = writeln!(text, "vip {vip}: withdrawn, its services are below quorum");
    }
    text
}
