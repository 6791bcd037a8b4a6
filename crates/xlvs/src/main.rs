//! The xlvs binary: reads the command line, calls [`control`], prints.
//!
//! Exit codes: 0 all is well, 1 it is not, 2 the command line is wrong; [`status`] has more.
#![forbid(unsafe_code)]

mod check;
mod import;
mod ipvsadm;
mod list;
mod logger;
mod status;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use control::{daemon::Options, file, report::Wanted};

/// A layer-4 load balancer, an LVS director, in userspace on AF_XDP.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Forward until SIGTERM or SIGINT.
    Run {
        #[command(flatten)]
        config: Config,
        /// Add the rules that ipvsadm-save wrote, as in /etc/ipvsadm.rules (Debian) or
        /// /etc/sysconfig/ipvsadm (Red Hat), to the configuration: all of them or none.
        #[arg(long, value_name = "RULES")]
        rules: Option<PathBuf>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Check a configuration; every fault is printed with its place and its remedy.
    Check {
        #[command(flatten)]
        config: Config,
        /// Check this box too: interfaces, offloads, queues, capabilities, routes.
        #[arg(long)]
        live: bool,
    },
    /// List services and servers of the xlvs that runs here.
    List {
        /// Print everything that it tells, as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Say whether the xlvs that runs here is well; the exit code is fit for a track_script of
    /// keepalived: 0 well, 3 no daemon, 4 no answer in time, 5 stopping, 6 a worker does not
    /// answer, 7 an interface does not forward, 8 a service below its quorum (--quorum), 1 it
    /// cannot be told.
    Status {
        /// Services that must have their quorum, by name; all if none is named.
        #[arg(long, value_name = "SERVICE", num_args = 0..)]
        quorum: Option<Vec<String>>,
        /// An interface that must forward, instead of all; may be repeated.
        #[arg(long = "interface", value_name = "NAME")]
        interfaces: Vec<String>,
        /// How long to wait for the answer.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = file::duration)]
        timeout: Duration,
        /// Print everything that it tells, as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Translate what another program has configured.
    Import {
        #[command(subcommand)]
        from: From,
    },
    /// As ipvsadm 1.31, on the xlvs that runs here; also by links named ipvsadm, ipvsadm-save
    /// and ipvsadm-restore. XLVS_SOCKET names another socket.
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// Its words.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Subcommand)]
enum From {
    /// Print the marks entries that do what netfilter's MARK rules do for LVS; rules that they
    /// cannot express are named in comments.
    Iptables {
        /// Output of iptables-save, ip6tables-save or nft list ruleset; else standard input.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Config {
    /// The configuration.
    #[arg(value_name = "FILE", default_value = "/etc/xlvs/xlvs.yaml")]
    file: PathBuf,
}

#[derive(Args)]
struct Socket {
    /// The unix socket of the daemon.
    #[arg(long = "socket", value_name = "PATH", default_value = SOCKET)]
    path: PathBuf,
}

/// Where the daemon's socket is, unless the operator says otherwise.
const SOCKET: &str = "/run/xlvs/xlvs.sock";

fn main() -> ExitCode {
    if let Some((program, words)) = ipvsadm::called(std::env::args_os()) {
        return ipvsadm::run(program, &words, SOCKET.into());
    }
    match Command::parse().verb {
        Verb::Run { config, rules, socket } => {
            run(&Options { file: config.file, rules, socket: socket.path })
        }
        Verb::Check { config, live } => check::check(&config.file, live),
        Verb::Ipvsadm { .. } => unreachable!("called() has taken it"),
        Verb::Import { from: From::Iptables { file } } => import::iptables(file.as_deref()),
        Verb::List { json, socket } => list::list(&socket.path, json),
        Verb::Status { quorum, interfaces, timeout, json, socket } => {
            let wanted = Wanted { interfaces, quorums: quorum };
            status::status(&socket.path, &wanted, timeout, json)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    logger::start();
    match control::daemon::run(options, &ipvsadm::System) {
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
fn another_version(socket: &Path, error: &serde_json::Error) -> String {
    format!(
        "{}: cannot read the answer: {error}; is the xlvs here of another version? (this one is {})",
        socket.display(),
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
