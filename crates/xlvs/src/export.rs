//! `xlvs export yaml|ipvsadm`: the running state as a file.

use std::{io, process::ExitCode};

use clap::Subcommand;
use control::api::{Way, fetch};

use crate::{command::Socket, failure};

/// As what.
#[derive(Subcommand)]
pub(crate) enum ExportVerb {
    /// A configuration file: what this one says and what commands made of it. Overrides are
    /// comments. Passwords of checks are in it.
    Yaml {
        /// Write overrides as if the file said so.
        #[arg(long)]
        effective: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// The rules that ipvsadm-save -n writes.
    Ipvsadm {
        /// Write the weights that hold by overrides; a drained server has 0.
        #[arg(long)]
        effective: bool,
        #[command(flatten)]
        socket: Socket,
    },
}

pub(crate) fn run(verb: ExportVerb) -> ExitCode {
    match verb {
        ExportVerb::Yaml { effective, socket } => print(&socket.way(), "yaml", effective),
        ExportVerb::Ipvsadm { effective, socket } => print(&socket.way(), "ipvsadm", effective),
    }
}

fn print(socket: &Way, format: &str, effective: bool) -> ExitCode {
    match fetch(socket, &format!("/v1/export?format={format}&effective={effective}")) {
        Ok(body) => crate::print(&mut io::stdout(), &String::from_utf8_lossy(&body).trim_end()),
        Err(error) => failure(&error),
    }
}
