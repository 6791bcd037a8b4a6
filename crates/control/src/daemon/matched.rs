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

/// What explain says of the match contract, beside the program itself (`BPF_PROG_RUN`, which needs
/// CAP_BPF and CAP_NET_ADMIN).
#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use dataplane::{
        forward::{Endpoint, Forward, Protocol, ServiceKey, Tunnel},
        mark::MarkRule,
        policy::{LocalAddress, Persistence, Policy},
        prefix::Prefix,
        snapshot::{Server, Service, Services, Snapshot},
        topology::{Interface, Mac, Topology},
    };
    use xsk::{Action, MatchCapacities, MatchMaps, Program};

    use super::Matched;
    use crate::{
        explain::contract::Contract,
        matches::{mark_slots, match_entries},
    };

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % limit
        }

        fn pick<T: Copy>(&mut self, among: &[T]) -> T {
            among[self.below(among.len())]
        }
    }

    fn at(v6: bool, host: u8) -> IpAddr {
        match v6 {
            true => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]),
            false => IpAddr::from([10, 0, 0, host]),
        }
    }

    const PORTS: [u16; 6] = [20, 21, 53, 80, 8080, 10_005];

    fn services(random: &mut Random) -> Services {
        let mut all = Services::default();
        for id in 0..5u32 {
            let v6 = random.below(2) == 0;
            let protocol = random.pick(&Protocol::ALL);
            let vip = at(v6, 1 + random.below(2) as u8);
            let port = random.pick(&[0, 21, 53, 80]);
            let key = if random.below(4) == 0 {
                all.marks.push(MarkRule {
                    mark: id + 1,
                    mask: u32::MAX,
                    destination: Prefix::new(vip, random.pick(&[if v6 { 128 } else { 32 }, 24]))
                        .expect("within"),
                    source: None,
                    protocol: (random.below(2) == 0).then_some(protocol),
                    ports: if random.below(2) == 0 { vec![50..=90] } else { vec![] },
                    interface: None,
                });
                ServiceKey::Mark { mark: id + 1, ipv6: v6 }
            } else {
                Endpoint { protocol, address: vip, port }.into()
            };
            if all.by_key.contains_key(&key) {
                continue;
            }
            let local = LocalAddress { address: at(v6, 7), ports: 10_000..=10_010 };
            let policy = Policy {
                persistence: (random.below(2) == 0)
                    .then_some(Persistence { timeout: 60, prefix: 32 }),
                except_ports: if random.below(2) == 0 { vec![20..=60] } else { vec![] },
                local_addresses: if random.below(3) == 0 { vec![local] } else { vec![] },
                ..Policy::default()
            };
            let service = all.services.len() as u32;
            let forward = random.pick(&[Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun]);
            let tunnel = random.pick(&[
                Tunnel::Ipip,
                Tunnel::Gue { port: 80, checksum: false },
                Tunnel::Gre { checksum: false },
            ]);
            let server = random.pick(&[0, 80, 8080]);
            let server = Server {
                tunnel,
                ..Server::new(service, at(v6, 4 + random.below(2) as u8), server, forward)
            };
            let servers = vec![all.servers.len() as u32];
            all.servers.push(Some(server));
            all.services.push(Some(Service { servers, ..Service::new("s", key, policy) }));
            all.by_key.insert(key, service);
        }
        all.derive();
        all
    }

    /// An IP packet with ports, perhaps a fragment, perhaps in an ICMP error.
    fn packet(random: &mut Random, v6: bool, number: u32, nested: bool) -> Vec<u8> {
        let protocol = match random.below(12) {
            0 => 47,
            1 => 4,
            2 => 41,
            3 if !nested => {
                let quoted = packet(random, v6, number, true);
                let kind = if v6 {
                    random.pick(&[1, 2, 3, 4, 128])
                } else {
                    random.pick(&[3, 4, 8, 11, 12])
                };
                let body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &quoted[..]].concat();
                return ip(random, v6, if v6 { 58 } else { 1 }, number, (false, 0), &body);
            }
            _ => random.pick(&[6, 17, 132]),
        };
        let (source, destination) = (random.pick(&PORTS), random.pick(&PORTS));
        let mut body = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        body.resize(40, 0);
        let part =
            random.pick(&[(false, 0), (false, 0), (false, 0), (true, 0), (true, 8), (false, 8)]);
        ip(random, v6, protocol, number, part, &body)
    }

    fn ip(
        random: &mut Random,
        v6: bool,
        protocol: u8,
        number: u32,
        (more, offset): (bool, u16),
        body: &[u8],
    ) -> Vec<u8> {
        let ends = [at(v6, 1 + random.below(8) as u8), at(v6, 1 + random.below(8) as u8)];
        let octets: Vec<u8> = ends
            .iter()
            .flat_map(|end| match end {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            })
            .collect();
        let mut packet = Vec::new();
        if v6 {
            let part = more || offset > 0;
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((body.len() as u16 + if part { 8 } else { 0 }).to_be_bytes());
            packet.extend([if part { 44 } else { protocol }, 64]);
            packet.extend(octets);
            if part {
                packet.extend([protocol, 0]);
                packet.extend((offset | u16::from(more)).to_be_bytes());
                packet.extend(number.to_be_bytes());
            }
        } else {
            packet.extend([0x45, 0]);
            packet.extend((20 + body.len() as u16).to_be_bytes());
            packet.extend((number as u16).to_be_bytes());
            packet.extend(((u16::from(more) << 13) | (offset / 8)).to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(octets);
        }
        packet.extend(body);
        packet
    }

    #[test]
    fn explain_and_the_program_agree() {
        let mut random = Random(9);
        let (mut taken, mut kept) = ([0u32; 7], 0u32);
        for _ in 0..40 {
            let services = services(&mut random);
            let local = [1, 3, 7].iter().filter(|_| random.below(3) > 0);
            let local: Vec<u8> = local.copied().collect();
            let name = "lo".to_owned();
            let topology = Topology {
                local: local.iter().flat_map(|h| [at(false, *h), at(true, *h)]).collect(),
                interfaces: vec![Interface { name, index: 1, mac: MAC, mtu: 1500, up: true }],
                ..Topology::default()
            };
            let snapshot = Snapshot::new(1, Arc::new(services), Arc::new(topology));
            let capacities =
                MatchCapacities { endpoints: 256, addresses: 256, ..Default::default() };
            let maps = MatchMaps::new(capacities).expect("CAP_BPF");
            let program = Program::load_dry(&maps, MAC.0).expect("CAP_BPF and CAP_NET_ADMIN");
            let mut matched = Matched::new(maps);
            matched.update(&snapshot).expect("room in the maps");
            let entries = match_entries(&snapshot.services);
            let marks = mark_slots(&snapshot.services, &snapshot.topology);
            let contract = Contract {
                entries: &entries,
                marks: &marks,
                topology: &snapshot.topology,
                mac: MAC,
                interface: 1,
            };
            for number in 0..500 {
                let v6 = random.below(2) == 0;
                let packet = packet(&mut random, v6, number, false);
                let ethertype: [u8; 2] = if v6 { [0x86, 0xdd] } else { [8, 0] };
                let to = if random.below(30) == 0 { [2; 6] } else { MAC.0 };
                let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9], &ethertype, &packet].concat();
                if random.below(20) == 0 {
                    frame.truncate(14 + random.below(frame.len() - 14));
                }
                let met = contract.meet(&frame);
                let action = program.run(&frame).expect("a frame");
                assert_eq!(met.taken, action == Action::Take, "{met:?} {frame:02x?}");
                match met.rule.filter(|_| met.taken) {
                    Some(rule) => taken[usize::from(rule)] += 1,
                    None => kept += 1,
                }
            }
        }
        println!("taken by rules {taken:?}, kept {kept}");
        for rule in [1, 2, 4, 5, 6] {
            assert!(taken[rule] > 20, "rule {rule}: {taken:?}");
        }
    }
}
