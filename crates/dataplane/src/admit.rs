//! A packet without a connection: does a service take it, and which server gets it?

use std::net::IpAddr;

use crate::{
    admission::Admission,
    breath::Breath,
    director::Family,
    forward::{Address, Endpoint, Forward, Protocol, ServiceKey},
    packet::Packet,
    sctp,
    snapshot::{LocalAddress, Server, ServerId, Service},
    state::State,
    table::{Connection, Found, InsertError},
    tcp::Direction,
    topology::RouteKind,
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
}

/// How many ports are tried before the search is given up.
const PORT_TRIES: u32 = 16;

impl Breath<'_> {
    /// Finds or makes the connection of a packet that has none.
    ///
    /// # Errors
    /// See [`Refusal`].
    #[inline(never)]
    pub fn admit<A: Family>(&mut self, packet: &Packet<A>) -> Result<Found<A>, Refusal> {
        let services = &*self.snapshot.services;
        let key = Endpoint {
            protocol: packet.tuple.protocol,
            address: packet.tuple.dst.ip(),
            port: packet.tuple.dport,
        };
        let Some(&id) = services.by_key.get(&ServiceKey::from(key)) else {
            return Err(Refusal::Punt(Punt::Alien));
        };
        if !opens(packet) {
            return Err(Refusal::Punt(Punt::NoConnection));
        }
        // The kernel's martians (`fib_validate_source`): addresses of this box, and broadcasts.
        let route = self.snapshot.topology.route(packet.tuple.src.ip());
        if route.is_some_and(|route| matches!(route.kind, RouteKind::Local)) {
            return Err(Refusal::Drop(Drop::BadSource));
        }
        let service = services.services[id as usize].as_ref().expect("by_key names live services");
        let mut admission = self.director.admission(id);
        // Another worker may have admitted the packet before this one while we waited.
        if let Some(found) = A::table(self.director).find(&packet.tuple) {
            return Ok(found);
        }
        let Some(admission) = admission.as_mut() else {
            return Err(Refusal::NoServer);
        };
        let limit = self.director.limits().half_open;
        if packet.tuple.protocol != Protocol::Udp && self.director.half_open() >= limit {
            return Err(Refusal::Drop(Drop::HalfOpenLimit));
        }
        let request = sched::Request {
            client: packet.tuple.src.ip(),
            client_port: packet.tuple.sport,
            destination: packet.tuple.dst.ip(),
            now: self.now.seconds(),
            random: admission.random(),
        };
        let loads = |id| self.director.server(id).load();
        let Admission { scheduler, candidates, .. } = &mut *admission;
        let picked = scheduler.pick(candidates, &request, &loads).ok_or(Refusal::NoServer)?;
        let server_id = candidates[picked].id;
        // Control enlists a server when every worker has the snapshot that knows it.
        let Some(Some(server)) = services.servers.get(server_id as usize) else {
            return Err(Refusal::NoServer);
        };
        self.open(packet, service, (server_id, server), admission).map_err(Refusal::Drop)
    }

    /// Makes the connection to the picked server.
    fn open<A: Family>(
        &mut self,
        packet: &Packet<A>,
        service: &Service,
        (server_id, server): (ServerId, &Server),
        admission: &mut Admission,
    ) -> Result<Found<A>, Drop> {
        let (state, timeout) = first_state(packet, service, server.forward);
        let mut ports = Ports::new(packet, service, server, &mut admission.local_cursor);
        let table = A::table(self.director);
        for tried in 0..=PORT_TRIES {
            let Some((local, lport)) = ports.next(tried) else { break };
            let connection = Connection {
                client: packet.tuple.src,
                cport: packet.tuple.sport,
                vip: packet.tuple.dst,
                vport: packet.tuple.dport,
                // A tunnel's outer address is in the server's record and may be of the other family.
                server: A::from_ip(server.address).unwrap_or(packet.tuple.dst),
                rport: server.port,
                local,
                lport,
                protocol: packet.tuple.protocol,
                forward: server.forward,
                server_id,
                flags: 0,
            };
            // Counted first: once it is in the table another worker may count its changes.
            self.director.opened(server_id, state);
            let inserted = table.insert(&connection, state, timeout, self.now.seconds());
            if inserted.is_err() {
                self.director.not_opened(server_id, state);
            }
            match inserted {
                Ok(_) => {
                    self.stats.opened.add(1);
                    if server.forward == Forward::Nat && tried > 0 {
                        self.stats.moved_ports.add(1);
                    }
                    break;
                }
                Err(InsertError::ReverseTaken) => {}
                Err(InsertError::Exists) => break,
                Err(InsertError::Full) => return Err(Drop::TableFull),
            }
        }
        table.find(&packet.tuple).ok_or(match server.forward {
            Forward::FullNat => Drop::LocalPortsExhausted,
            _ => Drop::SourcePortsExhausted,
        })
    }
}

/// Who may open a connection: any datagram; a TCP segment with SYN and without RST, with or
/// without ACK (`tcp_conn_schedule`); an SCTP packet with INIT (`sctp_conn_schedule`).
fn opens<A>(packet: &Packet<A>) -> bool {
    match packet.tuple.protocol {
        Protocol::Tcp => packet.flags & (flag::SYN | flag::RST) == flag::SYN,
        Protocol::Udp => true,
        Protocol::Sctp => packet.flags == sctp::chunk::INIT,
    }
}

fn first_state<A>(packet: &Packet<A>, service: &Service, forward: Forward) -> (u8, u16) {
    let new = State::new(packet.tuple.protocol);
    let direction = if forward.two_way() { Direction::Input } else { Direction::InputOnly };
    let state = match new {
        // The packet is observed when it is forwarded, and a second INIT is another event.
        State::Sctp(_) => new,
        State::Tcp(_) | State::Udp => new.next(direction, packet.flags),
    };
    (state.number(), state.timeout(&service.policy.timeouts))
}

/// The sources under which the server may see the connection, in the order to try.
enum Ports<'a, A> {
    /// The client's own; if another VIP's connection to this server has it, another port.
    Client { address: A, port: u16 },
    /// FullNAT: the local addresses' ports in rotation.
    Local { addresses: &'a [LocalAddress], cursor: &'a mut u32, count: u32 },
}

impl<'a, A: Address> Ports<'a, A> {
    fn new(packet: &Packet<A>, service: &'a Service, server: &Server, cursor: &'a mut u32) -> Self {
        if server.forward != Forward::FullNat {
            return Self::Client { address: packet.tuple.src, port: packet.tuple.sport };
        }
        let addresses = service.policy.local_addresses.as_slice();
        let count = addresses.iter().map(|local| local.ports.len() as u32).sum();
        Self::Local { addresses, cursor, count }
    }

    fn next(&mut self, tried: u32) -> Option<(A, u16)> {
        match self {
            Self::Client { address, port } => {
                // Steps by a large odd number spread the tries over the unprivileged ports.
                const FIRST: u32 = 1024;
                const STEP: u32 = 25_717;
                if tried == 0 {
                    return Some((*address, *port));
                }
                let span = u32::from(u16::MAX) + 1 - FIRST;
                let moved = FIRST + (u32::from(*port) + tried * STEP) % span;
                Some((*address, moved as u16))
            }
            Self::Local { addresses, cursor, count } => {
                if *count == 0 || tried >= PORT_TRIES {
                    return None;
                }
                if tried == 0 {
                    **cursor = (**cursor + 1) % *count;
                }
                // Ports that lasting connections hold lie side by side: the tries go round the
                // whole range.
                let step = (*count / PORT_TRIES).max(1);
                let mut at = (**cursor + tried * step) % *count;
                for local in *addresses {
                    let ports = local.ports.len() as u32;
                    match at.checked_sub(ports) {
                        Some(rest) => at = rest,
                        None => return local_port::<A>(local.address, *local.ports.start(), at),
                    }
                }
                None
            }
        }
    }
}

fn local_port<A: Address>(address: IpAddr, first: u16, offset: u32) -> Option<(A, u16)> {
    Some((A::from_ip(address)?, first + offset as u16))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::forward::V4;

    fn local(addresses: &[(u8, u16, u16)]) -> Vec<LocalAddress> {
        let range = |(host, first, last): &(u8, u16, u16)| LocalAddress {
            address: [10, 0, 0, *host].into(),
            ports: *first..=*last,
        };
        addresses.iter().map(range).collect()
    }

    fn pick(
        addresses: &[LocalAddress],
        cursor: &mut u32,
        taken: &mut HashSet<(V4, u16)>,
    ) -> Option<u32> {
        let count = addresses.iter().map(|local| local.ports.len() as u32).sum();
        let mut ports: Ports<'_, V4> = Ports::Local { addresses, cursor, count };
        (0..=PORT_TRIES).find(|tried| ports.next(*tried).is_some_and(|port| taken.insert(port)))
    }

    /// Half of the ports belong to connections that last, one beside the other.
    #[test]
    fn a_block_of_taken_ports_is_stepped_over() {
        let addresses = local(&[(1, 10_000, 10_999), (2, 10_000, 10_999)]);
        let mut taken = (10_000..=10_999).map(|port| (V4(0x0a00_0001), port)).collect();
        for start in 0..2000 {
            let mut cursor = start;
            let mut free = HashSet::clone(&taken);
            assert!(pick(&addresses, &mut cursor, &mut free).is_some(), "from {start}");
        }
        let mut cursor = 0;
        let found = (0..950).filter(|_| pick(&addresses, &mut cursor, &mut taken).is_some());
        assert_eq!(found.count(), 950, "nearly all that are free");
    }

    #[test]
    fn free_ports_come_in_rotation_and_few_are_all_found() {
        for count in [1, 3, 16] {
            let addresses = local(&[(1, 10_000, 10_000 + count - 1)]);
            let (mut cursor, mut taken) = (0, HashSet::new());
            let tries: Vec<_> =
                (0..count).map(|_| pick(&addresses, &mut cursor, &mut taken)).collect();
            assert_eq!(tries, vec![Some(0); usize::from(count)]);
            assert_eq!(pick(&addresses, &mut cursor, &mut taken), None);
            taken.remove(&(V4(0x0a00_0001), 10_000));
            assert!(pick(&addresses, &mut cursor, &mut taken).is_some(), "the only free one");
        }
    }
}
