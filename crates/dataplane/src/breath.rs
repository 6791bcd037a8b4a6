//! One packet's walk through a breath: find its connection or make one, observe, find the
//! way out, rewrite, count, and end in a verdict. No I/O; the frame is changed in place.

use crate::{
    admit::Refusal,
    answer::Message,
    clock::Now,
    director::{Director, Family},
    forward::{Forward, Protocol, Tuple, V6},
    gone::Standing,
    ids::Ids,
    io::Frame,
    packet::{Fragment, Packet, Parsed},
    probe, rewrite,
    route::Obstacle,
    snapshot::{MssClamp, ServerId, Snapshot},
    state::State,
    stats::Stats,
    table::{Absent, ConnectionRef, Found, Keys, Probe, Sight, Way},
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
    /// The outer packet may not be fragmented, as the inner one may not.
    outer_df: bool,
    /// Larger than the way: fragment it to this MTU.
    split: Option<u16>,
}

/// The tunnel that a packet goes through.
pub(crate) struct Tunnelled<'a> {
    path: &'a Path,
    /// The outer packet may not be fragmented, as the inner one may not.
    outer_df: bool,
    /// What is known of the MTU on the way to the tunnel's end.
    mtu: u16,
}

/// Whose packet leaves.
#[derive(Clone, Copy)]
pub(crate) struct Owner<A> {
    server: ServerId,
    way: Way,
    /// A health probe's: it is not counted.
    probe: bool,
    /// Its addresses were [translated](rewrite::translate), and its TTL lowered by the way.
    translated: bool,
    /// The connection's key on the client's side.
    flow: Tuple<A>,
}

impl<A> Owner<A> {
    /// Of a client's packet that reaches the server untranslated, by no connection.
    pub(crate) const fn server(server: ServerId, flow: Tuple<A>) -> Self {
        Self { server, way: Way::Forward, probe: false, translated: false, flow }
    }
}

impl<A: Family> From<&Found<A>> for Owner<A> {
    fn from(found: &Found<A>) -> Self {
        let Found { connection: c, direction: way, .. } = found;
        Self {
            server: c.server_id,
            way: *way,
            probe: c.keys == Keys::Probe,
            translated: c.forward.two_way(),
            flow: c.forward_key(),
        }
    }
}

impl<'a> Breath<'a> {
    /// The whole way of nearly all packets: of a settled connection whose state they leave as it
    /// is, and whose next hop is known. The port to send the frame to; nothing, and nothing has
    /// changed, if the packet is to be [decided](Breath::decide) about at length, where the same is done
    /// with more to choose from.
    #[inline(always)]
    pub fn go_on<F: Frame>(
        &mut self,
        frame: &mut F,
        parsed: &Parsed,
        probe: Option<&Probe>,
    ) -> Option<PortId> {
        match parsed {
            Parsed::V4(packet) => self.go_straight_on(frame, packet, probe?),
            Parsed::V6(packet) => self.go_straight_on(frame, packet, probe?),
            _ => None,
        }
    }

    #[inline(always)]
    fn go_straight_on<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        probe: &Probe,
    ) -> Option<PortId> {
        let table = A::table(self.director);
        let seen = table.see(probe, &packet.tuple)?;
        let now = self.now.seconds();
        let settled = seen.hops().route_generation() == self.snapshot.hop_generation;
        if !settled || u64::from(now) > seen.deadline() || !stays(packet, &seen) || packet.ttl <= 1
        {
            return None;
        }
        let hop = self.snapshot.topology.hops.get(usize::from(seen.hop()))?;
        let mut way_out =
            WayOut { hop, mac: hop.mac?, mtu: hop.mtu, tunnel: None, outer_df: false, split: None };
        let mut room = hop.mtu;
        let forward = seen.forward();
        if forward == Forward::Tun && seen.way() == Way::Forward {
            let tunnel = self.tunnel(packet, seen.server_id())?;
            way_out.tunnel = Some(tunnel.path);
            way_out.outer_df = tunnel.outer_df;
            let overhead = tunnel.path.overhead();
            room = room.min(tunnel.mtu).saturating_sub(overhead);
            if usize::from(packet.end) + usize::from(overhead) > frame.room().len() {
                return None;
            }
        }
        if packet.ip_len() > usize::from(room) {
            return None;
        }
        table.touch_seen(&seen, now);
        if forward.two_way() {
            let new = seen.translated(packet.tuple.protocol);
            rewrite::translate(frame.bytes_mut(), packet, new);
        }
        let owner = Owner {
            server: seen.server_id(),
            way: seen.way(),
            probe: seen.keys() == Keys::Probe,
            translated: forward.two_way(),
            flow: packet.tuple,
        };
        match self.leave(frame, packet, owner, way_out) {
            Verdict::Send { port, split: None } => Some(port),
            _ => unreachable!("nothing is split, and there is room for the tunnel"),
        }
    }

    /// Decides about a frame that was parsed; `probe` is the table's first look at its tuple.
    /// Established packets have a shorter way: [`Breath::go_on`].
    #[inline(never)]
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
        let Some(found) = A::table(self.director).get(connection) else {
            return Verdict::Drop(Drop::NeighbourUnresolved);
        };
        let found = Found { direction: way, ..found };
        match self.standing_since(packet, &found) {
            Standing::Stays => self.carry(frame, packet, &found),
            // Its server went while it waited.
            _ => self.packet(frame, packet, None),
        }
    }

    fn packet<A: Family, F: Frame>(
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
            Some(probe) => table.find_or_absent(probe, &packet.tuple),
            None => table.look(&packet.tuple),
        };
        match found {
            Ok(found) => match self.standing(packet, &found) {
                Standing::Stays => Ok(found),
                Standing::Over => {
                    self.end(&found);
                    self.admit(packet, Absent::unseen(table.hash(&packet.tuple)))
                }
                Standing::Refused(refusal) => Err(refusal),
            },
            Err(absent) => self.admit(packet, absent),
        }
    }

    /// Ends a connection that is over.
    #[cold]
    fn end<A: Family>(&self, found: &Found<A>) {
        let end = self.why_over(found);
        if let Some(meta) = A::table(self.director).take(found) {
            self.director.ended(&found.connection, meta.state());
            self.log_end(&found.connection, found.reference(), meta.state(), end);
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
            rewrite::translate(frame.bytes_mut(), packet, found.translated());
            if packet.flags & flag::SYN != 0 && packet.tuple.protocol == Protocol::Tcp {
                self.clamp_mss(frame, packet, *found, way_out.mtu);
            }
        }
        self.leave(frame, packet, found.into(), way_out)
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
        let direction = direction(found.direction, found.connection.forward);
        let Some(state) = State::from_number(found.meta.state()) else { return };
        // SYNs that come again are noted, and for the server's there is `secure_tcp`; the one that
        // has just opened the connection is neither.
        let opened = found.direction == Way::Forward && found.stamp == now;
        if state.next(direction, packet.flags, false) == state && (opened || !has_syn(packet)) {
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
        let probe = found.connection.keys == Keys::Probe;
        let secure = !probe && self.director.defences.secure_tcp(A::IPV6);
        while let Some(state) = State::from_number(found.meta.state()) {
            let next = state.next(direction, packet.flags, secure);
            if next == state {
                self.note_unanswered(packet, &found);
                return A::table(self.director).touch(&found, self.now.seconds());
            }
            let timeout = match probe {
                true => probe::idle(next),
                false => next.timeout(self.timeouts(server)),
            };
            let table = A::table(self.director);
            match table.transition(&found, next.number(), timeout, self.now.seconds()) {
                Ok(()) if probe => return,
                Ok(()) => {
                    if direction == tcp::Direction::Output && state.half_open() && resets(packet) {
                        self.stats.unmet[server as usize].refused.add(1);
                    }
                    self.director.changed(server, state.number(), next.number());
                    self.log_change(packet, &found, next.number());
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

    /// A SYN that comes again, a second or more after the last one, while no packet of the server
    /// has passed.
    fn note_unanswered<A: Family>(&self, packet: &Packet<A>, found: &Found<A>) {
        let again = has_syn(packet) && found.stamp < self.now.seconds();
        let unseen = found.connection.forward.two_way() && found.hops.hop_out() == NO_HOP;
        if again && unseen && found.direction == Way::Forward && found.connection.keys == Keys::Both
        {
            self.stats.unmet[found.connection.server_id as usize].unanswered.add(1);
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
        let c = &found.connection;
        let tunnelled = c.forward == Forward::Tun && found.direction == Way::Forward;
        let tunnel = tunnelled.then_some(c.server_id);
        self.way_by(frame, packet, self.hop(found), tunnel, Verdict::Wait(neighbour(found)))
    }

    /// Whether and how a packet leaves by a hop that was looked up with the MTU of the way,
    /// perhaps through the tunnel to a server; `unresolved` while the hop's MAC is not known.
    ///
    /// # Errors
    /// As [`Breath::way_out`].
    #[inline(always)]
    pub(crate) fn way_by<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        hop: Result<(&'a Hop, u16), Obstacle>,
        tunnel: Option<ServerId>,
        unresolved: Verdict,
    ) -> Result<WayOut<'a>, Verdict> {
        let (hop, mut mtu) = match hop {
            Ok(way) => way,
            Err(Obstacle::Unresolved) => return Err(unresolved),
            Err(Obstacle::Local) => return Err(Verdict::Punt(Punt::LocalServer)),
            Err(Obstacle::Drop(reason @ (Drop::NoRoute | Drop::RouteRefuses))) => {
                return Err(self.answer(frame, packet, Message::host_unreachable::<A>(reason)));
            }
            Err(Obstacle::Drop(reason)) => return Err(Verdict::Drop(reason)),
        };
        let Some(mac) = hop.mac else { return Err(unresolved) };
        if hop.mtu == 0 {
            return Err(Verdict::Drop(Drop::PortDown));
        }
        let mut way_out = WayOut { hop, mac, mtu, tunnel: None, outer_df: false, split: None };
        if let Some(server) = tunnel {
            let Some(tunnel) = self.tunnel(packet, server) else {
                return Err(Verdict::Drop(Drop::NoRoute));
            };
            way_out.tunnel = Some(tunnel.path);
            way_out.outer_df = tunnel.outer_df;
            mtu = mtu.min(tunnel.mtu);
        }
        let overhead = way_out.tunnel.map_or(0, Path::overhead);
        let room = mtu.saturating_sub(overhead);
        if packet.ip_len() > usize::from(room) {
            // What IPv6 must carry anyway goes in fragments of the outer packet (RFC 2473
            // section 7.1, RFC 4213 section 3.2.1).
            let small = A::IPV6 && packet.ip_len() <= usize::from(V6::MTU_MIN);
            let whole =
                if way_out.tunnel.is_some() { way_out.outer_df } else { packet.dont_fragment };
            if whole && !(small && way_out.tunnel.is_some()) {
                return Err(self.answer(frame, packet, Message::too_big::<A>(room)));
            }
            way_out.split = Some(mtu);
        }
        Ok(way_out)
    }

    /// The tunnel that a packet for this server goes through, if there is a route to its end.
    #[inline(always)]
    pub(crate) fn tunnel<A: Family>(
        &self,
        packet: &Packet<A>,
        server: ServerId,
    ) -> Option<Tunnelled<'a>> {
        let path = self.snapshot.tunnel(server)?;
        let outer_df = packet.dont_fragment && (A::IPV6 || path.pmtu_disc);
        Some(Tunnelled { path, outer_df, mtu: self.director.server(server).path_mtu(self.now) })
    }

    /// The last steps of every forwarded packet: TTL, outer header, count, Ethernet header.
    #[inline(always)]
    pub(crate) fn leave<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        owner: Owner<A>,
        way_out: WayOut<'_>,
    ) -> Verdict {
        let mut end = usize::from(packet.end);
        if let Some(path) = way_out.tunnel {
            let chosen = Chosen {
                id: self.ids.short(),
                dont_fragment: way_out.outer_df,
                source_port: path.source_port(|| A::table(self.director).hash(&owner.flow)),
            };
            end = match tunnel::encapsulate(frame.room(), packet, path, chosen) {
                Ok(end) => end,
                Err(reason) => return Verdict::Drop(reason),
            };
        } else if !owner.translated {
            A::decrement_ttl(&mut frame.bytes_mut()[ethernet::LEN..]);
        }
        frame.set_len(end);
        if !owner.probe {
            let traffic = self.stats.server(owner.server);
            let (packets, bytes) = match owner.way {
                Way::Forward => (&traffic.in_packets, &traffic.in_bytes),
                Way::Reverse => (&traffic.out_packets, &traffic.out_bytes),
            };
            packets.add(1);
            bytes.add(packet.ip_len() as u64);
        }
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
}

/// A whole packet that does not change its connection's state.
#[inline(always)]
fn stays<A: Family>(packet: &Packet<A>, seen: &Sight<A>) -> bool {
    packet.fragment == Fragment::Whole
        && match packet.tuple.protocol {
            Protocol::Tcp => {
                let direction = direction(seen.way(), seen.forward());
                tcp::goes_on(direction, seen.state(), packet.flags)
            }
            Protocol::Udp => true,
            Protocol::Sctp => false,
        }
}

/// Whose segment a packet is.
#[inline(always)]
const fn direction(way: Way, forward: Forward) -> tcp::Direction {
    match (way, forward.two_way()) {
        (Way::Reverse, _) => tcp::Direction::Output,
        (Way::Forward, true) => tcp::Direction::Input,
        (Way::Forward, false) => tcp::Direction::InputOnly,
    }
}

/// A TCP segment with SYN; nearly all packets lack the bit in either protocol's flags.
#[inline(always)]
fn has_syn<A>(packet: &Packet<A>) -> bool {
    packet.flags & flag::SYN != 0 && packet.tuple.protocol == Protocol::Tcp
}

/// A TCP segment with RST.
fn resets<A>(packet: &Packet<A>) -> bool {
    packet.flags & flag::RST != 0 && packet.tuple.protocol == Protocol::Tcp
}

/// A packet of this connection waits for the neighbour's MAC.
fn neighbour<A>(found: &Found<A>) -> Wait {
    let connection = ConnectionRef { id: found.id, generation: found.meta.generation() };
    Wait::Neighbour { connection, way: found.direction }
}
