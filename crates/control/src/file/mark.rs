//! `marks:`, what `iptables -t mangle -A PREROUTING ... -j MARK` does for LVS.

use std::ops::RangeInclusive;

use dataplane::{forward::Protocol, prefix::Prefix};

use super::{
    cursor::{Cursor, Put, Spot},
    scalar,
};
use crate::fault::Fault;

/// One entry of `marks:`.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Where it stands.
    pub spot: Spot,
    /// `mark`.
    pub mark: u32,
    /// `mask`; all bits unless given.
    pub mask: u32,
    /// `destination`.
    pub destination: Prefix,
    /// `source`.
    pub source: Option<Put<Prefix>>,
    /// `protocol`.
    pub protocol: Option<Protocol>,
    /// `ports`.
    pub ports: Vec<RangeInclusive<u16>>,
    /// `interface`.
    pub interface: Option<Put<String>>,
}

/// The ports that iptables' multiport match takes, which we take too.
const PORTS_MOST: usize = 15;

pub(super) fn mark(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Mark> {
    let mut keys = at.keys(faults)?;
    let number = keys.need("mark", faults, "write mark: 10");
    let number = number.and_then(|at| at.read(faults, scalar::mark));
    let mask = keys.take("mask").and_then(|at| at.read(faults, scalar::mark));
    let destination = keys.need("destination", faults, "write destination: 203.0.113.10/32");
    let destination = destination.and_then(|at| at.read(faults, scalar::prefix));
    let source = keys.take("source").and_then(|at| at.read(faults, scalar::prefix));
    let protocols = Protocol::ALL.map(|protocol| (protocol.name(), protocol));
    let protocol = keys.take("protocol").and_then(|at| at.word(faults, &protocols));
    let ports = keys.take("ports").map(|at| ports(&at, faults)).unwrap_or_default();
    let interface = keys.take("interface").and_then(|at| at.read(faults, scalar::interface));
    keys.finish(faults, |_| false);
    let mask = mask.map_or(u32::MAX, |put| put.value);
    let number = number?;
    if number.value & !mask != 0 {
        let sentence = format!("{:#x} has bits that the mask {mask:#x} has not", number.value);
        faults.push(number.spot.fault(sentence, "write a mask with these bits, or leave it out"));
    }
    Some(Mark {
        spot: number.spot,
        mark: number.value,
        mask,
        destination: destination?.value,
        source,
        protocol: protocol.map(|put| put.value),
        ports,
        interface,
    })
}

/// One port or range, or a list of them.
pub(super) fn ports(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Vec<RangeInclusive<u16>> {
    let before = faults.len();
    let items = at.one_or_more(faults);
    if items.is_empty() && faults.len() == before {
        faults.push(at.fault("an empty list would do nothing", "write ports, or remove the key"));
    }
    if items.len() > PORTS_MOST {
        let sentence = format!("{} ports and ranges, more than {PORTS_MOST}", items.len());
        faults.push(at.fault(sentence, "write ranges that join some of them"));
    }
    let port = |item: &Cursor<'_>| item.read(faults, scalar::port_or_ports);
    items.iter().filter_map(port).map(|put| put.value).collect()
}
