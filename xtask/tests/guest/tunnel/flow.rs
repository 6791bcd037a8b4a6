//! A client's flow, as it is inside the tunnel and as the server answers it.
use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use xtask::guest::Guest;

use super::GATEWAY;
use super::outer::inner;
use crate::PATIENCE;

/// A client and what it asked.
pub(super) struct Flow {
    client: IpAddr,
    pub(super) vip: IpAddr,
    ports: (u16, u16),
}

/// What came back from the VIP.
pub(super) struct Answer {
    /// SYN and ACK; TCP alone has them.
    pub(super) flags: Option<(bool, bool)>,
    pub(super) sequence: Option<u32>,
    pub(super) payload: Vec<u8>,
}

impl Flow {
    /// The flow of an encapsulated packet.
    pub(super) fn inside(frame: &[u8]) -> Self {
        let packet = SlicedPacket::from_ip(&frame[inner(frame)..]).unwrap();
        let (client, vip) = addresses(&packet);
        Self { client, vip, ports: ports(&packet) }
    }

    /// The next frame of this flow's answers that is wanted: from the VIP itself to the
    /// client, by the server's own gateway.
    pub(super) fn answer(&self, guest: &Guest, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let read = |frame: &[u8]| {
            let packet = SlicedPacket::from_ethernet(frame).ok()?;
            packet.net.as_ref()?;
            let ours = packet.transport.is_some()
                && addresses(&packet) == (self.vip, self.client)
                && ports(&packet) == (self.ports.1, self.ports.0);
            ours.then(|| Answer::from(&packet)).filter(&wanted)
        };
        let found = guest.wire(0).receive(PATIENCE, |frame| read(frame).is_some()).unwrap();
        let Some(frame) = found else {
            panic!("no answer of {} to {}\n{}", self.vip, self.client, guest.kernel_log())
        };
        assert_eq!(frame[..6], GATEWAY);
        read(&frame).unwrap()
    }
}

impl From<&SlicedPacket<'_>> for Answer {
    fn from(packet: &SlicedPacket<'_>) -> Self {
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => Self {
                flags: Some((tcp.syn(), tcp.ack())),
                sequence: Some(tcp.sequence_number()),
                payload: tcp.payload().to_vec(),
            },
            Some(TransportSlice::Udp(udp)) => {
                Self { flags: None, sequence: None, payload: udp.payload().to_vec() }
            }
            other => panic!("neither TCP nor UDP: {other:?}"),
        }
    }
}

fn addresses(packet: &SlicedPacket<'_>) -> (IpAddr, IpAddr) {
    match packet.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(NetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        other => panic!("no IP: {other:?}"),
    }
}

fn ports(packet: &SlicedPacket<'_>) -> (u16, u16) {
    match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    }
}
