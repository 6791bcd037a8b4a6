//! The laws, checked after every breath, and once more when all is over.

use dataplane::{
    forward::{Forward, Protocol},
    policy::Gone,
    snapshot::{Server, Timeouts},
    tcp::{RESETTING, State},
    topology::PortId,
    verdict::{Answer, Drop, Punt},
};

use crate::{
    ground::{LOCAL_PORT, Net, Way, at},
    lives::{Line, Listing, check_counts, check_keys, list},
    talk::Mark,
    verdicts::packets,
    wire::{ACK, SYN},
    world::{Event, Note, World, hash},
};

/// What a breath must have done with a packet.
enum Due {
    /// A host has it.
    Delivered(Mark),
    /// A host has the error about this life, the server or the client.
    Error((u32, bool)),
    /// This neighbour was asked for.
    Asked(PortId, std::net::IpAddr),
}

/// How things were before a breath.
pub(crate) struct Before {
    listing: Listing,
    half_open: u32,
    opened: u64,
    pub(crate) sent: usize,
    /// Damaged packets are among those that the worker sees.
    pub(crate) hostile: bool,
    /// Nobody knows which packets the worker sees: some were held.
    unclear: bool,
    notes: Vec<Note>,
    due: Vec<Due>,
}

impl Before {
    pub(crate) fn new(world: &World, worker: usize) -> Self {
        let station = &world.stations[worker];
        let notes = station.notes.clone();
        let held = station.worker.held();
        let hostile = station.hostile_held || notes.iter().any(|note| note.hostile);
        let due = if station.io.tx_limit == usize::MAX {
            notes.iter().filter_map(|note| world.due(note, &notes)).collect()
        } else {
            Vec::new()
        };
        Self {
            listing: world.listing.clone(),
            half_open: world.director.half_open(),
            opened: station.stats.opened.value(),
            sent: station.io.sent().count(),
            hostile,
            unclear: hostile || held > 0,
            notes,
            due,
        }
    }
}

/// What has to happen.
impl World {
    /// What must become of a packet of a living connection, if nothing stands in its way.
    fn due(&self, note: &Note, batch: &[Note]) -> Option<Due> {
        if note.hostile || !note.whole || note.ttl <= 1 {
            return None;
        }
        let (life, to_server) = match (note.mark, note.error) {
            (Some(Mark { life: Some(life), .. }), _) => (life, false),
            (Some(mark), _) => {
                let talk = &self.talks[usize::from(mark.talk)];
                (self.lives.living((talk.protocol, talk.client, talk.vip))?, true)
            }
            (_, Some(about)) => about,
            _ => return None,
        };
        let line = self.lives.get(life)?;
        let line = self.listing.get(&line.place()).filter(|now| now.fixed() == line.fixed())?;
        // A SYN may open another connection in its place.
        let reopened = self.has(batch, line, |flags| flags & SYN != 0);
        let born_before = self.lives.lives_on(life, self.breath);
        if !born_before || line.over(self.now.seconds()) || reopened {
            return None;
        }
        if self.ground.is_gone(line.server_id) {
            // What the server says reaches the client until a packet of the client ends that.
            let lasts = self.ground.lifecycle.gone == Gone::Hold;
            if !lasts || to_server && note.mark.is_some() {
                return None;
            }
        }
        let server = self.ground.server(line.server_id).address;
        let address = if to_server { server } else { line.client.ip() };
        let neighbour = match self.ground.way_to(address) {
            Way::By(neighbour) => neighbour,
            Way::Unresolved(n) => {
                let neighbour = &self.ground.neighbours[n];
                return Some(Due::Asked(neighbour.port, neighbour.address));
            }
            Way::Closed => return None,
        };
        let mtu = self.ground.mtu(self.ground.neighbours[neighbour].port);
        let (mtu, overhead) = if to_server && line.forward == Forward::Tun {
            let learned = self.director.server(line.server_id).path_mtu(self.now);
            (mtu.min(learned.into()), if server.is_ipv6() { 40 } else { 20 })
        } else {
            (mtu, 0)
        };
        if note.len + overhead > mtu {
            return None;
        }
        Some(note.mark.map_or(Due::Error((life, to_server)), Due::Delivered))
    }

    /// A packet of the batch, with such flags, meets this connection.
    fn has(&self, batch: &[Note], line: &Line, flags: impl Fn(u8) -> bool) -> bool {
        batch.iter().any(|note| (note.hostile || flags(note.flags)) && self.meets(note, line))
    }

    /// A late answer may meet another connection, which has its key by now.
    fn meets(&self, note: &Note, line: &Line) -> bool {
        let life = note.error.map(|(life, _)| life).or(note.mark.and_then(|mark| mark.life));
        if let Some(of) = life.and_then(|life| self.lives.get(life)) {
            let answers = of.reverse_key().is_some() && of.reverse_key() == line.reverse_key();
            return answers || of.key() == line.key();
        }
        let talk = note.mark.map(|mark| &self.talks[usize::from(mark.talk)]);
        talk.is_some_and(|talk| (talk.protocol, talk.client, talk.vip) == line.key())
    }
}

/// Connections.
impl World {
    /// Law 1: a connection stays what it is for its whole life. Law 4: what may change in it.
    pub(crate) fn follow_connections(&mut self, worker: usize, before: &Before) {
        let all = list(&self.director);
        check_keys(&all);
        let mut after = all;
        after.retain(|_, line| line.state != RESETTING);
        for line in before.listing.values() {
            match after.get(&line.place()).filter(|now| now.generation == line.generation) {
                Some(now) => self.lives_on(before, line, now),
                None => self.died(before, line),
            }
        }
        let born: Vec<Line> = after
            .values()
            .filter(|line| {
                let was = before.listing.get(&line.place());
                was.is_none_or(|was| was.generation != line.generation)
            })
            .copied()
            .collect();
        for line in &born {
            self.born(line);
        }
        let half_open = |line: &&Line| State::from_u8(line.state).is_some_and(State::half_open);
        // Also those that left and came back: two SYNs of both sides do that to a connection.
        let left = before.listing.values().filter(half_open).filter(|was| {
            let same = |now: &&Line| (now.generation, now.state) == (was.generation, was.state);
            let met = || self.has(&before.notes, was, |flags| flags != SYN);
            after.get(&was.place()).filter(same).is_none() || met()
        });
        let room = self.director.limits().half_open.saturating_sub(before.half_open);
        let most = (room as usize).saturating_add(left.count());
        assert!(born.iter().filter(half_open).count() <= most, "law 6: half-open connections");
        self.listing = after;
        let opened = self.stations[worker].stats.opened.value() - before.opened;
        assert!(opened == born.len() as u64 || before.hostile, "{opened} opened, {born:?}");
    }

    fn lives_on(&self, before: &Before, was: &Line, now: &Line) {
        assert_eq!(was.fixed(), now.fixed(), "law 1: a connection changed");
        let seconds = self.now.seconds();
        assert!(!was.over(seconds) || was.stamp == now.stamp, "law 1: {was:?} came to life again");
        if before.unclear || was == now {
            return;
        }
        let met = self.has(&before.notes, now, |_| true);
        assert!(met, "law 4: {was:?} -> {now:?} without a packet");
        let stamped = was.stamp == now.stamp || now.stamp == seconds;
        assert!(stamped, "law 4: stamped {}", now.stamp);
        let data = |flags: u8| flags == ACK || flags == 0 && now.protocol == Protocol::Udp;
        let only_data = !self.has(&before.notes, now, |flags| !data(flags));
        let settled = now.protocol == Protocol::Udp || was.state == State::Established as u8;
        if only_data && settled {
            let same = (was.state, was.timeout) == (now.state, now.timeout);
            assert!(same, "law 4: data changed {was:?} to {now:?}");
            let hops_known = was.hops.0 == self.ground.hop_generation()
                && !self.ground.is_gone(was.server_id)
                && was.hops.1 != u16::MAX
                && (was.hops.2 != u16::MAX || !now.forward.two_way());
            assert!(!hops_known || was.hops == now.hops, "law 4: hops of {was:?}");
        }
    }

    /// A connection ends when its time is over, a SYN comes when it was done, or its server went.
    fn died(&mut self, before: &Before, line: &Line) {
        let reopened = self.has(&before.notes, line, |flags| flags & SYN != 0);
        let gone = self.ground.is_gone(line.server_id)
            && match self.ground.lifecycle.gone {
                Gone::Hold => false,
                Gone::Reset => before.unclear || self.has(&before.notes, line, |_| true),
                // Within a second, also without a packet.
                Gone::Expire => true,
            };
        if gone {
            self.count("a connection ended with its server");
        }
        let right = line.over(self.now.seconds()) || reopened || gone || before.hostile;
        assert!(right, "law 1: {line:?} ended before its time at {}", self.now.millis);
        self.lives.died(line, self.breath);
        self.event(Event::Died(*line));
    }

    /// A new connection is one that its service makes, to a server that may be picked.
    fn born(&mut self, line: &Line) {
        let server = self.ground.server(line.server_id);
        let service = self.ground.service(server.service as usize);
        let key = service.key.endpoint().expect("no marks here");
        assert_eq!((key.protocol, key.address), (line.protocol, line.vip.ip()));
        assert_eq!((key.port, server.forward), (line.vip.port(), line.forward));
        // The scheduler knows of a change before the worker's next snapshot does.
        let coming = self.coming.as_ref().map(|ground| ground.server(line.server_id));
        let takes = |server: &Server| server.up && !server.drained && server.weight > 0;
        let may = takes(server) || coming.is_some_and(takes);
        assert!(may, "{line:?}: not to be picked");
        let v6 = line.client.is_ipv6();
        let ports = LOCAL_PORT..LOCAL_PORT + service_ports(service);
        match line.forward {
            Forward::Nat => {
                assert_eq!(line.local.ip(), line.client.ip(), "the source in NAT");
                if line.local != line.client {
                    self.count("a source port moved");
                }
            }
            Forward::FullNat => {
                assert_eq!(line.local.ip(), at(v6, Net::Back, 9), "the source in FullNAT");
                assert!(ports.contains(&line.local.port()), "a FullNAT port: {line:?}");
            }
            Forward::Dr | Forward::Tun => {}
        }
        self.event(Event::Born(*line));
        self.lives.born(*line, self.breath);
    }
}

fn service_ports(service: &dataplane::snapshot::Service) -> u16 {
    service.policy.local_addresses.iter().map(|local| local.ports.len() as u16).sum()
}

/// Frames and counters.
impl World {
    pub(crate) fn laws(&mut self, worker: usize, before: &Before) {
        let station = &mut self.stations[worker];
        let stats = &station.stats;
        assert_eq!(stats.snapshot.value(), self.ground.generation, "law 3: the snapshot in use");
        let held = station.worker.held();
        assert_eq!(station.io.outstanding(), held, "law 2: frames without a home");
        assert!(held <= self.director.limits().held_frames, "law 6: {held} frames held");
        station.hostile_held = held > 0 && before.hostile;
        let packets = packets(stats, station.io.parts());
        assert_eq!(stats.rx_packets.value(), packets + held as u64, "law 5: one verdict each");
        while let Some((_, packet, _)) = station.io.take_punted() {
            assert!(station.arrived.contains(&hash(&packet)), "punted otherwise than it came");
        }
        self.counts();
        self.dues(before);
    }

    fn dues(&self, before: &Before) {
        for due in &before.due {
            match due {
                Due::Delivered(mark) => {
                    assert!(self.delivered.contains(mark), "{mark:?} was not delivered");
                }
                Due::Error(about) => {
                    assert!(self.delivered_errors.contains(about), "error {about:?} got lost");
                }
                Due::Asked(port, address) => {
                    let asked = self.asked.contains(&(*port, *address));
                    assert!(asked, "nobody asked for {address} at port {port}");
                }
            }
        }
    }

    /// Law 6: the counts are those of the listing.
    fn counts(&self) {
        let limits = self.director.limits();
        let all = list(&self.director);
        let v6 = all.keys().filter(|(v6, _)| *v6).count();
        let v4 = all.len() - v6;
        assert!(v4 <= limits.connections_v4 && v6 <= limits.connections_v6, "law 6: full");
        assert_eq!((v4, v6), (self.director.v4.len(), self.director.v6.len()));
        for line in self.listing.values() {
            let timeout = match line.protocol {
                Protocol::Tcp => Timeouts::default().tcp[usize::from(line.state)],
                Protocol::Udp => Timeouts::default().udp,
                Protocol::Sctp => unreachable!("no SCTP here"),
            };
            assert_eq!(line.timeout, timeout, "the timeout of {line:?}");
        }
        check_counts(&self.director, &all, self.ground.services.servers.len());
    }

    /// When time has passed, nothing is left.
    pub(crate) fn last_laws(&mut self) {
        assert!(self.listing.is_empty(), "left: {:?}", self.listing);
        assert_eq!((self.director.v4.keys(), self.director.v6.keys()), (0, 0), "keys left");
        for station in &self.stations {
            assert_eq!(station.worker.held(), 0, "frames held");
            assert_eq!(station.io.outstanding(), 0, "frames away");
        }
        for worker in 0..self.stations.len() {
            let stats = &self.stations[worker].stats;
            let drops = Drop::ALL.iter().map(|drop| drop.name()).zip(&stats.drops);
            let punts = Punt::ALL.iter().map(|punt| punt.name()).zip(&stats.punts);
            let answers = Answer::ALL.iter().map(|answer| answer.name()).zip(&stats.answers);
            for (name, counter) in drops.chain(punts).chain(answers) {
                self.tally.add(name, counter.value());
            }
        }
        self.tally.add("connections", self.lives.count() as u64);
    }
}
