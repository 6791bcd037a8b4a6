//! `xlvs conn list|count|kill`, and `xlvs list --connections`: a listing asks for page after page,
//! and prints each as it comes, so that a million connections need no room here and keep nobody
//! waiting there.

use std::{
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use control::{
    api::{
        Way,
        connections::{Count, KillOrder},
        send,
    },
    front::{Answer, Ask, Filter, Page, reference, states},
    registry::Prefix,
    registry::naming::service_key,
};
use ipvsadm::{Connection, NoNames, Protocol, ServiceRef, listing};

use crate::{
    another_version,
    command::Socket,
    daemon::{post_within, print_json},
    failure,
};

/// What to do with connections.
#[derive(Subcommand)]
pub(crate) enum ConnVerb {
    /// List connections and persistence templates, as they come: those that all filters let through.
    #[command(visible_alias = "ls")]
    List {
        /// Print an array of JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        only: Only,
        #[command(flatten)]
        socket: Socket,
    },
    /// Count them.
    Count {
        /// Print an object of JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        only: Only,
        #[command(flatten)]
        socket: Socket,
    },
    /// End them: TCP is reset, at both ends in NAT and FullNAT; what is no TCP is forgotten.
    Kill {
        /// Without a filter: all of them.
        #[arg(long)]
        all: bool,
        /// Persistence templates that fit end, too: clients are scheduled anew.
        #[arg(long)]
        templates: bool,
        /// Print an object of JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        only: Only,
        #[command(flatten)]
        socket: Socket,
    },
}

/// Which connections; without a filter all.
#[derive(Args)]
pub(crate) struct Only {
    /// Only those of this client, or of this network.
    #[arg(long, value_name = "NETWORK", value_parser = control::registry::source)]
    client: Option<Prefix>,
    /// Only those to this VIP.
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<IpAddr>,
    /// Only those that this service scheduled: its name, ADDRESS:PORT/tcp (or /udp, /sctp),
    /// mark:NUMBER or mark:NUMBER/ipv6.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only those of this real server.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
    /// Only those of tcp, udp or sctp.
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// Only those in this state, as ESTABLISHED.
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<String>,
}

impl From<Only> for Filter {
    fn from(only: Only) -> Self {
        let Only { client, vip, service, server, protocol, state } = only;
        let (service, name) = wanted_service(service.as_deref());
        Self { client, vip, server, service, name, protocol, state }
    }
}

impl Only {
    /// A filter was given.
    pub(crate) fn is_given(&self) -> bool {
        let Self { client, vip, service, server, protocol, state } = self;
        client.is_some()
            || vip.is_some()
            || service.is_some()
            || server.is_some()
            || protocol.is_some()
            || state.is_some()
    }
}

/// A service by what it takes, or by its name.
pub(crate) fn wanted_service(text: Option<&str>) -> (Option<ServiceRef>, Option<String>) {
    match text.map(|text| (service_key(text), text)) {
        Some((Some(key), _)) => (Some(reference(&key)), None),
        Some((None, name)) => (None, Some(name.to_owned())),
        None => (None, None),
    }
}

/// How long the workers may take to end connections.
pub(crate) const KILL_TIME: Duration = Duration::from_secs(65);

pub(crate) fn run(verb: ConnVerb) -> ExitCode {
    let (text, count): (_, Result<Count, ExitCode>) = match verb {
        ConnVerb::List { json, only, socket } => return connections(&socket.way(), json, only),
        ConnVerb::Count { json, only, socket } => {
            let filter: Filter = only.into();
            (!json, post_within(&socket.way(), "/v1/connections/count", &filter, KILL_TIME))
        }
        ConnVerb::Kill { all, templates, json, only, socket } => {
            if all == only.is_given() {
                let what = if all { "--all beside a filter" } else { "no filter" };
                let remedy = "give a filter such as --client, or --all to end every connection";
                return wrong_words(&format!("{what}: {remedy}"));
            }
            let order = KillOrder { only: only.into(), all, templates };
            (!json, post_within(&socket.way(), "/v1/connections/kill", &order, KILL_TIME))
        }
    };
    match count {
        Ok(Count { connections, templates }) if text => {
            let line = format!("connections {connections}, templates {templates}");
            crate::print(&mut io::stdout(), &line)
        }
        Ok(count) => print_json(&count),
        Err(ended) => ended,
    }
}

/// The command line is wrong: exit code 2.
pub(crate) fn wrong_words(text: &str) -> ExitCode {
    eprintln!("error: {text}");
    ExitCode::from(2)
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err("write tcp, udp or sctp".to_owned()),
    }
}

fn state(text: &str) -> Result<String, String> {
    let text = text.to_ascii_uppercase();
    let known = states();
    if known.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(format!("no state; write one of {}", known.join(" ")))
}

/// Prints the connections of the daemon at `socket`: rows as `ipvsadm -Lnc` has them, or one JSON
/// array with a line for each.
pub(crate) fn connections(socket: &Way, json: bool, only: Only) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout());
    let mut page = Page { only: only.into(), ..Page::default() };
    let mut rows = 0_usize;
    loop {
        let (found, next) = match fetch(socket, &page) {
            Ok(answer) => answer,
            Err(ended) => return ended,
        };
        let last = next.is_none();
        let printed = if json {
            write_json(&mut out, rows, &found, last)
        } else {
            write_text(&mut out, rows == 0 && page.from == Default::default(), &found)
        };
        rows += found.len();
        match printed.and_then(|()| if last { out.flush() } else { Ok(()) }) {
            Ok(()) => {}
            // A reader that has gone (`| head`) is no failure of ours.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => return failure(&format!("cannot print: {error}")),
        }
        match next {
            Some(next) => page.from = next,
            None => return ExitCode::SUCCESS,
        }
    }
}

/// Hands over each connection that fits; what is wrong has been said.
pub(crate) fn each_page(
    socket: &Way,
    only: Filter,
    take: &mut dyn FnMut(&Connection),
) -> Result<(), ExitCode> {
    let mut page = Page { only, ..Page::default() };
    loop {
        let (rows, next) = fetch(socket, &page)?;
        rows.iter().for_each(&mut *take);
        match next {
            Some(next) => page.from = next,
            None => return Ok(()),
        }
    }
}

type Rows = (Vec<Connection>, Option<control::front::Cursor>);

/// A page of them; what is wrong has been said.
fn fetch(socket: &Way, page: &Page) -> Result<Rows, ExitCode> {
    let body = send(socket, "/v1/ipvsadm", &Ask::Connections(page.clone()));
    let body = body.map_err(|error| failure(&error))?;
    match serde_json::from_slice(&body) {
        Ok(Answer::Connections { rows, next }) => Ok((rows, next)),
        Ok(_) => Err(failure(&format!(
            "{}: not what was asked for; is the xlvs here of another version?",
            socket
        ))),
        Err(error) => Err(failure(&another_version(socket, &error))),
    }
}

fn write_text(out: &mut impl Write, first: bool, rows: &[Connection]) -> io::Result<()> {
    if first {
        let title = listing::connections_title(false).lines().nth(1).unwrap_or_default();
        writeln!(out, "{title}")?;
    }
    for row in rows {
        out.write_all(listing::connection(row, true, false, &NoNames).as_bytes())?;
    }
    Ok(())
}

/// `before` rows have been printed already.
fn write_json(
    out: &mut impl Write,
    before: usize,
    rows: &[Connection],
    last: bool,
) -> io::Result<()> {
    for (at, row) in rows.iter().enumerate() {
        out.write_all(if before + at == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, row)?;
    }
    match (last, before + rows.len()) {
        (false, _) => Ok(()),
        (true, 0) => writeln!(out, "[]"),
        (true, _) => writeln!(out, "\n]"),
    }
}

#[cfg(test)]
mod tests {
    use ipvsadm::{Protocol, ServiceRef};

    use super::{state, wanted_service, write_json};

    #[test]
    fn services_are_written_as_in_the_file() {
        let endpoint = |protocol, address: &str, port| {
            Some(ServiceRef::Endpoint { protocol, address: address.parse().unwrap(), port })
        };
        let mark = |mark, ipv6| Some(ServiceRef::Mark { mark, ipv6 });
        for (text, expected) in [
            ("203.0.113.10:80/tcp", endpoint(Protocol::Tcp, "203.0.113.10", 80)),
            ("[2001:db8::10]:53/udp", endpoint(Protocol::Udp, "2001:db8::10", 53)),
            ("203.0.113.10:0/SCTP", endpoint(Protocol::Sctp, "203.0.113.10", 0)),
            ("mark:7", mark(7, false)),
            ("mark:7/ipv6", mark(7, true)),
            ("mark:0", None),
            ("mark:7/tcp", None),
            ("203.0.113.10:80", None),
            ("203.0.113.10/tcp", None),
            ("2001:db8::10:53/udp", None),
        ] {
            let (key, name) = wanted_service(Some(text));
            assert_eq!(key, expected, "{text}");
            assert_eq!(name.is_some(), expected.is_none(), "{text}");
        }
        assert_eq!(state("syn_recv").as_deref(), Ok("SYN_RECV"));
        assert!(state("OPEN").unwrap_err().contains("ESTABLISHED"));
    }

    #[test]
    fn no_row_is_an_empty_array() {
        let mut out = Vec::new();
        write_json(&mut out, 0, &[], false).unwrap();
        write_json(&mut out, 0, &[], true).unwrap();
        assert_eq!(out, b"[]\n");
    }
}
