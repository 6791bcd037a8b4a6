//! `xlvs verify`: does it work, from end to end? And `xlvs probe`: one request through the datapath.

use std::{fmt::Write, io, net::IpAddr, process::ExitCode, time::Duration};

use clap::Args;
use control::verify::{
    Answered, Finding, Request, Severity, Verification, VerifiedServer, VerifiedService, Wanted,
};

use crate::{
    columns::columns,
    command::Socket,
    daemon::{post_within, print_json},
    explain, print,
};

/// What is verified.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// A service by its name, or by what it listens on, such as 203.0.113.10:80/tcp; all if none is
    /// named.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// An address of clients, for what would happen to new ones and to answers.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Print also, step by step, what would happen to a new client and to its server's answer.
    #[arg(long)]
    steps: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// What is asked.
#[derive(Args)]
pub(crate) struct ProbeArgs {
    /// The service by its name, or by what it listens on, such as 203.0.113.10:80/tcp.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The server, ADDRESS or ADDRESS:PORT, whatever its state; otherwise the one that a new client
    /// gets now.
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Get this page by HTTP; otherwise a connection is made.
    #[arg(long = "path", value_name = "PATH")]
    page: Option<String>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Thousands of servers, some of which do not answer for two seconds, 64 at a time.
const ROUND: Duration = Duration::from_secs(600);
/// A request, and the search for what is wrong with it.
const REQUEST: Duration = Duration::from_secs(15);

/// Verifies; exit code 1 if something is wrong.
pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    let wanted = Wanted { service: args.service.clone(), client: args.client };
    let verified: Verification = match post_within(&args.socket.way(), "/v1/verify", &wanted, ROUND)
    {
        Ok(verified) => verified,
        Err(code) => return code,
    };
    let printed = match args.json {
        true => print_json(&verified),
        false => print(&mut io::stdout(), &in_words(&verified, args.steps).trim_end()),
    };
    if verified.well { printed } else { ExitCode::FAILURE }
}

/// Asks; exit code 1 if the server does not answer.
pub(crate) fn probe(args: &ProbeArgs) -> ExitCode {
    let ProbeArgs { service, server, page, .. } = args;
    let request = Request { service: service.clone(), server: server.clone(), path: page.clone() };
    let told: Answered = match post_within(&args.socket.way(), "/v1/probe", &request, REQUEST) {
        Ok(told) => told,
        Err(code) => return code,
    };
    let printed = if args.json {
        print_json(&told)
    } else {
        let Answered { to, server, answer, took_ms, connected_ms, .. } = &told;
        // Without a page the rest of the time was spent on waiting for a greeting.
        let times = match (told.ok, page) {
            (true, Some(_)) => format!("{took_ms:.1} ms, connected after {connected_ms:.1} ms"),
            (true, None) => format!("{connected_ms:.1} ms"),
            (false, _) => format!("{took_ms:.1} ms"),
        };
        let mut text = format!("{to} by {server}: {answer}, {times}");
        if !told.first_line.is_empty() {
            let _ = write!(text, "\n{}", told.first_line);
        }
        print(&mut io::stdout(), &text)
    };
    if told.ok { printed } else { ExitCode::FAILURE }
}

fn in_words(verified: &Verification, steps: bool) -> String {
    let mut text = String::new();
    findings(&mut text, "", &verified.findings);
    for service in &verified.services {
        of_service(&mut text, service, steps);
    }
    let count = |wanted| {
        let of_service = |s: &VerifiedService| -> Vec<Severity> {
            let servers = s.servers.iter().flat_map(|server| &server.findings);
            s.findings.iter().chain(servers).map(|finding| finding.severity).collect()
        };
        let all = verified.services.iter().flat_map(of_service);
        let own = verified.findings.iter().map(|finding| finding.severity);
        own.chain(all).filter(|severity| *severity == wanted).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let well = if verified.well { "well" } else { "not well" };
    let _ = writeln!(text, "{well}: {errors} errors, {warnings} warnings");
    text
}

fn of_service(text: &mut String, service: &VerifiedService, steps: bool) {
    let _ = writeln!(text, "{} ({})", service.service, service.listen);
    let row = |server: &VerifiedServer| {
        let picks = service.picks.iter().find(|pick| pick.server == server.server);
        [
            format!("  {}", server.server),
            server.forward.clone(),
            server.state.clone(),
            server.next_hop.clone(),
            server.via.clone(),
            format!("{:.1} ms", server.took_ms),
            picks.map_or("-".to_owned(), |pick| pick.clients.to_string()),
            if server.reached { server.answer.clone() } else { "no".to_owned() },
        ]
    };
    let rows: Vec<_> = service.servers.iter().map(row).collect();
    let titles =
        ["  Server", "Forward", "State", "Next hop", "Asked", "Time", "New clients", "Answer"];
    let right = [false, false, false, false, false, true, true, false];
    for line in columns(titles, right, &rows) {
        let _ = writeln!(text, "{line}");
    }
    findings(text, "  ", &service.findings);
    for server in &service.servers {
        findings(text, "  ", &server.findings);
    }
    for (what, told) in
        [("a new client", &service.client), ("its server's answer", &service.answer)]
    {
        if let Some(told) = told.as_ref().filter(|_| steps) {
            let _ = writeln!(text, "  {what}:");
            for line in explain::in_words(told).lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
}

fn findings(text: &mut String, indent: &str, findings: &[Finding]) {
    for Finding { severity, subject, text: what, remedy } in findings {
        let word = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let _ = writeln!(text, "{indent}{word}: {subject}: {what}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "{indent}  {remedy}");
        }
    }
}
