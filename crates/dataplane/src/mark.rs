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

/// Whether some packet of the family can get this mark, from one rule or from several with
/// masks together, as far as marks and families tell.
pub fn possible(rules: &[MarkRule], mark: u32, ipv6: bool) -> bool {
    let of_family = rules.iter().filter(|rule| rule.destination.address().is_ipv6() == ipv6);
    let agreeing = of_family.filter(|rule| rule.mark & rule.mask == mark & rule.mask);
    agreeing.fold(0, |bits, rule| bits | rule.mark & rule.mask) == mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_with_masks_make_a_mark_together() {
        let rule = |mark, mask, destination: &str| MarkRule {
            mark,
            mask,
            destination: Prefix::host(destination.parse().unwrap()),
            source: None,
            protocol: None,
            ports: Vec::new(),
            interface: None,
        };
        let rules = [
            rule(0x10, 0xf0, "192.0.2.1"),
            rule(0x2, 0xf, "192.0.2.2"),
            rule(9, u32::MAX, "2001:db8::1"),
        ];
        let rows = [
            (0x10, false, true),
            (0x12, false, true),
            (0x2, false, true),
            (0x14, false, false),
            (0x112, false, false),
            (9, false, false),
            (9, true, true),
            (0x10, true, false),
        ];
        for (mark, ipv6, expected) in rows {
            assert_eq!(possible(&rules, mark, ipv6), expected, "{mark:#x} {ipv6}");
        }
    }
}
