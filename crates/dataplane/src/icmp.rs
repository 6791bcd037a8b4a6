//! ICMP errors about connections reach the right side, rewritten (LVS: `ip_vs_in_icmp`,
//! `ip_vs_out_icmp`), whatever queue they arrive on.

use std::net::IpAddr;

use crate::{
    admit::Refusal,
    answer::Message,
    breath::Breath,
    director::Family,
    forward::{Forward, Protocol, Tuple, V4, V6},
    io::Frame,
    packet::{Fragment, IcmpError, Packet},
    policy::Gone,
    quote::{Quote, parse_quoted},
    snapshot::{Server, ServerId},
    table::{Absent, Found, Way},
    tcp,
    tunnel::QuotedTunnel,
    verdict::{Drop, Punt, Verdict},
    wire::{self, Delta, Ip, ethernet, fold, ipv4, put_u16, sum, u16_at},
};

/// Octets of the ICMP header in front of the quote.
pub(crate) const ICMP: usize = 8;

impl Breath<'_> {
    /// Forwards an ICMP error to the end whose packet it is about.
    #[cold]
    pub fn relay<A: Family, F: Frame>(&mut self, frame: &mut F, error: &IcmpError<A>) -> Verdict {
        let at = usize::from(error.l4) + ICMP;
        let bytes = frame.bytes();
        let Some(quote) = parse_quoted::<A>(&bytes[at..usize::from(error.end)]) else {
            return Verdict::Punt(Punt::Icmp);
        };
        let behind = &bytes[at + quote.l4..usize::from(error.end)];
        if let Some(tunnel) = self.quoted_tunnel(&quote, behind) {
            return self.tunnel_error(frame, error, &quote, tunnel);
        }
        let Some(about) = quote.tuple.map(Tuple::reversed) else {
            return Verdict::Punt(Punt::Icmp);
        };
        let found = match A::table(self.director).look(&about) {
            Ok(found) => found,
            Err(absent) => match self.schedule(error, about, absent) {
                Ok(found) => found,
                Err(refusal) => return self.refuse_error(frame, error, about.protocol, refusal),
            },
        };
        if self.forsaken(&found) {
            return Verdict::Drop(Drop::ServerGone);
        }
        if found.connection.forward.two_way() && !checksum_holds(error, bytes) {
            return Verdict::Drop(Drop::BadIcmpChecksum);
        }
        let packet = as_packet(frame.bytes(), error, found.connection.protocol);
        let way_out = match self.way_out(frame, &packet, &found) {
            Ok(way_out) => way_out,
            Err(verdict) => return verdict,
        };
        if found.connection.forward.two_way() {
            translate(frame.bytes_mut(), error, &quote, &found);
            A::decrement_ttl(&mut frame.bytes_mut()[ethernet::LEN..]);
        }
        self.leave(frame, &packet, (&found).into(), way_out)
    }

    /// `schedule_icmp`: an error about a packet of a server to a client that did not pass
    /// here opens the connection that it is about, and reaches the server. One about a connection
    /// without an entry reaches it, too.
    fn schedule<A: Family>(
        &mut self,
        error: &IcmpError<A>,
        about: Tuple<A>,
        absent: Absent,
    ) -> Result<Found<A>, Refusal> {
        let packet = reported(error, about);
        let Some(target) = self.target(&packet) else { return Err(Refusal::Punt(Punt::Icmp)) };
        if target.service.policy.lifecycle.schedule_icmp {
            return self.admit(&packet, absent);
        }
        let server = self.follow_error(&packet, &target);
        Err(server.map_or(Refusal::Punt(Punt::Icmp), Refusal::Stateless))
    }

    /// What becomes of an error about no connection.
    fn refuse_error<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        error: &IcmpError<A>,
        protocol: Protocol,
        refusal: Refusal,
    ) -> Verdict {
        match refusal {
            Refusal::Punt(_) => Verdict::Punt(Punt::Icmp),
            Refusal::NoServer => Verdict::Drop(Drop::NoServer),
            Refusal::Drop(reason) => Verdict::Drop(reason),
            Refusal::Reset(..) => Verdict::Drop(Drop::Reset),
            Refusal::Stateless(server) => {
                let packet = as_packet(frame.bytes(), error, protocol);
                self.forward_stateless(frame, &packet, server)
            }
        }
    }

    /// Nobody is there to be told: the connection is being reset, or its server is gone and it
    /// is not held for it. (The kernel asks for neither here, `ip_vs_in_icmp`.)
    fn forsaken<A: Family>(&self, found: &Found<A>) -> bool {
        let server = found.connection.server_id;
        let to_nobody = found.direction == Way::Forward
            && self.gone(found)
            && self.snapshot.services.end_of(server) != Gone::Hold;
        to_nobody || found.meta.state() == tcp::RESETTING
    }

    /// The tunnel to one of our servers that a quoted packet is of.
    pub(crate) fn quoted_tunnel<A: Family>(
        &self,
        quote: &Quote<A>,
        behind: &[u8],
    ) -> Option<QuotedTunnel> {
        let services = &self.snapshot.services;
        let servers = services.tunnel_servers.get(&quote.dst.ip())?;
        let tunnel = QuotedTunnel::read(quote.protocol, behind).filter(|_| !quote.later)?;
        let server = |id: &ServerId| services.servers[*id as usize].as_ref();
        let ours = servers
            .iter()
            .filter_map(server)
            .filter_map(Server::tunnel)
            .any(|known| tunnel.is_of(known));
        ours.then_some(tunnel)
    }

    /// An error about our own outer header: the client learns what it has to know.
    fn tunnel_error<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        error: &IcmpError<A>,
        quote: &Quote<A>,
        tunnel: QuotedTunnel,
    ) -> Verdict {
        if !self.snapshot.topology.is_local(quote.src.ip()) || !checksum_holds(error, frame.bytes())
        {
            return Verdict::Punt(Punt::Icmp);
        }
        let inner = usize::from(error.l4) + ICMP + quote.l4 + tunnel.header();
        let report = Report {
            kind: error.kind,
            code: error.code,
            server: quote.dst.ip(),
            tunnel,
            mtu: reported_mtu(error, frame.bytes()),
            inner: inner..usize::from(error.end),
        };
        if tunnel.ipv6 {
            self.tell_client::<A, V6, F>(frame, report)
        } else {
            self.tell_client::<A, V4, F>(frame, report)
        }
    }

    fn learn_path_mtu(&self, server: IpAddr, mtu: u16) {
        for id in &self.snapshot.services.tunnel_servers[&server] {
            self.director.server(*id).learn_path_mtu(mtu, self.now);
        }
    }

    /// Answers the client whose packet of family `A` was inside the tunnel packet, over `O`,
    /// that a router reported. Only what quotes a packet of a live connection to that very server
    /// is believed (`ip_vs_in_icmp`): else whoever guesses two addresses could shrink a tunnel.
    fn tell_client<O: Family, A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        report: Report,
    ) -> Verdict {
        let quote = frame.bytes().get(report.inner.clone()).and_then(parse_quoted::<A>);
        let Some((quote, tuple)) = quote.and_then(|quote| Some((quote, quote.tuple?))) else {
            return Verdict::Punt(Punt::Icmp);
        };
        let found = A::table(self.director).find(&tuple).filter(|found| {
            found.connection.forward == Forward::Tun && self.server_address(found) == report.server
        });
        let path = found
            .and_then(|found| self.snapshot.tunnel(found.connection.server_id))
            .filter(|path| report.tunnel.is_of(path.kind()));
        let Some(path) = path else { return Verdict::Punt(Punt::Icmp) };
        let message = match report.mtu {
            Some(mtu) => {
                self.learn_path_mtu(report.server, mtu);
                // RFC 792: a packet that may be fragmented is not told to shrink.
                if !quote.dont_fragment {
                    return Verdict::Drop(Drop::TunnelError);
                }
                let left = mtu.saturating_sub(path.overhead());
                Message::too_big::<A>(left).because(Drop::TunnelError)
            }
            None => Message::relayed::<O, A>(report.kind, report.code),
        };
        let len = report.inner.len();
        let room = frame.room();
        room.copy_within(report.inner, ethernet::LEN);
        put_u16(room, ethernet::TYPE.start, A::ETHERTYPE);
        frame.set_len(ethernet::LEN + len);
        let packet = Packet {
            tuple,
            l4: (ethernet::LEN + quote.l4) as u16,
            end: (ethernet::LEN + len) as u16,
            ttl: 64,
            flags: 0,
            dont_fragment: quote.dont_fragment,
            fragment: Fragment::Whole,
            id: 0,
        };
        self.answer(frame, &packet, message)
    }
}

/// The packet that an error is about, as far as it can open a connection: no segment or datagram,
/// so it does that whatever its flags are.
pub(crate) const fn reported<A: Copy>(error: &IcmpError<A>, about: Tuple<A>) -> Packet<A> {
    Packet {
        tuple: about,
        l4: error.l4,
        end: error.end,
        ttl: error.ttl,
        flags: 0,
        dont_fragment: true,
        fragment: Fragment::Later,
        id: 0,
    }
}

/// What a router reported about a tunnel packet.
struct Report {
    kind: u8,
    code: u8,
    /// Where the tunnel ends.
    server: IpAddr,
    /// What it is.
    tunnel: QuotedTunnel,
    /// The MTU that it told.
    mtu: Option<u16>,
    /// Where in the frame the inner packet is.
    inner: std::ops::Range<usize>,
}

/// The MTU of a "fragmentation needed" or "packet too big", kept within what the kernel
/// believes (`ip_rt_min_pmtu`, RFC 8200's 1280).
fn reported_mtu<A: Ip>(error: &IcmpError<A>, bytes: &[u8]) -> Option<u16> {
    const MIN_PMTU: u16 = 552;
    let icmp = &bytes[usize::from(error.l4)..];
    // RFC 1191 section 4: 16 bits; RFC 4443 section 3.2: 32.
    let mtu = if A::IPV6 && u16_at(icmp, 4) != 0 { u16::MAX } else { u16_at(icmp, 6) };
    match (A::IPV6, error.kind, error.code) {
        (false, 3, 4) => Some(mtu.max(MIN_PMTU)),
        (true, 2, _) => Some(mtu.max(V6::MTU_MIN)),
        _ => None,
    }
}

fn checksum_holds<A: Ip>(error: &IcmpError<A>, bytes: &[u8]) -> bool {
    let message = &bytes[usize::from(error.l4)..usize::from(error.end)];
    if A::IPV6 {
        wire::transport_checksum(error.src, error.dst, A::ICMP, message) == 0
    } else {
        fold(sum(message)) == 0xffff
    }
}

/// The error as a packet of its connection, for TTL, MTU, next hop and counting.
fn as_packet<A: Family>(bytes: &[u8], error: &IcmpError<A>, protocol: Protocol) -> Packet<A> {
    let df = u16_at(bytes, ethernet::LEN + ipv4::FRAGMENT) & ipv4::DF != 0;
    Packet {
        tuple: Tuple { src: error.src, dst: error.dst, sport: 0, dport: 0, protocol },
        l4: error.l4,
        end: error.end,
        ttl: error.ttl,
        flags: 0,
        dont_fragment: A::IPV6 || df,
        // Like a later fragment it has no ports of its own, and must not be answered by ICMP.
        fragment: Fragment::Later,
        id: 0,
    }
}

/// Gives the outer header and the quoted packet the addresses of the other side. The quoted
/// transport checksum is left, as the kernel leaves it: no receiver can verify it.
fn translate<A: Ip>(bytes: &mut [u8], error: &IcmpError<A>, quote: &Quote<A>, found: &Found<A>) {
    let c = &found.connection;
    let ((src, dst), (quoted_src, quoted_dst)) = match found.direction {
        // The server's answer to the client caused it: to the server, about its packet.
        Way::Forward => {
            let src = if c.forward == Forward::FullNat { c.local } else { error.src };
            ((src, c.server), ((c.server, c.rport), (c.local, c.lport)))
        }
        Way::Reverse => ((c.vip, c.client), ((c.client, c.cport), (c.vip, c.vport))),
    };
    let quoted = usize::from(error.l4) + ICMP;
    let delta = Delta::addresses([quote.src, quote.dst], [quoted_src.0, quoted_dst.0]);
    A::set_addresses(&mut bytes[quoted..], quoted_src.0, quoted_dst.0, delta);
    put_u16(&mut bytes[quoted..], quote.l4, quoted_src.1);
    put_u16(&mut bytes[quoted..], quote.l4 + 2, quoted_dst.1);
    let delta = Delta::addresses([error.src, error.dst], [src, dst]);
    A::set_addresses(&mut bytes[ethernet::LEN..], src, dst, delta);
    let message = &mut bytes[usize::from(error.l4)..usize::from(error.end)];
    put_u16(message, 2, 0);
    let checksum = if A::IPV6 {
        wire::transport_checksum(src, dst, A::ICMP, message)
    } else {
        !fold(sum(message))
    };
    put_u16(message, 2, checksum);
}
