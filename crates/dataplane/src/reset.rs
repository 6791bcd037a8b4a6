//! TCP resets, for connections that are over: their ends learn it from us, instead of waiting
//! for answers that never come.
//!
//! A receiver takes a reset only with exactly the number that it expects next (RFC 5961
//! section 3.2). The entry of a connection has no room for numbers, so they come from a packet
//! of the connection: its sender is reset with the number that it acknowledges (RFC 9293
//! section 3.10.7.1), its receiver with the packet's own number, as if the sender had reset.
//!
//! Of an idle connection there is no packet. Each end is sent what a keep-alive is (RFC 9293
//! section 3.8.4): an acknowledgment without data, whose number is none that is expected. The
//! end must answer it with an acknowledgment of its own (section 3.10.7.4), which is the packet
//! that the resets come from.

use crate::{
    answer::write_header,
    breath::Breath,
    clock::Now,
    connection_log::End,
    director::Family,
    forward::{Protocol, Tuple},
    io::{Frame, Io},
    packet::Packet,
    rewrite::address_frame,
    route::find_hop,
    table::{Connection, ConnectionRef, Expired, Found, Way},
    tcp,
    topology::{Hop, Mac, NO_HOP, PortId},
    verdict::{Answer, Drop, Verdict},
    wire::{self, Ip, ethernet, put_u16, tcp as at},
    worker::send,
};

/// A segment without data or options.
struct Segment<A> {
    tuple: Tuple<A>,
    sequence: u32,
    acknowledgment: u32,
    flags: u8,
}

impl Breath<'_> {
    /// Resets both ends of the connection of `packet`: its sender, and as its sender the other
    /// end, where that one's packets pass here. The connection lasts as long as one in `CLOSE`,
    /// so that what is still under way is answered likewise, not forwarded and not given to the
    /// kernel, which would send a server's packets on untranslated.
    #[cold]
    pub(crate) fn reset<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        (connection, way): (ConnectionRef, Way),
    ) -> Verdict {
        let Some(found) = A::table(self.director).get(connection) else {
            return Verdict::Drop(Drop::Reset);
        };
        let found = Found { direction: way, ..found };
        self.begin_reset(found, self.why_over(&found));
        if !self.director.limiter.allow_reset(self.now) {
            self.stats.answer(Answer::RateLimited);
            return Verdict::Drop(Drop::Reset);
        }
        let segment = &frame.bytes()[usize::from(packet.l4)..usize::from(packet.end)];
        let back = reset_of_sender(packet.tuple, segment);
        let on = found.connection.forward.two_way().then(|| reset_of_receiver(&found, segment));
        let back = back.and_then(|segment| Some((self.way(&segment)?, segment)));
        let on = on.and_then(|segment| Some((self.way(&segment)?, segment)));
        let room = frame.room();
        let (len, verdict) = match (back, on) {
            (Some((back, to_sender)), Some((on, to_other))) => {
                let len = to_sender.write(room, back);
                to_other.write(&mut room[len..], on);
                (2 * len, Verdict::Resets { ports: [back.0.port, on.0.port] })
            }
            (Some((back, to_sender)), None) => (to_sender.write(room, back), answer(back)),
            (None, Some((on, to_other))) => (to_other.write(room, on), answer(on)),
            (None, None) => return Verdict::Drop(Drop::Reset),
        };
        frame.set_len(len);
        verdict
    }

    /// Resets the sender of a packet that belongs to no connection, where the kernel would not:
    /// its destination is no address of this box.
    #[cold]
    pub(crate) fn reset_stranger<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
    ) -> Verdict {
        let segment = &frame.bytes()[usize::from(packet.l4)..usize::from(packet.end)];
        let Some(back) = reset_of_sender(packet.tuple, segment) else {
            return Verdict::Drop(Drop::Reset);
        };
        // Anybody can send such packets: the kernel's limits for each peer hold.
        if !self.director.limiter.allow(packet.tuple.src.ip(), self.now) {
            self.stats.answer(Answer::RateLimited);
            return Verdict::Drop(Drop::Reset);
        }
        let Some(way) = self.way(&back) else { return Verdict::Drop(Drop::Reset) };
        let len = back.write(frame.room(), way);
        frame.set_len(len);
        answer(way)
    }

    /// Ends a connection without a packet of it: from now on its packets are answered, and where
    /// both ends' pass here, both are asked for their numbers. `end` is what the connection log tells. False if another one
    /// was faster.
    #[cold]
    pub(crate) fn reset_both<A: Family, I: Io>(
        &mut self,
        io: &mut I,
        found: &Found<A>,
        end: End,
    ) -> bool {
        let begun = self.begin_reset(*found, end);
        if begun && found.connection.forward.two_way() {
            self.ask_both(io, &found.connection);
        }
        begun
    }

    /// From now on the connection's packets are answered; true if this is what made it so.
    fn begin_reset<A: Family>(&self, mut found: Found<A>, end: End) -> bool {
        let server = found.connection.server_id;
        let timeout = self.timeouts(server).tcp[tcp::State::Close as usize];
        let table = A::table(self.director);
        while found.meta.state() != tcp::RESETTING {
            match table.transition(&found, tcp::RESETTING, timeout, self.now.seconds()) {
                Ok(()) => {
                    self.director.changed(server, found.meta.state(), tcp::RESETTING);
                    let (place, state) = (found.reference(), found.meta.state());
                    self.log_end(&found.connection, place, state, end);
                    self.unsettle(found);
                    return true;
                }
                Err(seen) if seen.generation() == found.meta.generation() => found.meta = seen,
                Err(_) => return false,
            }
        }
        false
    }

    /// Forgets the connection's hops, so that every packet of it looks at its state. Whoever reads
    /// the forgotten ones reads the state after them, the new one: they are not set again.
    fn unsettle<A: Family>(&self, found: Found<A>) {
        let table = A::table(self.director);
        let connection = ConnectionRef { id: found.id, generation: found.meta.generation() };
        while let Some(found) = table.get(connection) {
            let known = found.hops.route_generation() != 0;
            if !known || table.set_hops(&found, 0, NO_HOP, NO_HOP) {
                return;
            }
        }
    }

    /// The neighbour on the way to a segment's destination.
    fn way<A: Family>(&self, segment: &Segment<A>) -> Option<(&Hop, Mac)> {
        let topology = &*self.snapshot.topology;
        let hash = A::table(self.director).hash(&segment.tuple);
        let (id, _) = find_hop(topology, self.director, segment.tuple.dst.ip(), hash).ok()?;
        let hop = topology.hops.get(usize::from(id)).filter(|hop| hop.mtu > 0)?;
        Some((hop, hop.mac?))
    }

    /// An idle connection expired, and is no longer in the table. If it is one that gets a reset,
    /// it is put there again for as long as one in `CLOSE`, its ends are asked for their numbers
    /// while `probes` last and there are frames, and true is returned.
    #[cold]
    pub(crate) fn outlive<A: Family, I: Io>(
        &mut self,
        io: &mut I,
        expired: &Expired<A>,
        probes: &mut u32,
    ) -> bool {
        let Expired { connection, meta, stamp, hops, id } = *expired;
        let found = Found { id, direction: Way::Forward, connection, meta, stamp, hops };
        if !self.resets_idle(&found) {
            return false;
        }
        let timeout = self.timeouts(connection.server_id).tcp[tcp::State::Close as usize];
        let table = A::table(self.director);
        if table.insert(&connection, tcp::RESETTING, timeout, self.now.seconds()).is_err() {
            return false;
        }
        if *probes > 0 && self.ask_both(io, &connection) {
            *probes -= 1;
        }
        true
    }

    /// Asks both ends of a connection for their numbers; false if the limit does not let us.
    fn ask_both<A: Family, I: Io>(&mut self, io: &mut I, connection: &Connection<A>) -> bool {
        let allowed = self.director.limiter.allow_reset(self.now);
        if allowed {
            let to_client = Some(connection.forward_key().reversed());
            let to_server = connection.reverse_key().map(Tuple::reversed);
            [to_client, to_server].into_iter().flatten().for_each(|tuple| self.probe(io, tuple));
        }
        allowed
    }

    fn probe<A: Family, I: Io>(&mut self, io: &mut I, tuple: Tuple<A>) {
        let sequence = unexpected_number(self.ids.long(), self.now);
        let segment = Segment { tuple, sequence, acknowledgment: 0, flags: at::ACK };
        let Some(way) = self.way(&segment) else { return };
        let Some(mut frame) = io.take() else { return };
        let len = segment.write(frame.room(), way);
        frame.set_len(len);
        self.stats.answer(Answer::Probe);
        io.originates(self, way.0.port, &frame);
        send(self.stats, io, way.0.port, frame);
    }
}

/// A number that the receiver expects with a probability of its window in 2^32, and another one
/// the next time (a step of the golden ratio, Knuth 6.4).
const fn unexpected_number(id: u32, now: Now) -> u32 {
    (id ^ now.millis as u32).wrapping_mul(0x9e37_79b1)
}

/// Sends the two resets that a frame holds.
#[cold]
pub(crate) fn send_resets<I: Io>(
    breath: &Breath<'_>,
    io: &mut I,
    mut frame: I::Frame,
    [back, on]: [PortId; 2],
) {
    let stats = breath.stats;
    stats.drop(Drop::Reset);
    let len = frame.bytes().len() / 2;
    // Without a free frame the other end's turn comes with the connection's next packet.
    if let Some(mut other) = io.take() {
        other.room()[..len].copy_from_slice(&frame.bytes()[len..]);
        other.set_len(len);
        stats.answer(Answer::ResetOther);
        send(stats, io, on, other);
    }
    frame.set_len(len);
    stats.answer(Answer::Reset);
    send(stats, io, back, frame);
}

/// A reset leaves in the packet's frame.
fn answer((hop, _): (&Hop, Mac)) -> Verdict {
    Verdict::Answer { port: hop.port, reason: Drop::Reset, kind: Answer::Reset }
}

/// RFC 9293 section 3.10.7.1: what a host says that has no such connection. Nothing to a reset.
fn reset_of_sender<A: Copy>(tuple: Tuple<A>, segment: &[u8]) -> Option<Segment<A>> {
    let flags = segment[at::FLAGS];
    let tuple = tuple.reversed();
    if flags & at::RST != 0 {
        None
    } else if flags & at::ACK != 0 {
        let sequence = number(segment, at::ACKNOWLEDGMENT);
        Some(Segment { tuple, sequence, acknowledgment: 0, flags: at::RST })
    } else {
        let acknowledgment = end_of(segment);
        Some(Segment { tuple, sequence: 0, acknowledgment, flags: at::RST | at::ACK })
    }
}

/// The packet, turned into its sender's reset, as the other end knows that one.
fn reset_of_receiver<A: Family>(found: &Found<A>, segment: &[u8]) -> Segment<A> {
    Segment {
        tuple: found.translated(),
        sequence: number(segment, at::SEQUENCE),
        acknowledgment: number(segment, at::ACKNOWLEDGMENT),
        flags: at::RST | segment[at::FLAGS] & at::ACK,
    }
}

fn number(segment: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(*segment[offset..].first_chunk().expect("parsed TCP header"))
}

/// The number after the segment's last octet; SYN and FIN count (RFC 9293 section 3.4).
fn end_of(segment: &[u8]) -> u32 {
    let header = usize::from(segment[at::DATA_OFFSET] >> 4) * 4;
    let flags = segment[at::FLAGS];
    let phantoms = u32::from(flags & at::SYN != 0) + u32::from(flags & at::FIN != 0);
    let data = segment.len().saturating_sub(header) as u32;
    number(segment, at::SEQUENCE).wrapping_add(data + phantoms)
}

impl<A: Ip> Segment<A> {
    /// Writes the segment in a frame of its own at the beginning of `room`; returns its length.
    fn write(&self, room: &mut [u8], (hop, mac): (&Hop, Mac)) -> usize {
        let end = ethernet::LEN + A::HEADER + at::LEN;
        let frame = &mut room[..end];
        put_u16(frame, ethernet::TYPE.start, A::ETHERTYPE);
        address_frame(frame, hop, mac);
        let (ip, tcp) = frame[ethernet::LEN..].split_at_mut(A::HEADER);
        let Tuple { src, dst, sport, dport, .. } = self.tuple;
        tcp.fill(0);
        put_u16(tcp, 0, sport);
        put_u16(tcp, 2, dport);
        tcp[at::SEQUENCE..][..4].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[at::ACKNOWLEDGMENT..][..4].copy_from_slice(&self.acknowledgment.to_be_bytes());
        tcp[at::DATA_OFFSET] = (at::LEN as u8 / 4) << 4;
        tcp[at::FLAGS] = self.flags;
        let checksum = wire::transport_checksum(src, dst, Protocol::Tcp as u8, tcp);
        put_u16(tcp, at::CHECKSUM, checksum);
        // Never fragmented: it needs no identification (RFC 6864 section 4.1).
        write_header(ip, [src, dst], Protocol::Tcp as u8, (at::LEN, 0, None));
        end
    }
}
