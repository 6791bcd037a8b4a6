//! `xlvs check`.

use std::{fmt::Display, io, path::Path, process::ExitCode, time::Duration};

use control::{
    api::fetch_within,
    fault::Faults,
    front::{self, Sockets},
    live::{self, Finding},
    model::Model,
    origin::{Origin, host_name},
    registry::Registry,
    report::{Interface, Report},
};

use crate::{failure, ipvsadm::System};

/// How long a running daemon may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(2);

/// Checks a file, and what `run --rules` would add to it; and the box for them if `live`. Faults and
/// findings of severity error are failures.
///
/// `live` has the socket where an xlvs may run already.
pub(crate) fn check(origin: Origin, live: Option<&Path>, rules: Option<&Path>) -> ExitCode {
    let elsewhere =
        live.is_none() && origin.name.is_none() && !is_for(&origin, host_name().as_deref());
    let names = if elsewhere { origin.boxes() } else { Vec::new() };
    if names.is_empty() {
        return check_one(&origin, live, rules);
    }
    // None of the boxes: all of them can be checked here.
    let of = |name| Origin { name: Some(name), path: origin.path.clone() };
    let checked = names.into_iter().map(|name| check_one(&of(name), live, rules));
    checked.fold(ExitCode::SUCCESS, |all, one| if one == ExitCode::SUCCESS { all } else { one })
}

/// The configuration has a word for this host, as [`Origin`] looks it up.
fn is_for(origin: &Origin, host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let short = host.split('.').next();
    origin.boxes().iter().any(|name| name == host || Some(name.as_str()) == short)
}

fn check_one(origin: &Origin, live: Option<&Path>, rules: Option<&Path>) -> ExitCode {
    let (model, faults) = match read(origin, live.is_some()) {
        Ok(read) => read,
        Err(ended) => return ended,
    };
    let mut lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let mut well = vec![of_box(origin, &model)];
    let (mut whole, mut warnings) = (model, Vec::new());
    if let Some(rules) = rules {
        match with_rules(whole.clone(), rules, live.is_some()) {
            Ok((model, said)) => {
                well.push(format!("{}, with those of the configuration", ok(rules, &model)));
                (whole, warnings) = (model, said);
            }
            Err(fault) => lines.push(fault),
        }
    }
    let findings = live.map_or_else(Vec::new, |socket| live::check(&whole, &served(socket)));
    let wrong = !lines.is_empty() || findings.iter().any(Finding::is_error);
    lines.extend(findings.iter().map(Finding::to_string));
    lines.extend(warnings);
    if wrong {
        return failure(&lines.join("\n"));
    }
    lines.extend(well);
    say(&lines.join("\n"))
}

/// The interfaces that the xlvs behind the socket serves; none if none runs, or if it may not be
/// asked.
fn served(socket: &Path) -> Vec<Interface> {
    let told = fetch_within(socket, "/v1/report", PATIENCE).ok();
    let report = told.and_then(|octets| serde_json::from_slice::<Report>(&octets).ok());
    report.map_or_else(Vec::new, |report| report.interfaces)
}

/// The file. What the box says is worth knowing even where the file and the box do not agree, so
/// those faults come beside it.
fn read(origin: &Origin, live: bool) -> Result<(Model, Option<Faults>), ExitCode> {
    if !live {
        return origin.load(None).map(|model| (model, None)).map_err(|faults| failure(&faults));
    }
    let around = live::surroundings().map_err(|error| failure(&error))?;
    match origin.load(Some(&around)) {
        Ok(model) => Ok((model, None)),
        Err(faults) => match origin.load(None) {
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

/// What is well, and of which box.
fn of_box(origin: &Origin, model: &Model) -> String {
    match &origin.name {
        Some(name) => format!("{}, for the box {name}", ok(&origin.path, model)),
        None => ok(&origin.path, model),
    }
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
