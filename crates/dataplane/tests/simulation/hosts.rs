//! The fake hosts: they check every packet that reaches them, and speak.

use std::net::{IpAddr, SocketAddr};

use dataplane::{
    forward::{Forward, Protocol},
    policy::Gone,
    topology::PortId,
};

use crate::{
    errors::Recent,
    ground::{BACK, FRONT, Net, Way, at},
    lives::Line,
    talk::{Mark, Phase, Talk, end},
    wire::{
        self, ACK, FIN, ICMP, ICMPV6, IPIP, IPV6, Ip, RST, SYN, Seen, Segment, Wrong, check, word,
    },
    world::{Event, Note, World},
};

/// Checks.
impl World {
    /// The neighbour that a frame is addressed to: by this ground, one snapshot, and no other.
    pub(crate) fn receiver(&self, port: PortId, frame: &[u8]) -> usize {
        let (dst, src, packet) = wire::read_frame(frame).expect("an Ethernet frame");
        let mtu = self.ground.mtu(port);
        assert!(packet.len() <= mtu, "law 3: {} octets for an MTU of {mtu}", packet.len());
        let neighbour = self.ground.receiver(port, dst, src);
        neighbour.unwrap_or_else(|| panic!("law 3: port {port}, {dst} from {src}: nobody"))
    }

    /// A host gets a frame.
    pub(crate) fn host_takes(
        &mut self,
        port: PortId,
        neighbour: usize,
        frame: &[u8],
    ) -> Result<(), Wrong> {
        let (_, _, packet) = wire::read_frame(frame)?;
        let ip = Ip::read(packet)?;
        let to_vip = self.talks.iter().any(|talk| talk.vip.ip() == ip.dst);
        // To a VIP only DR sends, to a machine on the link.
        let right = to_vip || self.ground.way_to(ip.dst) == Way::By(neighbour);
        check(right, "sent to another neighbour than the route's")?;
        let seen = Seen { breath: self.breath, neighbour };
        if port == FRONT { self.client_takes(ip, seen) } else { self.server_takes(ip, seen) }
    }

    fn server_takes(&mut self, ip: Ip, seen: Seen) -> Result<(), Wrong> {
        if !matches!(ip.protocol, IPIP | IPV6) {
            return self.server_takes_inner(ip, seen, None);
        }
        let Some((outer, seen)) = self.outer.add(ip, seen)? else { return Ok(()) };
        let inner = Ip::read(&outer.payload)?;
        check(outer.src == at(outer.src.is_ipv6(), Net::Back, 1), "the tunnel's source")?;
        check(inner.src.is_ipv6() == (outer.protocol == IPV6), "the outer protocol number")?;
        check(inner.ttl == outer.ttl, "the outer TTL")?;
        self.server_takes_inner(inner, seen, Some(outer))
    }

    fn server_takes_inner(&mut self, ip: Ip, seen: Seen, outer: Option<Ip>) -> Result<(), Wrong> {
        if matches!(ip.protocol, ICMP | ICMPV6) {
            return self.server_takes_error(&ip, seen, outer.as_ref());
        }
        if outer.is_none() && self.talks.iter().any(|talk| talk.vip.ip() == ip.dst) {
            let together = self.inner.places(&ip).all(|place| place == seen.neighbour);
            check(together, "fragments at different servers")?;
        }
        let part = ip.is_part();
        let Some((ip, seen)) = self.inner.add(ip, seen)? else { return Ok(()) };
        let segment = Segment::read(&ip)?;
        if segment.data.is_empty() {
            return self.hears_director(&ip, &segment);
        }
        let mark = Mark::read(&segment.data)?;
        check(mark.life.is_none(), "a server got a server's packet")?;
        check(ip.ttl == 63, "TTL at the server")?;
        let talk = self.talks.get(usize::from(mark.talk)).ok_or("a talk of nobody")?.clone();
        let translated = talk.forward.two_way() && !part;
        check(!(segment.unchecked && translated), "UDP without a checksum after translation")?;
        let key = (talk.protocol, talk.client, talk.vip);
        let right = |line: &Line| {
            self.is_at(line, &ip, seen, outer.as_ref())
                && self.server_sees(line)
                    == (end(ip.src, segment.sport), end(ip.dst, segment.dport))
        };
        let life = self.lives.of(key, seen.breath).find(|n| self.lives.get(*n).is_some_and(right));
        let life = life.ok_or("law 1: not the server of the connection")?;
        self.delivered.insert(mark);
        self.event(Event::Delivered(mark));
        self.tally.reached.insert((
            true,
            talk.forward as u8,
            talk.protocol,
            ip.src.is_ipv6(),
            part,
        ));
        self.remember(Recent { life, ip, outer, at_client: false });
        self.server_reacts(mark.talk, life, &segment);
        Ok(())
    }

    /// The packet is at the machine that the connection's server is.
    pub(crate) fn is_at(&self, line: &Line, ip: &Ip, seen: Seen, outer: Option<&Ip>) -> bool {
        let server = self.ground.server(line.server_id).address;
        match (line.forward, outer) {
            (Forward::Nat | Forward::FullNat, None) => ip.dst == line.server.ip(),
            (Forward::Dr, None) => self.ground.neighbours[seen.neighbour].address == server,
            (Forward::Tun, Some(outer)) => outer.dst == server,
            _ => false,
        }
    }

    /// Source and destination as the server sees them.
    fn server_sees(&self, line: &Line) -> (SocketAddr, SocketAddr) {
        if !line.forward.two_way() {
            return (line.client, line.vip);
        }
        let server = self.ground.server(line.server_id);
        (line.local, end(server.address, server.port))
    }

    fn client_takes(&mut self, ip: Ip, seen: Seen) -> Result<(), Wrong> {
        if matches!(ip.protocol, ICMP | ICMPV6) {
            return self.client_takes_error(&ip, seen);
        }
        let part = ip.is_part();
        let Some((ip, seen)) = self.inner.add(ip, seen)? else { return Ok(()) };
        let segment = Segment::read(&ip)?;
        if segment.data.is_empty() {
            return self.hears_director(&ip, &segment);
        }
        let mark = Mark::read(&segment.data)?;
        let life = mark.life.ok_or("a client got a client's packet")?;
        let line = *self.lives.get(life).ok_or("a client got a packet of no connection")?;
        check(usize::from(mark.talk) < self.talks.len(), "a talk of nobody")?;
        check(ip.ttl == 63, "TTL at the client")?;
        check(!segment.unchecked || part, "UDP without a checksum after translation")?;
        if !self.lives.outlived(life, seen.breath) {
            // A late answer; its key may be another connection's by now.
            self.count("late answer at a client");
            return Ok(());
        }
        let ends = (end(ip.src, segment.sport), end(ip.dst, segment.dport));
        check(ends == (line.vip, line.client), "law 1: not from the VIP that was asked")?;
        self.delivered.insert(mark);
        self.event(Event::Delivered(mark));
        self.tally.reached.insert((
            false,
            line.forward as u8,
            line.protocol,
            ip.src.is_ipv6(),
            part,
        ));
        self.remember(Recent { life, ip, outer: None, at_client: true });
        self.client_reacts(mark.talk, &segment);
        Ok(())
    }
}

/// What the director says in the other end's name.
impl World {
    /// Everybody here says number 1 and acknowledges 1: so these are the numbers of a reset. A
    /// keep-alive is answered, with data.
    fn hears_director(&mut self, ip: &Ip, segment: &Segment) -> Result<(), Wrong> {
        let (from, to) = (end(ip.src, segment.sport), end(ip.dst, segment.dport));
        check(ip.protocol == wire::TCP && ip.ttl == 64, "what the director says")?;
        let known = self.lives.ever((Protocol::Tcp, to, from));
        check(known, "the director speaks of a connection that never was")?;
        let talk = self.talks.iter().position(|talk| (talk.client, talk.vip) == (to, from));
        let numbers = (word(&ip.payload, 4), word(&ip.payload, 6));
        if segment.flags & RST != 0 {
            check(self.resets(), "a reset that nobody asked for")?;
            check(numbers == (0, 1) || segment.flags == RST | ACK, "the number of a reset")?;
            self.count("a reset of the director");
            talk.into_iter().for_each(|talk| self.talks[talk].phase = Phase::Silent);
            return Ok(());
        }
        check(segment.flags == ACK, "a keep-alive")?;
        check(self.ground.lifecycle.reset_idle, "a keep-alive that nobody asked for")?;
        self.count("a keep-alive of the director");
        if let Some(talk) = talk.filter(|_| self.random.chance(50)) {
            self.client_sends(talk, ACK);
        }
        Ok(())
    }

    fn resets(&self) -> bool {
        self.ground.lifecycle.reset_idle || self.ground.lifecycle.gone == Gone::Reset
    }
}

/// Speaking.
impl World {
    /// A random talk goes on from its client's side.
    pub(crate) fn client_speaks(&mut self) {
        let talk = self.random.below(self.talks.len());
        let (phase, protocol) = (self.talks[talk].phase, self.talks[talk].protocol);
        if protocol == Protocol::Udp {
            return self.client_sends(talk, 0);
        }
        let flags = match (phase, self.random.below(100)) {
            (Phase::Silent, 0..=69) | (Phase::Asking, 0..=29) | (Phase::Open, 0..=1) => SYN,
            (Phase::Silent | Phase::Open, 70..=79) => FIN | ACK,
            (_, 80..=85) => RST,
            (_, 86) => 0,
            _ => ACK,
        };
        self.talks[talk].phase = match flags {
            SYN => Phase::Asking,
            ACK => phase,
            _ => Phase::Silent,
        };
        self.client_sends(talk, flags);
    }

    fn client_sends(&mut self, talk: usize, flags: u8) {
        let Talk { client, vip, .. } = self.talks[talk];
        self.send(FRONT, (client, vip), talk, None, flags);
    }

    /// Sends a packet of a talk, of random size, sometimes in fragments.
    fn send(
        &mut self,
        port: PortId,
        (from, to): (SocketAddr, SocketAddr),
        talk: usize,
        life: Option<u32>,
        flags: u8,
    ) {
        let protocol = self.talks[talk].protocol;
        let mark = Mark { talk: talk as u16, life, seq: self.number() };
        let largest = if from.is_ipv6() { 1440 } else { 1460 };
        let len = match self.random.below(20) {
            0..=15 => self.random.below(200),
            16 | 17 => largest - self.random.below(300),
            18 if protocol == Protocol::Udp => 1500 + self.random.below(2500),
            _ => largest,
        };
        let segment = Segment {
            protocol: protocol as u8,
            sport: from.port(),
            dport: to.port(),
            flags,
            data: mark.data(len.max(Mark::LEN)),
            unchecked: from.is_ipv4() && protocol == Protocol::Udp && self.random.chance(20),
        };
        let octets = segment.octets(from.ip(), to.ip());
        let mut ip = Ip::new(from.ip(), to.ip(), protocol as u8, octets);
        ip.id = self.number();
        ip.ttl = if self.random.chance(2) { 1 } else { 64 };
        let cut = if self.random.chance(5) { 600 } else { 1500 };
        let mtu = if from.is_ipv6() { cut.max(1280) } else { cut };
        ip.df |= ip.len() <= mtu && self.random.chance(70);
        let note = Note { mark: Some(mark), flags, ..Note::default() };
        let first = self.parcels.len();
        self.post(port, &ip, mtu, note);
        if self.talks[talk].hostile && self.random.chance(60) {
            self.damage(first);
        }
    }

    fn server_reacts(&mut self, talk: u16, life: u32, segment: &Segment) {
        let talk = usize::from(talk);
        let line = *self.lives.get(life).expect("found before");
        let answer = match (line.protocol, segment.flags) {
            (Protocol::Udp, _) => self.random.chance(60).then_some(0),
            (_, SYN) => Some(SYN | ACK).filter(|_| self.random.chance(90)),
            (_, flags) if flags & FIN != 0 => Some(FIN | ACK).filter(|_| self.random.chance(80)),
            (_, flags) if flags & RST != 0 => None,
            _ => match self.random.below(20) {
                0 => Some(RST),
                1 => Some(FIN | ACK),
                2..=12 => Some(ACK),
                _ => None,
            },
        };
        let Some(flags) = answer else { return };
        if line.forward.two_way() {
            let (client, server) = self.server_sees(&line);
            return self.send(BACK, (server, client), talk, Some(life), flags);
        }
        // In DR and TUN the answer does not pass here.
        self.client_hears(talk, flags);
    }

    fn client_reacts(&mut self, talk: u16, segment: &Segment) {
        let talk = usize::from(talk);
        self.client_hears(talk, segment.flags);
        if segment.protocol == wire::TCP && segment.flags & RST == 0 && self.random.chance(40) {
            self.client_sends(talk, ACK);
        }
    }

    fn client_hears(&mut self, talk: usize, flags: u8) {
        let talk = &mut self.talks[talk];
        if flags & RST != 0 {
            talk.phase = Phase::Silent;
        } else if talk.phase == Phase::Asking && flags == SYN | ACK {
            talk.phase = Phase::Open;
        }
    }

    /// An address of a network, in a talk's family.
    pub(crate) fn beside(&self, address: IpAddr, net: Net, host: u8) -> IpAddr {
        at(address.is_ipv6(), net, host)
    }
}
