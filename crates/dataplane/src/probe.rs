//! Health probes by way of a service (`via: service`): packets of ordinary sockets take the way
//! of clients' packets, to one server, whatever the scheduler says.
//!
//! They come by a port of their own ([`crate::topology::Topology::probes`]), and their source
//! port names the server ([`Pins`]). Their connections are in the table like all others, and in
//! each mode their answers are found there ([`crate::table::Keys::Probe`]). But they are no load: they are not
//! counted or listed, no limit or defence stops them, and a server that is down gets them.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    admit::{Chosen, Refusal, opens},
    breath::Breath,
    director::Family,
    lookup::Target,
    packet::Packet,
    policy::Lifecycle,
    snapshot::ServerId,
    state::State,
    table::{Absent, Connection, Found},
    verdict::Drop,
};

/// Source ports of probes: answers to one of `probe_sources` and a port of these are theirs. Below
/// those that a kernel gives to its own connections by default.
pub const PORTS: RangeInclusive<u16> = 20_000..=32_767;

/// Idle seconds of a probe's connection, whatever its service says: a server may take its time.
const OPEN: u32 = 60;
/// The same of one that is being opened or closed.
const TURNING: u32 = 10;

/// No server.
const FREE: u32 = u32::MAX;

/// Which server the probe from each port is for.
pub struct Pins {
    servers: Box<[AtomicU32]>,
    next: AtomicU32,
}

impl Default for Pins {
    fn default() -> Self {
        let servers = PORTS.map(|_| AtomicU32::new(FREE)).collect();
        Self { servers, next: AtomicU32::new(0) }
    }
}

impl Pins {
    /// A free port, from now on the server's; `None` if all are taken. Ports come in turn, so
    /// that late packets of the last probe from one meet no other's.
    pub fn pin(&self, server: ServerId) -> Option<u16> {
        let count = self.servers.len() as u32;
        (0..count).find_map(|_| {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % count;
            let slot = &self.servers[at as usize];
            let taken = slot.compare_exchange(FREE, server, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok().then(|| PORTS.start() + at as u16)
        })
    }

    /// Pins a port as another one has it.
    pub(crate) fn pin_like(&self, other: &Self, port: u16) {
        if let (Some(ours), Some(theirs)) = (self.slot(port), other.slot(port)) {
            ours.store(theirs.load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// Frees a port.
    pub fn release(&self, port: u16) {
        if let Some(slot) = self.slot(port) {
            slot.store(FREE, Ordering::Release);
        }
    }

    /// The server that a port is pinned to.
    pub fn server(&self, port: u16) -> Option<ServerId> {
        let server = self.slot(port)?.load(Ordering::Acquire);
        (server != FREE).then_some(server)
    }

    fn slot(&self, port: u16) -> Option<&AtomicU32> {
        self.servers.get(usize::from(port.checked_sub(*PORTS.start())?))
    }
}

impl Breath<'_> {
    /// True while packets are looked at that come from probes' sockets.
    pub(crate) fn is_probing(&self) -> bool {
        self.snapshot.topology.probes == Some(self.arrived)
    }

    /// The connection of a probe's first packet.
    pub(crate) fn admit_probe<A: Family>(
        &mut self,
        packet: &Packet<A>,
        absent: &Absent,
    ) -> Result<Found<A>, Refusal> {
        let over = Refusal::Drop(Drop::StrayProbe);
        let id = self.director.pins.server(packet.tuple.sport).ok_or(over)?;
        let services = &self.snapshot.services;
        let (Some(server), Some(service)) = (services.server(id), services.service_of(id)) else {
            return Err(over);
        };
        if !opens(packet, &Lifecycle::default()) {
            return Err(over);
        }
        let target = Target { id: server.service, service, ftp_data: false };
        let _admission = self.director.admission(target.id);
        let chosen = Chosen { id, server, template: None };
        self.open(packet, &target, &chosen, absent).map_err(Refusal::Drop)
    }
}

/// The connection that a probe opens: in DR and TUN answers come from the VIP, and stay as they are.
pub(crate) fn shaped<A: Copy>(connection: Connection<A>) -> Connection<A> {
    let Connection { vip, vport, forward, .. } = connection;
    match forward.two_way() {
        true => connection,
        false => Connection { server: vip, rport: vport, ..connection },
    }
}

/// How long a probe's connection may be idle in this state, in seconds.
pub(crate) fn idle(state: State) -> u32 {
    if state.active() { OPEN } else { TURNING }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_servers_until_it_is_free_again() {
        let pins = Pins::default();
        let ports: Vec<u16> = (0..3).map_while(|server| pins.pin(server)).collect();
        assert_eq!(ports, [20_000, 20_001, 20_002]);
        assert_eq!(pins.server(20_001), Some(1));
        pins.release(20_001);
        assert_eq!((pins.server(20_001), pins.pin(7)), (None, Some(20_003)), "in turn");
        assert_eq!((pins.server(19_999), pins.server(32_768)), (None, None));
        let others = std::iter::from_fn(|| pins.pin(9)).count();
        assert_eq!(others, PORTS.len() - 3, "each once");
        assert_eq!(pins.pin(9), None);
    }
}
