//! A connection as an operator knows it: in captures, and in the connection log.

use std::net::IpAddr;

use crate::{
    forward::{Address, Forward, Protocol},
    snapshot::{ServerId, Services},
    table::{Connection, Way},
};

/// A connection, as its entry has it, and one way of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The client, and its port.
    pub client: (IpAddr, u16),
    /// What it talks to.
    pub vip: (IpAddr, u16),
    /// The real server, by its record where there is one.
    pub server: (IpAddr, u16),
    /// Whom the server answers to; in DR and TUN the client.
    pub local: (IpAddr, u16),
    /// Transport protocol.
    pub protocol: Protocol,
    /// Forwarding method.
    pub forward: Forward,
    /// The server's id.
    pub server_id: ServerId,
    /// From whom this packet is.
    pub way: Way,
}

impl Link {
    /// The connection's, seen by a packet of this way.
    pub fn new<A: Address>(services: &Services, c: &Connection<A>, way: Way) -> Self {
        let (client, vip) = ((c.client.ip(), c.cport), (c.vip.ip(), c.vport));
        // In TUN the entry has no server: it may be of the other family.
        let server = services.server(c.server_id).map_or(c.server.ip(), |server| server.address);
        let local = if c.forward.two_way() { (c.local.ip(), c.lport) } else { client };
        Self {
            client,
            vip,
            server: (server, c.rport),
            local,
            protocol: c.protocol,
            forward: c.forward,
            server_id: c.server_id,
            way,
        }
    }
}
