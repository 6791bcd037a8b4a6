//! `xlvs server ...` and its short forms: drain, maint, ready, weight, list, show.

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use control::{
    api::{
        Way,
        servers::{ServerName, ServersDone, ServersNamed, StateOrder, WeightOrder},
    },
    file,
    front::{Filter, reference},
    model::AdminState,
    registry::naming::service_key,
    report::{Overridden, Server, Service},
};
use serde_json::json;

use crate::{
    columns::columns,
    command::Socket,
    connections::each_page,
    daemon::{get, post, print_json, warn},
    list::duration,
};

/// What to do with servers.
#[derive(Subcommand)]
pub(crate) enum ServerVerb {
    /// Give servers no new connections; those they have go on.
    Drain(Drain),
    /// Take servers out as if they were down; nobody asks them.
    Maint(Maint),
    /// End drain and maintenance.
    Ready(Ready),
    /// Give servers another weight until the file says another one, or the file's again.
    Weight(Weight),
    /// List the servers of all services, or of some.
    #[command(visible_alias = "ls")]
    List(List),
    /// Tell all of servers: state and why, checks and their last words, what operators changed.
    Show(Show),
}

/// Which servers, and why.
#[derive(Args)]
pub(crate) struct Whom {
    /// SERVICE/ADDRESS:PORT, SERVICE/ADDRESS or SERVICE/NAME; with --all ADDRESS:PORT, ADDRESS or
    /// NAME. SERVICE is a name (all it listens on), or one of 203.0.113.10:80/tcp and mark:7.
    #[arg(value_name = "SERVER", required = true)]
    servers: Vec<String>,
    /// The servers of every service that has them.
    #[arg(long)]
    all: bool,
    /// Why, for whoever looks later.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Whether to stay until it is over.
#[derive(Args)]
pub(crate) struct Wait {
    /// Return when they have no connections left.
    #[arg(long)]
    wait: bool,
    /// Then wait so long at most; the exit code is 9 if connections are left.
    #[arg(long, value_name = "TIME", value_parser = file::duration, requires = "wait")]
    deadline: Option<Duration>,
}

/// `drain`.
#[derive(Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    whom: Whom,
    /// Clients whose persistence template names the server still come.
    #[arg(long)]
    persistent: bool,
    #[command(flatten)]
    wait: Wait,
}

/// `maint`.
#[derive(Args)]
pub(crate) struct Maint {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    wait: Wait,
}

/// `ready`.
#[derive(Args)]
pub(crate) struct Ready {
    #[command(flatten)]
    whom: Whom,
}

/// `weight`.
#[derive(Args)]
pub(crate) struct Weight {
    #[command(flatten)]
    whom: Whom,
    /// 0 to 65535, or file: what the file says.
    #[arg(value_name = "WEIGHT", required = true, value_parser = wanted_weight)]
    to: WantedWeight,
}

/// A number, or what the file says.
#[derive(Clone, Copy)]
struct WantedWeight(Option<u32>);

fn wanted_weight(text: &str) -> Result<WantedWeight, String> {
    match (text, text.parse()) {
        ("file", _) => Ok(WantedWeight(None)),
        (_, Ok(weight @ 0..=65_535)) => Ok(WantedWeight(Some(weight))),
        _ => Err("no weight; write 0 to 65535 behind the servers, or file".to_owned()),
    }
}

/// `list`.
#[derive(Args)]
pub(crate) struct List {
    /// Only of these services, by name or by what they take.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// `show`.
#[derive(Args)]
pub(crate) struct Show {
    /// As for `drain`.
    #[arg(value_name = "SERVER", required = true)]
    servers: Vec<String>,
    /// The servers of every service that has them.
    #[arg(long)]
    all: bool,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// The deadline passed, and there are connections left.
const LEFT: u8 = 9;
/// How often it is asked how many connections are left.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(verb: ServerVerb) -> ExitCode {
    let done = match verb {
        ServerVerb::Drain(Drain { whom, persistent, wait }) => {
            let state = if persistent { AdminState::DrainPersistent } else { AdminState::Drain };
            order_state(&whom, state, &wait)
        }
        ServerVerb::Maint(Maint { whom, wait }) => order_state(&whom, AdminState::Maint, &wait),
        ServerVerb::Ready(Ready { whom }) => {
            let wait = Wait { wait: false, deadline: None };
            order_state(&whom, AdminState::Ready, &wait)
        }
        ServerVerb::Weight(Weight { whom, to }) => order_weight(&whom, to),
        ServerVerb::List(List { services, json, socket }) => list(&socket.way(), &services, json),
        ServerVerb::Show(Show { servers, all, json, socket }) => {
            show(&socket.way(), ServersNamed { servers, all }, json)
        }
    };
    done.unwrap_or_else(|ended| ended)
}

type Done = Result<ExitCode, ExitCode>;

fn order_state(whom: &Whom, state: AdminState, wait: &Wait) -> Done {
    let order = StateOrder {
        servers: whom.servers.clone(),
        all: whom.all,
        state: state.name().to_owned(),
        reason: whom.reason.clone(),
    };
    let socket = &whom.socket.way();
    let done: ServersDone = post(socket, "/v1/servers/state", &order)?;
    tell(whom, &done)?;
    if wait.wait { wait_for(whom, &done.servers, wait.deadline) } else { Ok(ExitCode::SUCCESS) }
}

fn order_weight(whom: &Whom, WantedWeight(weight): WantedWeight) -> Done {
    let order = WeightOrder {
        servers: whom.servers.clone(),
        all: whom.all,
        weight,
        reason: whom.reason.clone(),
    };
    let done: ServersDone = post(&whom.socket.way(), "/v1/servers/weight", &order)?;
    tell(whom, &done)
}

/// Says what was done, and how the servers are now.
fn tell(whom: &Whom, done: &ServersDone) -> Done {
    warn(&done.warnings);
    if whom.json {
        return Ok(print_json(done));
    }
    let services: Vec<Service> = get(&whom.socket.way(), "/v1/services")?;
    let lines = chosen(&services, &done.servers).map(|(service, server)| {
        let same = !done.changed.contains(&name_of(service, server));
        let before = if same { " (as before)" } else { "" };
        format!(
            "{} {} {}: {}, weight {}, {} active, {} inactive{before}",
            service.name,
            service.key,
            server.endpoint(),
            server.state.name(),
            weight(server),
            server.counts.active,
            server.counts.inactive
        )
    });
    Ok(crate::print(&mut io::stdout(), &lines.collect::<Vec<_>>().join("\n")))
}

/// Waits until the servers have no connections left.
fn wait_for(whom: &Whom, servers: &[ServerName], deadline: Option<Duration>) -> Done {
    let begun = Instant::now();
    let mut told = None;
    loop {
        let now = open(&whom.socket.way(), servers)?;
        if told != Some(now) && !whom.json {
            let _ = crate::print(&mut io::stdout(), &format!("connections left: {now}"));
        }
        told = Some(now);
        if now == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(deadline) = deadline.filter(|deadline| begun.elapsed() >= *deadline) {
            let after = duration(deadline.as_secs());
            eprintln!("after {after} there are {now} connections left; xlvs conn kill ends them");
            return Ok(ExitCode::from(LEFT));
        }
        std::thread::sleep(LOOK);
    }
}

/// How many connections of these servers are not over yet. Counts alone do not tell: to LVS one in
/// `TIME_WAIT` is as inactive as one whose client has only said that it sends no more.
fn open(socket: &Way, servers: &[ServerName]) -> Result<u64, ExitCode> {
    let services: Vec<Service> = get(socket, "/v1/services")?;
    let counts = || chosen(&services, servers).map(|(_, server)| &server.counts);
    let active: u64 = counts().map(|counts| counts.active).sum();
    if active > 0 || counts().all(|counts| counts.inactive == 0) {
        return Ok(active);
    }
    let mut count = 0;
    for name in servers {
        let only = Filter {
            server: Some(name.server.ip()),
            service: service_key(&name.service).map(|key| reference(&key)),
            ..Filter::default()
        };
        each_page(socket, only, &mut |row| {
            let own = row.destination.port == name.server.port() || name.server.port() == 0;
            count += u64::from(own && !OVER.contains(&row.state.as_str()));
        })?;
    }
    Ok(count)
}

/// States in which nothing more is to come; those of templates among them.
const OVER: [&str; 7] = ["TIME_WAIT", "CLOSE", "LAST_ACK", "CLOSED", "REJECTED", "NONE", "ASSURED"];

/// The rows of these servers.
fn chosen<'s>(
    services: &'s [Service],
    servers: &'s [ServerName],
) -> impl Iterator<Item = (&'s Service, &'s Server)> {
    let all = services
        .iter()
        .flat_map(|service| service.servers.iter().map(move |server| (service, server)));
    all.filter(|(service, server)| servers.contains(&name_of(service, server)))
}

fn name_of(service: &Service, server: &Server) -> ServerName {
    ServerName { service: service.key.clone(), server: server.endpoint() }
}

/// The weight in force; with a star where it is an operator's.
pub(crate) fn weight(server: &Server) -> String {
    let own = server.overridden.as_ref().is_some_and(|known| known.weight.is_some());
    format!("{}{}", server.weight, if own { "*" } else { "" })
}

/// Why a server is as it is, if there is something to say: an operator's words, or its checks'.
pub(crate) fn why(server: &Server) -> Option<String> {
    let said = |what: String, by: &str, when: &str, why: &str| {
        let colon = if why.is_empty() { "" } else { ": " };
        format!("{what} by {by} since {when}{colon}{why}")
    };
    let known = server.overridden.as_ref();
    let state = known
        .and_then(|known| known.state.as_ref())
        .map(|s| said(s.value.clone(), &s.who, &s.when, &s.why));
    let weight = known.and_then(|known| known.weight.as_ref()).map(|s| {
        said(format!("weight {} (file {})", s.value, s.file_value), &s.who, &s.when, &s.why)
    });
    let parts: Vec<String> = [state, weight].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn list(socket: &Way, names: &[String], json: bool) -> Done {
    let services = crate::service::chosen(socket, names)?;
    if json {
        let rows = services.iter().flat_map(|service| {
            service.servers.iter().map(move |server| {
            json!({"service": service.key, "name": service.name, "server": server})
        })
        });
        return Ok(print_json(&rows.collect::<Vec<_>>()));
    }
    let row = |service: &Service, server: &Server| {
        [
            service.name.clone(),
            service.key.clone(),
            server.endpoint().to_string(),
            server.state.name().to_owned(),
            weight(server),
            server.counts.active.to_string(),
            server.counts.inactive.to_string(),
            why(server).or_else(|| checks_word(server)).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = services
        .iter()
        .flat_map(|service| service.servers.iter().map(move |server| row(service, server)))
        .collect();
    let titles = ["Service", "Takes", "Server", "State", "Weight", "Active", "Inactive", "Why"];
    let right = [false, false, false, false, true, true, true, false];
    Ok(crate::print(&mut io::stdout(), &columns(titles, right, &rows).join("\n")))
}

/// What the checks say, in short.
pub(crate) fn checks_word(server: &Server) -> Option<String> {
    let health = server.health.as_ref()?;
    let paused = if health.paused { ", checks pause" } else { "" };
    Some(format!("{} for {}{paused}: {}", health.state, duration(health.for_s), health.why))
}

fn show(socket: &Way, which: ServersNamed, json: bool) -> Done {
    let names: Vec<ServerName> = post(socket, "/v1/servers/find", &which)?;
    let services: Vec<Service> = get(socket, "/v1/services")?;
    if json {
        let rows = chosen(&services, &names).map(|(service, server)| {
            json!({"service": service.key, "name": service.name, "server": server})
        });
        return Ok(print_json(&rows.collect::<Vec<_>>()));
    }
    let texts: Vec<String> =
        chosen(&services, &names).map(|(service, server)| shown(service, server)).collect();
    Ok(crate::print(&mut io::stdout(), &texts.join("\n\n")))
}

fn shown(service: &Service, server: &Server) -> String {
    let counts = &server.counts;
    let mut lines = vec![
        format!("{} {} {}", service.name, service.key, server.endpoint()),
        format!("  state       {}", server.state.name()),
        format!("  weight      {}", weight(server)),
        format!("  forward     {}", server.forward),
        format!(
            "  connections {} active, {} inactive, {} made, templates {}",
            counts.active, counts.inactive, counts.connections, server.templates
        ),
    ];
    let known = server.overridden.as_ref();
    let state = known.and_then(|known| known.state.as_ref());
    let weight = known.and_then(|known| known.weight.as_ref());
    lines.extend(state.map(|said| overridden("state", said)));
    lines.extend(weight.map(|said| overridden("weight", said)));
    match &server.health {
        None => lines.push("  checks      none".to_owned()),
        Some(health) => {
            let held = if health.held { ", held down: it comes and goes" } else { "" };
            let word = checks_word(server).unwrap_or_default();
            lines.push(format!("  health      {word}{held}"));
            lines.extend(health.checks.iter().map(check));
        }
    }
    lines.join("\n")
}

fn overridden<T: std::fmt::Display>(field: &str, said: &Overridden<T>) -> String {
    let Overridden { value, file_value, who, when, why } = said;
    let colon = if why.is_empty() { "" } else { ": " };
    format!(
        "  override    {field} {value} in place of the file's {file_value}, by {who} at {when}{colon}{why}"
    )
}

pub(crate) fn check(check: &control::report::Check) -> String {
    let took = check.took_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    let ago = check.ago_s.map(|s| format!(", {} ago", duration(s))).unwrap_or_default();
    let next = check.next_ms.map(|ms| format!(", next in {ms} ms")).unwrap_or_default();
    let last = check.last.as_deref().unwrap_or("no answer yet");
    let row = match (check.good, check.bad) {
        (0, 0) => String::new(),
        (0, bad) => format!(", {bad} bad in a row"),
        (good, _) => format!(", {good} good in a row"),
    };
    format!(
        "  check       {} ({}) {}: {last}{took}{ago}{row}{next}",
        check.name, check.kind, check.state
    )
}
