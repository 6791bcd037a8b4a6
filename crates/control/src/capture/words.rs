//! What is said of a captured packet.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use dataplane::{
    capture::{Fate, Note, Side},
    link::Link,
    snapshot::{ServiceId, Services},
    table::Way,
};
use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

/// The packet's comment: which way it goes, its connection, what became of it and why.
pub(super) fn comment(note: &Note, services: &Services) -> String {
    let mut text = match (note.side, note.fate) {
        (_, Fate::Originated) => "ours: ".to_owned(),
        (Side::In, _) => "in: ".to_owned(),
        (Side::Out, Fate::Answered(_, kind)) => format!("answer: {}: ", kind.name()),
        (Side::Out, Fate::Reset) => "answer: reset: ".to_owned(),
        (Side::Out, _) => "out: ".to_owned(),
    };
    text += &end(note);
    let about = match &note.link {
        Some(link) => Some(connection(link, services)),
        None => note.service.and_then(|id| service(id, services)),
    };
    match about {
        Some(about) if text.ends_with(": ") => text += &about,
        Some(about) => text += &format!(" [{about}]"),
        None if text.ends_with(": ") => text.truncate(text.len() - 2),
        None => {}
    }
    if note.waited_ms > 0 {
        let _ = write!(text, ", after {} ms of waiting", note.waited_ms);
    }
    text
}

/// What became of it, where it was not forwarded.
fn end(note: &Note) -> String {
    match note.fate {
        Fate::Dropped(reason) => {
            format!("dropped: {}: {}", reason.name(), reason.sentence().trim())
        }
        Fate::Answered(reason, kind) if note.side == Side::In => format!(
            "dropped: {}: {} Answered: {}.",
            reason.name(),
            reason.sentence().trim(),
            kind.name()
        ),
        Fate::Reset if note.side == Side::In => "dropped: reset: both ends are reset.".to_owned(),
        Fate::Punted(reason) => {
            format!("to the kernel: {}: {}", reason.name(), reason.sentence().trim())
        }
        Fate::Answered(..) | Fate::Reset | Fate::Forwarded | Fate::Waits | Fate::Originated => {
            String::new()
        }
    }
}

/// `web 203.0.113.10:80/tcp -> 10.0.2.11:80 (nat, rr)`; `<-` of what the server sends.
fn connection(link: &Link, services: &Services) -> String {
    let service = services.service_of(link.server_id);
    let name = service.map_or("", |service| &service.name);
    let scheduler = service.map(|service| service.policy.scheduler.kind.name());
    let arrow = if link.way == Way::Forward { "->" } else { "<-" };
    let mut text = format!(
        "{name} {}/{} {arrow} {}",
        place(link.vip),
        link.protocol.name(),
        place(link.server)
    );
    if link.local != link.client {
        let _ = write!(text, " by {}", place(link.local));
    }
    let how = [Some(link.forward.name()), scheduler].into_iter().flatten();
    let _ = write!(text, " ({})", how.collect::<Vec<_>>().join(", "));
    text.trim_start().to_owned()
}

fn service(id: ServiceId, services: &Services) -> Option<String> {
    let service = services.services.get(id as usize)?.as_ref()?;
    Some(format!("{} {}", service.name, service.key))
}

pub(super) fn place((address, port): (IpAddr, u16)) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The service's name, if it is known.
pub(super) fn service_name(note: &Note, services: &Services) -> Option<String> {
    let id = note.service?;
    Some(services.services.get(id as usize)?.as_ref()?.name.clone())
}

/// One word for what became of it, and the reason's name.
pub(super) const fn verdict(fate: Fate) -> (&'static str, Option<&'static str>) {
    match fate {
        Fate::Forwarded => ("forwarded", None),
        Fate::Answered(reason, _) => ("answered", Some(reason.name())),
        Fate::Reset => ("answered", Some("reset")),
        Fate::Dropped(reason) => ("dropped", Some(reason.name())),
        Fate::Punted(reason) => ("punted", Some(reason.name())),
        Fate::Waits => ("held", None),
        Fate::Originated => ("originated", None),
    }
}

/// A line about the packet's headers, much as tcpdump has it; a tunnel's packet behind its own.
pub(super) fn headers(frame: &[u8]) -> String {
    match LaxSlicedPacket::from_ethernet(frame) {
        Ok(sliced) => of_packet(&sliced),
        Err(_) => format!("{} octets, no Ethernet", frame.len()),
    }
}

fn of_packet(sliced: &LaxSlicedPacket<'_>) -> String {
    let (from, to, payload): (IpAddr, IpAddr, _) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload())
        }
        _ => return "no IP".to_owned(),
    };
    let hosts = format!("{from} > {to}");
    let talk = |[source, destination]: [u16; 2]| format!("{from}.{source} > {to}.{destination}");
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            format!("{}: {}", talk([tcp.source_port(), tcp.destination_port()]), segment(tcp))
        }
        Some(TransportSlice::Udp(udp)) => {
            let talk = talk([udp.source_port(), udp.destination_port()]);
            format!("{talk}: udp, length {}", udp.payload().len())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!("{hosts}: icmp type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            format!("{hosts}: icmp6 type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Igmp(_)) => format!("{hosts}: igmp"),
        None if payload.fragmented => {
            format!("{hosts}: fragment, length {}", payload.payload.len())
        }
        None => match (payload.ip_number, payload.payload) {
            (IpNumber::IPV4 | IpNumber::IPV6, inner) => match LaxSlicedPacket::from_ip(inner) {
                Ok(inner) => format!("{hosts}: ipip: {}", of_packet(&inner)),
                Err(_) => format!("{hosts}: ipip"),
            },
            (IpNumber::SCTP, &[a, b, c, d, ..]) => {
                let talk = talk([[a, b], [c, d]].map(u16::from_be_bytes));
                format!("{talk}: sctp, length {}", payload.payload.len())
            }
            (number, octets) => {
                let name = number.keyword_str().map(str::to_lowercase);
                let name = name.unwrap_or_else(|| format!("protocol {}", number.0));
                format!("{hosts}: {name}, length {}", octets.len())
            }
        },
    }
}

/// `tcp [S.], seq 1, length 0`.
fn segment(tcp: &TcpSlice<'_>) -> String {
    let flags =
        [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), '.')];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    format!("tcp [{flags}], seq {}, length {}", tcp.sequence_number(), tcp.payload().len())
}
