//! What a lab is made of, as data: hosts are the names that links and routes mention.
use crate::failure::{Outcome, fail};

/// One network to stand the director in.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// As on the command line and as the file in `configs/` is called.
    pub name: &'static str,
    /// The forwarding mode, in the words of the YAML file.
    pub forward: &'static str,
    /// The virtual addresses, IPv4 and IPv6.
    pub vips: [&'static str; 2],
    /// The director's own addresses that FullNAT puts in place of the client's.
    pub local: [&'static str; 2],
    /// The director's interfaces, the client's side first.
    pub interfaces: &'static [&'static str],
    /// The real servers `server1`, `server2`, `server3`: IPv4 and IPv6.
    pub servers: [[&'static str; 2]; 3],
    /// How a real server comes to take what is addressed to the VIP.
    pub preparation: Preparation,
    /// Every cable.
    pub links: &'static [&'static [Link]],
    /// Every route but those that addresses bring along.
    pub routes: &'static [&'static [Route]],
    /// Hosts that forward.
    pub routers: &'static [&'static str],
}

/// How a real server comes to take what is addressed to the VIP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preparation {
    /// The director rewrites the address: nothing to do.
    None,
    /// The VIP is on lo, by `scripts/realserver`.
    VipOnLo,
    /// The same, and an XDP program takes off the outer header: not every kernel has ipip.
    VipOnLoAndDecapsulation,
}

/// A veth pair.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// One end.
    pub a: End,
    /// The other.
    pub b: End,
    /// Of both ends, in bytes.
    pub mtu: u16,
}

/// One end of a link. On the host called `switch` it becomes a port of its bridge.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The host's name; also its namespace's, after the run's prefix.
    pub host: &'static str,
    /// The interface's name inside that namespace.
    pub interface: &'static str,
    /// With prefix lengths, both families.
    pub addresses: &'static [&'static str],
}

/// One route of one host.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Whose.
    pub host: &'static str,
    /// The destination: a prefix, or `default`.
    pub to: &'static str,
    /// The gateway; tells the family too.
    pub via: &'static str,
}

/// The host whose links are ports of one bridge.
pub const SWITCH: &str = "switch";

/// An end, in one line of a table.
pub(super) const fn end(
    host: &'static str,
    interface: &'static str,
    addresses: &'static [&'static str],
) -> End {
    End { host, interface, addresses }
}

/// A port of the switch, named after what is plugged in.
pub(super) const fn port(name: &'static str) -> End {
    end(SWITCH, name, &[])
}

/// A link of the usual MTU.
pub(super) const fn link(a: End, b: End) -> Link {
    narrow_link(a, b, 1500)
}

/// A link of another MTU.
pub(super) const fn narrow_link(a: End, b: End, mtu: u16) -> Link {
    Link { a, b, mtu }
}

/// A route, in one line of a table.
pub(super) const fn route(host: &'static str, to: &'static str, via: &'static str) -> Route {
    Route { host, to, via }
}

impl Topology {
    /// Every cable.
    pub fn links(&self) -> impl Iterator<Item = &'static Link> {
        self.links.iter().copied().flatten()
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = &'static Route> {
        self.routes.iter().copied().flatten()
    }

    /// Every host once, in order of first mention.
    pub fn hosts(&self) -> Vec<&'static str> {
        let mut hosts = Vec::new();
        for link in self.links() {
            for host in [link.a.host, link.b.host] {
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
        }
        hosts
    }

    /// The real servers' names with their addresses.
    pub fn servers(&self) -> impl Iterator<Item = (String, [&'static str; 2])> {
        self.servers.into_iter().enumerate().map(|(at, own)| (format!("server{}", at + 1), own))
    }

    /// The topology of that name.
    ///
    /// # Errors
    /// When there is none; the message lists those that there are.
    pub fn named(name: &str) -> Outcome<&'static Self> {
        let all = super::topologies::ALL;
        let names = || all.iter().map(|one| one.name).collect::<Vec<_>>().join(", ");
        match all.iter().find(|one| one.name == name) {
            Some(found) => Ok(found),
            None => fail(format!("no mode {name:?}: there are {}", names())),
        }
    }
}
