//! One line of a scenario, and what is to be done for it.
//!
//! | step | what is recorded |
//! |---|---|
//! | `ipvsadm ARGUMENTS` (further lines: its standard input) | standard output, standard error, exit code |
//! | `sysctl NAME=VALUE`, of net.ipv4.vs | nothing |
//! | `wait SECONDS` | nothing |
//! | `steady SECONDS RATE PACKET`: it comes so often a second | nothing |
//! | `sample`: waits for the estimators' next sample, and half a second more | nothing |
//! | `mtu front SIZE`, `mtu back SIZE` | nothing |
//! | a packet, see [`crate::order`] | the frames that leave because of it |
//! | `open COUNT [tcp, udp or sctp] VIP:PORT` | where the first packets of that many new clients go |
//! | `again CLIENT` | where the same packet goes, once more |
//! | `fin CLIENT`, `ack CLIENT`, `rst CLIENT` (a number, or `3..7`) | where that segment of theirs goes |
//! | `strangers COUNT VIP:PORT seed=N [ports]` | where the SYNs of random clients go, one character each |
//! | `destinations COUNT PREFIX:PORT seed=N` | where one client's SYNs to random addresses of 10.64.0.0/14 go |
//! | `returns COUNT PORT seed=N [ipv6]` | where the gateway's SYNs to the addresses of `strangers COUNT … seed=N` go |
//! | `connections` | what `ipvsadm -Lnc` lists, in order of the text |
//!
//! Clients of `open` are numbered from 1 in each scenario ([`Client`]).
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::ground::{Port, neighbours};
use crate::order::{Content, Packet, endpoint, number};
use crate::{Chance, Client, Fault, fault, strangers};

/// A line of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// As it is written.
    pub text: String,
    /// What it asks for.
    pub deed: Deed,
}

/// What a step asks of who plays the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Run `ipvsadm` with these arguments, as a shell reads them.
    Ipvsadm {
        /// The arguments.
        arguments: String,
        /// Its standard input.
        input: Option<String>,
    },
    /// Set `net.ipv4.vs.<name>`.
    Sysctl {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Let so many seconds go by.
    Wait(u32),
    /// Let a packet in at a steady pace; what leaves is not looked at.
    Steady {
        /// For so long.
        seconds: u32,
        /// So many a second, equally far apart.
        rate: u32,
        /// The packet.
        packet: Box<Packet>,
    },
    /// Wait until the estimators of rates have taken up what passed, as they do every two seconds,
    /// and half a second more: so whoever plays is at the same place between two samples, and has
    /// more than a second for a command. Something must have passed since the last sample.
    Sample,
    /// Give an interface another MTU than 1500, until the scenario ends.
    Mtu {
        /// Which.
        port: Port,
        /// Its MTU.
        size: u16,
    },
    /// Let a packet in, and see what leaves.
    Packet(Box<Packet>),
    /// Let packets in, each in one frame, and see where each goes.
    Picks {
        /// The packets, in order.
        packets: Vec<Packet>,
        /// Whether each answer is to be one character.
        compact: bool,
    },
    /// List the connections.
    Connections,
}

/// Who has opened what, as far as the scenario's steps have been read.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    opened: Vec<Packet>,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const INIT: u8 = 1;

impl Cast {
    /// Reads the next step.
    pub(crate) fn step(&mut self, text: &str) -> Result<Step, Fault> {
        match self.deed(text) {
            Ok(deed) => Ok(Step { text: text.trim_end().to_owned(), deed }),
            Err(Fault(why)) => fault(format!("step `{text}`: {why}")),
        }
    }

    fn deed(&mut self, text: &str) -> Result<Deed, Fault> {
        let (line, input) = match text.trim_end().split_once('\n') {
            Some((line, input)) => (line, Some(format!("{input}\n"))),
            None => (text.trim_end(), None),
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        if input.is_some() && verb != "ipvsadm" {
            return fault("only ipvsadm reads further lines");
        }
        match (verb, words.as_slice()) {
            ("ipvsadm", _) => Ok(Deed::Ipvsadm { arguments: rest.to_owned(), input }),
            ("sysctl", _) => match rest.split_once('=') {
                Some((name, value)) => Ok(Deed::Sysctl { name: name.into(), value: value.into() }),
                None => fault("not NAME=VALUE"),
            },
            ("wait", [seconds]) => Ok(Deed::Wait(number(seconds)?)),
            ("steady", [seconds, rate, packet @ ..]) => Ok(Deed::Steady {
                seconds: number(seconds)?,
                rate: number(rate)?,
                packet: Box::new(Packet::parse(&packet.join(" "))?),
            }),
            ("sample", []) => Ok(Deed::Sample),
            ("mtu", ["front", size]) => Ok(Deed::Mtu { port: Port::Front, size: number(size)? }),
            ("mtu", ["back", size]) => Ok(Deed::Mtu { port: Port::Back, size: number(size)? }),
            ("connections", []) => Ok(Deed::Connections),
            ("open", [count, to]) => self.open(number(count)?, "tcp", endpoint(to)?),
            ("open", [count, protocol, to]) => self.open(number(count)?, protocol, endpoint(to)?),
            ("again", [clients]) => self.segments(clients, |_| {}),
            ("fin", [clients]) => self.segments(clients, |packet| flag(packet, FIN | ACK)),
            ("ack", [clients]) => self.segments(clients, |packet| flag(packet, ACK)),
            ("rst", [clients]) => self.segments(clients, |packet| flag(packet, RST)),
            ("strangers", [count, to, seed, ports @ ..]) => {
                let ports = match ports {
                    [] => false,
                    ["ports"] => true,
                    _ => return fault("not `ports`"),
                };
                meet_strangers(number(count)?, endpoint(to)?, seed_of(seed)?, ports)
            }
            ("destinations", [count, port, seed]) => {
                visit_destinations(number(count)?, number(port)?, seed_of(seed)?)
            }
            ("returns", [count, port, seed, family @ ..]) => {
                let ipv6 = match family {
                    [] => false,
                    ["ipv6"] => true,
                    _ => return fault("not `ipv6`"),
                };
                return_to_strangers(number(count)?, number(port)?, seed_of(seed)?, ipv6)
            }
            _ => Ok(Deed::Packet(Box::new(Packet::parse(line)?))),
        }
    }

    fn open(&mut self, count: u16, protocol: &str, to: SocketAddr) -> Result<Deed, Fault> {
        let content = match protocol {
            "tcp" => Content::Tcp(SYN),
            "udp" => Content::Udp,
            "sctp" => Content::Sctp(vec![INIT]),
            _ => return fault(format!("no protocol to open: {protocol}")),
        };
        let known = u16::try_from(self.opened.len()).unwrap_or(u16::MAX);
        let first = |number| Packet::new(Client(number).towards(to.ip()), to, content.clone());
        let packets: Vec<Packet> = (known + 1..=known + count).map(first).collect();
        self.opened.extend_from_slice(&packets);
        Ok(Deed::Picks { packets, compact: false })
    }

    /// Something more from clients who have opened something.
    fn segments(&self, clients: &str, change: impl Fn(&mut Packet)) -> Result<Deed, Fault> {
        let (first, last) = clients.split_once("..").unwrap_or((clients, clients));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        let Some(opened) = first.checked_sub(1).and_then(|first| self.opened.get(first..last))
        else {
            return fault(format!("{} clients have opened something", self.opened.len()));
        };
        let mut packets = opened.to_vec();
        packets.iter_mut().for_each(change);
        Ok(Deed::Picks { packets, compact: false })
    }
}

fn flag(packet: &mut Packet, flags: u8) {
    packet.content = Content::Tcp(flags);
}

fn seed_of(word: &str) -> Result<u64, Fault> {
    match word.strip_prefix("seed=") {
        Some(seed) => number(seed),
        None => fault("not seed=N"),
    }
}

fn meet_strangers(count: usize, to: SocketAddr, seed: u64, ports: bool) -> Result<Deed, Fault> {
    let all = strangers(seed, count, to.is_ipv6(), ports);
    let syn = |from| Packet::new(from, to, Content::Tcp(SYN));
    Ok(Deed::Picks { packets: all.into_iter().map(syn).collect(), compact: true })
}

/// The source ports tell them apart: 65,536 at most.
fn visit_destinations(count: u16, port: u16, seed: u64) -> Result<Deed, Fault> {
    let mut chance = Chance::new(seed);
    let syn = |number| {
        let [.., high, middle, low] = chance.bits().to_be_bytes();
        let to = IpAddr::V4(Ipv4Addr::new(10, 64 + (high & 3), middle, low));
        let from = SocketAddr::from(([198, 18, 0, 1], 1024 + number));
        Packet::new(from, SocketAddr::new(to, port), Content::Tcp(SYN))
    };
    Ok(Deed::Picks { packets: (0..count).map(syn).collect(), compact: true })
}

/// The source ports tell them apart: 64,000 at most.
fn return_to_strangers(count: u16, port: u16, seed: u64, ipv6: bool) -> Result<Deed, Fault> {
    let gateway = neighbours().into_iter().find(|neighbour| neighbour.name == "gw");
    let Some(gateway) = gateway else { return fault("there is no gateway") };
    let host = if ipv6 { gateway.address6.into() } else { gateway.address4.into() };
    let all = strangers(seed, count.into(), ipv6, false);
    let syn = |(number, to): (u16, SocketAddr)| {
        let from = SocketAddr::new(host, number);
        Packet::new(from, SocketAddr::new(to.ip(), port), Content::Tcp(SYN))
    };
    Ok(Deed::Picks { packets: (1024..).zip(all).map(syn).collect(), compact: true })
}

#[cfg(test)]
mod tests {
    use super::{Cast, Deed};

    #[test]
    fn clients_are_numbered_as_they_open() {
        let mut cast = Cast::default();
        cast.step("open 2 10.9.0.1:80").unwrap();
        let Deed::Picks { packets, .. } = cast.step("open 1 udp 10.9.0.1:53").unwrap().deed else {
            panic!("no picks")
        };
        assert_eq!(packets[0].from.port(), 10_003);
        let Deed::Picks { packets, .. } = cast.step("fin 1..2").unwrap().deed else {
            panic!("no picks")
        };
        assert_eq!(packets.iter().map(|packet| packet.to.port()).collect::<Vec<_>>(), [80, 80]);
        let fault = cast.step("fin 4").unwrap_err();
        assert_eq!(fault.0, "step `fin 4`: 3 clients have opened something");
    }

    #[test]
    fn ipvsadm_may_have_input() {
        let step = Cast::default().step("ipvsadm -R\n-A -t 10.9.0.1:80\n").unwrap();
        let input = Some("-A -t 10.9.0.1:80\n".to_owned());
        assert_eq!(step.deed, Deed::Ipvsadm { arguments: "-R".into(), input });
    }
}
