//! `xlvs check`.

use std::{fmt::Display, io, path::Path, process::ExitCode};

use control::{
    live::{self, Finding},
    load::load,
    model::Model,
};

use crate::failure;

/// Checks a file, and the box for it if `live`. Faults and findings of severity error are
/// failures.
pub(crate) fn check(file: &Path, live: bool) -> ExitCode {
    if !live {
        return match load(file, None) {
            Ok(model) => say(&ok(file, &model)),
            Err(faults) => failure(&faults),
        };
    }
    let around = match live::surroundings() {
        Ok(around) => around,
        Err(error) => return failure(&error),
    };
    // What the box says is worth knowing even where the file and the box do not agree.
    let (model, faults) = match load(file, Some(&around)) {
        Ok(model) => (model, None),
        Err(faults) => match load(file, None) {
            Ok(model) => (model, Some(faults)),
            Err(_) => return failure(&faults),
        },
    };
    let findings = live::check(&model);
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    if faults.is_none() && !findings.iter().any(Finding::is_error) {
        let lines = lines.into_iter().chain([ok(file, &model)]).collect::<Vec<_>>();
        return say(&lines.join("\n"));
    }
    let faults = faults.map(|faults| faults.to_string());
    failure(&faults.into_iter().chain(lines).collect::<Vec<_>>().join("\n"))
}

fn ok(file: &Path, model: &Model) -> String {
    let servers: usize = model.services.iter().map(|service| service.servers.len()).sum();
    let services = model.services.len();
    format!("{}: ok ({}, {})", file.display(), some(services, "service"), some(servers, "server"))
}

/// `1 server`, `2 servers`.
fn some(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn say(text: &dyn Display) -> ExitCode {
    crate::print(&mut io::stdout(), text)
}
