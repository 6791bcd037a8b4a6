//! `xlvs check`.

use std::{fmt::Display, io, path::Path, process::ExitCode};

use control::{
    fault::Faults,
    front::{self, Sockets},
    live::{self, Finding},
    load::load,
    model::Model,
    registry::Registry,
};

use crate::{failure, ipvsadm::System};

/// Checks a file, and what `run --rules` would add to it; and the box for them if `live`. Faults and
/// findings of severity error are failures.
pub(crate) fn check(file: &Path, live: bool, rules: Option<&Path>) -> ExitCode {
    let (model, faults) = match read(file, live) {
        Ok(read) => read,
        Err(ended) => return ended,
    };
    let mut lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let mut well = vec![ok(file, &model)];
    let (mut whole, mut warnings) = (model, Vec::new());
    if let Some(rules) = rules {
        match with_rules(whole.clone(), rules, live) {
            Ok((model, said)) => {
                well.push(format!("{}, with those of the configuration", ok(rules, &model)));
                (whole, warnings) = (model, said);
            }
            Err(fault) => lines.push(fault),
        }
    }
    let findings = if live { live::check(&whole) } else { Vec::new() };
    let wrong = !lines.is_empty() || findings.iter().any(Finding::is_error);
    lines.extend(findings.iter().map(Finding::to_string));
    lines.extend(warnings);
    if wrong {
        return failure(&lines.join("\n"));
    }
    lines.extend(well);
    say(&lines.join("\n"))
}

/// The file. What the box says is worth knowing even where the file and the box do not agree, so
/// those faults come beside it.
fn read(file: &Path, live: bool) -> Result<(Model, Option<Faults>), ExitCode> {
    if !live {
        return load(file, None).map(|model| (model, None)).map_err(|faults| failure(&faults));
    }
    let around = live::surroundings().map_err(|error| failure(&error))?;
    match load(file, Some(&around)) {
        Ok(model) => Ok((model, None)),
        Err(faults) => match load(file, None) {
            Ok(model) => Ok((model, Some(faults))),
            Err(_) => Err(failure(&faults)),
        },
    }
}

/// The configuration with the rules added, as `run --rules` has it, and what it would warn of.
/// Only a live check asks for sockets of this box.
fn with_rules(model: Model, rules: &Path, live: bool) -> Result<(Model, Vec<String>), String> {
    let mut registry = Registry::new(model);
    let sockets = || {
        if live { live::sockets() } else { Ok(Sockets { bound: Vec::new(), ephemeral: 0..=0 }) }
    };
    let done =
        front::load(&mut registry, rules, &System, sockets).map_err(|fault| fault.to_string())?;
    let warnings = front::warnings(&registry.model, &done);
    let place = rules.display();
    let said = warnings.iter().map(|warning| format!("warning: {place}: {warning}")).collect();
    Ok((registry.model, said))
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
