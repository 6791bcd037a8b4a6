//! `xlvs explain`: what would happen to a packet now, or to those of a capture.

use std::{
    fmt::Write,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};
use control::explain::{
    Asked, Candidate, Explanation, MOST, Question, hex,
    packet::{Described, Flag, Icmp, Transport},
};

use crate::{
    capture_file,
    columns::columns,
    command::Socket,
    daemon::{post_within, print_json},
    failure, print,
};

/// Which packet.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Who sends it: an address, with a port if it matters (40000 otherwise).
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = client, requires = "vip", required_unless_present = "packet")]
    client: Option<(IpAddr, Option<u16>)>,
    /// Where it goes, as in `listen:`, such as 192.0.2.10:80/tcp or [2001:db8::10]:53/udp.
    #[arg(long, value_name = "ADDRESS:PORT/PROTOCOL", value_parser = endpoint, requires = "client")]
    vip: Option<(SocketAddr, Transport)>,
    /// The flags of a TCP segment, separated by commas; a SYN if none is given.
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', conflicts_with = "icmp")]
    flags: Vec<Word>,
    /// Instead: an ICMP message from the client, about a packet that it got from there; or a ping.
    #[arg(long, value_name = "KIND")]
    icmp: Option<Message>,
    /// The interface where it arrives; otherwise the one by which the client is reached.
    #[arg(long = "in", value_name = "INTERFACE")]
    interface: Option<String>,
    /// Octets of the IP packet.
    #[arg(long, value_name = "OCTETS")]
    size: Option<u16>,
    /// Its TTL or hop limit.
    #[arg(long, value_name = "HOPS")]
    ttl: Option<u8>,
    /// The packets of a capture (pcap or pcapng, Ethernet), one after the other, as if they came
    /// now: each sees what those before it did. At most 1000.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client", "vip", "flags", "icmp", "size", "ttl"])]
    packet: Option<PathBuf>,
    /// The capture was made elsewhere: as if its frames came with the MAC of the interface.
    #[arg(long, requires = "packet")]
    readdress: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// A flag of TCP.
#[derive(Clone, Copy, ValueEnum)]
enum Word {
    Syn,
    Ack,
    Rst,
    Fin,
    Psh,
}

/// An ICMP message.
#[derive(Clone, Copy, ValueEnum)]
enum Message {
    /// A ping to the VIP.
    Echo,
    /// Port unreachable.
    Unreachable,
    /// Fragmentation needed, or packet too big.
    TooBig,
    /// TTL or hop limit exceeded.
    TimeExceeded,
}

/// A rehearsal of a thousand packets, on a box that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks, and prints.
pub(crate) fn explain(args: &ExplainArgs) -> ExitCode {
    let question = match (&args.packet, args.client, args.vip) {
        (Some(file), ..) => match of_capture(args, file) {
            Ok(question) => question,
            Err(error) => return failure(&error),
        },
        (None, Some(client), Some(vip)) => Question { packets: vec![described(args, client, vip)] },
        _ => return failure(&"give --client and --vip, or --packet FILE"),
    };
    let told = post_within(&args.socket.way(), "/v1/explain", &question, PATIENCE);
    let told: Vec<Explanation> = match told {
        Ok(told) => told,
        Err(code) => return code,
    };
    if args.json {
        return print_json(&told);
    }
    let mut text = String::new();
    for (at, one) in told.iter().enumerate() {
        if told.len() > 1 {
            let _ = writeln!(text, "{}packet {}", if at > 0 { "\n" } else { "" }, at + 1);
        }
        text += &in_words(one);
    }
    print(&mut io::stdout(), &text.trim_end())
}

fn described(
    args: &ExplainArgs,
    (client, client_port): (IpAddr, Option<u16>),
    (vip, protocol): (SocketAddr, Transport),
) -> Asked {
    let flag = |word: &Word| match word {
        Word::Syn => Flag::Syn,
        Word::Ack => Flag::Ack,
        Word::Rst => Flag::Rst,
        Word::Fin => Flag::Fin,
        Word::Psh => Flag::Psh,
    };
    let icmp = args.icmp.map(|message| match message {
        Message::Echo => Icmp::Echo,
        Message::Unreachable => Icmp::Unreachable,
        Message::TooBig => Icmp::TooBig,
        Message::TimeExceeded => Icmp::TimeExceeded,
    });
    let packet = Described {
        client,
        client_port,
        vip: vip.ip(),
        port: vip.port(),
        protocol,
        flags: args.flags.iter().map(flag).collect(),
        icmp,
        size: args.size,
        ttl: args.ttl,
    };
    Asked { interface: args.interface.clone(), packet: Some(packet), ..Asked::default() }
}

fn of_capture(args: &ExplainArgs, file: &Path) -> Result<Question, String> {
    let frames =
        capture_file::read(file, MOST).map_err(|why| format!("{}: {why}", file.display()))?;
    if frames.more {
        eprintln!("{}: only the first {MOST} packets are looked at", file.display());
    }
    let asked = |frame: Vec<u8>| Asked {
        interface: args.interface.clone(),
        frame: Some(hex(&frame)),
        readdress: args.readdress,
        ..Asked::default()
    };
    Ok(Question { packets: frames.frames.into_iter().map(asked).collect() })
}

/// Numbered steps, a line each; then the verdict with its remedy.
pub(crate) fn in_words(told: &Explanation) -> String {
    let mut text = format!("{}, on {}\n", told.packet, told.interface);
    for (at, step) in told.steps.iter().enumerate() {
        let name = step.name.replace('_', " ");
        let _ = writeln!(text, "{:>3}. {name:<10}  {}", at + 1, step.text);
        if step.name == "scheduler" {
            candidates(&mut text, &told.candidates);
        }
    }
    for sent in &told.sent {
        let _ = writeln!(text, "  => {}, by {}", sent.packet, sent.interface);
    }
    let verdict = &told.verdict;
    let name = verdict.name.as_ref().map_or(String::new(), |name| format!(" [{name}]"));
    let _ = writeln!(text, "{}{name}", verdict.text);
    if let Some(remedy) = &verdict.remedy {
        let _ = writeln!(text, "{remedy}");
    }
    text
}

fn candidates(text: &mut String, candidates: &[Candidate]) {
    let row = |candidate: &Candidate| {
        [
            if candidate.picked { "-> " } else { "   " }.to_owned() + &candidate.server,
            short(candidate.weight),
            candidate.active.to_string(),
            candidate.inactive.to_string(),
            candidate.score.map_or("-".to_owned(), short),
            candidate.closed.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = candidates.iter().map(row).collect();
    let titles = ["   Server", "Weight", "Active", "Inactive", "Score", ""];
    let right = [false, true, true, true, true, false];
    for line in columns(titles, right, &rows).iter().filter(|_| !rows.is_empty()) {
        let _ = writeln!(text, "       {line}");
    }
}

/// As few digits as it takes.
fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn client(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    let end = text.parse::<SocketAddr>();
    end.map(|end| (end.ip(), Some(end.port()))).map_err(|_| {
        "write an address, as 198.51.100.7 or 2001:db8::7, or one with a port, as 198.51.100.7:1025 or [2001:db8::7]:1025".to_owned()
    })
}

fn endpoint(text: &str) -> Result<(SocketAddr, Transport), String> {
    let wrong =
        || "write ADDRESS:PORT/PROTOCOL, as 192.0.2.10:80/tcp or [2001:db8::10]:53/udp".to_owned();
    let (end, protocol) = text.split_once('/').ok_or_else(wrong)?;
    let protocol = match protocol {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "sctp" => Transport::Sctp,
        _ => return Err(wrong()),
    };
    Ok((end.parse().map_err(|_| wrong())?, protocol))
}
