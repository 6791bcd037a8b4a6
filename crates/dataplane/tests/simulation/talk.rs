//! A talk: all that one client address and port ever says to one service, over as many
//! connections as come to be. Every packet carries its talk's mark and a pattern.

use std::net::{IpAddr, SocketAddr};

use dataplane::forward::{Forward, Protocol};

use crate::wire::{Wrong, check};

/// Where a talk is, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not begun, or over: a SYN comes next, most of the time.
    Silent,
    /// A SYN is out.
    Asking,
    /// A server answered.
    Open,
}

/// One client's end.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) forward: Forward,
    pub(crate) phase: Phase,
    /// Its packets are damaged on the way.
    pub(crate) hostile: bool,
}

/// What a packet's data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) talk: u16,
    /// Packets of servers: the life of the connection that they answer to.
    pub(crate) life: Option<u32>,
    /// Unique in the simulation.
    pub(crate) seq: u32,
}

impl Mark {
    /// Octets of the mark itself.
    pub(crate) const LEN: usize = 11;

    /// Data of at least [`Mark::LEN`] octets.
    pub(crate) fn data(self, len: usize) -> Vec<u8> {
        let mut data = vec![0x5a];
        data.extend(self.talk.to_be_bytes());
        data.extend(self.life.unwrap_or(u32::MAX).to_be_bytes());
        data.extend(self.seq.to_be_bytes());
        data.extend((Self::LEN..len).map(|i| self.octet(i)));
        data
    }

    fn octet(self, i: usize) -> u8 {
        (self.seq as usize * 31 + usize::from(self.talk) * 17 + i * 7 + i / 256) as u8
    }

    /// The mark of data, every octet of which must be as it was sent.
    pub(crate) fn read(data: &[u8]) -> Result<Self, Wrong> {
        check(data.len() >= Self::LEN && data[0] == 0x5a, "no mark")?;
        let long = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| data[at + i]));
        let mark = Self {
            talk: u16::from_be_bytes([data[1], data[2]]),
            life: Some(long(3)).filter(|life| *life != u32::MAX),
            seq: long(7),
        };
        let intact = (Self::LEN..data.len()).all(|i| data[i] == mark.octet(i));
        check(intact, "damaged data")?;
        Ok(mark)
    }
}

/// An address with a port.
pub(crate) fn end(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
