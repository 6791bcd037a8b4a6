//! Names of hosts and ports as the C library has them: `/etc/hosts`, DNS, `/etc/services`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, ToSocketAddrs},
};

use ::ipvsadm::{Protocol, Resolver};

/// This machine's names.
pub(crate) struct System;

impl Resolver for System {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        let addresses = (name, 0).to_socket_addrs().ok()?;
        addresses.into_iter().find_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        entry(protocol, |entry| entry.names.contains(&name)).map(|entry| entry.0)
    }

    fn host_name(&self, address: IpAddr) -> Option<String> {
        let name = dns_lookup::lookup_addr(&address).ok()?;
        (name != address.to_string()).then_some(name)
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        entry(protocol, |entry| entry.port == port).map(|entry| entry.1)
    }
}

/// A line of `/etc/services` (services(5)): its name, `port/protocol`, its aliases.
struct Entry<'a> {
    names: Vec<&'a str>,
    port: u16,
}

/// Port and name of the first entry of a protocol that fits.
fn entry(protocol: Protocol, fits: impl Fn(&Entry<'_>) -> bool) -> Option<(u16, String)> {
    let text = fs::read_to_string("/etc/services").ok()?;
    let protocol = protocol.name().to_lowercase();
    text.lines().find_map(|line| {
        let entry = read(line, &protocol)?;
        fits(&entry).then(|| (entry.port, entry.names[0].to_owned()))
    })
}

fn read<'a>(line: &'a str, protocol: &str) -> Option<Entry<'a>> {
    let mut words = line.split('#').next()?.split_whitespace();
    let (name, place) = (words.next()?, words.next()?);
    let (port, of) = place.split_once('/')?;
    let names = std::iter::once(name).chain(words).collect();
    (of == protocol).then_some(Entry { names, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn lines_of_etc_services() {
        let rows = [
            ("http\t\t80/tcp\t\twww # WorldWideWeb HTTP", "tcp", Some((80, vec!["http", "www"]))),
            ("domain 53/udp", "tcp", None),
            ("# a comment", "tcp", None),
            ("", "udp", None),
        ];
        for (line, protocol, wanted) in rows {
            assert_eq!(read(line, protocol).map(|entry| (entry.port, entry.names)), wanted);
        }
    }
}
