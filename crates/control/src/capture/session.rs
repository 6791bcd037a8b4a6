//! A capture that runs: from the workers' queues to the one who reads.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use dataplane::{
    capture::{Fate, Note, Side, Tap, Well},
    engine::Handle,
    snapshot::Snapshot,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    Form, Tally, lock,
    pcapng::{self, Direction},
    wanted::Limits,
    words,
};

/// How often the queues are emptied: workers wake nobody.
const PERIOD: Duration = Duration::from_millis(10);
/// Copies that are taken from one queue at a time.
const BATCH: usize = 4096;
/// How long a worker may take to give its tap back: it looks once a breath.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The workers have taps.
pub(super) struct Taps(Vec<Handle>);

impl Taps {
    /// Gives each worker its own.
    pub(super) fn give(handles: &[Handle], taps: Vec<Tap>) -> Self {
        for (handle, tap) in handles.iter().zip(taps) {
            Self::order(handle, Some(Box::new(tap)));
        }
        Self(handles.to_vec())
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.0.iter().for_each(|handle| Self::order(handle, None));
    }
}

/// What the thread has.
pub(super) struct Session {
    pub(super) form: Form,
    pub(super) snap: u32,
    pub(super) limits: Limits,
    pub(super) began: Instant,
    /// By worker.
    pub(super) wells: Vec<Well>,
    pub(super) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(super) pieces: mpsc::Sender<Bytes>,
    pub(super) tally: Arc<Mutex<Tally>>,
}

/// What a session has done.
#[derive(Default)]
struct Progress {
    tally: Tally,
    /// By worker: the number of the last packet that was taken. Copies of one packet come in a
    /// row.
    last: Vec<u64>,
    /// Packets beyond the limit, in the last turn.
    beyond: HashSet<u64>,
    /// Missed packets that were told.
    told: u64,
}

/// A line of a capture in [`Form::Json`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it came in or left, RFC 3339.
    pub time: String,
    /// By which interface.
    pub interface: String,
    /// `in` or `out`.
    pub side: String,
    /// Both sides of a packet have the same number.
    pub packet: u64,
    /// The worker that had it.
    pub worker: u16,
    /// Octets of the frame.
    pub octets: u32,
    /// Its headers.
    pub headers: String,
    /// `forwarded`, `dropped`, `punted`, `answered`, `originated`.
    pub verdict: String,
    /// The name of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The service's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The client's address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The real server's address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The local address and port, in FullNAT, or where NAT moved the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// All that is said of it, as the comment in pcapng.
    pub comment: String,
}

impl Session {
    /// Runs until a limit is reached or nobody reads any more.
    pub(super) fn run(self) {
        let mut progress = Progress { last: vec![0; self.wells.len()], ..Progress::default() };
        let mut piece = Vec::new();
        self.head(&mut piece);
        while self.passes_on(&mut piece, &mut progress) {
            let over = self.is_over(&progress.tally);
            self.collect(&mut piece, &mut progress);
            if over {
                self.passes_on(&mut piece, &mut progress);
                break;
            }
            // What came while it wrote is taken at once.
            if piece.is_empty() {
                std::thread::sleep(PERIOD);
            }
        }
        let Tally { packets, copies, missed_queue, missed_share, .. } = progress.tally;
        *lock(&self.tally) = Tally { running: false, ..progress.tally };
        log::info!(
            "capture: ended, {packets} packets in {copies} copies; missed: {missed_queue} for a full queue, {missed_share} beyond a breath's share"
        );
    }

    /// Hands over what was written; false when nobody takes it.
    fn passes_on(&self, piece: &mut Vec<u8>, progress: &mut Progress) -> bool {
        progress.tally.running = true;
        progress.tally.octets += piece.len() as u64;
        *lock(&self.tally) = progress.tally;
        if piece.is_empty() {
            return !self.pieces.is_closed();
        }
        self.pieces.blocking_send(std::mem::take(piece).into()).is_ok()
    }

    fn is_over(&self, tally: &Tally) -> bool {
        let Limits { packets, octets, time } = self.limits;
        tally.packets >= packets || tally.octets >= octets || self.began.elapsed() >= time
    }

    fn head(&self, piece: &mut Vec<u8>) {
        if self.form != Form::Pcapng {
            return;
        }
        pcapng::section(piece, concat!("xlvs ", env!("CARGO_PKG_VERSION")));
        let snapshot = self.snapshots.load();
        for interface in &snapshot.topology.interfaces {
            let described = pcapng::Interface { name: &interface.name, mac: interface.mac.0 };
            pcapng::interface(piece, &described, self.snap);
        }
        // Behind them is the port of health probes, if there is one.
        let described = pcapng::Interface { name: PROBES, mac: [0; 6] };
        pcapng::interface(piece, &described, self.snap);
    }

    /// Takes out what the workers have copied, in order of time.
    fn collect(&self, piece: &mut Vec<u8>, progress: &mut Progress) {
        let snapshot = self.snapshots.load();
        let mut taken: Vec<(bool, Note, Vec<u8>)> = Vec::new();
        for (last, well) in progress.last.iter_mut().zip(&self.wells) {
            for _ in 0..BATCH {
                let mut next = |note: &Note, octets: &[u8]| {
                    let first = std::mem::replace(last, note.packet) != note.packet;
                    taken.push((first, *note, octets.to_vec()));
                };
                if !well.take(&mut next) {
                    break;
                }
            }
        }
        taken.sort_by_key(|(_, note, _)| note.at);
        // Counted in order of time: the first packet may be another worker's.
        taken.retain(|(first, note, _)| self.counts_in(*first, note, progress));
        let (full, share) = self.wells.iter().fold((0, 0), |(full, share), well| {
            (full + well.counts().full.value(), share + well.counts().share.value())
        });
        (progress.tally.missed_queue, progress.tally.missed_share) = (full, share);
        for (_, note, octets) in &taken {
            let missed = full + share;
            let lost = missed - std::mem::replace(&mut progress.told, missed);
            progress.tally.copies += 1;
            match self.form {
                Form::Pcapng => write_packet(piece, (note, octets), lost, &snapshot),
                Form::Json => write_line(piece, (note, octets), &snapshot),
            }
        }
    }

    /// Counts a packet with its first copy; false beyond the limit.
    fn counts_in(&self, first: bool, note: &Note, progress: &mut Progress) -> bool {
        if first && progress.tally.packets >= self.limits.packets {
            progress.beyond.insert(note.packet);
        } else if first {
            progress.tally.packets += 1;
        }
        !progress.beyond.contains(&note.packet)
    }
}

/// The name of the port behind which health probes are.
const PROBES: &str = "xlvs-probes";

fn write_packet(
    piece: &mut Vec<u8>,
    (note, octets): (&Note, &[u8]),
    lost: u64,
    snapshot: &Snapshot,
) {
    let direction = match note.side {
        Side::In => Direction::Inbound,
        Side::Out => Direction::Outbound,
    };
    let comment = words::comment(note, &snapshot.services);
    let packet = pcapng::Packet {
        interface: note.port.into(),
        at: note.at,
        octets,
        length: note.octets,
        direction,
        number: note.packet,
        comment: &comment,
        lost,
    };
    pcapng::packet(piece, &packet);
}

fn write_line(piece: &mut Vec<u8>, (note, octets): (&Note, &[u8]), snapshot: &Snapshot) {
    let services = &snapshot.services;
    let interfaces = &snapshot.topology.interfaces;
    let interface = interfaces.get(usize::from(note.port));
    let (verdict, reason) = words::verdict(note.fate);
    let end = |end: Option<_>| end.map(words::place);
    let line = Line {
        time: format!("{:.9}", Timestamp::from_nanosecond(note.at.into()).unwrap_or_default()),
        interface: interface.map_or(PROBES, |interface| &interface.name).to_owned(),
        side: if note.side == Side::In { "in" } else { "out" }.to_owned(),
        packet: note.packet,
        worker: note.worker,
        octets: note.octets,
        headers: words::headers(octets),
        verdict: verdict.to_owned(),
        reason: reason.map(str::to_owned),
        service: words::service_name(note, services),
        client: end(note.link.map(|link| link.client)),
        server: end(note.link.map(|link| link.server)),
        local: end(note.link.filter(|link| link.local != link.client).map(|link| link.local)),
        comment: words::comment(note, services),
    };
    // Nothing in it refuses to be JSON.
    let _ = serde_json::to_writer(&mut *piece, &line);
    piece.push(b'\n');
    debug_assert!(note.fate != Fate::Waits, "what waits has no end yet");
}
