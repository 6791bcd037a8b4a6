//! Under which source the server sees a connection: the client's own, or a port of ours.

use std::net::IpAddr;

use crate::{
    forward::{Address, Forward},
    packet::Packet,
    snapshot::{LocalAddress, Server, Service},
};

/// How many ports are tried before the search is given up.
pub(crate) const PORT_TRIES: u32 = 16;

/// The sources under which the server may see the connection, in the order to try.
pub(crate) enum Ports<'a, A> {
    /// The client's own; if another VIP's connection to this server has it, another port.
    Client { address: A, port: u16 },
    /// FullNAT: the local addresses' ports in rotation.
    Local { addresses: &'a [LocalAddress], turn: u32, count: u32 },
}

impl<'a, A: Address> Ports<'a, A> {
    /// `turn` is the [server's own](crate::record::ServerRecord::next_local_turn): a local port is
    /// free or taken towards a server, so each has all of them.
    pub(crate) fn new(
        packet: &Packet<A>,
        service: &'a Service,
        server: &Server,
        turn: u32,
    ) -> Self {
        if server.forward != Forward::FullNat {
            return Self::Client { address: packet.tuple.src, port: packet.tuple.sport };
        }
        let addresses = service.policy.local_addresses.as_slice();
        let count = addresses.iter().map(|local| local.ports.len() as u32).sum();
        Self::Local { addresses, turn, count }
    }

    /// What to try after so many that were taken.
    pub(crate) fn after(&self, tried: u32) -> Option<(A, u16)> {
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
            Self::Local { addresses, turn, count } => {
                if *count == 0 || tried >= PORT_TRIES {
                    return None;
                }
                // Ports that lasting connections hold lie side by side: the tries go round the
                // whole range.
                let step = (*count / PORT_TRIES).max(1);
                let mut at = (*turn % *count + tried * step) % *count;
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
        turn: &mut u32,
        taken: &mut HashSet<(V4, u16)>,
    ) -> Option<u32> {
        let count = addresses.iter().map(|local| local.ports.len() as u32).sum();
        *turn = turn.wrapping_add(1);
        let ports: Ports<'_, V4> = Ports::Local { addresses, turn: *turn, count };
        (0..=PORT_TRIES).find(|tried| ports.after(*tried).is_some_and(|port| taken.insert(port)))
    }

    /// Half of the ports belong to connections that last, one beside the other.
    #[test]
    fn a_block_of_taken_ports_is_stepped_over() {
        let addresses = local(&[(1, 10_000, 10_999), (2, 10_000, 10_999)]);
        let mut taken = (10_000..=10_999).map(|port| (V4(0x0a00_0001), port)).collect();
        for start in 0..2000 {
            let mut turn = start;
            let mut free = HashSet::clone(&taken);
            assert!(pick(&addresses, &mut turn, &mut free).is_some(), "from {start}");
        }
        let mut turn = 0;
        let found = (0..950).filter(|_| pick(&addresses, &mut turn, &mut taken).is_some());
        assert_eq!(found.count(), 950, "nearly all that are free");
    }

    #[test]
    fn free_ports_come_in_rotation_and_few_are_all_found() {
        for count in [1, 3, 16] {
            let addresses = local(&[(1, 10_000, 10_000 + count - 1)]);
            let (mut turn, mut taken) = (0, HashSet::new());
            let tries: Vec<_> =
                (0..count).map(|_| pick(&addresses, &mut turn, &mut taken)).collect();
            assert_eq!(tries, vec![Some(0); usize::from(count)]);
            assert_eq!(pick(&addresses, &mut turn, &mut taken), None);
            taken.remove(&(V4(0x0a00_0001), 10_000));
            assert!(pick(&addresses, &mut turn, &mut taken).is_some(), "the only free one");
        }
    }
}
