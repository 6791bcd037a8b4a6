//! A packet without a connection: does a service take it, and which server gets it?

use crate::{
    admission::Admission,
    breath::Breath,
    director::Family,
    forward::{Forward, Protocol},
    lookup::{FTP_DATA, Target},
    one_packet,
    packet::{Fragment, Packet},
    policy::Lifecycle,
    probe,
    sctp::chunk,
    snapshot::{Server, ServerId},
    source_ports::{PORT_TRIES, Ports},
    state::State,
    table::{
        Absent, Beginning, Connection, ConnectionRef, Found, InsertError, Keys, TemplateRef, Way,
    },
    tcp::Direction,
    template,
    topology::{HopId, RouteKind},
    verdict::{Drop, Punt},
    wire::tcp as flag,
};

/// Why a packet opens no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is the kernel's.
    Punt(Punt),
    /// No server takes new connections: the client is told.
    NoServer,
    /// A limit.
    Drop(Drop),
    /// It belongs to a connection that is over: both ends are told.
    Reset(ConnectionRef, Way),
    /// It goes to this server without an entry: see [`crate::stateless`].
    Stateless(ServerId),
}

/// Where a new connection goes.
pub(crate) struct Chosen<'a> {
    pub(crate) id: ServerId,
    pub(crate) server: &'a Server,
    /// The template that says so.
    pub(crate) template: Option<ConnectionRef>,
}

impl<'a> Breath<'a> {
    /// Finds or makes the connection of a packet that has none.
    ///
    /// # Errors
    /// See [`Refusal`].
    #[inline(never)]
    pub(crate) fn admit<A: Family>(
        &mut self,
        packet: &Packet<A>,
        mut absent: Absent,
    ) -> Result<Found<A>, Refusal> {
        if self.is_probing() {
            return self.admit_probe(packet, &absent);
        }
        let Some(target) = self.target(packet) else { return Err(Refusal::Punt(Punt::Alien)) };
        A::table(self.director).prefetch_free(&absent);
        let follows = match self.may_open(packet, &target) {
            Ok(()) => false,
            Err(Refusal::Punt(_)) if self.may_follow(packet, &target) => true,
            Err(refusal) => return Err(refusal),
        };
        let director = self.director;
        let mut admission = director.admission(target.id);
        // Another worker may have admitted the packet before this one while we waited.
        if let Some(found) = A::table(director).find_again(&mut absent, &packet.tuple) {
            return Ok(found);
        }
        let limit = director.limits().half_open;
        if packet.tuple.protocol != Protocol::Udp && director.half_open() >= limit {
            return Err(Refusal::Drop(Drop::HalfOpenLimit));
        }
        let chosen = match admission.as_mut() {
            Some(admission) if follows => self.follow(packet, admission),
            Some(admission) => self.choose(packet, &target, admission)?,
            None => None,
        };
        let chosen = match chosen {
            Some(chosen) if follows && ends(packet) => {
                return Err(Refusal::Stateless(chosen.id));
            }
            Some(chosen) => chosen,
            None if follows => return Err(Refusal::Punt(Punt::NoConnection)),
            None => return self.without_server(packet, &target, &absent),
        };
        let opened = self.open(packet, &target, &chosen, &absent);
        opened.map_err(|reason| self.without_entry(reason, &target, &chosen, A::IPV6))
    }

    /// Whether a packet opens a connection at all: in the kernel's order, with our own checks of
    /// its source in front of `drop_packet`.
    fn may_open<A: Family>(&self, packet: &Packet<A>, target: &Target<'_>) -> Result<(), Refusal> {
        let policy = &target.service.policy;
        if !opens(packet, &policy.lifecycle) {
            return Err(Refusal::Punt(Punt::NoConnection));
        }
        // The kernel's martians (`fib_validate_source`): addresses of this box, and broadcasts.
        let source = packet.tuple.src.ip();
        if self.snapshot.topology.never_arrives_from(source) {
            return Err(Refusal::Drop(Drop::BadSource));
        }
        self.screen(source, target.id).map_err(Refusal::Drop)?;
        if self.director.defences.drops_packet(A::IPV6) {
            return Err(Refusal::Drop(Drop::DropPacket));
        }
        // `ip_vs_schedule`: data connections of FTP servers are none of ours, and ports beside
        // the service's own are its only where its clients stay with their server.
        if packet.tuple.sport == FTP_DATA || target.ftp_data && policy.persistence.is_none() {
            return Err(Refusal::Punt(Punt::NoConnection));
        }
        Ok(())
    }

    /// The server for a new connection: its template's, or the scheduler's.
    fn choose<A: Family>(
        &self,
        packet: &Packet<A>,
        target: &Target<'a>,
        admission: &mut Admission,
    ) -> Result<Option<Chosen<'a>>, Refusal> {
        let service = target.service;
        let Some(persistence) = &service.policy.persistence else {
            return Ok(self.pick(packet, admission));
        };
        let key = template::key(&service.key, persistence, packet);
        let now = self.now.seconds();
        // The kernel never changes a template's timeout: not after an edit of the service, nor
        // back from the minute that it got while it controlled connections.
        let compat_lvs = self.snapshot.services.settings.compat_lvs;
        let renewed = (!compat_lvs).then_some(persistence.timeout);
        let service_of = |id| self.server(id).map(|server| server.service);
        let followed =
            self.director.follow_template(&key, (target.id, service), service_of, (renewed, now));
        if let Some((id, template)) = followed
            && let Some(server) = self.server(id)
        {
            return Ok(Some(Chosen { id, server, template: Some(template) }));
        }
        let Some(picked) = self.pick(packet, admission) else { return Ok(None) };
        let template = self.director.leave_template(
            &key,
            (picked.id, picked.server),
            (persistence.timeout, now),
        );
        match template {
            Ok(template) => Ok(Some(Chosen { template: Some(template), ..picked })),
            Err(_) => Err(Refusal::Drop(Drop::TemplateTableFull)),
        }
    }

    fn pick<A: Family>(&self, packet: &Packet<A>, admission: &mut Admission) -> Option<Chosen<'a>> {
        let request = self.request(packet, admission.random());
        let loads = |id| self.director.server(id).load();
        let Admission { scheduler, candidates, .. } = admission;
        let id = candidates[scheduler.pick(candidates, &request, &loads)?].id;
        Some(Chosen { id, server: self.server(id)?, template: None })
    }

    /// What a packet asks of a scheduler.
    pub(crate) fn request<A: Family>(&self, packet: &Packet<A>, random: u64) -> sched::Request {
        sched::Request {
            client: packet.tuple.src.ip(),
            client_port: packet.tuple.sport,
            destination: packet.tuple.dst.ip(),
            now: self.now.seconds(),
            random,
        }
    }

    /// The server, if this worker knows it: control enlists one when every worker does.
    pub(crate) fn server(&self, id: ServerId) -> Option<&'a Server> {
        self.snapshot.services.servers.get(id as usize)?.as_ref()
    }

    /// No server takes the connection (`ip_vs_leave`).
    fn without_server<A: Family>(
        &mut self,
        packet: &Packet<A>,
        target: &Target<'_>,
        absent: &Absent,
    ) -> Result<Found<A>, Refusal> {
        let destination = packet.tuple.dst.ip();
        let elsewhere = || {
            let route = self.snapshot.topology.route(destination);
            !destination.is_multicast()
                && route.is_some_and(|route| !matches!(route.kind, RouteKind::Local))
        };
        let Target { service, ftp_data, .. } = *target;
        if service.policy.lifecycle.cache_bypass && service.key.mark().is_some() && elsewhere() {
            let server = Server::new(target.id, destination, 0, Forward::Dr);
            let chosen = Chosen { id: self.director.bypass(), server: &server, template: None };
            return self.open(packet, target, &chosen, absent).map_err(Refusal::Drop);
        }
        Err(if ftp_data { Refusal::Punt(Punt::NoConnection) } else { Refusal::NoServer })
    }

    /// Makes the connection to the chosen server, under its service's lock.
    pub(crate) fn open<A: Family>(
        &mut self,
        packet: &Packet<A>,
        target: &Target<'_>,
        chosen: &Chosen<'_>,
        absent: &Absent,
    ) -> Result<Found<A>, Drop> {
        let Chosen { id: server_id, server, template } = *chosen;
        let secure = self.director.defences.secure_tcp(A::IPV6);
        let (keys, idle) = match self.is_probing() {
            true => (Keys::Probe, 0),
            false => one_packet::keys(packet, target.service, server.forward),
        };
        let table = A::table(self.director);
        // A full table refuses before anything is counted or locked: in a flood that is most of what
        // it does. Single packets may share an entry that there is.
        if keys == Keys::Both && !table.has_room(absent) {
            let mut again = *absent;
            return table.find_again(&mut again, &packet.tuple).ok_or(Drop::TableFull);
        }
        let first = first_state(packet, server.forward, secure && keys != Keys::Probe);
        let (state, timeout) = match keys {
            Keys::Both => (first.number(), first.timeout(&target.service.policy.timeouts)),
            Keys::Probe => (first.number(), probe::idle(first)),
            Keys::Answers | Keys::Neither => (State::Udp.number(), idle),
        };
        let hop_in = self.first_hop(packet, server_id);
        let beginning = Beginning { state, timeout, now: self.now.seconds(), hop_in };
        let turn = self.director.server(server_id).next_local_turn();
        let ports = Ports::new(packet, target.service, server, turn);
        let mut connection = self.connection_to(packet, target, chosen, keys);
        for tried in 0..=PORT_TRIES {
            let Some((local, lport)) = ports.after(tried) else { break };
            (connection.local, connection.lport) = (local, lport);
            let reverse = table.prepare_reverse(&connection);
            self.count(&mut connection, state, template);
            match table.insert_absent(&connection, reverse, absent, beginning) {
                Ok(found) => {
                    if keys != Keys::Probe {
                        self.director.server(server_id).made();
                        self.stats.opened.add(1);
                        let moved = server.forward == Forward::Nat && tried > 0;
                        self.stats.moved_ports.add(moved.into());
                        self.log_begin(&connection, found.reference());
                    }
                    return Ok(found);
                }
                Err(error) => {
                    self.count_not(&connection, state);
                    match error {
                        InsertError::ReverseTaken if keys == Keys::Answers => {
                            if let Some(found) = self.earlier_one_packet(&connection) {
                                self.director.server(server_id).opens_once();
                                self.stats.opened.add(1);
                                return Ok(found);
                            }
                        }
                        InsertError::ReverseTaken => {}
                        InsertError::Exists => break,
                        InsertError::Full => return Err(Drop::TableFull),
                    }
                }
            }
        }
        table.find(&packet.tuple).ok_or(match server.forward {
            Forward::FullNat => Drop::LocalPortsExhausted,
            _ => Drop::SourcePortsExhausted,
        })
    }

    /// The hop towards the server and the generation for which it holds, if nothing but the server
    /// decides about it: then the connection begins with it ([`Breath::hop`]).
    fn first_hop<A>(&self, packet: &Packet<A>, server: ServerId) -> Option<(u32, HopId)> {
        let hop = self.snapshot.hop_to(server).filter(|_| !reported(packet))?;
        Some((self.snapshot.hop_generation, hop))
    }

    /// The connection that a packet opens to the chosen server, as the client's own end.
    pub(crate) fn connection_to<A: Family>(
        &self,
        packet: &Packet<A>,
        target: &Target<'_>,
        chosen: &Chosen<'_>,
        keys: Keys,
    ) -> Connection<A> {
        let tuple = packet.tuple;
        let connection = Connection {
            client: tuple.src,
            cport: tuple.sport,
            vip: tuple.dst,
            vport: tuple.dport,
            // A tunnel's outer address is in the server's record and may be of the other family.
            server: A::from_ip(chosen.server.address).unwrap_or(tuple.dst),
            rport: self.server_port(packet, target, chosen.server),
            local: tuple.src,
            lport: tuple.sport,
            protocol: tuple.protocol,
            forward: chosen.server.forward,
            server_id: chosen.id,
            flags: 0,
            keys,
            template: TemplateRef::NONE,
        };
        match keys {
            Keys::Probe => probe::shaped(connection),
            Keys::Both | Keys::Answers | Keys::Neither => connection,
        }
    }

    /// Counts a connection before it is made: once it is in the table another worker may count
    /// its changes.
    fn count<A: Family>(
        &self,
        connection: &mut Connection<A>,
        state: u8,
        template: Option<ConnectionRef>,
    ) {
        if connection.keys != Keys::Both {
            return;
        }
        if let Some(template) = template {
            connection.template = A::templates(self.director).control(template);
        }
        self.director.opens(connection.server_id, state);
    }

    /// Takes [`Breath::count`] back.
    fn count_not<A: Family>(&self, connection: &Connection<A>, state: u8) {
        if connection.keys == Keys::Probe {
            return;
        }
        self.director.ended(connection, state);
    }

    /// The port that the server listens on.
    fn server_port<A>(&self, packet: &Packet<A>, target: &Target<'_>, server: &Server) -> u16 {
        let Target { service, ftp_data, .. } = *target;
        let asked = packet.tuple.dport;
        // `ip_vs_sched_persist` gives only the service's own port the server's.
        let kept = self.snapshot.services.settings.compat_lvs
            && service.policy.persistence.is_some()
            && asked != service.key.port();
        if server.port == 0 || ftp_data || kept { asked } else { server.port }
    }
}

/// Who may open a connection: any datagram; a TCP segment with SYN and without RST, with or
/// without ACK (`tcp_conn_schedule`); an SCTP packet whose first chunk is INIT
/// (`sctp_conn_schedule`). Sloppy services let all but RST and ABORT.
pub(crate) fn opens<A>(packet: &Packet<A>, lifecycle: &Lifecycle) -> bool {
    let flags = packet.flags;
    match packet.tuple.protocol {
        _ if reported(packet) => true,
        _ if ends(packet) => false,
        Protocol::Tcp => lifecycle.sloppy_tcp || flags & flag::SYN != 0,
        Protocol::Udp => true,
        Protocol::Sctp => lifecycle.sloppy_sctp || flags == chunk::INIT,
    }
}

/// What ends a connection at once opens none, whatever the service allows.
fn ends<A>(packet: &Packet<A>) -> bool {
    match packet.tuple.protocol {
        Protocol::Tcp => packet.flags & flag::RST != 0,
        Protocol::Udp => false,
        Protocol::Sctp => packet.flags == chunk::ABORT,
    }
}

/// It was only seen in an ICMP error (`schedule_icmp`): like a later fragment it has no flags,
/// and those do not come here.
fn reported<A>(packet: &Packet<A>) -> bool {
    packet.fragment == Fragment::Later
}

/// The state of the connection that the packet opens.
fn first_state<A>(packet: &Packet<A>, forward: Forward, secure: bool) -> State {
    let new = State::new(packet.tuple.protocol);
    let direction = if forward.two_way() { Direction::Input } else { Direction::InputOnly };
    match new {
        _ if reported(packet) => State::reported(packet.tuple.protocol),
        // The packet is observed when it is forwarded, and a second INIT is another event.
        State::Sctp(_) => new,
        State::Tcp(_) | State::Udp => new.next(direction, packet.flags, secure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        forward::{Tuple, V4},
        packet::Fragment,
    };

    /// `sctp_conn_schedule`; TCP is in `tests/admission`.
    #[test]
    fn chunks_that_open_an_association() {
        let rows = [
            (chunk::INIT, true, true),
            (chunk::ABORT, false, false),
            (chunk::DATA, false, true),
            (chunk::COOKIE_ECHO, false, true),
        ];
        let (src, dst) = (V4(1), V4(2));
        for (flags, opens_one, opens_sloppily) in rows {
            let packet = Packet {
                tuple: Tuple { src, dst, sport: 1, dport: 2, protocol: Protocol::Sctp },
                l4: 34,
                end: 60,
                ttl: 64,
                flags,
                dont_fragment: true,
                fragment: Fragment::Whole,
                id: 0,
            };
            for (sloppy_sctp, expected) in [(false, opens_one), (true, opens_sloppily)] {
                let lifecycle = Lifecycle { sloppy_sctp, ..Lifecycle::default() };
                assert_eq!(opens(&packet, &lifecycle), expected, "{flags} {sloppy_sctp}");
            }
        }
    }
}
