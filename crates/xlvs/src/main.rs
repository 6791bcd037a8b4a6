//! The xlvs binary: reads the command line, calls [`control`], prints.
//!
//! Exit codes: 0 all is well, 1 it is not, 2 the command line is wrong; [`status`] has more.
#![forbid(unsafe_code)]

mod apply;
mod capture;
mod capture_file;
mod check;
mod columns;
mod command;
mod completions;
mod connections;
mod daemon;
mod deny;
mod events;
mod explain;
mod export;
mod import;
mod ipvsadm;
mod list;
mod logger;
mod manual;
mod metrics;
mod report;
mod server;
mod service;
mod stats;
mod status;
mod token;
mod top;
mod verify;

use std::process::ExitCode;

use control::{api::Way, daemon::Options, origin::Origin, report::Wanted};

use command::{Config, Generate, SOCKET, Verb};
use server::ServerVerb;

fn main() -> ExitCode {
    if let Some((program, words)) = ipvsadm::called(std::env::args_os()) {
        return ipvsadm::run(program, &words, SOCKET.into());
    }
    match command::parse().verb {
        Verb::Run { config, rules, state, socket } => {
            let Config { file, name } = config;
            run(&Options { file, name, rules, socket: socket.path, state })
        }
        Verb::Check { config, live, rules, socket } => {
            let origin = Origin { path: config.file, name: config.name };
            check::check(origin, live.then_some(socket.path.as_path()), rules.as_deref())
        }
        Verb::Apply(args) => apply::apply(args),
        Verb::Reload(args) => apply::reload(args),
        Verb::Diff(args) => apply::diff(args),
        Verb::Confirm(args) => apply::confirm(args),
        Verb::Rollback(args) => apply::rollback(args),
        Verb::Ipvsadm { .. } => unreachable!("called() has taken it"),
        Verb::Top(args) => top::top(args),
        Verb::Import { from } => import::import(from),
        Verb::List { json, connections: true, only, socket } => {
            connections::connections(&socket.way(), json, only)
        }
        Verb::List { only, .. } if only.is_given() => connections::wrong_words(
            "a filter without --connections; add that, or write xlvs conn list",
        ),
        Verb::List { json, socket, .. } => list::list(&socket.way(), json),
        Verb::Events { follow, after, json, socket } => {
            events::events(&socket.way(), after, follow, json)
        }
        Verb::Capture { packets, socket } => capture::capture(&socket.way(), *packets),
        Verb::Server { verb } => server::run(verb),
        Verb::Drain(drain) => server::run(ServerVerb::Drain(drain)),
        Verb::Maint(maint) => server::run(ServerVerb::Maint(maint)),
        Verb::Ready(ready) => server::run(ServerVerb::Ready(ready)),
        Verb::Weight(weight) => server::run(ServerVerb::Weight(weight)),
        Verb::Service { verb } => service::run(verb),
        Verb::Health(which) => service::health(which),
        Verb::Deny { verb } => deny::run(verb),
        Verb::Token { verb } => token::run(verb),
        Verb::Conn { verb } => connections::run(verb),
        Verb::Explain(args) => explain::explain(&args),
        Verb::Verify(args) => verify::verify(&args),
        Verb::Probe(args) => verify::probe(&args),
        Verb::Stats(args) => stats::run(args),
        Verb::Export { verb } => export::run(verb),
        Verb::Metrics { collect, socket } => metrics::metrics(&socket.way(), &collect),
        Verb::Report(args) => report::report(&args),
        Verb::Completions { shell } => completions::print(shell),
        Verb::Generate { what: Generate::Man { directory } } => manual::generate(&directory),
        Verb::Status { quorum, interfaces, timeout, json, socket } => {
            let wanted = Wanted { interfaces, quorums: quorum };
            status::status(&socket.way(), &wanted, timeout, json)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    logger::start();
    let ended = control::daemon::run(options, &ipvsadm::System);
    log::logger().flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Prints what is wrong: not through the log, which may be set to be silent.
fn failure(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// What is wrong with an answer that cannot be read.
fn another_version(socket: &Way, error: &serde_json::Error) -> String {
    format!(
        "{}: cannot read the answer: {error}; is the xlvs here of another version? (this one is {})",
        socket,
        env!("CARGO_PKG_VERSION")
    )
}

/// Prints a result. A reader that has gone (`xlvs list | head`) is no failure of ours.
fn print(out: &mut impl std::io::Write, text: &dyn std::fmt::Display) -> ExitCode {
    match writeln!(out, "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failure(&format!("cannot print: {error}")),
    }
}
