//! A packet without a connection: does a service take it, and which server gets it?

use std::net::IpAddr;

use crate::{
    breath::Breath,
    director::{Admission, Family},
    forward::{Address, Forward, Protocol, ServiceKey},
    packet::Packet,
    snapshot::{Server, ServerId, Service},
    table::{Connection, Found, InsertError},
    tcp,
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
        let key = ServiceKey {
            protocol: packet.tuple.protocol,
            address: packet.tuple.dst.ip(),
            port: packet.tuple.dport,
        };
        let Some(&id) = services.by_key.get(&key) else {
            return Err(Refusal::Punt(Punt::Alien));
        };
        if !opens(packet) {
            return Err(Refusal::Punt(Punt::NoConnection));
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
        if packet.tuple.protocol == Protocol::Tcp && self.director.half_open() >= limit {
            return Err(Refusal::Drop(Drop::HalfOpenLimit));
        }
        let picked = admission.scheduler.pick(&service.candidates).ok_or(Refusal::NoServer)?;
        let server_id = service.candidates[picked].id;
        let server =
            services.servers[server_id as usize].as_ref().expect("candidates are live servers");
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
/// without ACK (`tcp_conn_schedule`).
fn opens<A>(packet: &Packet<A>) -> bool {
    match packet.tuple.protocol {
        Protocol::Tcp => packet.flags & (flag::SYN | flag::RST) == flag::SYN,
        Protocol::Udp => true,
    }
}

fn first_state<A>(packet: &Packet<A>, service: &Service, forward: Forward) -> (u8, u16) {
    match packet.tuple.protocol {
        Protocol::Tcp => {
            let direction =
                if forward.two_way() { tcp::Direction::Input } else { tcp::Direction::InputOnly };
            let state = tcp::next(direction, tcp::State::None, packet.flags);
            (state as u8, service.timeouts.tcp[state as usize])
        }
        Protocol::Udp => (tcp::UDP_STATE, service.timeouts.udp),
    }
}

/// The sources under which the server may see the connection, in the order to try.
enum Ports<'a, A> {
    /// The client's own; if another VIP's connection to this server has it, another port.
    Client { address: A, port: u16 },
    /// FullNAT: the local addresses' ports in rotation.
    Local { service: &'a Service, cursor: &'a mut u32, count: u32 },
}

impl<'a, A: Address> Ports<'a, A> {
    fn new(packet: &Packet<A>, service: &'a Service, server: &Server, cursor: &'a mut u32) -> Self {
        if server.forward != Forward::FullNat {
            return Self::Client { address: packet.tuple.src, port: packet.tuple.sport };
        }
        let count = service.local_addresses.iter().map(|local| local.ports.len() as u32).sum();
        Self::Local { service, cursor, count }
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
            Self::Local { service, cursor, count } => {
                if *count == 0 || tried >= PORT_TRIES {
                    return None;
                }
                let mut at = **cursor % *count;
                **cursor = (at + 1) % *count;
                for local in &service.local_addresses {
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
