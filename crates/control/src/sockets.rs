//! The sockets of this box, beside which services take packets.

use std::{net::IpAddr, ops::RangeInclusive};

use dataplane::forward::{Endpoint, Protocol};

/// The sockets of this box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// Those of TCP, UDP and SCTP that listen, or are bound.
    pub bound: Vec<Endpoint>,
    /// The ports that the kernel gives to its own connections
    /// (`/proc/sys/net/ipv4/ip_local_port_range`).
    pub ephemeral: RangeInclusive<u16>,
}

impl Sockets {
    /// The ports, in order, at which sockets get packets to a VIP, of these that `taken` says
    /// would be taken from them.
    pub(crate) fn losing(&self, vip: IpAddr, taken: impl Fn(&Endpoint) -> bool) -> Vec<u16> {
        let losing = self.bound.iter().filter(|socket| {
            // A UDP socket on a port of that range asks, from an address that the kernel chose:
            // it expects nothing at a VIP.
            let asks = socket.protocol == Protocol::Udp && self.ephemeral.contains(&socket.port);
            !asks && covers(socket, vip) && taken(socket)
        });
        let mut ports: Vec<u16> = losing.map(|socket| socket.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// The socket gets what is sent to `address`. One that is bound to `::` gets IPv4 too, unless
/// it was told otherwise, which cannot be seen.
pub(crate) fn covers(socket: &Endpoint, address: IpAddr) -> bool {
    match socket.address {
        IpAddr::V6(any) if any.is_unspecified() => true,
        IpAddr::V4(any) if any.is_unspecified() => address.is_ipv4(),
        ip => ip.to_canonical() == address,
    }
}
