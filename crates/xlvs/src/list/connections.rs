//! `xlvs list --connections`: asks for page after page, and prints each as it comes, so that a
//! million connections need no room here and keep nobody waiting there.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
};

use clap::Args;
use control::{
    api::send,
    front::{Answer, Ask, Filter, Page, states},
};
use ipvsadm::{Connection, NoNames, Protocol, ServiceRef, listing};

use crate::{another_version, failure};

/// Which connections; without a filter all.
#[derive(Args)]
pub(crate) struct Only {
    /// Only those of this client.
    #[arg(long, value_name = "ADDRESS", requires = "connections")]
    client: Option<IpAddr>,
    /// Only those to this VIP.
    #[arg(long, value_name = "ADDRESS", requires = "connections")]
    vip: Option<IpAddr>,
    /// Only those that this service scheduled: ADDRESS:PORT/tcp (or /udp, /sctp), mark:NUMBER or
    /// mark:NUMBER/ipv6.
    #[arg(long, value_name = "SERVICE", requires = "connections", value_parser = service)]
    service: Option<ServiceRef>,
    /// Only those of this real server.
    #[arg(long, value_name = "ADDRESS", requires = "connections")]
    server: Option<IpAddr>,
    /// Only those of tcp, udp or sctp.
    #[arg(long, value_name = "PROTOCOL", requires = "connections", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// Only those in this state, as ESTABLISHED.
    #[arg(long, value_name = "STATE", requires = "connections", value_parser = state)]
    state: Option<String>,
}

impl From<Only> for Filter {
    fn from(only: Only) -> Self {
        let Only { client, vip, service, server, protocol, state } = only;
        Self { client, vip, server, service, protocol, state }
    }
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

fn service(text: &str) -> Result<ServiceRef, String> {
    let wrong = || "write it as 203.0.113.10:80/tcp, [2001:db8::10]:80/tcp or mark:7".to_owned();
    if let Some(mark) = text.strip_prefix("mark:") {
        let (mark, ipv6) = match mark.split_once('/') {
            Some((mark, "ipv6")) => (mark, true),
            Some(_) => return Err(wrong()),
            None => (mark, false),
        };
        let mark = mark.parse().ok().filter(|mark| *mark > 0).ok_or_else(wrong)?;
        return Ok(ServiceRef::Mark { mark, ipv6 });
    }
    let (endpoint, over) = text.rsplit_once('/').ok_or_else(wrong)?;
    let endpoint: SocketAddr = endpoint.parse().map_err(|_| wrong())?;
    let (address, port) = (endpoint.ip(), endpoint.port());
    Ok(ServiceRef::Endpoint { protocol: protocol(over)?, address, port })
}

/// Prints the connections of the daemon at `socket`: rows as `ipvsadm -Lnc` has them, or one JSON
/// array with a line for each.
pub(crate) fn connections(socket: &Path, json: bool, only: Only) -> ExitCode {
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

type Rows = (Vec<Connection>, Option<control::front::Cursor>);

/// A page of them; what is wrong has been said.
fn fetch(socket: &Path, page: &Page) -> Result<Rows, ExitCode> {
    let body = send(socket, "/v1/ipvsadm", &Ask::Connections(page.clone()));
    let body = body.map_err(|error| failure(&error))?;
    match serde_json::from_slice(&body) {
        Ok(Answer::Connections(rows, next)) => Ok((rows, next)),
        Ok(_) => Err(failure(&format!(
            "{}: not what was asked for; is the xlvs here of another version?",
            socket.display()
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

    use super::{service, state, write_json};

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
            assert_eq!(service(text).ok(), expected, "{text}");
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
