//! A capture beside a case: it holds the packets that the table says, no others.

use std::collections::BTreeMap;

use dataplane::{
    capture::{Fate, Filter, Note, Side, Well, tap},
    memory::{MemoryFrame, ROOM},
    worker::Worker,
};

/// What the worker copied.
pub(crate) struct Captured(Well);

/// More than a step has.
const COPIES: usize = 256;

impl Captured {
    /// Captures everything from now on.
    pub(crate) fn begin(worker: &mut Worker<MemoryFrame>) -> Self {
        let (tap, well) = tap(0, Filter::default(), COPIES, ROOM);
        assert!(worker.capture(Some(Box::new(tap))).is_none());
        Self(well)
    }

    /// Since the last call: what came in is among `arrived`, what left is `sent`, what became of
    /// the packets is what was counted.
    pub(crate) fn holds(
        &self,
        arrived: &[Vec<u8>],
        sent: &[(u16, Vec<u8>)],
        counted: &BTreeMap<String, u64>,
    ) -> Result<(), String> {
        let mut copies: Vec<(Note, Vec<u8>)> = Vec::new();
        while self.0.take(|note, octets| copies.push((*note, octets.to_vec()))) {}
        let mut left = Vec::new();
        let mut told = BTreeMap::new();
        let mut last = None;
        for (note, octets) in &copies {
            if octets.len() != note.octets as usize {
                return Err(format!("cut short: {note:?}"));
            }
            match note.side {
                Side::Out => {
                    left.push((note.port, octets.clone()));
                    if note.fate != Fate::Originated && last != Some(note.packet) {
                        return Err(format!("left without having come in: {note:?}"));
                    }
                }
                Side::In if !arrived.contains(octets) => {
                    return Err(format!("never arrived so: {note:?}"));
                }
                Side::In => {
                    last = Some(note.packet);
                    let dropped =
                        note.fate.dropped().map(|reason| format!("drop.{}", reason.name()));
                    let punted = match note.fate {
                        Fate::Punted(reason) => Some(format!("punt.{}", reason.name())),
                        _ => None,
                    };
                    for name in dropped.into_iter().chain(punted) {
                        *told.entry(name).or_insert(0) += 1;
                    }
                    if note.fate == Fate::Forwarded && note.link.is_none() && note.service.is_none()
                    {
                        return Err(format!("forwarded without a connection: {note:?}"));
                    }
                }
            }
        }
        // Order of ports within a packet is the order of sending.
        if left != sent {
            return Err(format!("{} copies of what left, {} frames left", left.len(), sent.len()));
        }
        let mut counted = counted.clone();
        counted.retain(|name, _| !name.starts_with("answer."));
        if told != counted {
            return Err(format!("it tells of {told:?}, counted was {counted:?}"));
        }
        let missed = self.0.counts();
        match (missed.full.value(), missed.share.value()) {
            (0, 0) => Ok(()),
            missed => Err(format!("missed: {missed:?}")),
        }
    }
}
