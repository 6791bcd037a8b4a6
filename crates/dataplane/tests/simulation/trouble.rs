//! Who talks, and what goes wrong: lost neighbours, new routes, ports that go down, servers
//! that fail, damaged packets, garbage.

use std::{collections::BTreeSet, sync::Arc};

use dataplane::forward::Forward;

use crate::{
    ground::{ClientRoute, Ground, NEAR_CLIENT, Net, at},
    random::Random,
    talk::{Phase, Talk, end},
    wire::checksum,
    world::{Event, Note, Parcel, World},
};

/// The last octets of clients behind the gateway.
const FAR: [u8; 2] = [2, 3];
const HOSTILE: u8 = 66;
const PORTS: [u16; 3] = [40_000, 40_001, 50_000];

/// Some talks of some clients. Few ports, so that two VIPs have the same client's port.
pub(crate) fn talks(random: &mut Random, ground: &Ground) -> Vec<Talk> {
    let mut seen = BTreeSet::new();
    let mut talks = Vec::new();
    for _ in 0..6 + random.below(24) {
        let key = ground.endpoint(random.below(ground.services.services.len()));
        let v6 = key.address.is_ipv6();
        let client = match random.below(6) {
            0 | 1 => at(v6, Net::Front, NEAR_CLIENT),
            2 => at(v6, Net::Clients, HOSTILE),
            _ => at(v6, Net::Clients, random.pick(&FAR)),
        };
        let port = random.pick(&PORTS);
        if !seen.insert((key, client, port)) {
            continue;
        }
        talks.push(Talk {
            client: end(client, port),
            vip: end(key.address, key.port),
            protocol: key.protocol,
            forward: forward(ground, &key),
            phase: Phase::Silent,
            hostile: client == at(v6, Net::Clients, HOSTILE),
        });
    }
    talks
}

fn forward(ground: &Ground, key: &dataplane::forward::Endpoint) -> Forward {
    let service = ground.services.by_key[&dataplane::forward::ServiceKey::from(*key)];
    ground.server(ground.service(service as usize).servers[0]).forward
}

/// Changes of the ground.
impl World {
    /// The ground after something changed: things break, or are as they should be again.
    pub(crate) fn changed(&mut self) -> Ground {
        let mut ground = self.ground.clone();
        ground.generation += 1;
        let what = if self.random.chance(40) {
            self.repair(&mut ground)
        } else {
            self.change(&mut ground)
        };
        self.event(Event::Change(what));
        self.count(what);
        ground
    }

    fn change(&mut self, ground: &mut Ground) -> &'static str {
        let neighbour = self.random.below(ground.neighbours.len());
        let port = self.random.below(2);
        match self.random.below(10) {
            0 | 1 => {
                ground.neighbours[neighbour].version += 1;
                "a neighbour's MAC changed"
            }
            2 | 3 => {
                ground.neighbours[neighbour].known = false;
                "a neighbour was lost"
            }
            4 => {
                ground.gateways[port] ^= 1;
                ground.route_generation += 1;
                "another gateway"
            }
            5 => {
                ground.ports[port].mtu = self.random.pick(&[1500, 1400, 1280]);
                ground.route_generation += 1;
                "another MTU"
            }
            6 => {
                ground.ports[port].up = false;
                ground.route_generation += 1;
                "a port went down"
            }
            7 => {
                ground.clients =
                    self.random.pick(&[ClientRoute::Missing, ClientRoute::Unreachable]);
                ground.route_generation += 1;
                "no route to clients"
            }
            _ => self.change_server(ground),
        }
    }

    /// Ports and routes are as they should be. Neighbours come back when they are asked for.
    fn repair(&mut self, ground: &mut Ground) -> &'static str {
        for port in &mut ground.ports {
            (port.up, port.mtu) = (true, 1500);
        }
        ground.clients = ClientRoute::Via;
        ground.route_generation += 1;
        "repair"
    }

    fn change_server(&mut self, ground: &mut Ground) -> &'static str {
        let id = self.random.below(ground.services.servers.len());
        let services = Arc::make_mut(&mut ground.services);
        let server = services.servers[id].as_mut().expect("never removed");
        let what = match self.random.below(3) {
            0 => {
                server.up = !server.up;
                "a server failed or came back"
            }
            1 => {
                server.drained = !server.drained;
                "a server was drained or not"
            }
            _ => {
                server.weight = self.random.below(4) as u32;
                "another weight"
            }
        };
        services.derive();
        services.follow(&self.ground.services);
        self.director.prepare(services);
        what
    }

    /// Lost neighbours that the director asked for are found again.
    pub(crate) fn neighbours_return(&mut self) {
        let lost = |n: &usize| {
            let neighbour = &self.ground.neighbours[*n];
            !neighbour.known && self.asked.contains(&(neighbour.port, neighbour.address))
        };
        let lost: Vec<usize> = (0..self.ground.neighbours.len()).filter(lost).collect();
        if lost.is_empty() || self.random.chance(70) {
            return;
        }
        let mut ground = self.ground.clone();
        ground.generation += 1;
        let n = self.random.pick(&lost);
        ground.neighbours[n].known = true;
        ground.neighbours[n].version += 1;
        self.asked.remove(&(ground.neighbours[n].port, ground.neighbours[n].address));
        self.count("a neighbour came back");
        self.event(Event::Change("a neighbour came back"));
        self.publish(ground);
    }
}

/// Damage.
impl World {
    /// Damages the parcels from `first` on, but not so that somebody else's connection or
    /// datagram is meant.
    pub(crate) fn damage(&mut self, first: usize) {
        for at in first..self.parcels.len() {
            let whole = self.parcels[at].frame.clone();
            let frame = &mut self.parcels[at].frame;
            for _ in 0..1 + self.random.below(3) {
                let octet = 14 + self.random.below(frame.len().min(80) - 14);
                frame[octet] ^= 1 << self.random.below(8);
            }
            match self.random.below(10) {
                0 => frame.truncate(14 + self.random.below(whole.len() - 14)),
                1 => frame.extend([0; 9]),
                _ => {}
            }
            restore_identity(frame, &whole);
            if whole[12..14] == [8, 0] && frame.len() >= 34 && self.random.chance(70) {
                mend_header(&mut frame[14..34]);
            }
            self.parcels[at].note.hostile = true;
        }
    }

    /// A frame of nothing in particular.
    pub(crate) fn garbage(&mut self) {
        let len = self.random.below(200);
        let mut frame: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
        if len > 60 && self.random.chance(80) {
            let v6 = self.random.chance(50);
            frame[0] = 2;
            frame[12..15].copy_from_slice(if v6 { &[0x86, 0xdd, 0x60] } else { &[8, 0, 0x45] });
        }
        let port = self.random.below(2) as u16;
        let note = Note { hostile: true, len, ..Note::default() };
        self.parcels.push(Parcel { port, frame, note });
    }
}

/// Gives a frame back its packet's addresses, ports and identification.
fn restore_identity(frame: &mut [u8], whole: &[u8]) {
    const IPV4: u8 = 8;
    const FRAGMENT: u8 = 44;
    let kept = match (whole[12], whole[20]) {
        (IPV4, _) => [18..20, 26..38],
        (_, FRAGMENT) => [22..54, 58..66],
        _ => [22..54, 54..58],
    };
    for at in kept.into_iter().flatten() {
        if let (Some(octet), Some(was)) = (frame.get_mut(at), whole.get(at)) {
            *octet = *was;
        }
    }
}

/// Makes the checksum of a damaged IPv4 header right, so that it gets further.
fn mend_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
