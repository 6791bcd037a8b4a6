//! What was seen of a packet on its way: facts. Whoever tells an operator makes sentences of them.

use std::net::{IpAddr, SocketAddr};

use super::Rehearsal;
use crate::{
    admit::opens,
    director::{Family, ResolveRequest},
    forward::{Forward, Protocol, Tuple},
    fragment::{Decision, datagram},
    icmp::{ICMP, reported},
    packet::{Fragment, Packet, Parsed, parse},
    quote::parse_quoted,
    route::{Obstacle, find_hop},
    snapshot::{ServerId, ServiceId},
    state::State,
    stats::Stats,
    table::{ConnectionRef, Found, Keys, Way},
    template,
    topology::{Hop, PortId},
    verdict::{Answer, Drop, Punt},
};

/// All that was seen of one packet.
#[derive(Clone, Debug)]
pub struct Account {
    /// What the frame holds.
    pub parsed: Parsed,
    /// The connection that it belongs to, as it was before; of an ICMP error, the one that it is
    /// about.
    pub known: Option<Line>,
    /// The service that it is for, and whether by LVS's rule for FTP data. Only packets without a
    /// connection ask.
    pub service: Option<(ServiceId, bool)>,
    /// It is of a kind that opens connections of that service.
    pub opens: bool,
    /// The client's persistence template, as it was before.
    pub template: Option<Template>,
    /// What the service's scheduler saw.
    pub ratings: Vec<sched::Rating>,
    /// The server that a new connection, or a packet scheduled by itself, went to.
    pub picked: Option<ServerId>,
    /// The server that it went to without an entry, as the connection table has no room.
    pub stateless: Option<ServerId>,
    /// The connection afterwards.
    pub connection: Option<Line>,
    /// The way out, where there is a connection or a pick.
    pub way_out: Option<WayOut>,
    /// What became of it.
    pub end: End,
    /// Everything that was dropped; an [answer](End::Answered) tells the sender.
    pub drops: Vec<Drop>,
    /// What was given to the kernel, and why.
    pub punts: Vec<Punt>,
    /// What we originated.
    pub answers: Vec<Answer>,
    /// The frames that left, with their ports.
    pub sent: Vec<(PortId, Vec<u8>)>,
    /// Frames that are held more than before.
    pub held: i64,
    /// Neighbours that the kernel was asked for.
    pub asked: Vec<ResolveRequest>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It left; whole, or in so many parts.
    Sent(usize),
    /// It was dropped, and its sender was told, or its connection's ends were reset.
    Answered(Drop),
    /// It was dropped.
    Dropped(Drop),
    /// The kernel gets it.
    Punted(Punt),
    /// It is held for up to a second: for a neighbour's MAC, or for its datagram's first fragment.
    Waits,
}

/// A connection, for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The client.
    pub client: SocketAddr,
    /// What it talks to.
    pub vip: SocketAddr,
    /// How the server sees the client; only in NAT and FullNAT.
    pub local: SocketAddr,
    /// The server.
    pub server: SocketAddr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// How packets reach the server.
    pub forward: Forward,
    /// Its id.
    pub server_id: ServerId,
    /// The connection's state.
    pub state: Option<State>,
    /// Seconds until it expires, if nothing more comes.
    pub left: u32,
    /// Which end the packet comes from.
    pub way: Way,
    /// Under which keys it is found.
    pub keys: Keys,
    /// A persistence template decided about its server.
    pub controlled: bool,
}

/// A client's template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Where it sends the client.
    pub server: ServerId,
    /// Seconds until it expires; 0 if only its connections keep it.
    pub left: u32,
    /// The connections that it controls.
    pub controlled: u32,
}

/// Where a packet of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayOut {
    /// The end that it is for; in TUN, the tunnel's.
    pub destination: IpAddr,
    /// The next hop, and its address; or what is in the way.
    pub hop: Result<(Hop, IpAddr), Obstacle>,
    /// The MTU of the way, in octets of IP; the route's own counts.
    pub mtu: u16,
    /// Octets that a tunnel adds.
    pub overhead: u16,
}

/// What is known before.
pub(super) struct Before {
    parsed: Parsed,
    known: Option<Line>,
    service: Option<(ServiceId, bool)>,
    opens: bool,
    template: Option<Template>,
    ratings: Vec<sched::Rating>,
    /// The connections ever made, by candidate.
    opened: Vec<(ServerId, u64)>,
    about: About,
}

/// By what the packet's connection is found.
#[derive(Clone, Copy)]
enum About {
    Nothing,
    V4(Packet<crate::forward::V4>),
    V6(Packet<crate::forward::V6>),
}

/// Counters that tell what happened.
#[derive(Clone)]
pub(super) struct Counted {
    drops: [u64; Drop::COUNT],
    punts: [u64; Punt::COUNT],
    answers: [u64; Answer::COUNT],
    stateless: u64,
    /// Packets by server.
    forwarded: Vec<u64>,
    held: i64,
}

impl Counted {
    pub(super) fn of(stats: &Stats, held: usize) -> Self {
        Self {
            drops: stats.drops.each_ref().map(crate::stats::Counter::value),
            punts: stats.punts.each_ref().map(crate::stats::Counter::value),
            answers: stats.answers.each_ref().map(crate::stats::Counter::value),
            stateless: stats.stateless.value(),
            forwarded: stats.servers.iter().map(|server| server.in_packets.value()).collect(),
            held: held as i64,
        }
    }

    pub(super) fn since(self, before: &Self) -> Self {
        let less = |now: u64, then: u64| now - then;
        Self {
            drops: std::array::from_fn(|at| less(self.drops[at], before.drops[at])),
            punts: std::array::from_fn(|at| less(self.punts[at], before.punts[at])),
            answers: std::array::from_fn(|at| less(self.answers[at], before.answers[at])),
            stateless: less(self.stateless, before.stateless),
            forwarded: self.forwarded.iter().zip(&before.forwarded).map(|(n, t)| n - t).collect(),
            held: self.held - before.held,
        }
    }
}

/// Each reason as often as it was counted.
fn named<T: Copy>(all: &[T], counts: &[u64]) -> Vec<T> {
    all.iter().zip(counts).flat_map(|(one, n)| std::iter::repeat_n(*one, *n as usize)).collect()
}

impl Rehearsal<'_> {
    /// What is known of a packet before it is let happen.
    pub(super) fn look(&self, port: PortId, frame: &[u8]) -> Before {
        let parsed = parse(frame);
        let mut before = Before {
            parsed,
            known: None,
            service: None,
            opens: false,
            template: None,
            ratings: Vec::new(),
            opened: Vec::new(),
            about: About::Nothing,
        };
        match &parsed {
            Parsed::V4(packet) => before.about = About::V4(*packet),
            Parsed::V6(packet) => before.about = About::V6(*packet),
            Parsed::Error4(error) => {
                let quote = &frame[usize::from(error.l4) + ICMP..usize::from(error.end)];
                let tuple = parse_quoted(quote).and_then(|quote| quote.tuple);
                if let Some(about) = tuple.map(Tuple::reversed) {
                    before.about = About::V4(reported(error, about));
                }
            }
            Parsed::Error6(error) => {
                let quote = &frame[usize::from(error.l4) + ICMP..usize::from(error.end)];
                let tuple = parse_quoted(quote).and_then(|quote| quote.tuple);
                if let Some(about) = tuple.map(Tuple::reversed) {
                    before.about = About::V6(reported(error, about));
                }
            }
            Parsed::Punt(_) | Parsed::Drop(_) => {}
        }
        match before.about {
            About::Nothing => {}
            About::V4(packet) => self.look_at(port, &packet, &mut before),
            About::V6(packet) => self.look_at(port, &packet, &mut before),
        }
        before
    }

    fn look_at<A: Family>(&self, port: PortId, packet: &Packet<A>, before: &mut Before) {
        before.known = self.line(before, packet);
        let error = matches!(before.parsed, Parsed::Error4(_) | Parsed::Error6(_));
        let services = &self.snapshot.services;
        let id = if self.snapshot.topology.probes == Some(port) {
            let pinned = self.scratch.pins.server(packet.tuple.sport);
            let Some(server) = pinned.and_then(|id| services.server(id)) else { return };
            server.service
        } else {
            if packet.fragment == Fragment::Later && !error {
                return;
            }
            before.service = self.sought(port, packet);
            let Some((id, _)) = before.service else { return };
            id
        };
        let Some(Some(service)) = services.services.get(id as usize) else { return };
        before.opens = opens(packet, &service.policy.lifecycle);
        if before.service.is_none() {
            return;
        }
        if let Some(persistence) = &service.policy.persistence {
            let key = template::key(&service.key, persistence, packet);
            let templates = A::templates(&self.scratch);
            before.template = templates.table().find(&key).map(|found| Template {
                server: found.connection.server_id,
                left: self.left(&found),
                controlled: templates.controlled(found.reference()),
            });
        }
        let admission = self.scratch.admission(id);
        if let Some(admission) = admission.as_ref() {
            let loads = |id| self.scratch.server(id).load();
            before.ratings = admission.scheduler.rate(&admission.candidates, &loads);
        }
        let mut servers: Vec<ServerId> = before.ratings.iter().map(|rating| rating.id).collect();
        servers.extend(before.template.map(|template| template.server));
        servers.push(self.scratch.bypass());
        before.opened = servers.iter().map(|id| (*id, self.scratch.server(*id).opened())).collect();
    }

    fn left<A>(&self, found: &Found<A>) -> u32 {
        let ends = found.stamp.saturating_add(found.meta.timeout());
        ends.saturating_sub(self.now.seconds())
    }

    /// The packet's connection as it is now.
    fn line<A: Family>(&self, before: &Before, packet: &Packet<A>) -> Option<Line> {
        let table = A::table(&self.scratch);
        let error = matches!(before.parsed, Parsed::Error4(_) | Parsed::Error6(_));
        let found = if packet.fragment == Fragment::Later && !error {
            let decision = self.scratch.fragments.find(&datagram(packet), self.now)?;
            let Decision::Connection { id, generation, reverse } = decision else { return None };
            let found = table.get(ConnectionRef { id, generation })?;
            let direction = if reverse { Way::Reverse } else { Way::Forward };
            Found { direction, ..found }
        } else {
            table.find(&packet.tuple)?
        };
        let c = &found.connection;
        let end = |address: A, port| SocketAddr::new(address.ip(), port);
        Some(Line {
            client: end(c.client, c.cport),
            vip: end(c.vip, c.vport),
            local: end(c.local, c.lport),
            server: match self.snapshot.services.server(c.server_id) {
                Some(server) if c.forward == Forward::Tun => {
                    SocketAddr::new(server.address, c.rport)
                }
                _ => end(c.server, c.rport),
            },
            protocol: c.protocol,
            forward: c.forward,
            server_id: c.server_id,
            state: State::from_number(found.meta.state()),
            left: self.left(&found),
            way: found.direction,
            keys: c.keys,
            controlled: c.controlled(),
        })
    }

    /// The account, after the packet happened.
    pub(super) fn tell(
        &self,
        before: Before,
        counted: Counted,
        sent: Vec<(PortId, Vec<u8>)>,
        asked: Vec<ResolveRequest>,
    ) -> Account {
        let rose = |(id, then): &&(ServerId, u64)| self.scratch.server(*id).opened() > *then;
        let picked = before.opened.iter().find(rose).map(|(id, _)| *id);
        let reached = counted.forwarded.iter().position(|packets| *packets > 0);
        let stateless = reached.filter(|_| counted.stateless > 0).map(|id| id as ServerId);
        let connection = match before.about {
            About::Nothing => None,
            About::V4(packet) => self.line(&before, &packet),
            About::V6(packet) => self.line(&before, &packet),
        };
        let drops = named(Drop::ALL, &counted.drops);
        let punts = named(Punt::ALL, &counted.punts);
        let answers = named(Answer::ALL, &counted.answers);
        let end = match (drops.first(), punts.first()) {
            (Some(reason), _) if sent.is_empty() || answers.is_empty() => End::Dropped(*reason),
            (Some(reason), _) => End::Answered(*reason),
            (None, Some(reason)) => End::Punted(*reason),
            (None, None) if counted.held > 0 => End::Waits,
            (None, None) => End::Sent(sent.len()),
        };
        let way_out = match before.about {
            About::Nothing => None,
            About::V4(packet) => self.way_out(&packet, connection, picked.or(stateless)),
            About::V6(packet) => self.way_out(&packet, connection, picked.or(stateless)),
        };
        Account {
            parsed: before.parsed,
            known: before.known,
            service: before.service,
            opens: before.opens,
            template: before.template,
            ratings: before.ratings,
            picked,
            stateless,
            connection,
            way_out,
            end,
            drops,
            punts,
            answers,
            sent,
            held: counted.held,
            asked,
        }
    }

    /// Asked once more for the eye: by the same function and the same hash as for the packet.
    fn way_out<A: Family>(
        &self,
        packet: &Packet<A>,
        connection: Option<Line>,
        picked: Option<ServerId>,
    ) -> Option<WayOut> {
        let topology = &self.snapshot.topology;
        let server = connection.map(|line| line.server_id).or(picked)?;
        let way = connection.map_or(Way::Forward, |line| line.way);
        let (destination, forward_key) = match (way, connection) {
            (Way::Reverse, Some(line)) => {
                let tuple = Tuple {
                    src: A::from_ip(line.client.ip())?,
                    dst: A::from_ip(line.vip.ip())?,
                    sport: line.client.port(),
                    dport: line.vip.port(),
                    protocol: line.protocol,
                };
                (line.client.ip(), tuple)
            }
            _ => match self.snapshot.services.server(server) {
                Some(server) => (server.address, packet.tuple),
                None => (packet.tuple.dst.ip(), packet.tuple),
            },
        };
        let hash = A::table(&self.scratch).hash(&forward_key);
        let found = find_hop(topology, &self.scratch, destination, hash);
        // What that asked of control is nobody's question.
        while self.asked.try_recv().is_ok() {}
        let tun = connection.map_or_else(
            || self.snapshot.services.server(server).is_some_and(|s| s.forward == Forward::Tun),
            |line| line.forward == Forward::Tun,
        );
        let path = self.snapshot.tunnel(server).filter(|_| tun && way == Way::Forward);
        let learned = match path {
            Some(_) => self.scratch.server(server).path_mtu(self.now),
            None => u16::MAX,
        };
        let hop = found.map(|(id, mtu)| {
            let hop = topology.hops[usize::from(id)];
            let named = topology.hop_of.iter().find(|(_, of)| **of == id);
            let address = named.map_or(destination, |((_, address), _)| *address);
            (Hop { mtu: mtu.unwrap_or(hop.mtu).min(hop.mtu), ..hop }, address)
        });
        let mtu = hop.map_or(0, |(hop, _)| hop.mtu.min(learned));
        Some(WayOut { destination, hop, mtu, overhead: path.map_or(0, |path| path.overhead()) })
    }
}
