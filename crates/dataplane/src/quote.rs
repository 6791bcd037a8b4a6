//! The packet that an ICMP error quotes, as far as it is there.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use crate::{
    forward::{Address, Protocol, Tuple, V4, V6},
    packet::{Fragment, walk_extensions},
    wire::{self, ipv4, u16_at},
};

/// The packet that an ICMP error quotes, as far as it is there: the IP header must be
/// whole, the transport header needs its ports only.
pub fn parse_quoted<A: Quoted>(quote: &[u8]) -> Option<Quote<A>> {
    A::parse_quoted(quote)
}

/// A quoted packet: offsets count from its own IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<A> {
    /// Its addresses.
    pub src: A,
    /// Its destination.
    pub dst: A,
    /// Its transport protocol number.
    pub protocol: u8,
    /// Its ports, if its protocol has some that services have and it is not a later fragment.
    pub tuple: Option<Tuple<A>>,
    /// Octets from its IP header to its transport header, which a later fragment has not.
    pub l4: usize,
    /// It is a later fragment.
    pub later: bool,
    /// DF of a quoted IPv4 packet; true for IPv6.
    pub dont_fragment: bool,
}

/// Families whose quoted packets can be read.
pub trait Quoted: Address {
    /// See [`parse_quoted`].
    fn parse_quoted(quote: &[u8]) -> Option<Quote<Self>>;
}

impl Quoted for V4 {
    fn parse_quoted(quote: &[u8]) -> Option<Quote<Self>> {
        let header = Ipv4HeaderSlice::from_slice(quote).ok()?;
        let flags = u16_at(quote, ipv4::FRAGMENT);
        let whole = flags & ipv4::OFFSET == 0;
        Some(quoted(
            [Self::from_wire(&quote[ipv4::SOURCE..]), Self::from_wire(&quote[ipv4::DESTINATION..])],
            header.protocol().0,
            header.slice().len(),
            whole.then_some(quote),
            flags & ipv4::DF != 0,
        ))
    }
}

impl Quoted for V6 {
    fn parse_quoted(quote: &[u8]) -> Option<Quote<Self>> {
        let header = Ipv6HeaderSlice::from_slice(quote).ok()?;
        let chain = walk_extensions(quote, header.next_header().0, wire::ipv6::LEN).ok()?;
        let whole = chain.fragment != Fragment::Later;
        let addresses = [
            Self::from_wire(&quote[wire::ipv6::SOURCE..]),
            Self::from_wire(&quote[wire::ipv6::DESTINATION..]),
        ];
        Some(quoted(addresses, chain.protocol, chain.l4, whole.then_some(quote), true))
    }
}

fn quoted<A: Address>(
    [src, dst]: [A; 2],
    protocol: u8,
    l4: usize,
    with_ports: Option<&[u8]>,
    dont_fragment: bool,
) -> Quote<A> {
    let tuple = with_ports.and_then(|quote| {
        let protocol = Protocol::from_number(protocol)?;
        let ports: &[u8; 4] = quote.get(l4..)?.first_chunk()?;
        Some(Tuple { src, dst, sport: u16_at(ports, 0), dport: u16_at(ports, 2), protocol })
    });
    Quote { src, dst, protocol, tuple, l4, later: with_ports.is_none(), dont_fragment }
}
