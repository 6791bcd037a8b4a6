//! One-packet scheduling (`ipvsadm -o`): each datagram is a connection of its own. It has an
//! entry in the table all the same, without the client's key: for the server's answer, which the
//! kernel forwards untranslated, for later fragments, for a neighbour that is not known yet.

use crate::{
    breath::Breath,
    connection_log::End,
    director::Family,
    forward::{Forward, Protocol},
    packet::Packet,
    snapshot::Service,
    table::{Connection, Found, Keys, Way},
    verdict::Verdict,
};

/// How long an answer may take, in seconds, if connections of the service last that long.
const ANSWER: u32 = 10;
/// How long an entry is kept that waits for no answer: fragments are waited for this long.
const KEPT: u32 = 3;

/// The keys of what a packet opens, and for how long it lives if it is for one packet only.
pub(crate) fn keys<A>(packet: &Packet<A>, service: &Service, forward: Forward) -> (Keys, u32) {
    let udp = service.policy.timeouts.udp;
    if !service.policy.one_packet || packet.tuple.protocol != Protocol::Udp {
        (Keys::Both, udp)
    } else if forward.two_way() && service.policy.lifecycle.one_packet_replies {
        (Keys::Answers, udp.min(ANSWER))
    } else {
        (Keys::Neither, KEPT)
    }
}

impl Breath<'_> {
    /// The entry of an earlier datagram from and to the same ends by the same server: its
    /// answers and those to this one are translated alike.
    pub(crate) fn earlier_one_packet<A: Family>(&self, wanted: &Connection<A>) -> Option<Found<A>> {
        let table = A::table(self.director);
        let found = table.find(&wanted.reverse_key()?)?;
        let c = &found.connection;
        let same = c.keys == Keys::Answers
            && c.server_id == wanted.server_id
            && c.forward_key() == wanted.forward_key();
        if !same || found.direction != Way::Reverse {
            return None;
        }
        table.touch(&found, self.now.seconds());
        Some(Found { direction: Way::Forward, ..found })
    }

    /// An entry that only carried this packet goes, unless the packet still needs it.
    #[inline]
    pub(crate) fn end_one_packet<A: Family>(&self, found: &Found<A>, verdict: &Verdict) {
        if found.connection.keys == Keys::Neither && !matches!(verdict, Verdict::Wait(_)) {
            A::table(self.director).remove(found);
            let place = found.reference();
            self.log_end(&found.connection, place, found.meta.state(), End::OnePacket);
        }
    }
}
