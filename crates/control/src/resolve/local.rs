//! FullNAT's local addresses: whether their ports can be ours.

use std::net::IpAddr;

use dataplane::policy::LocalAddress;
use hashbrown::HashMap;

use super::{Names, Surroundings, twice};
use crate::{
    fault::Fault,
    file::{File, LocalGroup, Put},
    model,
    sockets::covers,
};

/// The addresses of all groups with their ports, in file order.
pub(super) fn all(file: &File) -> Vec<LocalAddress> {
    file.local_addresses.iter().flat_map(|written| group(written).addresses).collect()
}

/// One group.
pub(super) fn group(written: &LocalGroup) -> model::LocalGroup {
    let ports = written.ports.as_ref().map(|put| put.value.clone());
    let with_ports =
        |put: &Put<IpAddr>| Some(LocalAddress { address: put.value, ports: ports.clone()? });
    model::LocalGroup {
        name: written.name.value.clone(),
        addresses: written.addresses.iter().filter_map(with_ports).collect(),
    }
}

/// Checks every group by itself and against the others.
pub(super) fn check(
    file: &File,
    names: &Names<'_>,
    around: Option<&Surroundings>,
    faults: &mut Vec<Fault>,
) {
    let mut ranges = HashMap::new();
    for group in &file.local_addresses {
        let mut seen = HashMap::new();
        for Put { value: address, spot } in &group.addresses {
            if twice(&mut seen, *address, &address.to_string(), spot, faults) {
                continue;
            }
            if names.vips.contains(address) {
                faults.push(spot.fault(
                    format!("{address} is a VIP: clients' packets and servers' answers would mix"),
                    "write another address of the box",
                ));
            }
            let Some(ports) = &group.ports else { continue };
            let first = ranges.entry(*address).or_insert((&ports.value, spot.place.line));
            if first.0 != &ports.value {
                faults.push(spot.fault(
                    format!("{address} has other ports on line {}", first.1),
                    "give one address the same ports everywhere",
                ));
            }
        }
        if let Some(around) = around {
            ports(group, around, faults);
        }
    }
}

/// Answers to ports that the kernel uses too would be taken from it.
fn ports(group: &LocalGroup, around: &Surroundings, faults: &mut Vec<Fault>) {
    let Some(Put { value: ours, spot }) = &group.ports else { return };
    let (low, high) = (around.sockets.ephemeral.start(), around.sockets.ephemeral.end());
    if ours.start() <= high && low <= ours.end() {
        faults.push(spot.fault(
            format!(
                "the ports overlap {low}-{high}, which the kernel gives to its own connections"
            ),
            "write another range, or move the kernel's with \
             sysctl net.ipv4.ip_local_port_range",
        ));
    }
    for address in &group.addresses {
        let taken = around.sockets.bound.iter();
        let taken = taken.filter(|s| ours.contains(&s.port) && covers(s, address.value));
        for socket in taken {
            faults.push(address.spot.fault(
                format!("a socket of this box is bound to {socket}, within the ports"),
                "write another range or another address, or move that socket",
            ));
        }
    }
}
