//! A worker's end of a capture, and control's.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Arrival, Filter,
    record::{Fate, Note, Side},
    subject::{About, Scene, Subject, Talk},
};
use crate::{
    breath::Breath,
    conveyor::{Buffer, Loader, Unloader, conveyor},
    packet::parse,
    split::PARTS_MAX,
    stats::Counter,
    topology::PortId,
    verdict::{Drop, Verdict},
};

/// Packets that a worker copies in one breath at most: both sides of one cost some 200 ns, a
/// full breath of bursts of 64 takes 50 us or more.
pub const SHARE: u32 = 16;

/// Octets that are copied of a packet before its end is known, where the end matters: the
/// headers, for what leaves the rest as it came.
const HEAD: usize = 192;

/// What one worker did not copy.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets for which no buffer was empty.
    pub full: Counter,
    /// Packets beyond the share of a breath.
    pub share: Counter,
}

/// A worker's end.
pub struct Tap {
    filter: Filter,
    worker: u16,
    snap: usize,
    loader: Loader<Option<Note>>,
    counts: Arc<Counts>,
    /// Packets that this breath may still copy.
    left: u32,
    /// The last packet's number.
    number: u64,
    current: Option<Current>,
    /// What left for the current packet.
    outs: Vec<Buffer<Option<Note>>>,
    /// Empty buffers at hand.
    spares: Vec<Buffer<Option<Note>>>,
}

/// The packet that is worked on.
struct Current {
    about: About,
    subject: Subject,
    at: u64,
    port: PortId,
    octets: u32,
    waited_ms: u64,
    /// `None`: there was no buffer.
    input: Option<Buffer<Option<Note>>>,
    /// What became of it, as far as is known.
    fate: Fate,
    /// The filter lets it pass, if it ends so.
    admitted: bool,
    /// Something left.
    sent: bool,
    /// For something that left there was no buffer.
    lost: bool,
}

/// Control's end.
pub struct Well {
    unloader: Unloader<Option<Note>>,
    counts: Arc<Counts>,
}

/// Both ends of a capture by worker number `worker`, with room for `length` copies of up to
/// `snap` octets. All memory is taken here.
pub fn tap(worker: u16, filter: Filter, length: usize, snap: usize) -> (Tap, Well) {
    let (loader, unloader) = conveyor(length, snap);
    let counts = Arc::new(Counts::default());
    let tap = Tap {
        filter,
        worker,
        snap,
        loader,
        counts: Arc::clone(&counts),
        left: SHARE,
        number: 0,
        current: None,
        outs: Vec::with_capacity(PARTS_MAX),
        spares: Vec::with_capacity(PARTS_MAX + 2),
    };
    (tap, Well { unloader, counts })
}

impl Well {
    /// Hands over the next copy, if there is one.
    pub fn take(&self, with: impl FnOnce(&Note, &[u8])) -> bool {
        let Some(buffer) = self.unloader.unload() else { return false };
        if let Some(note) = &buffer.note {
            with(note, buffer.octets());
        }
        self.unloader.give_back(buffer);
        true
    }

    /// What was not copied.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// Before and after the decision.
impl Tap {
    /// A breath begins.
    pub(super) const fn begin(&mut self) {
        self.left = SHARE;
    }

    #[inline(always)]
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// A packet comes in.
    #[inline(always)]
    pub(super) fn arrives(&mut self, breath: &Breath<'_>, frame: &[u8], arrival: &Arrival<'_>) {
        if let Some((about, subject)) = self.filter.look(breath, frame, arrival) {
            self.take_up(breath, frame, arrival.waited_ms, (about, subject));
        }
    }

    #[inline(never)]
    fn take_up(
        &mut self,
        breath: &Breath<'_>,
        frame: &[u8],
        waited_ms: u64,
        (about, subject): (About, Subject),
    ) {
        let known = self.filter.takes_all_ends();
        if known && self.left == 0 {
            return self.counts.share.add(1);
        }
        let limit = if known { self.snap } else { self.snap.min(HEAD) };
        let mut input = self.empty();
        if let Some(buffer) = &mut input {
            buffer.fill(frame, limit);
        }
        self.current = Some(Current {
            about,
            subject,
            at: wall_clock().saturating_sub(waited_ms * 1_000_000),
            port: breath.arrived,
            octets: frame.len() as u32,
            waited_ms,
            input,
            fate: Fate::Waits,
            admitted: true,
            sent: false,
            lost: false,
        });
    }

    /// It is decided about.
    #[inline(never)]
    pub(super) fn is_decided(&mut self, breath: &Breath<'_>, frame: &[u8], verdict: &Verdict) {
        let Some(current) = &mut self.current else { return };
        let scene = Scene::from(breath);
        current.subject.relink(scene, current.about.link(scene));
        current.fate = match verdict {
            Verdict::Punt(_) if breath.is_probing() => Fate::Dropped(Drop::StrayProbe),
            verdict => Fate::of(verdict),
        };
        current.admitted = self.filter.holds(&current.subject, false);
        // What goes nowhere is as it came behind its headers.
        let unchanged = matches!(verdict, Verdict::Drop(_) | Verdict::Punt(_));
        if unchanged
            && frame.len() == current.octets as usize
            && let Some(input) = &mut current.input
        {
            input.fill_up(frame);
        }
    }

    /// All that it caused has happened.
    #[inline(never)]
    pub(super) fn is_over(&mut self, breath: &Breath<'_>) {
        let Some(current) = self.current.take() else { return };
        let Current { mut subject, fate, .. } = current;
        let wanted = current.admitted && fate != Fate::Waits && self.filter.takes(fate);
        if !wanted || self.left == 0 {
            if wanted {
                self.counts.share.add(1);
            }
            self.spares.extend(current.input);
            return self.spares.append(&mut self.outs);
        }
        if subject.link.is_none()
            && let Some(out) = self.outs.first()
        {
            // One packet's entry is not found by its client, but by the server's answer.
            let parsed = parse(out.octets());
            let scene = Scene::from(breath);
            subject.relink(scene, About::new(&parsed, out.octets()).link_back(scene));
        }
        self.left -= 1;
        if current.lost || current.input.is_none() {
            self.counts.full.add(1);
        }
        let note = Note {
            at: current.at,
            packet: self.next_number(),
            worker: self.worker,
            port: current.port,
            side: Side::In,
            octets: current.octets,
            fate,
            link: subject.link,
            service: subject.service,
            waited_ms: current.waited_ms,
        };
        if let Some(mut input) = current.input {
            input.note = Some(note);
            self.loader.load(input);
        }
        for mut out in self.outs.drain(..) {
            out.note = out.note.map(|out| {
                let Note { at, port, octets, .. } = out;
                Note { at, port, octets, side: Side::Out, ..note }
            });
            self.loader.load(out);
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        u64::from(self.worker) << 48 | self.number
    }

    fn empty(&mut self) -> Option<Buffer<Option<Note>>> {
        self.spares.pop().or_else(|| self.loader.empty())
    }
}

/// What leaves.
impl Tap {
    /// Something is about to leave for the current packet.
    #[inline(never)]
    pub(super) fn leaves(&mut self, port: PortId, frame: &[u8]) {
        let Some(current) = &self.current else { return };
        if !current.admitted || !self.filter.takes(current.fate) || self.left == 0 {
            return;
        }
        match self.copy(port, frame) {
            Some(out) if self.outs.len() < self.outs.capacity() => self.outs.push(out),
            Some(out) => self.spares.push(out),
            None => self.note(|current| current.lost = true),
        }
        self.note(|current| current.sent = true);
    }

    /// It did not leave: the ring is full.
    #[cold]
    pub(super) fn is_refused(&mut self) {
        if self.current.is_some() {
            self.spares.extend(self.outs.pop());
            self.note(|current| current.fate = Fate::Dropped(Drop::TxRingFull));
        }
    }

    /// There was no frame for a part of the current packet.
    #[cold]
    pub(super) fn lacks_frame(&mut self) {
        self.note(|current| {
            if current.fate == Fate::Forwarded {
                current.fate = Fate::Dropped(Drop::FramePoolEmpty);
            }
        });
    }

    /// A frame goes home that was to be sent, or held.
    #[inline(never)]
    pub(super) fn comes_home(&mut self) {
        self.note(|current| match current.fate {
            Fate::Forwarded if !current.sent => current.fate = Fate::Dropped(Drop::FrameRoom),
            Fate::Waits => current.fate = Fate::Dropped(Drop::WaitingFull),
            _ => {}
        });
    }

    /// The kernel does not get the packet.
    #[cold]
    pub(super) fn is_not_punted(&mut self) {
        self.note(|current| current.fate = Fate::Dropped(Drop::PuntLimited));
    }

    /// Something leaves that no packet caused.
    #[cold]
    pub(super) fn originates(&mut self, scene: Scene<'_>, port: PortId, frame: &[u8]) {
        let parsed = parse(frame);
        let talk = Talk::of(&parsed, frame);
        let mut subject = Subject { talk, link: None, service: None };
        subject.relink(scene, About::new(&parsed, frame).link_back(scene));
        let here = self.filter.interface.is_none_or(|wanted| wanted == port);
        if !here || !self.filter.takes(Fate::Originated) || !self.filter.holds(&subject, false) {
            return;
        }
        if self.left == 0 {
            return self.counts.share.add(1);
        }
        self.left -= 1;
        let Some(mut out) = self.copy(port, frame) else { return self.counts.full.add(1) };
        let packet = self.next_number();
        out.note = out.note.map(|note| {
            let Subject { link, service, .. } = subject;
            Note { packet, link, service, fate: Fate::Originated, ..note }
        });
        self.loader.load(out);
    }

    /// A copy of what leaves; what else is known is noted later.
    fn copy(&mut self, port: PortId, frame: &[u8]) -> Option<Buffer<Option<Note>>> {
        let mut out = self.empty()?;
        out.fill(frame, self.snap);
        out.note = Some(Note {
            at: wall_clock(),
            packet: 0,
            worker: self.worker,
            port,
            side: Side::Out,
            octets: frame.len() as u32,
            fate: Fate::Forwarded,
            link: None,
            service: None,
            waited_ms: 0,
        });
        Some(out)
    }

    fn note(&mut self, change: impl FnOnce(&mut Current)) {
        if let Some(current) = &mut self.current {
            change(current);
        }
    }
}

/// Nanoseconds since 1970. Read for copies only.
fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
