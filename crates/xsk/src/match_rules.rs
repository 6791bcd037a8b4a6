//! Mark rules as the match program walks them (`bpf/marks.h`).

use crate::{bpf::Plain, match_maps::octets};
use std::{net::IpAddr, ops::RangeInclusive};

/// How many mark rules the match program walks; one with several ranges of ports takes so many.
pub const MARK_SLOTS: usize = 256;

/// One mark rule with at most one range of ports: what `iptables -t mangle -A PREROUTING ...
/// -j MARK --set-xmark` says. A rule with several ranges is several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkSlot {
    /// The bits that it sets, of those in `mask`.
    pub mark: u32,
    /// The bits that it changes.
    pub mask: u32,
    /// Network and prefix length; also says the family. Packets to an address of the box are
    /// only taken by a rule for a single address.
    pub destination: (IpAddr, u8),
    /// Network and prefix length.
    pub source: Option<(IpAddr, u8)>,
    /// 6, 17 or 132; none: all three.
    pub protocol: Option<u8>,
    /// Destination ports; none: every one.
    pub ports: Option<RangeInclusive<u16>>,
    /// The index of the interface where packets arrive, not 0.
    pub interface: Option<u32>,
}

/// `struct mark_rule` of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    destination: [u8; 16],
    destination_mask: [u8; 16],
    source: [u8; 16],
    source_mask: [u8; 16],
    keep: u32,
    set: u32,
    named: u32,
    interface: u32,
    interface_mask: u32,
    low: u16,
    high: u16,
    protocol: u8,
    protocol_mask: u8,
    flags: u8,
    zero: u8,
}

// SAFETY: 4 * 16 + 5 * 4 + 2 * 2 + 4 octets, aligned to 4, no padding.
unsafe impl Plain for Slot {}

const IPV6: u8 = 1;

impl Slot {
    pub(crate) fn new(rule: &MarkSlot) -> Self {
        let (destination, destination_mask) = network(rule.destination);
        let (source, source_mask) = rule.source.map_or(([0; 16], [0; 16]), network);
        let range = rule.ports.clone().unwrap_or(0..=u16::MAX);
        Self {
            destination,
            destination_mask,
            source,
            source_mask,
            keep: !rule.mask,
            set: rule.mark & rule.mask,
            named: if destination_mask == [255; 16] { rule.mask } else { 0 },
            interface: rule.interface.unwrap_or_default(),
            interface_mask: rule.interface.map_or(0, |_| u32::MAX),
            low: *range.start(),
            high: *range.end(),
            protocol: rule.protocol.unwrap_or_default(),
            protocol_mask: rule.protocol.map_or(0, |_| u8::MAX),
            flags: if rule.destination.0.is_ipv6() { IPV6 } else { 0 },
            zero: 0,
        }
    }
}

/// The octets of a network, and those of its mask.
fn network((address, length): (IpAddr, u8)) -> ([u8; 16], [u8; 16]) {
    let bits = if address.is_ipv4() { u32::from(length.min(32)) + 96 } else { length.into() };
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0).to_be_bytes();
    let mut network = octets(address);
    network.iter_mut().zip(mask).for_each(|(octet, mask)| *octet &= mask);
    (network, mask)
}
