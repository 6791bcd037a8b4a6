//! Marks: that every mark service gets packets.

use dataplane::{
    mark::{self, MarkRule},
    topology::PortId,
};

use crate::{
    fault::Fault,
    file::{self, File, Mark, Takes},
};

/// The most rules that the XDP program walks; one with several ranges of ports counts for
/// each of them.
const RULES_MOST: usize = 256;

/// The rules, in file order.
pub(super) fn rules(file: &File, faults: &mut Vec<Fault>) -> Vec<MarkRule> {
    let mut count = 0;
    let beyond = file.marks.iter().find(|mark| {
        count += mark.ports.len().max(1);
        count > RULES_MOST
    });
    if let Some(beyond) = beyond {
        faults.push(beyond.spot.fault(
            format!("more than {RULES_MOST} rules up to here, counting each range of ports"),
            "join some of them by wider prefixes or ranges",
        ));
    }
    file.marks.iter().map(|mark| rule(file, mark, faults)).collect()
}

fn rule(file: &File, mark: &Mark, faults: &mut Vec<Fault>) -> MarkRule {
    let to = mark.destination;
    if let Some(source) = &mark.source
        && source.value.address().is_ipv4() != to.address().is_ipv4()
    {
        faults.push(source.spot.fault(
            format!("{} and the destination {to} are of different families", source.value),
            "write one rule for each family",
        ));
    }
    let interface = mark.interface.as_ref().and_then(|name| {
        let served = file.interfaces.iter().position(|i| i.name.value == name.value);
        if served.is_none() {
            faults.push(name.spot.fault(
                format!("\"{}\" is not one of interfaces:", name.value),
                "add it there, or write one that is",
            ));
        }
        served.map(|index| index as PortId)
    });
    MarkRule {
        mark: mark.mark,
        mask: mark.mask,
        destination: to,
        source: mark.source.as_ref().map(|put| put.value),
        protocol: mark.protocol,
        ports: mark.ports.clone(),
        interface,
    }
}

/// Reports a mark service that no packet can reach.
pub(super) fn without_rule(rules: &[MarkRule], service: &file::Service, faults: &mut Vec<Fault>) {
    let Takes::Mark { mark, ipv6 } = &service.takes else { return };
    if mark::possible(rules, mark.value, *ipv6) {
        return;
    }
    let family = if *ipv6 { "IPv6" } else { "IPv4" };
    let any = if *ipv6 { "\"2001:db8::10/128\"" } else { "203.0.113.10/32" };
    faults.push(mark.spot.fault(
        format!("no rule gives an {family} packet the mark {}", mark.value),
        format!("add one under marks:, like {{mark: {}, destination: {any}}}", mark.value),
    ));
}
