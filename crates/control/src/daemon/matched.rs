//! The XDP match maps, kept equal to services and addresses.

use std::{collections::BTreeSet, io, net::IpAddr};

use dataplane::snapshot::Snapshot;
use xsk::{AddressFlags, EndpointFlags, MatchMaps};

use crate::matches::{AddressRoles, EndpointRoles, MatchEntries, match_entries};

/// What the maps hold.
pub(super) struct Matched {
    maps: MatchMaps,
    entries: MatchEntries,
    local: BTreeSet<IpAddr>,
    /// The last update failed, and that was said.
    behind: bool,
}

impl Matched {
    pub(super) fn new(maps: MatchMaps) -> Self {
        Self { maps, entries: MatchEntries::default(), local: BTreeSet::new(), behind: false }
    }

    /// As [`update`](Self::update); a failure is logged once, and every later call tries again.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        match self.update(snapshot) {
            Ok(()) => self.behind = false,
            Err(error) if !std::mem::replace(&mut self.behind, true) => {
                log::error!("the match maps: {error}; raise limits.services or limits.servers");
            }
            Err(_) => {}
        }
    }

    /// Makes the maps say what this snapshot says. Publish what adds entries before this call.
    ///
    /// # Errors
    /// A map is full: `limits.services` and `limits.servers` are too small.
    pub(super) fn update(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let entries = match_entries(&snapshot.services);
        let local: BTreeSet<IpAddr> = snapshot.topology.local.iter().copied().collect();
        for (key, roles) in &entries.endpoints {
            if self.entries.endpoints.get(key) != Some(roles) {
                let number = key.protocol as u8;
                self.maps.set_endpoint(number, key.address, key.port, endpoint(roles))?;
            }
        }
        for key in self.entries.endpoints.keys().filter(|k| !entries.endpoints.contains_key(*k)) {
            self.maps.remove_endpoint(key.protocol as u8, key.address, key.port)?;
        }
        let known: BTreeSet<IpAddr> =
            self.local.iter().chain(self.entries.addresses.keys()).copied().collect();
        let wanted: BTreeSet<IpAddr> =
            local.iter().chain(entries.addresses.keys()).copied().collect();
        for address in &wanted {
            let now = (entries.addresses.get(address), local.contains(address));
            let before = (self.entries.addresses.get(address), self.local.contains(address));
            if now != before || !known.contains(address) {
                self.maps.set_address(*address, flags(now.0, now.1))?;
            }
        }
        for address in known.difference(&wanted) {
            self.maps.remove_address(*address)?;
        }
        self.entries = entries;
        self.local = local;
        Ok(())
    }
}

fn endpoint(roles: &EndpointRoles) -> EndpointFlags {
    match (roles.service, roles.server) {
        (true, true) => EndpointFlags::SERVICE | EndpointFlags::SERVER,
        (true, false) => EndpointFlags::SERVICE,
        (false, true) => EndpointFlags::SERVER,
        (false, false) => EndpointFlags::default(),
    }
}

fn flags(roles: Option<&AddressRoles>, of_the_box: bool) -> AddressFlags {
    let mut flags = AddressFlags::default();
    if of_the_box {
        flags = flags | AddressFlags::BOX;
    }
    let Some(roles) = roles else { return flags };
    if roles.vip {
        flags = flags | AddressFlags::VIP;
    }
    if let Some(ports) = &roles.local {
        flags = flags | AddressFlags::local(ports.clone());
    }
    if roles.nat_server {
        flags = flags | AddressFlags::SERVER;
    }
    if roles.tunnel_server {
        flags = flags | AddressFlags::TUNNEL;
    }
    flags
}
