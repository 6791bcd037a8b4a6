//! Flows by number: clients of one VIP, their tuples and their frames.

use dataplane::{
    forward::{Address, Forward, Protocol, Tuple, V4, V6},
    packet::{Packet, Parsed, parse},
    rewrite,
    table::{Connection, Keys, TemplateRef},
    wire::tcp,
};
use etherparse::PacketBuilder;

/// The client's, the router's or any other MAC that says nothing.
const THERE: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The director's MAC.
pub const HERE: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The services' port.
pub const PORT: u16 = 80;
/// Frames have at least this many octets (64 on the wire, with the FCS).
const SHORTEST: usize = 60;
/// Source ports of one client.
const PORTS: u64 = 1 << 14;
const FIRST_PORT: u16 = 20_000;

/// The families, as benches need them.
pub trait BenchFamily: dataplane::director::Family {
    /// `v4` or `v6`.
    const NAME: &'static str;
    /// The first client; others follow it.
    const CLIENT: Self;
    /// The VIP.
    const VIP: Self;
    /// The first real server.
    const SERVER: Self;
    /// The first local address of FullNAT.
    const LOCAL: Self;
    /// The director on the servers' side.
    const INSIDE: Self;
    /// The packet of this family, if the frame holds one.
    fn packet(parsed: Parsed) -> Option<Packet<Self>>;
    /// An Ethernet frame of a flow.
    fn frame(tuple: Tuple<Self>, flags: u8) -> Vec<u8>;
}

impl BenchFamily for V4 {
    const NAME: &'static str = "v4";
    const CLIENT: Self = Self(0x0a01_0000);
    const VIP: Self = Self(0xcb00_710a);
    const SERVER: Self = Self(0x0a00_020b);
    const LOCAL: Self = Self(0x0a00_0964);
    const INSIDE: Self = Self(0x0a00_0201);

    fn packet(parsed: Parsed) -> Option<Packet<Self>> {
        if let Parsed::V4(packet) = parsed { Some(packet) } else { None }
    }

    fn frame(tuple: Tuple<Self>, flags: u8) -> Vec<u8> {
        let [src, dst] = [tuple.src, tuple.dst].map(|address| address.0.to_be_bytes());
        let builder = PacketBuilder::ethernet2(THERE, HERE).ipv4(src, dst, 64);
        match tuple.protocol {
            Protocol::Udp => with_payload(builder.udp(tuple.sport, tuple.dport)),
            Protocol::Tcp => {
                with_payload(segment(builder.tcp(tuple.sport, tuple.dport, 1, 1000), flags))
            }
            Protocol::Sctp => unreachable!("no bench has SCTP"),
        }
    }
}

impl BenchFamily for V6 {
    const NAME: &'static str = "v6";
    const CLIENT: Self = Self(0x2001_0db8_0001_0000_0000_0000_0000_0000);
    const VIP: Self = Self(0x2001_0db8_0000_0000_0000_0000_0000_0010);
    const SERVER: Self = Self(0xfd00_0002_0000_0000_0000_0000_0000_000b);
    const LOCAL: Self = Self(0xfd00_0009_0000_0000_0000_0000_0000_0064);
    const INSIDE: Self = Self(0xfd00_0002_0000_0000_0000_0000_0000_0001);

    fn packet(parsed: Parsed) -> Option<Packet<Self>> {
        if let Parsed::V6(packet) = parsed { Some(packet) } else { None }
    }

    fn frame(tuple: Tuple<Self>, flags: u8) -> Vec<u8> {
        let [src, dst] = [tuple.src, tuple.dst].map(|address| address.0.to_be_bytes());
        let builder = PacketBuilder::ethernet2(THERE, HERE).ipv6(src, dst, 64);
        match tuple.protocol {
            Protocol::Udp => with_payload(builder.udp(tuple.sport, tuple.dport)),
            Protocol::Tcp => {
                with_payload(segment(builder.tcp(tuple.sport, tuple.dport, 1, 1000), flags))
            }
            Protocol::Sctp => unreachable!("no bench has SCTP"),
        }
    }
}

type Step<T> = etherparse::PacketBuilderStep<T>;

fn segment(step: Step<etherparse::TcpHeader>, flags: u8) -> Step<etherparse::TcpHeader> {
    let step = if flags & tcp::SYN != 0 { step.syn() } else { step };
    if flags & tcp::ACK != 0 { step.ack(1) } else { step }
}

/// Payload up to the shortest frame.
trait Finish {
    fn size(&self, payload: usize) -> usize;
    fn write(self, payload: &[u8]) -> Vec<u8>;
}

impl Finish for Step<etherparse::TcpHeader> {
    fn size(&self, payload: usize) -> usize {
        self.size(payload)
    }

    fn write(self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.write(&mut frame, payload).expect("a vector takes all");
        frame
    }
}

impl Finish for Step<etherparse::UdpHeader> {
    fn size(&self, payload: usize) -> usize {
        self.size(payload)
    }

    fn write(self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.write(&mut frame, payload).expect("a vector takes all");
        frame
    }
}

fn with_payload(step: impl Finish) -> Vec<u8> {
    let payload = vec![0; SHORTEST.saturating_sub(step.size(0))];
    step.write(&payload)
}

/// The address `n` places after `base`.
pub fn nth<A: Address>(base: A, n: u64) -> A {
    let [high, low] = base.words();
    A::from_words(if A::IPV6 { [high, low + n] } else { [high + n, low] })
}

/// The tuple of a client's flow.
pub fn tuple<A: BenchFamily>(protocol: Protocol, flow: u64) -> Tuple<A> {
    Tuple {
        src: nth(A::CLIENT, flow / PORTS),
        dst: A::VIP,
        sport: FIRST_PORT + (flow % PORTS) as u16,
        dport: PORT,
        protocol,
    }
}

/// Makes the frames of flows from one template, quicker than from nothing.
pub struct Template<A> {
    frame: Vec<u8>,
    packet: Packet<A>,
}

impl<A: BenchFamily> Template<A> {
    /// For frames with these TCP flags (none in UDP).
    pub fn new(protocol: Protocol, flags: u8) -> Self {
        let frame = A::frame(tuple(protocol, 0), flags);
        let packet = A::packet(parse(&frame)).expect("a packet of this family");
        Self { frame, packet }
    }

    /// What the parser says of flow 0's frame.
    pub const fn packet(&self) -> &Packet<A> {
        &self.packet
    }

    /// Writes the frame of a flow and tells its length.
    pub fn write(&self, flow: u64, room: &mut [u8]) -> usize {
        self.write_as(tuple(self.packet.tuple.protocol, flow), room)
    }

    /// Writes the frame with this tuple and tells its length.
    pub fn write_as(&self, tuple: Tuple<A>, room: &mut [u8]) -> usize {
        let frame = &mut room[..self.frame.len()];
        frame.copy_from_slice(&self.frame);
        rewrite::translate(frame, &self.packet, tuple);
        self.frame.len()
    }
}

/// The connection of a flow of TCP, to one of ten servers.
pub(crate) fn connection<A: BenchFamily>(flow: u64, forward: Forward) -> Connection<A> {
    let Tuple { src, dst, sport, dport, protocol } = tuple(Protocol::Tcp, flow);
    Connection {
        client: src,
        cport: sport,
        vip: dst,
        vport: dport,
        server: nth(A::SERVER, flow % 10),
        rport: 8080,
        local: src,
        lport: sport,
        protocol,
        forward,
        server_id: (flow % 10) as u32,
        flags: 0,
        keys: Keys::Both,
        template: TemplateRef::NONE,
    }
}
