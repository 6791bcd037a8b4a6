//! Packets by description: what `xlvs explain --client ... --vip ...` means, as a frame.

use std::net::{IpAddr, SocketAddr};

use dataplane::topology::{Interface, Mac};
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep, icmpv4, icmpv6,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::schema::Address;

/// A packet, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Who sends it.
    #[schema(value_type = Address)]
    pub client: IpAddr,
    /// From which port; 40000 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    /// Where it goes.
    #[schema(value_type = Address)]
    pub vip: IpAddr,
    /// To which port.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Transport,
    /// Of TCP: the flags that are set; SYN alone if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Instead: an ICMP message from the client, about a packet that it got from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// Octets of the IP packet; as few as it takes if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u16>,
    /// TTL or hop limit; 64 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP; an INIT.
    Sctp,
}

/// A flag of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// It opens.
    Syn,
    /// It acknowledges.
    Ack,
    /// It resets.
    Rst,
    /// It closes.
    Fin,
    /// It has data to be handed on.
    Psh,
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Icmp {
    /// An echo request (ping) to the VIP.
    Echo,
    /// Port unreachable.
    Unreachable,
    /// Fragmentation needed, or packet too big, with an MTU of 1280.
    TooBig,
    /// TTL or hop limit exceeded.
    TimeExceeded,
}

/// A description of no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPacket {
    /// IPv4 and IPv6.
    #[error("client and vip are of two families; give both as IPv4 or both as IPv6")]
    Families,
    /// Larger than a packet, or smaller than its headers.
    #[error("a packet of {0} octets there is not; give from {1} to 65535")]
    Size(u16, usize),
}

/// The client's port, if none is said.
const CLIENT_PORT: u16 = 40_000;
/// The sender, by no host's MAC: locally administered.
const SENDER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

impl Described {
    /// The frame, as it arrives at an interface.
    ///
    /// # Errors
    /// See [`NoPacket`].
    pub fn frame(&self, interface: &Interface) -> Result<Vec<u8>, NoPacket> {
        let empty = self.with_payload(interface, &[])?;
        let headers = empty.len() - 14;
        let Some(size) = self.size else { return Ok(empty) };
        let Some(payload) = usize::from(size).checked_sub(headers) else {
            return Err(NoPacket::Size(size, headers));
        };
        self.with_payload(interface, &vec![0; payload])
    }

    fn with_payload(&self, interface: &Interface, payload: &[u8]) -> Result<Vec<u8>, NoPacket> {
        let port = self.client_port.unwrap_or(CLIENT_PORT);
        let (client, vip) =
            (SocketAddr::new(self.client, port), SocketAddr::new(self.vip, self.port));
        let packet = PacketBuilder::ethernet2(SENDER.0, interface.mac.0);
        let packet = from_to(packet, self.client, self.vip, self.ttl.unwrap_or(64))?;
        match self.icmp {
            Some(icmp) => {
                let quoted = self.transport(quoted(vip, client)?, vip.port(), client.port(), &[]);
                Ok(message(packet, icmp, &quoted[..], payload))
            }
            None => Ok(self.transport(packet, client.port(), vip.port(), payload)),
        }
    }

    fn transport(
        &self,
        packet: PacketBuilderStep<IpHeaders>,
        from: u16,
        to: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        // Writing to memory does not fail, and sizes are those of 16 bits.
        let _ = match self.protocol {
            Transport::Tcp => {
                let mut packet = packet.tcp(from, to, 1, 64_240);
                let flags = if self.flags.is_empty() { &[Flag::Syn][..] } else { &self.flags };
                for flag in flags {
                    packet = match flag {
                        Flag::Syn => packet.syn(),
                        Flag::Ack => packet.ack(1),
                        Flag::Rst => packet.rst(),
                        Flag::Fin => packet.fin(),
                        Flag::Psh => packet.psh(),
                    };
                }
                packet.write(&mut frame, payload)
            }
            Transport::Udp => packet.udp(from, to).write(&mut frame, payload),
            Transport::Sctp => packet.write(&mut frame, IpNumber::SCTP, &init(from, to, payload)),
        };
        frame
    }
}

fn from_to(
    packet: PacketBuilderStep<etherparse::Ethernet2Header>,
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
) -> Result<PacketBuilderStep<IpHeaders>, NoPacket> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok(packet.ipv4(from.octets(), to.octets(), ttl)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Ok(packet.ipv6(from.octets(), to.octets(), ttl)),
        _ => Err(NoPacket::Families),
    }
}

fn quoted(from: SocketAddr, to: SocketAddr) -> Result<PacketBuilderStep<IpHeaders>, NoPacket> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ok(PacketBuilder::ipv4(from.octets(), to.octets(), 60))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Ok(PacketBuilder::ipv6(from.octets(), to.octets(), 60))
        }
        _ => Err(NoPacket::Families),
    }
}

fn message(
    packet: PacketBuilderStep<IpHeaders>,
    icmp: Icmp,
    quoted: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    const MTU: u16 = 1280;
    let v6 = quoted.first().is_some_and(|first| first >> 4 == 6);
    let body = if icmp == Icmp::Echo { payload.to_vec() } else { [quoted, payload].concat() };
    let mut frame = Vec::new();
    let echo = etherparse::IcmpEchoHeader { id: 1, seq: 1 };
    // As above.
    let _ = if v6 {
        use icmpv6::{DestUnreachableCode::Port, TimeExceededCode::HopLimitExceeded};
        let kind = match icmp {
            Icmp::Echo => Icmpv6Type::EchoRequest(echo),
            Icmp::Unreachable => Icmpv6Type::DestinationUnreachable(Port),
            Icmp::TooBig => Icmpv6Type::PacketTooBig { mtu: MTU.into() },
            Icmp::TimeExceeded => Icmpv6Type::TimeExceeded(HopLimitExceeded),
        };
        packet.icmpv6(kind).write(&mut frame, &body)
    } else {
        use icmpv4::{
            DestUnreachableHeader::{FragmentationNeeded, Port},
            TimeExceededCode::TtlExceededInTransit,
        };
        let kind = match icmp {
            Icmp::Echo => Icmpv4Type::EchoRequest(echo),
            Icmp::Unreachable => Icmpv4Type::DestinationUnreachable(Port),
            Icmp::TooBig => {
                Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu: MTU })
            }
            Icmp::TimeExceeded => Icmpv4Type::TimeExceeded(TtlExceededInTransit),
        };
        packet.icmpv4(kind).write(&mut frame, &body)
    };
    frame
}

/// An INIT without parameters (RFC 9260 section 3.3.2); its checksum is not looked at.
fn init(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    const CHUNK: u16 = 20;
    let mut octets = [from.to_be_bytes(), to.to_be_bytes()].concat();
    octets.extend([0; 8]);
    octets.extend([1, 0]);
    octets.extend(CHUNK.to_be_bytes());
    octets.extend([0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    octets.extend(payload);
    octets
}
