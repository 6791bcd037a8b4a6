//! The XDP match maps, kept equal to services and addresses.

use std::{collections::BTreeSet, io, net::IpAddr};

use dataplane::snapshot::Snapshot;
use xsk::{AddressFlags, EndpointFlags, MarkSlot, MatchMaps};

use crate::matches::{AddressRoles, EndpointRoles, MatchEntries, mark_slots, match_entries};

/// What the maps hold.
pub(super) struct Matched {
    maps: MatchMaps,
    entries: MatchEntries,
    marks: Vec<MarkSlot>,
    local: BTreeSet<IpAddr>,
    /// The last update failed, and that was said.
    behind: bool,
}

impl Matched {
    pub(super) fn new(maps: MatchMaps) -> Self {
        Self {
            maps,
            entries: MatchEntries::default(),
            marks: Vec::new(),
            local: BTreeSet::new(),
            behind: false,
        }
    }

    /// As [`update`](Self::update); a failure is logged once, and every later call tries again.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        match self.update(snapshot) {
            Ok(()) => self.behind = false,
            Err(error) if !std::mem::replace(&mut self.behind, true) => {
                let remedy = match error.kind() {
                    io::ErrorKind::InvalidInput => "ask for fewer",
                    _ => "raise limits.services or limits.servers",
                };
                log::error!("the match maps: {error}; {remedy}");
            }
            Err(_) => {}
        }
    }

    /// Makes the maps say what this snapshot says. Publish what adds entries before this call.
    ///
    /// # Errors
    /// A map is full: `limits.services` and `limits.servers` are too small. `InvalidInput`:
    /// more mark rules or excepted ranges than the program can hold.
    pub(super) fn update(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let entries = match_entries(&snapshot.services);
        let local: BTreeSet<IpAddr> = snapshot.topology.local.iter().copied().collect();
        self.set_exceptions(&entries)?;
        self.set_endpoints(&entries)?;
        self.set_addresses(&entries, &local)?;
        self.set_marks(&entries, mark_slots(&snapshot.services, &snapshot.topology))?;
        for (protocol, address) in self.entries.exceptions.keys() {
            if !entries.exceptions.contains_key(&(*protocol, *address)) {
                self.maps.remove_exceptions(*protocol as u8, *address)?;
            }
        }
        self.entries = entries;
        self.local = local;
        Ok(())
    }

    /// Before the address says that a service takes every port, and gone only after it.
    fn set_exceptions(&self, entries: &MatchEntries) -> io::Result<()> {
        for (key, ports) in &entries.exceptions {
            if self.entries.exceptions.get(key) != Some(ports) {
                self.maps.set_exceptions(key.0 as u8, key.1, ports)?;
            }
        }
        Ok(())
    }

    fn set_endpoints(&self, entries: &MatchEntries) -> io::Result<()> {
        for (key, roles) in &entries.endpoints {
            if self.entries.endpoints.get(key) != Some(roles) {
                let number = key.protocol as u8;
                self.maps.set_endpoint(number, key.address, key.port, endpoint(roles))?;
            }
        }
        for key in self.entries.endpoints.keys().filter(|k| !entries.endpoints.contains_key(*k)) {
            self.maps.remove_endpoint(key.protocol as u8, key.address, key.port)?;
        }
        Ok(())
    }

    fn set_addresses(&self, entries: &MatchEntries, local: &BTreeSet<IpAddr>) -> io::Result<()> {
        let known: BTreeSet<IpAddr> =
            self.local.iter().chain(self.entries.addresses.keys()).copied().collect();
        let wanted: BTreeSet<IpAddr> =
            local.iter().chain(entries.addresses.keys()).copied().collect();
        for address in &wanted {
            let now = flags(*address, entries, local);
            if !known.contains(address) || now != flags(*address, &self.entries, &self.local) {
                self.maps.set_address(*address, now)?;
            }
        }
        for address in known.difference(&wanted) {
            self.maps.remove_address(*address)?;
        }
        Ok(())
    }

    fn set_marks(&mut self, entries: &MatchEntries, marks: Vec<MarkSlot>) -> io::Result<()> {
        for (mark, ipv6) in entries.marks.difference(&self.entries.marks) {
            self.maps.set_mark_service(*mark, *ipv6)?;
        }
        if marks != self.marks {
            self.maps.set_marks(&marks)?;
            self.marks = marks;
        }
        for (mark, ipv6) in self.entries.marks.difference(&entries.marks) {
            self.maps.remove_mark_service(*mark, *ipv6)?;
        }
        Ok(())
    }
}

fn endpoint(roles: &EndpointRoles) -> EndpointFlags {
    let EndpointRoles { service, server, gue } = *roles;
    let flags = [
        (service, EndpointFlags::SERVICE),
        (server, EndpointFlags::SERVER),
        (gue, EndpointFlags::GUE),
    ];
    let set = flags.into_iter().filter(|(is, _)| *is);
    set.fold(EndpointFlags::default(), |all, (_, flag)| all | flag)
}

/// What an address is by these entries and addresses of the box.
fn flags(address: IpAddr, entries: &MatchEntries, local: &BTreeSet<IpAddr>) -> AddressFlags {
    let mut flags = AddressFlags::default();
    if local.contains(&address) {
        flags = flags | AddressFlags::BOX;
    }
    let Some(roles) = entries.addresses.get(&address) else { return flags };
    let AddressRoles { vip, nat_server, tunnel_server, ftp, .. } = *roles;
    let plain = [
        (vip, AddressFlags::VIP),
        (nat_server, AddressFlags::SERVER),
        (tunnel_server, AddressFlags::TUNNEL),
        (ftp, AddressFlags::FTP),
    ];
    flags = plain.into_iter().filter(|(is, _)| *is).fold(flags, |all, (_, flag)| all | flag);
    if let Some(ports) = &roles.local {
        flags = flags | AddressFlags::local(ports.clone());
    }
    for protocol in &roles.every_port {
        let exceptions = entries.exceptions.contains_key(&(*protocol, address));
        flags = flags | AddressFlags::every_port(*protocol as u8, exceptions);
    }
    for protocol in &roles.from_every_port {
        flags = flags | AddressFlags::from_every_port(*protocol as u8);
    }
    flags
}
