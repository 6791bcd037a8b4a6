//! What becomes of packets that nobody here takes, and the ICMP errors that we originate. They are built in the offending packet's own frame, quote
//! it as it arrived, go back by the route to its sender, and obey RFC 1122 section 3.2.2,
//! RFC 4443 section 2.4 and the kernel's rate limits.

use std::net::IpAddr;

use crate::{
    admit::Refusal,
    breath::Breath,
    director::Family,
    forward::{Endpoint, Protocol},
    io::Frame,
    packet::{Fragment, Packet},
    rewrite::address_frame,
    route::{find_hop, source_towards},
    sctp,
    verdict::{Answer, Drop, Punt, Verdict},
    wire::{self, Ip, ethernet, fold, ipv4, ipv6, put_u16, sum, tcp as flag},
};

/// An ICMP error, in the family's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    kind: u8,
    code: u8,
    /// The second word: an MTU, or 0.
    info: u32,
    answer: Answer,
    drop: Drop,
}

impl Message {
    /// No server takes the connection: LVS answers so for TCP, too (`ip_vs_leave`).
    pub const fn port_unreachable<A: Ip>() -> Self {
        let (kind, code) = if A::IPV6 { (1, 4) } else { (3, 3) };
        Self { kind, code, info: 0, answer: Answer::PortUnreachable, drop: Drop::NoServer }
    }

    /// No way to the destination, for the reason `drop`.
    pub const fn host_unreachable<A: Ip>(drop: Drop) -> Self {
        let (kind, code) = if A::IPV6 { (1, 0) } else { (3, 1) };
        Self { kind, code, info: 0, answer: Answer::HostUnreachable, drop }
    }

    /// TTL or hop limit exceeded in transit.
    pub const fn time_exceeded<A: Ip>() -> Self {
        let kind = if A::IPV6 { 3 } else { 11 };
        Self { kind, code: 0, info: 0, answer: Answer::TimeExceeded, drop: Drop::TtlExceeded }
    }

    /// Fragmentation needed (RFC 1191) or packet too big (RFC 8201). Never less than the family's
    /// smallest MTU: hosts do not believe it.
    pub const fn too_big<A: Ip>(mtu: u16) -> Self {
        let (kind, code) = if A::IPV6 { (2, 0) } else { (3, 4) };
        let mtu = if mtu < A::MTU_MIN { A::MTU_MIN } else { mtu };
        Self { kind, code, info: mtu as u32, answer: Answer::PacketTooBig, drop: Drop::TooBig }
    }

    /// What a router reported about our tunnel packet over `O`, told to a client of `A`
    /// (RFC 2473 section 8): the same kind and code within a family, else the same meaning.
    pub const fn relayed<O: Ip, A: Ip>(kind: u8, code: u8) -> Self {
        let expired = kind == Self::time_exceeded::<O>().kind;
        let same = if expired {
            Self::time_exceeded::<A>()
        } else {
            Self::host_unreachable::<A>(Drop::NoRoute)
        };
        let told = if A::IPV6 == O::IPV6 { Self { kind, code, ..same } } else { same };
        told.because(Drop::TunnelError)
    }

    /// This message, the dropped packet counted by another name.
    pub const fn because(self, drop: Drop) -> Self {
        Self { drop, ..self }
    }
}

impl Breath<'_> {
    /// What becomes of a packet that opens no connection and belongs to none.
    #[cold]
    pub(crate) fn refuse<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        refusal: Refusal,
    ) -> Verdict {
        match refusal {
            Refusal::Punt(reason) => self.unclaimed(frame, packet, reason),
            Refusal::Reset(connection, way) => self.reset(frame, packet, (connection, way)),
            Refusal::Drop(reason) => Verdict::Drop(reason),
            Refusal::Stateless(server) => self.forward_stateless(frame, packet, server),
            Refusal::NoServer => self.answer(frame, packet, Message::port_unreachable::<A>()),
        }
    }

    /// True for a segment to a service's own endpoint whose VIP the kernel does not have: it would
    /// not reset in that name, so we do, where the service lets us (`reset_idle`).
    fn speaks_for<A: Family>(&self, packet: &Packet<A>) -> bool {
        let Some(target) = self.target(packet) else { return false };
        let (service, destination) = (target.service, packet.tuple.dst.ip());
        let endpoint = service.key.endpoint().is_some_and(|e| e.port == packet.tuple.dport);
        let ours = self.snapshot.topology.is_local(destination);
        packet.tuple.protocol == Protocol::Tcp
            && packet.flags & (flag::SYN | flag::RST) == 0
            && service.policy.lifecycle.reset_idle
            && endpoint
            && !ours
    }

    /// What nobody here takes is the kernel's, except where it would do wrong with it.
    fn unclaimed<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        reason: Punt,
    ) -> Verdict {
        if reason == Punt::NoConnection && self.speaks_for(packet) {
            return self.reset_stranger(frame, packet);
        }
        let services = &self.snapshot.services;
        let source = Endpoint {
            protocol: packet.tuple.protocol,
            address: packet.tuple.src.ip(),
            port: packet.tuple.sport,
        };
        if reason == Punt::Alien && services.told_servers.contains(&source) {
            let ends = match packet.tuple.protocol {
                Protocol::Tcp => packet.flags & flag::RST != 0,
                Protocol::Udp => false,
                Protocol::Sctp => packet.flags == sctp::chunk::ABORT,
            };
            if ends {
                return Verdict::Punt(reason);
            }
            let message = Message::port_unreachable::<A>().because(Drop::NoServerConnection);
            return self.answer(frame, packet, message);
        }
        Verdict::Punt(reason)
    }

    /// Turns the frame of `packet` into `message` to its sender.
    #[cold]
    pub fn answer<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        message: Message,
    ) -> Verdict {
        let sender = packet.tuple.src.ip();
        let addressed = packet.tuple.dst.ip();
        if packet.fragment == Fragment::Later || is_multicast(addressed) {
            self.stats.answer(Answer::Forbidden);
            return Verdict::Drop(message.drop);
        }
        let topology = &*self.snapshot.topology;
        // As icmp_send: from the address that was talked to, if it is ours.
        let source = if topology.is_local(addressed) {
            Some(packet.tuple.dst)
        } else {
            source_towards(topology, sender).and_then(A::from_ip)
        };
        let hash = A::table(self.director).hash(&packet.tuple.reversed());
        let hop = find_hop(topology, self.director, sender, hash);
        let (Some(source), Ok((hop, _))) = (source, hop) else {
            return Verdict::Drop(message.drop);
        };
        let hop = topology.hops[usize::from(hop)];
        let Some(mac) = hop.mac.filter(|_| hop.mtu > 0) else {
            return Verdict::Drop(message.drop);
        };
        let exempt = message.answer == Answer::PacketTooBig;
        if !exempt && !self.director.limiter.allow(sender, self.now) {
            self.stats.answer(Answer::RateLimited);
            return Verdict::Drop(message.drop);
        }
        let id = self.ids.short();
        let len = write(frame.room(), packet, source, message, id);
        frame.set_len(len);
        address_frame(frame.bytes_mut(), &hop, mac);
        Verdict::Answer { port: hop.port, reason: message.drop, kind: message.answer }
    }
}

/// Shifts the offending packet behind the new headers and writes these; returns the length.
fn write<A: Ip>(
    room: &mut [u8],
    packet: &Packet<A>,
    source: A,
    message: Message,
    id: u16,
) -> usize {
    const ICMP: usize = 8;
    // RFC 1812 4.3.2.3: at most 576 octets in all; RFC 4443 2.4 (c): at most 1280.
    let most = if A::IPV6 { 1280 } else { 576 };
    let headers = A::HEADER + ICMP;
    let quoted = packet.ip_len().min(most - headers).min(room.len() - ethernet::LEN - headers);
    let tos = room[ethernet::LEN + ipv4::TOS];
    room.copy_within(ethernet::LEN..ethernet::LEN + quoted, ethernet::LEN + headers);
    let (ip, icmp) = room[ethernet::LEN..ethernet::LEN + headers + quoted].split_at_mut(A::HEADER);
    icmp[..2].copy_from_slice(&[message.kind, message.code]);
    put_u16(icmp, 2, 0);
    icmp[4..8].copy_from_slice(&message.info.to_be_bytes());
    let to = packet.tuple.src;
    let checksum = if A::IPV6 {
        wire::transport_checksum(source, to, A::ICMP, icmp)
    } else {
        !fold(sum(icmp))
    };
    put_u16(icmp, 2, checksum);
    // `IPTOS_TOS_MASK` and `IPTOS_PREC_INTERNETCONTROL`, as `icmp_send` combines them.
    const TOS_MASK: u8 = 0x1e;
    const INTERNET_CONTROL: u8 = 0xc0;
    let tos = tos & TOS_MASK | INTERNET_CONTROL;
    write_header(ip, [source, to], A::ICMP, (icmp.len(), tos, Some(id)));
    ethernet::LEN + headers + quoted
}

/// Writes the IP header of a packet that we originate: its addresses, its payload's protocol
/// and length, what else IPv4 has: TOS, and an identification for what may be fragmented.
pub(crate) fn write_header<A: Ip>(
    ip: &mut [u8],
    [src, dst]: [A; 2],
    protocol: u8,
    (payload, tos, id): (usize, u8, Option<u16>),
) {
    if A::IPV6 {
        ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        put_u16(ip, ipv6::PAYLOAD_LENGTH, payload as u16);
        ip[ipv6::NEXT_HEADER] = protocol;
        ip[ipv6::HOP_LIMIT] = TTL;
        return A::set_addresses(ip, src, dst, wire::Delta::default());
    }
    ip[0] = 0x45;
    ip[ipv4::TOS] = tos;
    put_u16(ip, ipv4::TOTAL_LENGTH, (ipv4::LEN + payload) as u16);
    put_u16(ip, ipv4::ID, id.unwrap_or(0));
    put_u16(ip, ipv4::FRAGMENT, if id.is_some() { 0 } else { ipv4::DF });
    ip[ipv4::TTL] = TTL;
    ip[ipv4::PROTOCOL] = protocol;
    put_u16(ip, ipv4::CHECKSUM, 0);
    src.to_wire(&mut ip[ipv4::SOURCE..]);
    dst.to_wire(&mut ip[ipv4::DESTINATION..]);
    let checksum = !fold(sum(ip));
    put_u16(ip, ipv4::CHECKSUM, checksum);
}

/// `net.ipv4.ip_default_ttl` and `net.ipv6.conf.default.hop_limit`.
const TTL: u8 = 64;

fn is_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}
