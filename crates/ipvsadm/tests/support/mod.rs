//! What the tests share: names, command lines with quotes, recorded files.
#![allow(dead_code, reason = "each test uses a part")]

use std::net::{IpAddr, Ipv4Addr};

use ipvsadm::{Protocol, Resolver};

/// The names that the recording machine had.
pub(crate) struct Names;

const HOSTS: &[(&str, Ipv4Addr)] = &[("localhost", Ipv4Addr::LOCALHOST)];
const PORTS: &[(&str, Protocol, u16)] = &[
    ("http", Protocol::Tcp, 80),
    ("https", Protocol::Tcp, 443),
    ("http-alt", Protocol::Tcp, 8080),
    ("domain", Protocol::Tcp, 53),
    ("domain", Protocol::Udp, 53),
    ("sip", Protocol::Tcp, 5060),
    ("sip", Protocol::Udp, 5060),
];

impl Resolver for Names {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        HOSTS.iter().find(|(host, _)| *host == name).map(|(_, address)| *address)
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let known = PORTS.iter().find(|known| known.0 == name && known.1 == protocol);
        known.map(|(.., port)| *port)
    }

    fn host_name(&self, address: IpAddr) -> Option<String> {
        let known = HOSTS.iter().find(|(_, host)| address == *host);
        known.map(|(name, _)| (*name).to_owned())
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        let known = PORTS.iter().find(|known| known.2 == port && known.1 == protocol);
        known.map(|(name, ..)| (*name).to_owned())
    }
}

/// The words of a line, after the program's name; single quotes keep blanks and empty words.
pub(crate) fn argv(line: &str) -> Vec<String> {
    let mut words = vec!["ipvsadm".to_owned()];
    let (mut word, mut quoted, mut open) = (String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, open) = (!quoted, true),
            ' ' if !quoted => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            _ => {
                word.push(letter);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

/// The sections of a recorded file: what stands behind `$ `, and the lines up to the next one.
pub(crate) fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections = Vec::new();
    for line in text.lines() {
        if line == "$" || line.starts_with("$ ") {
            sections.push((line[1..].trim_start(), Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line);
        }
    }
    sections
}

/// Pseudo-random numbers (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}
