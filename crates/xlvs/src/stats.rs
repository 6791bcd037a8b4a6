//! `xlvs stats` and `xlvs stats zero`: what passed since services came, and how fast it goes.

use std::{io, process::ExitCode};

use clap::{Args, Subcommand};
use control::{
    api::stats::{ZeroOrder, Zeroed},
    stats::{Passed, ServiceStats, Stats},
};

use crate::{
    columns::columns,
    command::Socket,
    daemon::{get, post, print_json},
    failure,
};

/// `stats`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct StatsArgs {
    #[command(subcommand)]
    verb: Option<StatsVerb>,
    /// Only these services, by name or by what they take.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// What passes a second, instead of what has passed.
    #[arg(long)]
    rate: bool,
    /// Print both as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Subcommand)]
enum StatsVerb {
    /// Set the counts of listings to zero; those of /metrics never go back.
    Zero {
        /// A service, by name or by what it takes; all if none is named.
        #[arg(value_name = "SERVICE")]
        service: Option<String>,
        #[command(flatten)]
        socket: Socket,
    },
}

pub(crate) fn run(args: StatsArgs) -> ExitCode {
    let done = match args.verb {
        Some(StatsVerb::Zero { service, socket }) => zero(service, &socket),
        None => show(&args),
    };
    done.unwrap_or_else(|ended| ended)
}

type Done = Result<ExitCode, ExitCode>;

fn zero(service: Option<String>, socket: &Socket) -> Done {
    let zeroed: Zeroed = post(&socket.way(), "/v1/stats/zero", &ZeroOrder { service })?;
    let lines: Vec<String> = zeroed.services.iter().map(|key| format!("{key}: zero")).collect();
    Ok(crate::print(&mut io::stdout(), &lines.join("\n")))
}

fn show(args: &StatsArgs) -> Done {
    let mut stats: Stats = get(&args.socket.way(), "/v1/stats")?;
    let fits = |service: &ServiceStats, name: &String| {
        service.name == *name
            || service.place == *name
            || service.place.replacen(' ', ":", 1) == *name
    };
    for name in &args.services {
        if !stats.services.iter().any(|service| fits(service, name)) {
            let known: Vec<&str> = stats.services.iter().map(|s| s.name.as_str()).collect();
            let known = known.join(", ");
            return Err(failure(&format!("{name}: no such service; the services are {known}")));
        }
    }
    if !args.services.is_empty() {
        stats.services.retain(|service| args.services.iter().any(|name| fits(service, name)));
    }
    if args.json {
        return Ok(print_json(&stats));
    }
    let pick = |totals: &Passed, rates: &Passed| if args.rate { *rates } else { *totals };
    let mut rows = Vec::new();
    for service in &stats.services {
        let name = format!("{} {}", service.name, service.place);
        rows.push(row(name, pick(&service.totals, &service.rates)));
        for server in &service.servers {
            let name = format!("  -> {}", server.server);
            rows.push(row(name, pick(&server.totals, &server.rates)));
        }
    }
    let titles = match args.rate {
        true => ["Service", "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"],
        false => ["Service", "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"],
    };
    let right = [false, true, true, true, true, true];
    Ok(crate::print(&mut io::stdout(), &columns(titles, right, &rows).join("\n")))
}

fn row(name: String, passed: Passed) -> [String; 6] {
    let Passed { connections, in_packets, out_packets, in_bytes, out_bytes } = passed;
    let [a, b, c, d, e] =
        [connections, in_packets, out_packets, in_bytes, out_bytes].map(|n| n.to_string());
    [name, a, b, c, d, e]
}
