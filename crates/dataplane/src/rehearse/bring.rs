//! Copies of what concerns a packet: whatever the datapath may read of the running director on
//! its way. Where it lies is asked with the datapath's own functions.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Rehearsal;
use crate::{
    admit::Chosen,
    director::{Director, Family},
    forward::{Forward, Protocol, Tuple, V4, V6},
    fragment::{Decision, datagram},
    icmp::{ICMP, reported},
    lookup::Target,
    packet::{Fragment, IcmpError, Packet, Parsed, parse},
    quote::parse_quoted,
    snapshot::{ServerId, ServiceId},
    source_ports::{PORT_TRIES, Ports},
    table::{Connection, ConnectionRef, Found, Keys, Table, TemplateRef, Way},
    template,
    topology::PortId,
};

/// How many connections may be in the way of a new one, to any of so many servers: their ports.
pub(super) const fn obstacles(servers: usize) -> usize {
    servers.saturating_mul(PORT_TRIES as usize + 1)
}

/// What is here of one family's tables, by its place in the running ones.
#[derive(Default)]
pub(super) struct Brought {
    connections: HashMap<Place, ConnectionRef>,
    templates: HashMap<Place, ConnectionRef>,
    /// Entries that only take room: the running table has no more.
    fillers: Vec<ConnectionRef>,
    template_fillers: Vec<ConnectionRef>,
}

/// Number and generation.
type Place = (u32, u32);

const fn place<A>(found: &Found<A>) -> Place {
    (found.id, found.meta.generation())
}

/// A template of which nothing is known any more: none has an even generation.
const GONE: ConnectionRef = ConnectionRef { id: 0, generation: 2 };

impl Rehearsal<'_> {
    /// Copies what concerns a packet.
    pub(super) fn bring(&mut self, port: PortId, frame: &[u8]) {
        match parse(frame) {
            Parsed::V4(packet) => self.bring_packet(port, &packet),
            Parsed::V6(packet) => self.bring_packet(port, &packet),
            Parsed::Error4(error) => self.bring_error(port, frame, &error),
            Parsed::Error6(error) => self.bring_error(port, frame, &error),
            Parsed::Punt(_) | Parsed::Drop(_) => {}
        }
    }

    fn bring_packet<A: Family>(&mut self, port: PortId, packet: &Packet<A>) {
        self.make_room::<A>();
        match packet.fragment {
            Fragment::Later => self.bring_decision(packet),
            Fragment::First => {
                self.datagrams.insert(datagram(packet));
                self.bring_for_opening(port, packet);
            }
            Fragment::Whole => self.bring_for_opening(port, packet),
        }
        self.take_room::<A>();
    }

    /// What an ICMP error is about, and may open (`schedule_icmp`).
    fn bring_error<A: Family>(&mut self, port: PortId, frame: &[u8], error: &IcmpError<A>) {
        let at = usize::from(error.l4) + ICMP;
        let end = usize::from(error.end);
        let Some(quote) = parse_quoted::<A>(&frame[at..end]) else { return };
        let tunnel =
            self.with_breath(port, |b| b.quoted_tunnel(&quote, &frame[at + quote.l4..end]));
        if let Some(tunnel) = tunnel {
            let inner = frame.get(at + quote.l4 + tunnel.header()..end).unwrap_or_default();
            return match tunnel.ipv6 {
                true => self.bring_quoted::<V6>(inner),
                false => self.bring_quoted::<V4>(inner),
            };
        }
        if let Some(about) = quote.tuple.map(Tuple::reversed) {
            self.make_room::<A>();
            self.bring_for_opening(port, &reported(error, about));
            self.take_room::<A>();
        }
    }

    fn bring_quoted<A: Family>(&mut self, inner: &[u8]) {
        if let Some(tuple) = parse_quoted::<A>(inner).and_then(|quote| quote.tuple) {
            self.make_room::<A>();
            self.bring_connection(&tuple);
            self.take_room::<A>();
        }
    }

    /// What a first fragment decided, in terms of what is here.
    fn bring_decision<A: Family>(&mut self, packet: &Packet<A>) {
        let datagram = datagram(packet);
        if !self.datagrams.insert(datagram) {
            return;
        }
        let Some(Decision::Connection { id, generation, reverse }) =
            self.real.fragments.find(&datagram, self.now)
        else {
            return;
        };
        let found = A::table(self.real).get(ConnectionRef { id, generation });
        let decision = match found.and_then(|found| self.adopt(&found)) {
            Some(ConnectionRef { id, generation }) => {
                Decision::Connection { id, generation, reverse }
            }
            None => Decision::Dropped,
        };
        self.scratch.fragments.decide(datagram, decision, self.now);
    }

    /// The connection of a packet, and all that decides about a new one.
    fn bring_for_opening<A: Family>(&mut self, port: PortId, packet: &Packet<A>) {
        self.bring_connection(&packet.tuple);
        let snapshot = Arc::clone(&self.snapshot);
        let services = &snapshot.services;
        if snapshot.topology.probes == Some(port) {
            self.scratch.pins.pin_like(&self.real.pins, packet.tuple.sport);
            let pinned = self.scratch.pins.server(packet.tuple.sport);
            let Some((id, server)) = pinned.and_then(|id| Some((id, services.server(id)?))) else {
                return;
            };
            let Some(service) = services.service_of(id) else { return };
            let target = Target { id: server.service, service, ftp_data: false };
            self.bring_admission(&target);
            return self.bring_obstacles(port, packet, &target, id);
        }
        let Some((id, ftp_data)) = self.sought(port, packet) else { return };
        let Some(Some(service)) = services.services.get(id as usize) else { return };
        let target = Target { id, service, ftp_data };
        let candidates = self.bring_admission(&target);
        if let Some(persistence) = &target.service.policy.persistence {
            let key = template::key(&target.service.key, persistence, packet);
            if let Some(found) = A::templates(self.real).table().find(&key) {
                let server = found.connection.server_id;
                self.adopt_template(&found);
                self.bring_obstacles(port, packet, &target, server);
            }
        }
        for id in candidates {
            self.bring_obstacles(port, packet, &target, id);
        }
    }

    /// The service that a packet is for, and whether by LVS's FTP rule.
    pub(super) fn sought<A: Family>(
        &self,
        port: PortId,
        packet: &Packet<A>,
    ) -> Option<(ServiceId, bool)> {
        self.with_breath(port, |breath| {
            breath.target(packet).map(|target| (target.id, target.ftp_data))
        })
    }

    /// The service's scheduler with its list; the list.
    fn bring_admission(&mut self, target: &Target<'_>) -> Vec<ServerId> {
        if self.services.insert(target.id) {
            let copy = self.real.admission(target.id).clone();
            *self.scratch.admission(target.id) = copy;
        }
        let admission = self.scratch.admission(target.id);
        let candidates = admission.as_ref().map(|a| a.candidates.iter().map(|c| c.id).collect());
        candidates.unwrap_or_default()
    }

    /// The connections whose answers would be mixed up with those of a new one to this server,
    /// by each of the ports that are tried.
    fn bring_obstacles<A: Family>(
        &mut self,
        port: PortId,
        packet: &Packet<A>,
        target: &Target<'_>,
        id: ServerId,
    ) {
        let snapshot = Arc::clone(&self.snapshot);
        let Some(server) = snapshot.services.server(id) else { return };
        let probing = snapshot.topology.probes == Some(port);
        if !server.forward.two_way() && !probing {
            return;
        }
        let chosen = Chosen { id, server, template: None };
        let keys = if probing { Keys::Probe } else { Keys::Both };
        let mut connection =
            self.with_breath(port, |breath| breath.connection_to(packet, target, &chosen, keys));
        let turn = self.real.server(id).local_turn();
        let ports = Ports::new(packet, target.service, server, turn);
        for tried in 0..=PORT_TRIES {
            let Some((local, lport)) = ports.after(tried) else { break };
            (connection.local, connection.lport) = (local, lport);
            let taken = connection.reverse_key().and_then(|key| A::table(self.real).find(&key));
            match taken {
                Some(found) => drop(self.adopt(&found)),
                // The search ends with the first that is free, unless one that is here already
                // has it.
                None if self.is_free(&connection) => break,
                None => {}
            }
        }
    }

    fn is_free<A: Family>(&self, connection: &Connection<A>) -> bool {
        let table = A::table(&self.scratch);
        let taken = |key| key == connection.forward_key() || table.find(&key).is_some();
        !connection.reverse_key().is_some_and(taken)
    }

    fn bring_connection<A: Family>(&mut self, tuple: &Tuple<A>) {
        if let Some(found) = A::table(self.real).find(tuple) {
            self.adopt(&found);
        }
    }

    /// Copies a connection; where it is here.
    fn adopt<A: Family>(&mut self, found: &Found<A>) -> Option<ConnectionRef> {
        let family = usize::from(A::IPV6);
        if let Some(here) = self.brought[family].connections.get(&place(found)) {
            return Some(*here);
        }
        let template = match A::templates(self.real).of(found.connection.template) {
            Some(template) => self.adopt_template(&template).unwrap_or(GONE),
            None => GONE,
        };
        let controlled = found.connection.controlled();
        let template = if controlled { TemplateRef::new(template) } else { TemplateRef::NONE };
        let connection = Connection { template, ..found.connection };
        let table = A::table(&self.scratch);
        let (state, timeout) = (found.meta.state(), found.meta.timeout());
        let here = table.insert(&connection, state, timeout, found.stamp).ok()?;
        let hops = found.hops;
        if let Some(new) = table.get(here) {
            table.set_hops(&new, hops.route_generation(), hops.hop_in(), hops.hop_out());
        }
        self.brought[family].connections.insert(place(found), here);
        Some(here)
    }

    fn adopt_template<A: Family>(&mut self, found: &Found<A>) -> Option<ConnectionRef> {
        let templates = &mut self.brought[usize::from(A::IPV6)].templates;
        if let Some(here) = templates.get(&place(found)) {
            return Some(*here);
        }
        let here = A::templates(&self.scratch).adopt(A::templates(self.real), found)?;
        templates.insert(place(found), here);
        Some(here)
    }

    /// Takes away what only took room.
    fn make_room<A: Family>(&mut self) {
        let brought = &mut self.brought[usize::from(A::IPV6)];
        free(A::table(&self.scratch), &mut brought.fillers);
        free(A::templates(&self.scratch).table(), &mut brought.template_fillers);
    }

    /// Leaves no more room than the running tables have.
    fn take_room<A: Family>(&mut self) {
        let brought = &mut self.brought[usize::from(A::IPV6)];
        let table = |director: &'_ Director| A::table(director).free();
        let left = left(table(self.real), brought.connections.len(), A::table(&self.scratch));
        fill(A::table(&self.scratch), left, &mut brought.fillers);
        let templates = A::templates(&self.scratch).table();
        let left =
            self::left(A::templates(self.real).table().free(), brought.templates.len(), templates);
        fill(templates, left, &mut brought.template_fillers);
    }
}

/// How many more fit, if of what is here so many were brought.
fn left<A: Family>(free: usize, brought: usize, table: &Table<A>) -> usize {
    (free + brought).saturating_sub(table.len())
}

/// Fills the table up, if nearly nothing is left.
fn fill<A: Family>(table: &Table<A>, left: usize, fillers: &mut Vec<ConnectionRef>) {
    /// A packet opens at most one.
    const NEARLY: usize = 2;
    if left > NEARLY {
        return;
    }
    let nobody = A::from_words([0, 0]);
    let filler = Connection {
        client: nobody,
        cport: 0,
        vip: nobody,
        vport: 0,
        server: nobody,
        rport: 0,
        local: nobody,
        lport: 0,
        protocol: Protocol::Tcp,
        forward: Forward::Dr,
        server_id: 0,
        flags: 0,
        // It cannot be found.
        keys: Keys::Neither,
        template: TemplateRef::NONE,
    };
    while table.free() > left {
        match table.insert(&filler, 0, 0, 0) {
            Ok(place) => fillers.push(place),
            Err(_) => break,
        }
    }
}

fn free<A: Family>(table: &Table<A>, fillers: &mut Vec<ConnectionRef>) {
    for place in fillers.drain(..) {
        if let Some(found) = table.get(place) {
            table.remove(&Found { direction: Way::Forward, ..found });
        }
    }
}
