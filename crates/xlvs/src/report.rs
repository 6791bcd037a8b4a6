//! `xlvs report`: one archive with what helps to help: the box, its network, the configuration,
//! what the daemon tells, its log. Without secrets: those that the configuration has are found by
//! their keys, and masked wherever they come up.

mod archive;
mod configuration;
mod daemon;
mod machine;
mod program;
mod secrets;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use control::origin::Origin;

use crate::{
    command::{Config, Listen},
    failure,
};
use archive::Archive;

/// The words of `xlvs report`.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    config: Config,
    /// Where to; - is standard output. Without it: xlvs-report-HOST-TIME.tar.gz here.
    #[arg(long, short, value_name = "FILE.tar.gz")]
    output: Option<PathBuf>,
    #[command(flatten)]
    socket: Listen,
}

const HELP: &str = "Examples:
  xlvs report
  xlvs report --output - | ssh support@example.net 'cat >box-1.tar.gz'

What is in it:
  contents.txt      what was collected, and what was not and why
  configuration/    the files, with secrets masked and without comments; what xlvs check says
  daemon/           what the xlvs that runs here tells: report, status, events, metrics, threads
  machine/          kernel, processors, memory, interrupts, settings (sysctl)
  network/          interfaces, routes, neighbours, rules, XDP programs, sockets
  log/              the journal's last 2,000 lines of xlvs, the kernel's last 500

Passwords, tokens, headers, what checks send and words of programs do not come along, private keys
neither. Addresses and names do: look into it before you give it away.";

/// Collects and writes it.
pub(crate) fn report(args: &ReportArgs) -> ExitCode {
    let origin = Origin { path: args.config.file.clone(), name: args.config.name.clone() };
    let host = control::origin::host_name().unwrap_or_else(|| "unknown".to_owned());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let name = format!("xlvs-report-{host}-{now}");
    let secrets = configuration::secrets(&origin);
    let mut archive = Archive::new(&name, now, secrets);
    configuration::collect(&mut archive, &origin);
    daemon::collect(&mut archive, &args.socket.path);
    machine::collect(&mut archive, &interfaces());
    let missing = archive.missing();
    match write(archive, args.output.as_deref(), &name) {
        Ok(place) => {
            eprintln!("{place}: written; {missing} parts could not be had, contents.txt says why");
            ExitCode::SUCCESS
        }
        Err(error) => failure(&error),
    }
}

/// Gives the place.
fn write(archive: Archive, to: Option<&Path>, name: &str) -> Result<String, String> {
    let packed = archive.pack().map_err(|error| format!("cannot pack: {error}"))?;
    if to == Some(Path::new("-")) {
        io::stdout().write_all(&packed).map_err(|error| format!("cannot print: {error}"))?;
        return Ok("standard output".to_owned());
    }
    let to = to.map_or_else(|| PathBuf::from(format!("{name}.tar.gz")), Path::to_owned);
    archive::write_private(&to, &packed).map_err(|error| {
        format!("{}: cannot write: {error}; name another place with --output", to.display())
    })?;
    Ok(to.display().to_string())
}

/// Those of the box.
fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    // Beside them there may be settings of bonding.
    let entries = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
