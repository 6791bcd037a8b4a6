//! Transcripts: what happened at each step of each scenario, in lines of text.
//!
//! ```text
//! kernel 6.1.0-50-cloud-amd64
//! ipvsadm v1.31
//!
//! == rr_begins_with_the_newest
//! > ipvsadm -A -t 10.9.0.1:80 -s rr
//! > open 3 10.9.0.1:80
//!   13 12 11
//! > tcp 198.18.0.5:9001 > 10.9.0.1:80 S
//!   back 13 4500002800010000…
//! ```
//! A step is written as in its scenario; further lines of a command's input begin with `|`. What it led to is
//! indented by two blanks:
//! - a command: its standard output; standard error after `! `; `exit CODE` unless that is 0.
//! - a packet: for each frame that leaves `PORT NEIGHBOUR HEX`, front first (see [`Exit`]). The hex is the IP
//!   packet; a `?` stands where a kernel chooses at random. `stack`: IPVS left the packet to the director's own
//!   TCP/IP stack. `routed`: a server's packet was forwarded as by a plain router, untranslated.
//! - picks: for each packet the server that got it, `X` for an ICMP error to the client, `S` for the stack, `-` for nothing.
//!   The compact form has one character each, `1` for server 11 and so on to `j` for server 29.
//! - connections: `SECONDS PROTOCOL STATE SOURCE VIRTUAL DESTINATION`, the seconds until it expires.
use std::net::SocketAddr;

use crate::ground::{self, Port};
use crate::packet::{hex, ones_sum, quoted, seen};
use crate::{Fault, fault};

/// A file of transcripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// What `uname -r` said.
    pub kernel: String,
    /// What `ipvsadm --version` said.
    pub ipvsadm: String,
    /// By scenario, in the file's order.
    pub transcripts: Vec<Transcript>,
}

/// What happened in one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The scenario.
    pub name: String,
    /// Each step's text, and what it led to.
    pub steps: Vec<(String, Vec<String>)>,
}

const HEAD: &str = "# What a kernel did; written by `cargo xtask oracle --record`, never by hand.";

impl Recording {
    /// The text of a file.
    pub fn write(&self) -> String {
        let mut text = format!("{HEAD}\nkernel {}\nipvsadm {}\n", self.kernel, self.ipvsadm);
        for transcript in &self.transcripts {
            text += &format!("\n== {}\n", transcript.name);
            for (step, lines) in &transcript.steps {
                text += &format!("> {}\n", step.replace('\n', "\n| "));
                for line in lines {
                    text += &format!("  {line}\n");
                }
            }
        }
        text
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When a line is not of the format; with its number.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let mut recording =
            Self { kernel: String::new(), ipvsadm: String::new(), transcripts: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            if recording.line(line).is_none() {
                return fault(format!("line {}: not of a recording: {line}", number + 1));
            }
        }
        Ok(recording)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "#" => {}
            _ if line.is_empty() => {}
            "kernel" => rest.clone_into(&mut self.kernel),
            "ipvsadm" => rest.clone_into(&mut self.ipvsadm),
            "==" => {
                self.transcripts.push(Transcript { name: rest.to_owned(), steps: Vec::new() });
            }
            ">" => self.transcripts.last_mut()?.steps.push((rest.to_owned(), Vec::new())),
            _ => {
                let (text, lines) = self.transcripts.last_mut()?.steps.last_mut()?;
                if mark == "|" {
                    text.push('\n');
                    text.push_str(rest);
                } else {
                    lines.push(line.strip_prefix("  ")?.to_owned());
                }
            }
        }
        Some(())
    }

    /// What happened in a scenario.
    pub fn transcript(&self, name: &str) -> Option<&Transcript> {
        self.transcripts.iter().find(|transcript| transcript.name == name)
    }
}

/// A command's lines.
pub fn command_lines(code: i32, out: &str, err: &str) -> Vec<String> {
    let out = out.lines().map(str::to_owned);
    let mut lines: Vec<String> =
        out.chain(err.lines().map(|line| format!("! {line}").trim_end().to_owned())).collect();
    if code != 0 {
        lines.push(format!("exit {code}"));
    }
    lines
}

/// A frame that left, from the Ethernet header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Where.
    pub port: Port,
    /// The frame.
    pub frame: Vec<u8>,
}

impl Exit {
    /// The IP packet in it.
    pub fn packet(&self) -> &[u8] {
        self.frame.get(14..).unwrap_or_default()
    }

    /// The neighbour that it goes to.
    pub fn neighbour(&self) -> String {
        match self.frame.first_chunk() {
            Some(mac) => ground::name_of(*mac),
            None => "nobody".to_owned(),
        }
    }

    /// Which client's packet led to it: its source, inside a tunnel's outer header, or what an
    /// ICMP error quotes.
    pub fn client(&self) -> Option<SocketAddr> {
        let outer = seen(self.packet())?;
        let inner = match outer.protocol {
            4 | 41 => self.packet().get(outer.transport..),
            _ => quoted(self.packet()),
        };
        Some(inner.and_then(seen).map_or(outer.from, |inner| inner.from))
    }

    /// What a pick calls it.
    pub fn pick(&self) -> String {
        match self.neighbour().as_str() {
            "stack" => "S".to_owned(),
            "gw" if quoted(self.packet()).is_some() => "X".to_owned(),
            neighbour => neighbour.to_owned(),
        }
    }
}

/// A packet's lines. `arrived` is the first IP packet that came in for the step.
pub fn exit_lines(exits: &[Exit], arrived: &[u8]) -> Vec<String> {
    let line = |exit: &Exit| {
        if exit.neighbour() == "stack" {
            return "stack".to_owned();
        }
        let from_server =
            seen(arrived).is_some_and(|arrived| Port::of_source(arrived.from.ip()) == Port::Back);
        if exit.port == Port::Front && from_server && is_routed(arrived, exit.packet()) {
            return "routed".to_owned();
        }
        let packet = with_holes(exit.packet(), arrived);
        format!("{} {} {packet}", exit.port.name(), exit.neighbour())
    };
    let mut sorted: Vec<&Exit> = exits.iter().collect();
    sorted.sort_by_key(|exit| exit.port);
    sorted.into_iter().map(line).collect()
}

/// Whether only what every router changes is changed: TTL and header checksum.
fn is_routed(arrived: &[u8], left: &[u8]) -> bool {
    let still = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        let router: &[usize] =
            if packet.first().is_some_and(|first| first >> 4 == 4) { &[8, 10, 11] } else { &[7] };
        for at in router {
            if let Some(octet) = packet.get_mut(*at) {
                *octet = 0;
            }
        }
        packet
    };
    still(arrived) == still(left)
}

/// Hexadecimal digits, with `?` for what a kernel chooses at random: the identification of packets
/// that the director makes and that may be fragmented (then the header's checksum too, after
/// `header!` unless it is right), the UDP source port and checksum of GUE, IPv6 flow labels
/// and fragment identifications.
pub(crate) fn with_holes(packet: &[u8], arrived: &[u8]) -> String {
    let mut digits = hex(packet).into_bytes();
    let mut hole = |from: usize, to: usize| {
        if let Some(part) = digits.get_mut(from * 2..to * 2) {
            part.fill(b'?');
        }
    };
    let Some(outer) = seen(packet) else { return hex(packet) };
    let own = outer.from.ip() == Port::Back.address4() || outer.from.ip() == Port::Back.address6();
    let mut wrong = "";
    if packet[0] >> 4 == 4 {
        let id = packet.get(4..6).unwrap_or_default();
        let made = own || quoted(packet).is_some();
        if made && id != [0, 0] && arrived.get(4..6) != Some(id) {
            hole(4, 6);
            hole(10, 12);
        }
        let header = packet.get(..outer.transport).unwrap_or_default();
        if ones_sum(header) != 0xffff {
            wrong = " header!";
        }
    } else {
        if packet[2..4] != [0, 0] {
            // Twenty bits: the lower half of the second octet begins them.
            hole(2, 4);
        }
        if outer.protocol == 44 {
            hole(44, 48);
        }
    }
    if own && outer.protocol == 17 {
        hole(outer.transport, outer.transport + 2);
        let checksum = packet.get(outer.transport + 6..outer.transport + 8);
        if checksum != Some(&[0, 0]) {
            hole(outer.transport + 6, outer.transport + 8);
        }
    }
    if packet[0] >> 4 == 6 && packet[2..4] != [0, 0] {
        digits[3] = b'?';
    }
    format!("{}{wrong}", String::from_utf8_lossy(&digits))
}

/// The lines of picks: 25 words each, or 100 characters in the compact form.
pub fn pick_lines(picks: &[String], compact: bool) -> Vec<String> {
    if !compact {
        return picks.chunks(25).map(|line| line.join(" ")).collect();
    }
    let digit = |pick: &String| match pick.parse::<u32>() {
        Ok(server @ 11..=29) => char::from_digit(server - 10, 36).unwrap_or('?'),
        _ => pick.chars().next().unwrap_or('-'),
    };
    picks.chunks(100).map(|line| line.iter().map(digit).collect()).collect()
}

/// The lines of connections, from what `ipvsadm -Lnc` printed.
pub fn connection_lines(listing: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [protocol, expires, rest @ ..] = words.as_slice() else { return None };
        Some((format!("{protocol} {}", rest.join(" ")), seconds(expires)?))
    };
    let mut all: Vec<(String, i64)> = listing.lines().filter_map(line).collect();
    all.sort();
    all.into_iter().map(|(connection, expires)| format!("{expires} {connection}")).collect()
}

/// `mm:ss` in seconds.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let (minutes, seconds) = text.split_once(':')?;
    Some(minutes.parse::<i64>().ok()? * 60 + seconds.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{Exit, Recording, Transcript, connection_lines, exit_lines, pick_lines};
    use crate::ground::Port;
    use crate::order::Packet;
    use crate::packet::packets;

    #[test]
    fn what_is_written_is_read() {
        let lines = |all: &[&str]| all.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let steps = vec![
            ("ipvsadm -R\n-A -t 1.2.3.4:5".to_owned(), lines(&["", "! > | ==", "exit 2"])),
            ("wait 3".to_owned(), Vec::new()),
        ];
        let transcripts = vec![Transcript { name: "one".into(), steps }];
        let recording = Recording { kernel: "6.1".into(), ipvsadm: "v1.31 x".into(), transcripts };
        assert_eq!(Recording::read(&recording.write()).unwrap(), recording);
        assert!(Recording::read("nonsense").is_err());
    }

    #[test]
    fn frames_that_leave_become_lines() {
        let arrived = packets(&Packet::parse("tcp 10.2.0.11:80 > 198.18.0.5:9 SA").unwrap());
        let left = packets(&Packet::parse("tcp 10.2.0.11:80 > 198.18.0.5:9 SA ttl=63").unwrap());
        let gateway = [&[2, 0, 0, 0, 1, 1][..], &[0; 8]].concat();
        let exit = Exit { port: Port::Front, frame: [gateway, left[0].clone()].concat() };
        assert_eq!(exit_lines(std::slice::from_ref(&exit), &arrived[0]), ["routed"]);
        assert_eq!(exit.client(), Some("10.2.0.11:80".parse().unwrap()));
        let picks = ["11", "20", "X", "-"].map(str::to_owned);
        assert_eq!(pick_lines(&picks, true), ["1aX-"]);
        assert_eq!(pick_lines(&picks, false), ["11 20 X -"]);
    }

    #[test]
    fn connections_are_sorted_lines() {
        let listing = "IPVS connection entries\npro expire state       source\n\
            TCP 00:59  SYN_RECV    198.18.0.5:9003    10.9.0.1:80        10.2.0.12:80\n\
            IP  05:00  NONE        198.18.0.5:0       0.0.0.7:0          10.2.0.11:0\n";
        assert_eq!(
            connection_lines(listing),
            [
                "300 IP NONE 198.18.0.5:0 0.0.0.7:0 10.2.0.11:0",
                "59 TCP SYN_RECV 198.18.0.5:9003 10.9.0.1:80 10.2.0.12:80"
            ]
        );
    }
}
