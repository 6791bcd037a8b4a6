//! What is kept of a captured packet beside its octets.

use crate::{
    link::Link,
    snapshot::ServiceId,
    topology::PortId,
    verdict::{Answer, Drop, Punt, Verdict},
};

/// Which side of the rewrite a copy shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The packet as it came in.
    In,
    /// What left for it.
    Out,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent on.
    Forwarded,
    /// It was dropped, and its sender was told.
    Answered(Drop, Answer),
    /// It was dropped, and both ends of its connection were reset.
    Reset,
    /// It was dropped.
    Dropped(Drop),
    /// It went to the kernel.
    Punted(Punt),
    /// It is held.
    Waits,
    /// No packet caused it: it is ours.
    Originated,
}

impl Fate {
    pub(super) const fn of(verdict: &Verdict) -> Self {
        match *verdict {
            Verdict::Send { .. } => Self::Forwarded,
            Verdict::Answer { reason, kind, .. } => Self::Answered(reason, kind),
            Verdict::Resets { .. } => Self::Reset,
            Verdict::Drop(reason) => Self::Dropped(reason),
            Verdict::Punt(reason) => Self::Punted(reason),
            Verdict::Wait(_) => Self::Waits,
        }
    }

    /// By which name the packet was dropped, if it was.
    pub const fn dropped(self) -> Option<Drop> {
        match self {
            Self::Dropped(reason) | Self::Answered(reason, _) => Some(reason),
            Self::Reset => Some(Drop::Reset),
            Self::Forwarded | Self::Punted(_) | Self::Waits | Self::Originated => None,
        }
    }
}

/// One copy.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// When it was made, or came in if it was held: nanoseconds since 1970.
    pub at: u64,
    /// The packet's number: both sides of one packet have the same. The worker is in it.
    pub packet: u64,
    /// The worker that had it.
    pub worker: u16,
    /// Where it came in, or left.
    pub port: PortId,
    /// Which side this is.
    pub side: Side,
    /// Its length; of a copy that was cut short more than the copy has.
    pub octets: u32,
    /// What became of the packet.
    pub fate: Fate,
    /// Its connection, if it has one.
    pub link: Option<Link>,
    /// The service that it is for, if that is known.
    pub service: Option<ServiceId>,
    /// How long it was held, in milliseconds.
    pub waited_ms: u64,
}
