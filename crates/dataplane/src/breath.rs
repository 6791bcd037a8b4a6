//! One packet's walk through a breath: find its connection or make one, observe, find the
//! way out, rewrite, count, and end in a verdict. No I/O; the frame is changed in place.

use std::net::IpAddr;

use crate::{
    admit::Refusal,
    answer::Message,
    clock::Now,
    director::{Director, Family},
    forward::{Forward, Protocol, Tuple, V6},
    ids::Ids,
    io::Frame,
    packet::{Fragment, Packet, Parsed},
    rewrite,
    route::{self, Obstacle},
    snapshot::{MssClamp, Snapshot, Timeouts},
    state::State,
    stats::Stats,
    table::{ConnectionRef, Found, Probe, Way},
    tcp,
    topology::{Hop, Mac, NO_HOP, PortId},
    tunnel::{self, Chosen, Path},
    verdict::{Drop, Punt, Verdict, Wait},
    wire::{self, Ip, ethernet, tcp as flag},
};

/// What the packets of one breath see: one snapshot, one time.
pub struct Breath<'a> {
    /// What all workers share.
    pub director: &'a Director,
    /// The configuration and topology of this breath.
    pub snapshot: &'a Snapshot,
    /// This worker's counters.
    pub stats: &'a Stats,
    /// The time of this breath.
    pub now: Now,
    /// Where identifications of what we originate come from.
    pub ids: &'a mut Ids,
    /// Where the packets come from that are looked at now.
    pub arrived: PortId,
}

/// How a packet leaves.
pub struct WayOut<'a> {
    hop: &'a Hop,
    mac: Mac,
    /// What the way carries, in octets of IP: the port's MTU, or the route's own.
    mtu: u16,
    /// The tunnel, in TUN towards the server.
    tunnel: Option<&'a Path>,
    /// Larger than the way: fragment it to this MTU.
    split: Option<u16>,
}

impl<'a> Breath<'a> {
    /// Decides about a frame that was parsed; `probe` is the table's first look at its tuple.
    #[inline(always)]
    pub fn decide<F: Frame>(
        &mut self,
        frame: &mut F,
        parsed: &Parsed,
        probe: Option<&Probe>,
    ) -> Verdict {
        match parsed {
            Parsed::V4(packet) => self.packet(frame, packet, probe),
            Parsed::V6(packet) => self.packet(frame, packet, probe),
            Parsed::Error4(error) => self.relay(frame, error),
            Parsed::Error6(error) => self.relay(frame, error),
            Parsed::Punt(reason) => Verdict::Punt(*reason),
            Parsed::Drop(reason) => Verdict::Drop(*reason),
        }
    }

    /// Decides about a frame that was held. A packet that waited for a neighbour goes on from
    /// there: it was observed when it came, and stays with its connection.
    pub fn decide_again<F: Frame>(
        &mut self,
        frame: &mut F,
        parsed: &Parsed,
        wait: Wait,
    ) -> Verdict {
        match (wait, parsed) {
            (Wait::Neighbour { connection, way }, Parsed::V4(packet)) => {
                self.resume(frame, packet, connection, way)
            }
            (Wait::Neighbour { connection, way }, Parsed::V6(packet)) => {
                self.resume(frame, packet, connection, way)
            }
            _ => self.decide(frame, parsed, None),
        }
    }

    #[inline(never)]
    fn resume<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        connection: ConnectionRef,
        way: Way,
    ) -> Verdict {
        match A::table(self.director).get(connection) {
            Some(found) => self.carry(frame, packet, &Found { direction: way, ..found }),
            None => Verdict::Drop(Drop::NeighbourUnresolved),
        }
    }

    #[inline(always)]
    fn packet<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        probe: Option<&Probe>,
    ) -> Verdict {
        if packet.fragment == Fragment::Whole
            && let Some(probe) = probe
            && let Some(found) = A::table(self.director).find_candidate(probe, &packet.tuple)
            && !self.over(packet, &found)
        {
            return self.forward(frame, packet, &found);
        }
        self.uncommon(frame, packet, probe)
    }

    /// All but a whole packet whose connection was found at once. Kept out of the common way,
    /// so that what was found there stays in registers.
    #[inline(never)]
    fn uncommon<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        probe: Option<&Probe>,
    ) -> Verdict {
        match packet.fragment {
            Fragment::Whole => self.with_ports(frame, packet, probe),
            Fragment::First => self.first_fragment(frame, packet, probe),
            Fragment::Later => self.later_fragment(frame, packet),
        }
    }

    #[inline]
    fn with_ports<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        probe: Option<&Probe>,
    ) -> Verdict {
        match self.connection(packet, probe) {
            Ok(found) => {
                let verdict = self.forward(frame, packet, &found);
                self.end_one_packet(&found, &verdict);
                verdict
            }
            Err(refusal) => self.refuse(frame, packet, refusal),
        }
    }

    #[cold]
    pub(crate) fn refuse<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        refusal: Refusal,
    ) -> Verdict {
        match refusal {
            Refusal::Punt(reason) => Verdict::Punt(reason),
            Refusal::Drop(reason) => Verdict::Drop(reason),
            Refusal::NoServer => self.answer(frame, packet, Message::port_unreachable::<A>()),
        }
    }

    /// The connection of a packet, found or made.
    #[inline]
    pub(crate) fn connection<A: Family>(
        &mut self,
        packet: &Packet<A>,
        probe: Option<&Probe>,
    ) -> Result<Found<A>, Refusal> {
        let table = A::table(self.director);
        let found = match probe {
            // A connection that an earlier packet of the burst made is found on a second look.
            Some(probe) => table.find_at(probe, &packet.tuple),
            None => table.find(&packet.tuple),
        };
        match found {
            Some(found) if !self.over(packet, &found) => Ok(found),
            Some(found) => {
                self.end(&found);
                self.admit(packet)
            }
            None => self.admit(packet),
        }
    }

    /// True if the packet comes too late for the connection, or opens a new one in its place.
    #[inline(always)]
    fn over<A>(&self, packet: &Packet<A>, found: &Found<A>) -> bool {
        let deadline = found.stamp.saturating_add(found.meta.timeout());
        // Stamps are whole seconds, rounded down: nothing ends before its time.
        self.now.seconds() > deadline || reopens(packet, found)
    }

    /// Ends a connection that is over.
    #[cold]
    fn end<A: Family>(&self, found: &Found<A>) {
        if let Some(meta) = A::table(self.director).take(found) {
            self.director.ended(&found.connection, meta.state());
        }
    }

    /// Observes the packet, rewrites it and sends it on its way.
    #[inline(always)]
    pub(crate) fn forward<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        found: &Found<A>,
    ) -> Verdict {
        self.observe(packet, found);
        self.carry(frame, packet, found)
    }

    /// What comes after the observation.
    #[inline(always)]
    fn carry<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        found: &Found<A>,
    ) -> Verdict {
        let way_out = match self.way_out(frame, packet, found) {
            Ok(way_out) => way_out,
            Err(verdict) => return verdict,
        };
        let c = &found.connection;
        if c.forward.two_way() {
            let new = match found.direction {
                Way::Forward => Tuple {
                    src: c.local,
                    dst: c.server,
                    sport: c.lport,
                    dport: c.rport,
                    protocol: c.protocol,
                },
                Way::Reverse => c.forward_key().reversed(),
            };
            rewrite::translate(frame.bytes_mut(), packet, new);
            if packet.flags & flag::SYN != 0 && packet.tuple.protocol == Protocol::Tcp {
                self.clamp_mss(frame, packet, *found, way_out.mtu);
            }
        }
        self.leave(frame, packet, found, way_out)
    }

    /// TCP and SCTP state and timeout, by LVS's tables; the stamp, once a second.
    #[inline(always)]
    fn observe<A: Family>(&self, packet: &Packet<A>, found: &Found<A>) {
        let table = A::table(self.director);
        let now = self.now.seconds();
        let no_state = packet.tuple.protocol == Protocol::Udp || packet.fragment == Fragment::Later;
        if no_state {
            return table.touch(found, now);
        }
        let direction = match (found.direction, found.connection.forward.two_way()) {
            (Way::Reverse, _) => tcp::Direction::Output,
            (Way::Forward, true) => tcp::Direction::Input,
            (Way::Forward, false) => tcp::Direction::InputOnly,
        };
        let Some(state) = State::from_number(found.meta.state()) else { return };
        if state.next(direction, packet.flags) == state {
            return table.touch(found, now);
        }
        self.change_state(packet, *found, direction);
    }

    /// Makes the packet's transition from whatever state the connection is in by now: another
    /// worker may have another packet of it.
    #[inline(never)]
    fn change_state<A: Family>(
        &self,
        packet: &Packet<A>,
        mut found: Found<A>,
        direction: tcp::Direction,
    ) {
        let server = found.connection.server_id;
        while let Some(state) = State::from_number(found.meta.state()) {
            let next = state.next(direction, packet.flags);
            let timeout = self.timeout(server, next);
            let table = A::table(self.director);
            match table.transition(&found, next.number(), timeout.into(), self.now.seconds()) {
                Ok(()) => {
                    self.director.changed(server, state.number(), next.number());
                    if next.assures() {
                        A::templates(self.director).assure(found.connection.template);
                    }
                    return;
                }
                Err(seen) if seen.generation() == found.meta.generation() => found.meta = seen,
                Err(_) => return,
            }
        }
    }

    /// The idle time of a state in the server's service.
    fn timeout(&self, server: u32, state: State) -> u16 {
        let services = &self.snapshot.services;
        let server = services.servers.get(server as usize).and_then(Option::as_ref);
        match server.and_then(|server| services.services[server.service as usize].as_ref()) {
            Some(service) => state.timeout(&service.policy.timeouts),
            None => state.timeout(&Timeouts::default()),
        }
    }

    /// TTL, next hop and MTU of a packet of a connection.
    ///
    /// # Errors
    /// The verdict, if the packet does not leave.
    #[inline(always)]
    pub(crate) fn way_out<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        found: &Found<A>,
    ) -> Result<WayOut<'a>, Verdict> {
        if packet.ttl <= 1 {
            return Err(self.answer(frame, packet, Message::time_exceeded::<A>()));
        }
        let (hop, mut mtu) = match self.hop(found) {
            Ok(way) => way,
            Err(Obstacle::Unresolved) => return Err(Verdict::Wait(neighbour(found))),
            Err(Obstacle::Local) => return Err(Verdict::Punt(Punt::LocalServer)),
            Err(Obstacle::Drop(reason @ (Drop::NoRoute | Drop::RouteRefuses))) => {
                return Err(self.answer(frame, packet, Message::host_unreachable::<A>(reason)));
            }
            Err(Obstacle::Drop(reason)) => return Err(Verdict::Drop(reason)),
        };
        let Some(mac) = hop.mac else { return Err(Verdict::Wait(neighbour(found))) };
        if hop.mtu == 0 {
            return Err(Verdict::Drop(Drop::PortDown));
        }
        let mut way_out = WayOut { hop, mac, mtu, tunnel: None, split: None };
        if found.connection.forward == Forward::Tun {
            let server = found.connection.server_id;
            let Some(path) = self.snapshot.tunnel(server) else {
                return Err(Verdict::Drop(Drop::NoRoute));
            };
            way_out.tunnel = Some(path);
            mtu = mtu.min(self.director.server(server).path_mtu(self.now));
        }
        let overhead = way_out.tunnel.map_or(0, Path::overhead);
        let room = mtu.saturating_sub(overhead);
        if packet.ip_len() > usize::from(room) {
            // What IPv6 must carry anyway goes in fragments of the outer packet (RFC 2473
            // section 7.1, RFC 4213 section 3.2.1).
            let small = A::IPV6 && packet.ip_len() <= usize::from(V6::MTU_MIN);
            if packet.dont_fragment && !(small && way_out.tunnel.is_some()) {
                return Err(self.answer(frame, packet, Message::too_big::<A>(room)));
            }
            way_out.split = Some(mtu);
        }
        Ok(way_out)
    }

    /// The connection's hop in this packet's direction, from the entry while routes stand still,
    /// and the MTU of the way.
    #[inline(always)]
    fn hop<A: Family>(&self, found: &Found<A>) -> Result<(&'a Hop, u16), Obstacle> {
        let topology = &self.snapshot.topology;
        let fresh = found.hops.route_generation() == topology.route_generation & 0xff_ffff;
        let cached = match found.direction {
            Way::Forward => found.hops.hop_in(),
            Way::Reverse => found.hops.hop_out(),
        };
        // NO_HOP is no index. Nor is, for a moment, the id of a new neighbour that a worker with
        // a newer snapshot has put there: new ids do not raise the generation. A neighbour
        // without a MAC is looked up, so that the kernel is asked for it.
        if fresh
            && let Some(hop) = topology.hops.get(usize::from(cached))
            && hop.mac.is_some()
        {
            return Ok((hop, hop.mtu));
        }
        self.look_up_hop(*found, fresh)
    }

    #[inline(never)]
    fn look_up_hop<A: Family>(
        &self,
        found: Found<A>,
        fresh: bool,
    ) -> Result<(&'a Hop, u16), Obstacle> {
        let c = &found.connection;
        let topology = &self.snapshot.topology;
        let table = A::table(self.director);
        let destination = match found.direction {
            Way::Forward => self.server_address(&found),
            Way::Reverse => {
                // The server's first packet comes here: its client is a real one.
                A::templates(self.director).assure(c.template);
                c.client.ip()
            }
        };
        let hash = table.hash(&c.forward_key());
        let (id, route_mtu) = route::find_hop(topology, self.director, destination, hash)?;
        let hop = &topology.hops[usize::from(id)];
        // The entry has no room for a route's own MTU: where there is one, each packet looks.
        if let Some(mtu) = route_mtu.filter(|mtu| *mtu < hop.mtu) {
            return Ok((hop, mtu));
        }
        let (hop_in, hop_out) = match found.direction {
            Way::Forward => (id, if fresh { found.hops.hop_out() } else { NO_HOP }),
            Way::Reverse => (if fresh { found.hops.hop_in() } else { NO_HOP }, id),
        };
        table.set_hops(&found, topology.route_generation, hop_in, hop_out);
        Ok((hop, hop.mtu))
    }

    /// Where packets to the connection's server go: in TUN the tunnel's end.
    pub(crate) fn server_address<A: Family>(&self, found: &Found<A>) -> IpAddr {
        let servers = &self.snapshot.services.servers;
        match servers.get(found.connection.server_id as usize) {
            Some(Some(server)) => server.address,
            _ => found.connection.server.ip(),
        }
    }

    /// The last steps of every forwarded packet: TTL, outer header, count, Ethernet header.
    #[inline(always)]
    pub(crate) fn leave<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        found: &Found<A>,
        way_out: WayOut<'_>,
    ) -> Verdict {
        A::decrement_ttl(&mut frame.bytes_mut()[ethernet::LEN..]);
        let mut end = usize::from(packet.end);
        if let Some(path) = way_out.tunnel {
            let chosen = Chosen {
                id: self.ids.short(),
                source_port: path
                    .source_port(|| A::table(self.director).hash(&found.connection.forward_key())),
            };
            end = match tunnel::encapsulate(frame.room(), packet, path, chosen) {
                Ok(end) => end,
                Err(reason) => return Verdict::Drop(reason),
            };
        }
        frame.set_len(end);
        let traffic = self.stats.server(found.connection.server_id);
        let (packets, bytes) = match found.direction {
            Way::Forward => (&traffic.in_packets, &traffic.in_bytes),
            Way::Reverse => (&traffic.out_packets, &traffic.out_bytes),
        };
        packets.add(1);
        bytes.add(packet.ip_len() as u64);
        rewrite::address_frame(frame.bytes_mut(), way_out.hop, way_out.mac);
        Verdict::Send { port: way_out.hop.port, split: way_out.split }
    }

    /// `mss_clamp`: the option in a SYN limits what its receiver sends *back*, so the ways in
    /// both directions count (as for `TCPMSS --clamp-mss-to-pmtu`).
    #[inline(never)]
    fn clamp_mss<A: Family, F: Frame>(
        &self,
        frame: &mut F,
        packet: &Packet<A>,
        found: Found<A>,
        mtu: u16,
    ) {
        let services = &self.snapshot.services;
        let Some(Some(server)) = services.servers.get(found.connection.server_id as usize) else {
            return;
        };
        let Some(service) = &services.services[server.service as usize] else { return };
        let limit = match service.policy.mss_clamp {
            MssClamp::Off => return,
            MssClamp::Octets(octets) => octets,
            MssClamp::Path => {
                let back = self.way_back_mtu(&found).unwrap_or(mtu);
                mtu.min(back).saturating_sub((A::HEADER + wire::tcp::LEN) as u16)
            }
        };
        let segment = usize::from(packet.l4)..usize::from(packet.end);
        rewrite::clamp_mss(&mut frame.bytes_mut()[segment], limit);
    }

    fn way_back_mtu<A: Family>(&self, found: &Found<A>) -> Option<u16> {
        let direction = match found.direction {
            Way::Forward => Way::Reverse,
            Way::Reverse => Way::Forward,
        };
        let (_, mtu) = self.hop(&Found { direction, ..*found }).ok()?;
        (mtu > 0).then_some(mtu)
    }
}

/// A packet of this connection waits for the neighbour's MAC.
fn neighbour<A>(found: &Found<A>) -> Wait {
    let connection = ConnectionRef { id: found.id, generation: found.meta.generation() };
    Wait::Neighbour { connection, way: found.direction }
}

/// A SYN on a connection that is over belongs to another one. The client's opens a new one,
/// perhaps to another server (`conn_reuse_mode` 1 of LVS). The server's answers a SYN that did
/// not pass here: the client, from the same port, talks to the server's own address now.
#[inline(always)]
fn reopens<A>(packet: &Packet<A>, found: &Found<A>) -> bool {
    const OVER: [u8; 2] = [tcp::State::TimeWait as u8, tcp::State::Close as u8];
    packet.flags & (flag::SYN | flag::RST) == flag::SYN
        && packet.tuple.protocol == Protocol::Tcp
        && OVER.contains(&found.meta.state())
}
