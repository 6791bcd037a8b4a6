//! Why would this packet go where it goes? The datapath itself says it, in a
//! [rehearsal](dataplane::rehearse); [`tell`] makes sentences of what was seen, [`contract`] says
//! before it whether the packet would reach xlvs at all.

pub mod contract;
pub mod headers;
pub mod packet;
mod tell;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use dataplane::{
    clock::Clock,
    director::Director,
    rehearse::Rehearsal,
    snapshot::Snapshot,
    topology::{PortId, RouteKind, Topology},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::{contract::Contract, packet::Described};
use crate::matches::{mark_slots, match_entries};

/// Packets of one question, at most.
pub const MOST: usize = 1000;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The packets, one after the other: each sees what those before it did. At most 1000.
    pub packets: Vec<Asked>,
}

/// One packet: a description, or a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The interface where it arrives; if it is not said, the one by which its sender is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// A packet by its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<Described>,
    /// A whole Ethernet frame, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// The frame was captured elsewhere: it gets the interface's MAC as its destination.
    #[serde(default)]
    pub readdress: bool,
}

/// What would happen to one packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The packet in one line.
    pub packet: String,
    /// The interface where it arrives.
    pub interface: String,
    /// Step by step.
    pub steps: Vec<Step>,
    /// What its scheduler saw of the service's servers, where it was asked.
    pub candidates: Vec<Candidate>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The service's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The server, address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The frames that leave.
    pub sent: Vec<Sent>,
}

/// One step of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Which: `match`, `connection`, `service`, `template`, `scheduler`, `opened`,
    /// `stateless`, `rewrite`, `next_hop`, `mtu`.
    pub name: String,
    /// What happens there.
    pub text: String,
}

/// A server that the scheduler chose from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// Address and port.
    pub server: String,
    /// It was picked.
    pub picked: bool,
    /// Why it gets no new connection, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// Its weight, after slow start.
    pub weight: f64,
    /// Its active connections, as far as its scheduler counts them.
    pub active: u32,
    /// Its other connections.
    pub inactive: u32,
    /// What the scheduler compares, where it compares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// `sent`, `answered`, `dropped`, `punted` (xlvs gives it to the kernel), `waits`, `kernel` (it
    /// does not reach xlvs).
    pub kind: String,
    /// The name of the drop or punt, as in counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In words.
    pub text: String,
    /// What may be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A frame that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// By which interface.
    pub interface: String,
    /// The packet in one line.
    pub packet: String,
    /// In hexadecimal digits.
    pub frame: String,
}

/// The question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswerable {
    /// Too many, or none.
    #[error("{0} packets; ask for 1 to {MOST} at a time")]
    Packets(usize),
    /// A packet is no packet.
    #[error("packet {0}: {1}")]
    Packet(usize, String),
    /// No memory.
    #[error("no memory for a rehearsal: {0}")]
    Memory(#[from] std::io::Error),
}

/// Answers, by what is running.
#[derive(Clone)]
pub struct Explainer {
    /// The running director.
    pub director: Arc<Director>,
    /// What its workers see.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// What they read the time from.
    pub clock: Clock,
}

impl Explainer {
    /// What would happen to these packets now. Takes milliseconds: call it beside the control loop.
    ///
    /// # Errors
    /// See [`Unanswerable`].
    pub fn explain(&self, question: &Question) -> Result<Vec<Explanation>, Unanswerable> {
        let count = question.packets.len();
        if !(1..=MOST).contains(&count) {
            return Err(Unanswerable::Packets(count));
        }
        let snapshot = self.snapshots.load_full();
        let frames = question.packets.iter().enumerate().map(|(at, asked)| {
            frame(&snapshot.topology, asked).map_err(|why| Unanswerable::Packet(at + 1, why))
        });
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        self.rehearse(&snapshot, &frames)
    }

    fn rehearse(
        &self,
        snapshot: &Arc<Snapshot>,
        frames: &[(PortId, Vec<u8>)],
    ) -> Result<Vec<Explanation>, Unanswerable> {
        let (now, topology) = (self.clock.tick(), &snapshot.topology);
        let mut stage = Rehearsal::new(&self.director, Arc::clone(snapshot), now, frames.len())?;
        let entries = match_entries(&snapshot.services);
        let marks = mark_slots(&snapshot.services, topology);
        let explain = |(port, frame): &(PortId, Vec<u8>)| {
            let interface = &topology.interfaces[usize::from(*port)];
            let (mac, index) = (interface.mac, interface.index);
            let contract =
                Contract { entries: &entries, marks: &marks, topology, mac, interface: index };
            let met = contract.meet(frame);
            let account = met.taken.then(|| stage.play(*port, frame));
            tell::tell(snapshot, *port, frame, &met, account)
        };
        Ok(frames.iter().map(explain).collect())
    }
}

/// The frame that is asked about, and the port where it arrives.
fn frame(topology: &Topology, asked: &Asked) -> Result<(PortId, Vec<u8>), String> {
    let port = match (&asked.interface, &asked.packet) {
        (Some(name), _) => named(topology, name)?,
        (None, Some(packet)) => towards(topology, packet.client),
        (None, None) => 0,
    };
    let interface = topology.interfaces.get(usize::from(port)).ok_or("there is no interface")?;
    let frame = match (&asked.packet, &asked.frame) {
        (Some(packet), None) => packet.frame(interface).map_err(|error| error.to_string())?,
        (None, Some(digits)) => {
            let mut frame =
                octets(digits).ok_or("frame: not an even number of hexadecimal digits")?;
            if asked.readdress && frame.len() >= 6 {
                frame[..6].copy_from_slice(&interface.mac.0);
            }
            frame
        }
        _ => return Err("give either a packet or a frame".to_owned()),
    };
    Ok((port, frame))
}

fn named(topology: &Topology, name: &str) -> Result<PortId, String> {
    let at = topology.interfaces.iter().position(|interface| interface.name == name);
    at.map(|at| at as PortId).ok_or_else(|| {
        let known: Vec<&str> = topology.interfaces.iter().map(|i| i.name.as_str()).collect();
        format!("xlvs does not serve {name}; it serves {}", known.join(", "))
    })
}

/// The port by which an address is reached; the first if there is no way.
fn towards(topology: &Topology, address: IpAddr) -> PortId {
    match topology.route(address).map(|route| &route.kind) {
        Some(RouteKind::Via(hops)) => {
            let served = |port: &PortId| usize::from(*port) < topology.interfaces.len();
            hops.iter().find_map(|hop| hop.port.filter(served)).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Hexadecimal digits as octets.
pub(crate) fn octets(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let pair = |pair: &[u8]| {
        let digit = |octet: u8| char::from(octet).to_digit(16);
        Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8)
    };
    digits.chunks(2).map(pair).collect()
}

/// Octets as hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
