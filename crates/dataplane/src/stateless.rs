//! What passes by hash alone while the connection table is full (Eisenbud et al., NSDI 2016, 3.3:
//! Maglev does the same when its table is full).
//!
//! A service in DR or TUN whose scheduler is mh, without persistence, needs no entry: the client's
//! hash says which server has its connection. So what finds no room goes there all the same,
//! counted as `stateless`. Later packets of such a connection open nothing and are found nowhere.
//! As long as one may be alive, which is the idle time of an established connection after the last
//! packet that found no room, they go by the hash, too, instead of to the kernel, which would
//! reset them; and the first that finds room makes the entry, as with `sloppy_tcp`.
//!
//! What an entry gives is not there before: such connections count for no server and no threshold,
//! no idle time ends them, and when a server joins or goes, mh gives a few of them to another one.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use sched::Kind;

use crate::{
    admission::Admission,
    admit::{Chosen, Refusal},
    answer::Message,
    breath::{Breath, Owner},
    director::Family,
    forward::{Forward, Protocol},
    io::Frame,
    lookup::{FTP_DATA, Target},
    packet::Packet,
    route::find_hop,
    sctp,
    snapshot::{ServerId, Service},
    stats::OwnLine,
    tcp,
    verdict::{Drop, Verdict},
};

/// When a packet last found no room and went all the same, by family.
#[derive(Debug, Default)]
pub(crate) struct Stateless([OwnLine<AtomicU32>; 2]);

impl Clone for Stateless {
    fn clone(&self) -> Self {
        Self(self.0.each_ref().map(|OwnLine(last)| OwnLine(AtomicU32::new(last.load(Relaxed)))))
    }
}

impl Stateless {
    /// Notes that it happens now. Written once a second.
    fn note(&self, ipv6: bool, now: u32) {
        let last = &self.0[usize::from(ipv6)].0;
        if last.load(Relaxed) != now {
            last.store(now, Relaxed);
        }
    }

    /// It happened, within so many seconds. 0 is never: second 0 has passed when the first worker
    /// breathes.
    fn within(&self, ipv6: bool, seconds: u32, now: u32) -> bool {
        let last = self.0[usize::from(ipv6)].0.load(Relaxed);
        last != 0 && now.saturating_sub(last) <= seconds
    }
}

/// The client's hash tells the server, and nothing else does.
fn by_hash(service: &Service) -> bool {
    service.policy.scheduler.kind == Kind::Mh && service.policy.persistence.is_none()
}

impl<'a> Breath<'a> {
    /// What becomes of a packet whose connection was not made.
    #[cold]
    pub(crate) fn without_entry(
        &self,
        reason: Drop,
        target: &Target<'_>,
        chosen: &Chosen<'_>,
        ipv6: bool,
    ) -> Refusal {
        if reason != Drop::TableFull || chosen.server.forward.two_way() || !by_hash(target.service)
        {
            return Refusal::Drop(reason);
        }
        self.director.stateless.note(ipv6, self.now.seconds());
        Refusal::Stateless(chosen.id)
    }

    /// A packet that opens nothing may be of a connection without an entry.
    #[cold]
    pub(crate) fn may_follow<A: Family>(&self, packet: &Packet<A>, target: &Target<'_>) -> bool {
        let source = packet.tuple.src.ip();
        let timeouts = &target.service.policy.timeouts;
        let alive = match packet.tuple.protocol {
            Protocol::Tcp => timeouts.tcp[tcp::State::Established as usize],
            Protocol::Sctp => timeouts.sctp[sctp::State::Established as usize],
            Protocol::Udp => timeouts.udp,
        };
        by_hash(target.service)
            && self.director.stateless.within(A::IPV6, alive, self.now.seconds())
            && !target.ftp_data
            && packet.tuple.sport != FTP_DATA
            && !self.snapshot.topology.never_arrives_from(source)
            && self.refused(source, target.id).is_none()
    }

    /// The server of a packet that [follows](Self::may_follow).
    #[cold]
    pub(crate) fn follow<A: Family>(
        &self,
        packet: &Packet<A>,
        admission: &mut Admission,
    ) -> Option<Chosen<'a>> {
        let request = self.request(packet, 0);
        let loads = |id| self.director.server(id).load();
        let Admission { scheduler, candidates, .. } = admission;
        let id = candidates[scheduler.follow(candidates, &request, &loads)?].id;
        let server = self.server(id).filter(|server| !server.forward.two_way())?;
        Some(Chosen { id, server, template: None })
    }

    /// The server whom an ICMP error about no connection is for.
    pub(crate) fn follow_error<A: Family>(
        &self,
        about: &Packet<A>,
        target: &Target<'_>,
    ) -> Option<ServerId> {
        if !self.may_follow(about, target) {
            return None;
        }
        let mut admission = self.director.admission(target.id);
        Some(self.follow(about, admission.as_mut()?)?.id)
    }

    /// Forwards a client's packet to a server, in DR or TUN, without an entry. One whose next hop
    /// is not known yet does not wait for it.
    #[cold]
    pub(crate) fn forward_stateless<A: Family, F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet<A>,
        id: ServerId,
    ) -> Verdict {
        // A fragment's server may have changed since its first one came.
        let Some(server) = self.server(id).filter(|server| !server.forward.two_way()) else {
            return Verdict::Drop(Drop::ServerGone);
        };
        if packet.ttl <= 1 {
            return self.answer(frame, packet, Message::time_exceeded::<A>());
        }
        let topology = &*self.snapshot.topology;
        let hash = A::table(self.director).hash(&packet.tuple);
        let hop = find_hop(topology, self.director, server.address, hash).map(|(hop, mtu)| {
            let hop = &topology.hops[usize::from(hop)];
            (hop, mtu.unwrap_or(hop.mtu).min(hop.mtu))
        });
        let tunnel = (server.forward == Forward::Tun).then_some(id);
        let unresolved = Verdict::Drop(Drop::NeighbourUnresolved);
        let way_out = match self.way_by(frame, packet, hop, tunnel, unresolved) {
            Ok(way_out) => way_out,
            Err(verdict) => return verdict,
        };
        let verdict = self.leave(frame, packet, Owner::server(id, packet.tuple), way_out);
        if matches!(verdict, Verdict::Send { .. }) {
            self.stats.stateless.add(1);
        }
        verdict
    }
}
