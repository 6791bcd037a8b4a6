//! `xlvs deny add|list|del`: sources that are denied for a while.

use std::{io, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use control::{
    api::{
        Way,
        connections::{Count, KillOrder},
        deny::{Denied, DenyWish},
    },
    event::rfc3339,
    file,
    front::Filter,
    registry::source,
};

use crate::{
    columns::columns,
    command::Socket,
    connections::{KILL_TIME, wanted_service},
    daemon::{escaped, get, post, post_within, print_json, remove, warn},
    failure,
    list::duration,
};

/// What to do with denied sources.
#[derive(Subcommand)]
pub(crate) enum DenyVerb {
    /// Let a source open no connections, for a time or until it is deleted.
    Add(Add),
    /// List the sources that are denied.
    #[command(visible_alias = "ls")]
    List {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Deny sources no more.
    #[command(visible_alias = "delete")]
    Del {
        /// Networks or addresses, as they were added.
        #[arg(value_name = "SOURCE", required = true)]
        sources: Vec<String>,
        /// Only for this service.
        #[arg(long, value_name = "SERVICE")]
        service: Option<String>,
        #[command(flatten)]
        socket: Socket,
    },
}

/// `add`.
#[derive(Args)]
pub(crate) struct Add {
    /// A network or an address: 192.0.2.0/24, 2001:db8::/32.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// For so long; until it is deleted if it is left out.
    #[arg(long = "for", value_name = "TIME", value_parser = file::duration)]
    lasts: Option<Duration>,
    /// To this service only, by name or by what it takes.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// End the source's connections, too.
    #[arg(long)]
    kill: bool,
    /// Why, for whoever looks later.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

pub(crate) fn run(verb: DenyVerb) -> ExitCode {
    let done = match verb {
        DenyVerb::Add(add) => self::add(&add),
        DenyVerb::List { json, socket } => list(&socket.way(), json),
        DenyVerb::Del { sources, service, socket } => {
            del(&socket.way(), &sources, service.as_deref())
        }
    };
    done.unwrap_or_else(|ended| ended)
}

type Done = Result<ExitCode, ExitCode>;

fn add(add: &Add) -> Done {
    let network = source(&add.source).map_err(|wrong| failure(&wrong))?;
    let for_s = match add.lasts {
        Some(lasts) if lasts < Duration::from_secs(1) => {
            return Err(failure(&"--for: shorter than a second; write 1s or more"));
        }
        lasts => lasts.map(|lasts| lasts.as_secs()),
    };
    let wish = DenyWish {
        source: add.source.clone(),
        service: add.service.clone(),
        for_s,
        reason: add.reason.clone(),
    };
    let socket = &add.socket.way();
    let denied: Denied = post(socket, "/v1/deny", &wish)?;
    warn(&denied.warnings);
    let killed = if add.kill {
        let (service, name) = wanted_service(add.service.as_deref());
        let only = Filter { client: Some(network), service, name, ..Filter::default() };
        let order = KillOrder { only, ..KillOrder::default() };
        let count: Count = post_within(socket, "/v1/connections/kill", &order, KILL_TIME)?;
        Some(count.connections)
    } else {
        None
    };
    if add.json {
        return Ok(print_json(&serde_json::json!({"denied": denied.denied, "ended": killed})));
    }
    let lasts = for_s.map_or("until it is deleted".to_owned(), |s| format!("for {}", duration(s)));
    let ended = killed.map(|n| format!("; {n} connections ended")).unwrap_or_default();
    Ok(crate::print(&mut io::stdout(), &format!("{network}: denied {lasts}{ended}")))
}

fn list(socket: &Way, json: bool) -> Done {
    let denied: Denied = get(socket, "/v1/deny")?;
    if json {
        return Ok(print_json(&denied.denied));
    }
    let row = |entry: &control::api::deny::DeniedSource| {
        let denial = &entry.denial;
        [
            denial.source.to_string(),
            denial.service.map_or("all".to_owned(), |key| key.to_string()),
            entry.left_s.map_or("until deleted".to_owned(), duration),
            denial.sign.who.clone(),
            rfc3339(denial.sign.when),
            denial.sign.why.clone(),
        ]
    };
    let rows: Vec<_> = denied.denied.iter().map(row).collect();
    let titles = ["Source", "Service", "Left", "Who", "When", "Why"];
    Ok(crate::print(&mut io::stdout(), &columns(titles, [false; 6], &rows).join("\n")))
}

fn del(socket: &Way, sources: &[String], service: Option<&str>) -> Done {
    for text in sources {
        let of = service.map(|name| format!("&service={}", escaped(name))).unwrap_or_default();
        let path = format!("/v1/deny?source={}{of}", escaped(text));
        let removed: Denied = remove(socket, &path)?;
        for entry in removed.denied {
            let place = entry.denial.service.map_or("all".to_owned(), |key| key.to_string());
            let line = format!("{} ({place}): denied no more", entry.denial.source);
            let _ = crate::print(&mut io::stdout(), &line);
        }
    }
    Ok(ExitCode::SUCCESS)
}
