//! Whether the connection that a packet belongs to is still there for it: its time may be
//! over, its server gone, its client may have opened another one from the same port.
//!
//! An established packet asks two things only, whether its time is over and whether its hops
//! were looked up in this snapshot's generation. A server that goes or comes back raises that
//! generation ([`crate::snapshot::Services::liveness`]), and hops towards a gone one are never
//! cached: so each packet of its connections comes here, and those of others once.

use crate::{
    admit::Refusal,
    breath::Breath,
    director::Family,
    forward::Protocol,
    packet::Packet,
    policy::{Gone, Timeouts},
    sctp,
    state::State,
    table::{Connection, ConnectionRef, Found, Keys, Way},
    tcp,
    verdict::{Drop, Punt},
    wire::tcp as flag,
};

/// How a packet's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes the packet.
    Stays,
    /// It is over: the packet is looked at as if there had never been one.
    Over,
    /// It does not take the packet.
    Refused(Refusal),
}

impl Breath<'_> {
    /// True if the connection was looked at in this generation, and its server was there.
    #[inline(always)]
    pub(crate) fn settled<A>(&self, found: &Found<A>) -> bool {
        found.hops.route_generation() == self.snapshot.hop_generation
    }

    /// True if the packet comes too late for the connection.
    #[inline(always)]
    pub(crate) fn late<A>(&self, found: &Found<A>) -> bool {
        let deadline = found.stamp.saturating_add(found.meta.timeout());
        // Stamps are whole seconds, rounded down: nothing ends before its time.
        self.now.seconds() > deadline
    }

    /// Looks at everything that may end the connection.
    #[inline(never)]
    pub(crate) fn standing<A: Family>(&self, packet: &Packet<A>, found: &Found<A>) -> Standing {
        if self.late(found) {
            let resets = self.resets_idle(found) && !opens(packet, found);
            return if resets { reset(found) } else { Standing::Over };
        }
        let probe = found.connection.keys == Keys::Probe;
        if is_first(packet) && (probe && self.is_probing() || self.reopens(found)) {
            return Standing::Over;
        }
        self.standing_since(packet, found)
    }

    /// As [`Breath::standing`], of a packet that the connection took already, and that waited.
    pub(crate) fn standing_since<A: Family>(
        &self,
        packet: &Packet<A>,
        found: &Found<A>,
    ) -> Standing {
        let opens = opens(packet, found);
        if found.meta.state() == tcp::RESETTING {
            return if opens { Standing::Over } else { reset(found) };
        }
        if self.settled(found) {
            return Standing::Stays;
        }
        if self.gone(found) {
            return self.of_gone_server(found, opens);
        }
        self.take_timeout(found);
        Standing::Stays
    }

    /// The server was removed or is down; a connection that goes past the servers has none, and a
    /// probe is to find out.
    pub(crate) fn gone<A: Family>(&self, found: &Found<A>) -> bool {
        let Connection { server_id, keys, .. } = found.connection;
        server_id != self.director.bypass()
            && keys != Keys::Probe
            && self.snapshot.services.is_gone(server_id)
    }

    /// What becomes of a packet whose connection's server is gone.
    fn of_gone_server<A: Family>(&self, found: &Found<A>, opens: bool) -> Standing {
        let Found { connection, direction, .. } = found;
        let gone = self.snapshot.services.end_of(connection.server_id);
        match (gone, direction, connection.protocol) {
            (Gone::Reset, Way::Forward, Protocol::Tcp) if opens => Standing::Over,
            (Gone::Reset, _, Protocol::Tcp) => reset(found),
            // What the server still says is translated as long as the connection lives.
            (_, Way::Reverse, _) => Standing::Stays,
            (Gone::Hold, ..) if self.no_service_left() => {
                Standing::Refused(Refusal::Punt(Punt::NoConnection))
            }
            (Gone::Hold, ..) => Standing::Refused(Refusal::Drop(Drop::ServerGone)),
            (Gone::Expire | Gone::Reset, ..) => Standing::Over,
        }
    }

    /// In `compat: lvs`: the kernel's hooks go with the last service.
    fn no_service_left(&self) -> bool {
        let services = &self.snapshot.services;
        services.settings.compat_lvs && services.by_key.is_empty()
    }

    /// A SYN on a connection that is over belongs to another one. The client's opens a new one,
    /// perhaps to another server, at once (`is_new_conn_expected`). The server's answers a SYN
    /// that did not pass here: the client, from the same port, talks to the server's own address
    /// now.
    fn reopens<A: Family>(&self, found: &Found<A>) -> bool {
        use tcp::State::{Close, FinWait, TimeWait};
        let state = State::from_number(found.meta.state());
        let over = match state {
            Some(State::Tcp(state)) => matches!(state, TimeWait | Close),
            Some(State::Sctp(state)) => state == sctp::State::Closed,
            _ => false,
        };
        if found.direction == Way::Reverse {
            return over && !self.snapshot.services.settings.compat_lvs;
        }
        let c = &found.connection;
        let lifecycle = self.snapshot.services.lifecycle(c.server_id);
        // `expire_nodest_conn` goes before the mode, and asks nothing about the state.
        if lifecycle.gone == Gone::Expire {
            let server = self.snapshot.services.server(c.server_id);
            if server.is_some_and(|server| server.weight == 0) {
                return true;
            }
        }
        let waits = state == Some(State::Tcp(FinWait)) && !c.forward.two_way();
        let mode = lifecycle.conn_reuse_mode;
        !c.controlled() && (over && mode != 0 || waits && mode & 2 != 0)
    }

    /// True where an idle connection that expires is reset: an established one that we see in
    /// both directions.
    pub(crate) fn resets_idle<A: Family>(&self, found: &Found<A>) -> bool {
        let c = &found.connection;
        found.meta.state() == tcp::State::Established as u8
            && c.keys != Keys::Probe
            && c.forward.two_way()
            && self.snapshot.services.lifecycle(c.server_id).reset_idle
    }

    /// Gives the connection the idle time that its service has by now. The kernel does so with
    /// each packet (`set_tcp_state`, `udp_state_transition`, `set_sctp_state`); here it is done with the first one
    /// after a change, and with each change of state.
    fn take_timeout<A: Family>(&self, found: &Found<A>) {
        // What carries one packet does not last as long as a connection, nor does a probe.
        if found.connection.keys != Keys::Both {
            return;
        }
        let state = match (found.connection.protocol, State::from_number(found.meta.state())) {
            // If an ICMP error opened it, this is its first datagram.
            (Protocol::Udp, _) => State::Udp,
            (_, Some(state)) if !state.is_reported() => state,
            _ => return,
        };
        let timeout = state.timeout(self.timeouts(found.connection.server_id));
        let state = state.number();
        if (state, timeout) != (found.meta.state(), found.meta.timeout()) {
            // Whoever was faster changed the state, and took the time that belongs to it.
            let table = A::table(self.director);
            let _ = table.transition(found, state, timeout, self.now.seconds());
        }
    }

    /// The idle times of a server's connections.
    pub(crate) fn timeouts(&self, server: u32) -> &Timeouts {
        static DEFAULT: std::sync::LazyLock<Timeouts> = std::sync::LazyLock::new(Timeouts::default);
        match self.snapshot.services.service_of(server) {
            Some(service) => &service.policy.timeouts,
            None => &DEFAULT,
        }
    }
}

/// The packet's connection is reset.
fn reset<A>(found: &Found<A>) -> Standing {
    let connection = ConnectionRef { id: found.id, generation: found.meta.generation() };
    Standing::Refused(Refusal::Reset(connection, found.direction))
}

/// The client's packet may open a connection in place of this one.
fn opens<A>(packet: &Packet<A>, found: &Found<A>) -> bool {
    found.direction == Way::Forward && is_first(packet)
}

/// A packet that begins a connection (`is_new_conn`): a SYN, or SCTP's INIT.
fn is_first<A>(packet: &Packet<A>) -> bool {
    match packet.tuple.protocol {
        // With RST too: what it ends is over, and it opens nothing.
        Protocol::Tcp => packet.flags & flag::SYN != 0,
        Protocol::Udp => false,
        Protocol::Sctp => packet.flags == sctp::chunk::INIT,
    }
}
