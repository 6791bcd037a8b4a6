//! Marks: which packets belong to a mark service. A rule does what `iptables -t mangle -A
//! PREROUTING ... -j MARK` does for LVS. The XDP program takes what a rule matches; here the
//! same rules say which mark a packet gets that has no connection yet.

use std::{net::IpAddr, ops::RangeInclusive};

use crate::{forward::Protocol, prefix::Prefix, topology::PortId};

/// One rule; all that it names must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MarkRule {
    /// The bits that it sets, of those in `mask`.
    pub mark: u32,
    /// The bits that it changes (`--set-xmark`); all of them unless said otherwise.
    pub mask: u32,
    /// Where the packet goes; also says the family.
    pub destination: Prefix,
    /// Where it comes from.
    pub source: Option<Prefix>,
    /// Its protocol; none: TCP, UDP and SCTP.
    pub protocol: Option<Protocol>,
    /// Destination ports; none: every one.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Where it arrives.
    pub interface: Option<PortId>,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// Where it arrived.
    pub interface: PortId,
}

impl MarkRule {
    /// The packet is one of this rule's.
    pub fn matches(&self, packet: &Marked) -> bool {
        self.destination.contains(packet.destination)
            && self.source.is_none_or(|source| source.contains(packet.source))
            && self.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && (self.ports.is_empty() || self.ports.iter().any(|r| r.contains(&packet.port)))
            && self.interface.is_none_or(|interface| interface == packet.interface)
    }
}

/// The mark that the rules give a packet, one after the other as netfilter goes through a
/// chain (MARK does not end it); 0 if none matches.
pub fn mark(rules: &[MarkRule], packet: &Marked) -> u32 {
    let matching = rules.iter().filter(|rule| rule.matches(packet));
    matching.fold(0, |mark, rule| mark & !rule.mask | rule.mark & rule.mask)
}
