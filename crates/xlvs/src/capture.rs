//! `xlvs capture`: packets on both sides of the rewrite, into a file or on a terminal.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use control::{
    api::{FetchError, Way, fetch, stream},
    capture::{Form, Line, Tally, Wanted},
    file,
};

use crate::failure;

/// Which packets, how many, and where they go. All filters that are given must hold.
#[derive(Args)]
pub(crate) struct Packets {
    /// Only packets of this client, an address or a network.
    #[arg(long, value_name = "NETWORK")]
    client: Option<String>,
    /// Only packets to this VIP, and their answers.
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<IpAddr>,
    /// Only packets of this real server, ADDRESS or ADDRESS:PORT.
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Only packets of this service: its name, or ADDRESS:PORT/tcp (or /udp, /sctp), or
    /// mark:NUMBER.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only packets with this port, on either side of the rewrite.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only packets of tcp, udp or sctp.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// Only packets that come in by this interface.
    #[arg(long, short = 'i', value_name = "NAME")]
    interface: Option<String>,
    /// Only packets that are forwarded, dropped, punted (given to the kernel) or answered; may be
    /// repeated.
    #[arg(long, value_name = "VERDICT")]
    verdict: Vec<String>,
    /// Only packets that are dropped for this reason, by its name in `xlvs list`; may be repeated.
    #[arg(long, value_name = "REASON")]
    drop: Vec<String>,
    /// Only packets that are given to the kernel for this reason; may be repeated.
    #[arg(long, value_name = "REASON")]
    punt: Vec<String>,
    /// Write pcapng to this file, or with - to standard output, for `tshark -i -` and
    /// `wireshark -k -i -`.
    #[arg(long, short = 'w', value_name = "FILE", conflicts_with = "json")]
    write: Option<PathBuf>,
    /// End after so many packets, both sides of each [default: 1000000].
    #[arg(long, short = 'c', value_name = "NUMBER")]
    count: Option<u64>,
    /// End after this time, at most 1d [default: 10m].
    #[arg(long = "for", value_name = "TIME", value_parser = file::duration)]
    time: Option<Duration>,
    /// End after so many octets [default: 1 GiB].
    #[arg(long, value_name = "OCTETS")]
    octets: Option<u64>,
    /// Keep so many octets of each packet [default: all].
    #[arg(long, short = 's', value_name = "OCTETS")]
    snap: Option<u32>,
    /// Print each copy as an object of JSON.
    #[arg(long)]
    json: bool,
}

impl Packets {
    fn wanted(&self) -> Wanted {
        Wanted {
            client: self.client.clone(),
            vip: self.vip,
            server: self.server.clone(),
            service: self.service.clone(),
            port: self.port,
            protocol: self.protocol.clone(),
            interface: self.interface.clone(),
            verdict: self.verdict.clone(),
            drop: self.drop.clone(),
            punt: self.punt.clone(),
            packets: self.count,
            duration_ms: self.time.map(|time| time.as_millis() as u64),
            octets: self.octets,
            snap: self.snap,
            form: if self.write.is_some() { Form::Pcapng } else { Form::Json },
        }
    }

    /// Where the capture goes.
    fn out(&self) -> Result<Box<dyn Write>, String> {
        match &self.write {
            Some(path) if path.as_os_str() != "-" => {
                let file = File::create(path);
                file.map(|file| Box::new(file) as Box<dyn Write>).map_err(|error| {
                    format!("{}: {error}; write another FILE", path.display())
                })
            }
            Some(_) if io::stdout().is_terminal() => {
                Err("-w -: standard output is a terminal; pipe it to a program, as in `xlvs capture -w - | tshark -i -`".to_owned())
            }
            Some(_) | None => Ok(Box::new(io::stdout())),
        }
    }
}

/// Captures at the daemon behind `socket` until its limits are reached, or it is interrupted.
pub(crate) fn capture(socket: &Way, packets: Packets) -> ExitCode {
    let mut out = match packets.out() {
        Ok(out) => out,
        Err(error) => return failure(&error),
    };
    let mut stopped = None;
    let mut lines = Lines::default();
    let as_text = packets.write.is_none() && !packets.json;
    let mut take = |piece: &[u8]| {
        let written = match as_text {
            true => lines.print(piece, &mut out),
            false => out.write_all(piece),
        };
        stopped = written.and_then(|()| out.flush()).err();
        stopped.is_none()
    };
    let told = stream(socket, "/v1/captures", &packets.wanted(), &mut take);
    match (stopped, told) {
        // Who read it has seen enough.
        (Some(error), _) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        (Some(error), _) => failure(&format!("cannot write: {error}")),
        (None, Err(FetchError::Broken { .. })) => failure(&format!("{}: xlvs has ended", socket)),
        (None, Err(error)) => failure(&error),
        (None, Ok(())) => {
            summary(socket);
            ExitCode::SUCCESS
        }
    }
}

/// How it went, beside what was captured.
fn summary(socket: &Way) {
    let Ok(body) = fetch(socket, "/v1/captures") else { return };
    let Ok(tally) = serde_json::from_slice::<Tally>(&body) else { return };
    let Tally { packets, copies, missed_queue, missed_share, .. } = tally;
    eprintln!(
        "{packets} packets captured in {copies} copies; missed: {missed_queue} because this reader was slow, {missed_share} beyond the share of time for captures"
    );
}

/// Lines, from pieces that may end anywhere.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn print(&mut self, piece: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.0.extend_from_slice(piece);
        while let Some(end) = self.0.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line[..end]);
            match serde_json::from_str(&text) {
                Ok(line) => writeln!(out, "{}", in_words(&line))?,
                // Of another version: as it came.
                Err(_) => writeln!(out, "{text}")?,
            }
        }
        Ok(())
    }
}

/// `12:00:00.000001 eth0 192.0.2.10.40000 > 203.0.113.10.80: tcp [S], seq 1, length 0 | in: web ...`
fn in_words(line: &Line) -> String {
    let Line { time, interface, headers, comment, .. } = line;
    let clock = time.split_once('T').map_or(time.as_str(), |(_, clock)| clock);
    format!("{} {interface} {headers} | {comment}", clock.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_from_broken_pieces() {
        let line = Line {
            time: "2026-11-28T12:00:00.000001Z".to_owned(),
            interface: "eth0".to_owned(),
            side: "in".to_owned(),
            packet: 1,
            worker: 0,
            octets: 60,
            headers: "192.0.2.10.40000 > 203.0.113.10.80: udp, length 2".to_owned(),
            verdict: "punted".to_owned(),
            reason: Some("alien".to_owned()),
            service: None,
            client: None,
            server: None,
            local: None,
            comment: "in: to the kernel: alien: Not for a service.".to_owned(),
        };
        let json = serde_json::to_string(&line).unwrap() + "\nwhat is this\n";
        for cut in 0..json.len() {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for piece in [&json[..cut], &json[cut..]] {
                lines.print(piece.as_bytes(), &mut out).unwrap();
            }
            let printed = String::from_utf8(out).unwrap();
            let expected = "12:00:00.000001 eth0 192.0.2.10.40000 > 203.0.113.10.80: udp, length 2 | in: to the kernel: alien: Not for a service.\nwhat is this\n";
            assert_eq!(printed, expected);
        }
    }
}
