//! `xlvs service list|show` and `xlvs health`.

use std::{io, process::ExitCode};

use clap::{Args, Subcommand};
use control::{
    api::Way,
    report::{ServerState, Service},
};

use crate::{
    columns::columns,
    command::Socket,
    daemon::{get, print_json},
    failure, server,
};

/// What to do with services.
#[derive(Subcommand)]
pub(crate) enum ServiceVerb {
    /// List the services, one a line.
    #[command(visible_alias = "ls")]
    List(Which),
    /// Tell all of services: quorum, servers, checks.
    Show(Which),
}

/// Which services.
#[derive(Args)]
pub(crate) struct Which {
    /// By name or by what they take; all if none is named.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

pub(crate) fn run(verb: ServiceVerb) -> ExitCode {
    let done = match verb {
        ServiceVerb::List(which) => list(which),
        ServiceVerb::Show(which) => show(which),
    };
    done.unwrap_or_else(|ended| ended)
}

type Done = Result<ExitCode, ExitCode>;

/// The services of these names, or all; what is wrong has been said.
pub(crate) fn chosen(socket: &Way, names: &[String]) -> Result<Vec<Service>, ExitCode> {
    let all: Vec<Service> = get(socket, "/v1/services")?;
    let fits = |service: &Service, name: &String| {
        service.name == *name || service.key == *name || service.key.replacen(' ', ":", 1) == *name
    };
    for name in names {
        if !all.iter().any(|service| fits(service, name)) {
            let mut known: Vec<&str> = all.iter().map(|service| service.name.as_str()).collect();
            known.dedup();
            let known = match known.is_empty() {
                true => "there is none".to_owned(),
                false => format!("the services are {}", known.join(", ")),
            };
            return Err(failure(&format!("{name}: no such service; {known}")));
        }
    }
    let named =
        |service: &Service| names.is_empty() || names.iter().any(|name| fits(service, name));
    Ok(all.into_iter().filter(named).collect())
}

fn list(Which { services, json, socket }: Which) -> Done {
    let services = chosen(&socket.way(), &services)?;
    if json {
        return Ok(print_json(&services));
    }
    let rows: Vec<_> = services.iter().map(row).collect();
    let titles =
        ["Service", "Takes", "Scheduler", "Servers", "Quorum", "Active", "Inactive", "Serves"];
    let right = [false, false, false, true, true, true, true, false];
    Ok(crate::print(&mut io::stdout(), &columns(titles, right, &rows).join("\n")))
}

fn row(service: &Service) -> [String; 8] {
    let standing = service.standing.as_ref();
    let here = || service.servers.iter().filter(|server| server.state != ServerState::Removed);
    let up = here().filter(|server| server.state == ServerState::Up).count();
    [
        service.name.clone(),
        service.key.clone(),
        service.scheduler.clone(),
        format!("{up}/{}", here().count()),
        standing.map(|s| format!("{}/{}", s.weight, s.needed)).unwrap_or_default(),
        service.counts.active.to_string(),
        service.counts.inactive.to_string(),
        serves(service).to_owned(),
    ]
}

/// Who takes its new connections.
fn serves(service: &Service) -> &'static str {
    match service.standing.as_ref() {
        None => "left the file",
        Some(standing) if standing.sorry => "sorry server",
        Some(standing) if standing.waiting => "waits for first answers",
        Some(standing) if !standing.quorum => "below its quorum",
        Some(_) => "its servers",
    }
}

fn show(Which { services, json, socket }: Which) -> Done {
    let services = chosen(&socket.way(), &services)?;
    if json {
        return Ok(print_json(&services));
    }
    let texts: Vec<String> = services.iter().map(shown).collect();
    Ok(crate::print(&mut io::stdout(), &texts.join("\n\n")))
}

fn shown(service: &Service) -> String {
    let counts = &service.counts;
    let mut lines = vec![
        format!("{} {}", service.name, service.key),
        format!("  scheduler   {}", service.scheduler),
        format!(
            "  connections {} active, {} inactive, {} made",
            counts.active, counts.inactive, counts.connections
        ),
    ];
    if let Some(standing) = &service.standing {
        let (weight, needed) = (standing.weight, standing.needed);
        lines.push(format!("  quorum      {needed}, weight {weight}: {}", serves(service)));
    }
    lines.extend(service.servers.iter().flat_map(|server| server_lines(server, true)));
    lines.join("\n")
}

/// A server in one line, and what its checks and operators say below.
fn server_lines(server: &control::report::Server, checks: bool) -> Vec<String> {
    let mut lines = vec![format!(
        "  -> {} {}, weight {}, {} active, {} inactive",
        server.endpoint(),
        server.state.name(),
        server::weight(server),
        server.counts.active,
        server.counts.inactive
    )];
    lines.extend(server::why(server).map(|why| format!("     {why}")));
    lines.extend(server::checks_word(server).map(|word| format!("     {word}")));
    if let Some(health) = server.health.as_ref().filter(|_| checks) {
        lines.extend(health.checks.iter().map(|check| format!("  {}", server::check(check))));
    }
    lines
}

/// Prints how servers and their checks are, what is not well first in words.
pub(crate) fn health(Which { services, json, socket }: Which) -> ExitCode {
    let services = match chosen(&socket.way(), &services) {
        Ok(services) => services,
        Err(ended) => return ended,
    };
    if json {
        return print_json(&services);
    }
    let mut lines = Vec::new();
    for service in &services {
        let standing = service.standing.as_ref();
        let weight = standing.map(|s| format!(", weight {}, quorum {}", s.weight, s.needed));
        let (name, key) = (&service.name, &service.key);
        lines.push(format!("{name} {key}: {}{}", serves(service), weight.unwrap_or_default()));
        lines.extend(service.servers.iter().flat_map(|server| server_lines(server, true)));
    }
    crate::print(&mut io::stdout(), &lines.join("\n"))
}
