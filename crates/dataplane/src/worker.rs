//! The worker's loop: a breath is inhale, pipeline, exhale, upkeep.
//!
//! The pipeline works on a burst in three stages, so that the memory of one packet is
//! fetched while others are worked on: parse and hash (fetch buckets), probe (fetch
//! entries), decide.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::{
    breath::Breath,
    capture::{Arrival, Tap, Watched},
    clock::Now,
    connection_log::End,
    director::{Director, Family},
    effort::Effort,
    forward::{V4, V6},
    ids::Ids,
    io::{Frame, Io},
    kill::{Hunt, Kill},
    packet::{Fragment, Packet, Parsed, parse, parse_into},
    patrol::Patrol,
    purge::Purge,
    snapshot::Snapshot,
    stats::Stats,
    table::{Probe, SweepCursor},
    tcp,
    topology::PortId,
    verdict::{Drop, Verdict},
    waiting::{Held, WaitingRoom, given_up},
};

/// Frames that are worked on together. 64 headers fit the L1 cache.
pub const BURST: usize = 64;

/// How far ahead packet headers are fetched.
const LOOKAHEAD: usize = 16;

/// One worker: everything that only its thread touches.
pub struct Worker<F> {
    snapshot: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    hands: Hands<F>,
    tap: Option<Box<Tap>>,
}

/// All of a worker but the snapshot, which is only borrowed for a breath: to count a holder of it
/// would write a word that all workers write.
struct Hands<F> {
    director: Arc<Director>,
    stats: Arc<Stats>,
    ids: Ids,
    burst: Vec<F>,
    stage: Box<[Staged]>,
    waiting: WaitingRoom<F>,
    sweep: Sweep,
    /// Which worker it is, and of how many.
    place: (usize, usize),
    hunt: Option<Hunt>,
}

/// A packet of the burst between the stages.
#[derive(Default)]
struct Staged {
    parsed: Parsed,
    /// Of its tuple; meaningless if it has none.
    hash: u64,
    /// The table's first look at its tuple.
    probe: Option<Probe>,
}

/// Where this worker is in its walks through the tables, and when it was there.
struct Sweep {
    v4: SweepCursor,
    v6: SweepCursor,
    templates_v4: SweepCursor,
    templates_v6: SweepCursor,
    last: Now,
    /// The last breath was not done with what was due.
    behind: bool,
    patrol_v4: Patrol,
    patrol_v6: Patrol,
    patrol_templates_v4: Patrol,
    patrol_templates_v6: Patrol,
    purge_v4: Purge,
    purge_v6: Purge,
}

impl<F: Frame> Worker<F> {
    /// Worker number `worker` of `workers`; all of them share `director` and `snapshot`.
    pub fn new(
        (worker, workers): (usize, usize),
        director: Arc<Director>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        stats: Arc<Stats>,
    ) -> Self {
        let held = director.limits().held_frames;
        let hands = Hands {
            director,
            stats,
            ids: Ids::new(worker, workers),
            burst: Vec::with_capacity(BURST),
            stage: (0..BURST).map(|_| Staged::default()).collect(),
            waiting: WaitingRoom::new(held),
            place: (worker, workers),
            hunt: None,
            sweep: Sweep {
                v4: SweepCursor::new(worker, workers),
                v6: SweepCursor::new(worker, workers),
                templates_v4: SweepCursor::new(worker, workers),
                templates_v6: SweepCursor::new(worker, workers),
                last: Now::default(),
                behind: false,
                patrol_v4: Patrol::new(worker, workers),
                patrol_v6: Patrol::new(worker, workers),
                patrol_templates_v4: Patrol::new(worker, workers),
                patrol_templates_v6: Patrol::new(worker, workers),
                purge_v4: Purge::new(worker, workers),
                purge_v6: Purge::new(worker, workers),
            },
        };
        Self { snapshot: Cache::new(snapshot), hands, tap: None }
    }

    /// This worker's counters.
    pub fn stats(&self) -> &Stats {
        &self.hands.stats
    }

    /// Ends connections, a part of them with each breath. One order at a time: another one takes
    /// the place of one that is under way.
    pub fn kill(&mut self, kill: Arc<Kill>) {
        self.hands.hunt = Some(Hunt::new(kill, self.hands.place));
    }

    /// Frames held now.
    pub fn held(&self) -> usize {
        self.hands.waiting.len()
    }

    /// Begins to copy packets into this tap, or stops; returns the one that it had.
    pub fn capture(&mut self, tap: Option<Box<Tap>>) -> Option<Box<Tap>> {
        std::mem::replace(&mut self.tap, tap)
    }

    /// One breath: returns how many frames were received or looked at again; also not 0 while a
    /// [kill](Self::kill) is under way, or upkeep was not done with what is [due](Effort).
    pub fn breathe<I: Io<Frame = F>>(&mut self, io: &mut I, now: Now) -> usize {
        if self.tap.is_some() {
            return self.breathe_watched(io, now);
        }
        self.hands.breathe(io, self.snapshot.load(), now)
    }

    #[inline(never)]
    fn breathe_watched<I: Io<Frame = F>>(&mut self, io: &mut I, now: Now) -> usize {
        let snapshot = self.snapshot.load();
        let Some(tap) = &mut self.tap else { return 0 };
        let mut watched = Watched::new(io, tap);
        self.hands.breathe(&mut watched, snapshot, now)
    }
}

impl<F: Frame> Hands<F> {
    /// Not inlined: by its name instructions are counted (`bench/inprocess/tests/budget.rs`).
    #[inline(never)]
    fn breathe<I: Io<Frame = F>>(&mut self, io: &mut I, snapshot: &Snapshot, now: Now) -> usize {
        let mut moved = self.look_again(io, snapshot, now);
        for port in 0..io.ports() as PortId {
            io.receive(port, &mut self.burst, BURST);
            moved += self.burst.len();
            self.pipeline(io, port, snapshot, now);
        }
        moved += self.hunt(io, snapshot, now);
        let more = self.upkeep(io, snapshot, now, moved);
        io.flush();
        moved + usize::from(more)
    }

    /// Takes the burst from frames to verdicts.
    fn pipeline<I: Io<Frame = F>>(
        &mut self,
        io: &mut I,
        port: PortId,
        snapshot: &Snapshot,
        now: Now,
    ) {
        if self.burst.is_empty() {
            return;
        }
        self.stats.rx_packets.add(self.burst.len() as u64);
        for frame in self.burst.iter().take(LOOKAHEAD) {
            xsk::prefetch_packet(frame.bytes());
        }
        let burst = self.burst.len().min(self.stage.len());
        for (at, staged) in self.stage[..burst].iter_mut().enumerate() {
            if let Some(ahead) = self.burst.get(at + LOOKAHEAD) {
                xsk::prefetch_packet(ahead.bytes());
            }
            parse_into(self.burst[at].bytes(), &mut staged.parsed);
            staged.hash = fetch_bucket(&self.director, &staged.parsed);
        }
        let mut missing = false;
        for staged in &mut self.stage[..burst] {
            staged.probe = fetch_entry(&self.director, staged);
            missing |= staged.probe.as_ref().is_some_and(Probe::is_missing);
        }
        if missing {
            for staged in &mut self.stage[..burst] {
                fetch_entry_again(&self.director, staged);
            }
        }
        let mut breath = Breath {
            director: &self.director,
            snapshot,
            stats: &self.stats,
            now,
            ids: &mut self.ids,
            arrived: port,
        };
        for (mut frame, staged) in self.burst.drain(..).zip(&self.stage) {
            let Staged { parsed, probe, .. } = staged;
            let arrival = Arrival { parsed, probe: probe.as_ref(), waited_ms: 0 };
            io.arrives(&breath, &frame, arrival);
            match breath.go_on(&mut frame, parsed, probe.as_ref()) {
                Some(port) => {
                    io.is_decided(&breath, &frame, &Verdict::Send { port, split: None });
                    send(breath.stats, io, port, frame);
                }
                None => decide(&mut breath, io, &mut self.waiting, frame, staged),
            }
            io.is_over(&breath);
        }
    }

    /// Held frames whose reason to wait may be over go through the same decision again.
    #[inline(never)]
    fn look_again<I: Io<Frame = F>>(&mut self, io: &mut I, snapshot: &Snapshot, now: Now) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        let mut breath = Breath {
            director: &self.director,
            snapshot,
            stats: &self.stats,
            now,
            ids: &mut self.ids,
            arrived: 0,
        };
        let mut looked = 0;
        for _ in 0..self.waiting.len() {
            let Some(mut held) = self.waiting.take_next() else { break };
            if held.nothing_new(&breath) {
                self.waiting.hold_on(held);
                continue;
            }
            if looked == Effort::HELD {
                // The others' turn comes with the next breath.
                self.waiting.hold_on(held);
                continue;
            }
            looked += 1;
            let parsed = parse(held.frame.bytes());
            let wait = held.wait();
            breath.arrived = held.port;
            let arrival = Arrival { parsed: &parsed, probe: None, waited_ms: held.waited_ms(now) };
            io.arrives(&breath, &held.frame, arrival);
            let verdict = match breath.decide_again(&mut held.frame, &parsed, wait) {
                Verdict::Wait(wait) if held.expired(now) => given_up(wait),
                verdict => verdict,
            };
            io.is_decided(&breath, &held.frame, &verdict);
            if let Verdict::Wait(wait) = verdict {
                held.wait_on(wait, &breath);
                self.waiting.hold_on(held);
            } else {
                let Held { frame, port, .. } = held;
                conclude(&mut breath, io, port, frame, verdict);
            }
            io.is_over(&breath);
        }
        looked
    }

    /// Goes on with what an operator ends.
    fn hunt<I: Io<Frame = F>>(&mut self, io: &mut I, snapshot: &Snapshot, now: Now) -> usize {
        let Some(hunt) = &mut self.hunt else { return 0 };
        let mut breath = Breath {
            director: &self.director,
            snapshot,
            stats: &self.stats,
            now,
            ids: &mut self.ids,
            arrived: 0,
        };
        if hunt.walk(&mut breath, io) {
            self.hunt = None;
        }
        1
    }

    /// What does not depend on packets: expiry, counters. True if it was not done with what is due.
    fn upkeep<I: Io>(&mut self, io: &mut I, snapshot: &Snapshot, now: Now, moved: usize) -> bool {
        self.stats.snapshot.set(snapshot.generation);
        self.stats.waiting.set(self.waiting.len() as u64);
        self.stats.breaths.add(1);
        self.stats.busy_breaths.add(u64::from(moved > 0));
        let elapsed = now.millis.saturating_sub(self.sweep.last.millis);
        if elapsed == 0 && !self.sweep.behind {
            return false;
        }
        self.sweep.last = now;
        let mut breath = Breath {
            director: &self.director,
            snapshot,
            stats: &self.stats,
            now,
            ids: &mut self.ids,
            arrived: 0,
        };
        breath.raise_defences();
        let effort = &mut Effort::of_a_breath();
        self.sweep.patrol_v4.walk::<V4>(&breath, elapsed, effort);
        self.sweep.patrol_v6.walk::<V6>(&breath, elapsed, effort);
        self.sweep.patrol_templates_v4.walk_templates::<V4>(&breath, elapsed, effort);
        self.sweep.patrol_templates_v6.walk_templates::<V6>(&breath, elapsed, effort);
        self.sweep.purge_v4.walk::<V4>(&breath, elapsed, effort);
        self.sweep.purge_v6.walk::<V6>(&breath, elapsed, effort);
        let mut probes = Effort::PROBES;
        let Sweep { v4, v6, templates_v4, templates_v6, .. } = &mut self.sweep;
        // In turns who comes first, so that none waits for another one's storm.
        for table in 0..4 {
            match (table + self.stats.breaths.value()) % 4 {
                0 => expire::<V4, I>(&mut breath, io, v4, (elapsed, effort), &mut probes),
                1 => expire::<V6, I>(&mut breath, io, v6, (elapsed, effort), &mut probes),
                2 => expire_templates::<V4>(&self.director, templates_v4, now, (elapsed, effort)),
                _ => expire_templates::<V6>(&self.director, templates_v6, now, (elapsed, effort)),
            }
        }
        effort.count(&self.stats);
        self.sweep.behind = effort.is_short();
        self.sweep.behind
    }
}

/// Sweeps what is due of a pass that takes a second.
fn expire<A: Family, I: Io>(
    breath: &mut Breath<'_>,
    io: &mut I,
    cursor: &mut SweepCursor,
    (elapsed_ms, effort): (u64, &mut Effort),
    probes: &mut u32,
) {
    let director = breath.director;
    let table = A::table(director);
    let entries = (table.pass(cursor) as u64 * elapsed_ms.min(1000)).div_ceil(1000);
    // Stamps are rounded down: one second more, and nothing ends before its time.
    let past = breath.now.seconds().saturating_sub(1);
    table.sweep_but(cursor, past, (entries as usize, effort), &|_| false, &mut |ended| {
        let (server, state) = (ended.connection.server_id, ended.meta.state());
        breath.log_end(&ended.connection, ended.reference(), state, End::Expired);
        if breath.outlive(io, &ended, probes) {
            director.changed(server, state, tcp::RESETTING);
        } else {
            director.ended(&ended.connection, state);
        }
    });
}

/// The same for persistence templates.
fn expire_templates<A: Family>(
    director: &Director,
    cursor: &mut SweepCursor,
    now: Now,
    (elapsed_ms, effort): (u64, &mut Effort),
) {
    let templates = A::templates(director);
    let pass = templates.table().pass(cursor) as u64;
    let entries = (pass * elapsed_ms.min(1000)).div_ceil(1000) as usize;
    let past = now.seconds().saturating_sub(1);
    templates.sweep(cursor, past, (entries, effort), &mut |ended| {
        director.server(ended.connection.server_id).templates(-1);
    });
}

/// First stage of a find; returns the hash.
#[inline(always)]
fn fetch_bucket(director: &Director, parsed: &Parsed) -> u64 {
    fn fetch<A: Family>(director: &Director, packet: &Packet<A>) -> u64 {
        let table = A::table(director);
        let hash = table.hash(&packet.tuple);
        table.prefetch(hash);
        hash
    }
    match parsed {
        Parsed::V4(packet) => fetch(director, packet),
        Parsed::V6(packet) => fetch(director, packet),
        _ => 0,
    }
}

/// Second stage of a find. Later fragments have no tuple to find.
#[inline(always)]
fn fetch_entry(director: &Director, staged: &Staged) -> Option<Probe> {
    let whole = |fragment| fragment != Fragment::Later;
    match &staged.parsed {
        Parsed::V4(packet) => whole(packet.fragment).then(|| director.v4.probe(staged.hash)),
        Parsed::V6(packet) => whole(packet.fragment).then(|| director.v6.probe(staged.hash)),
        _ => None,
    }
}

/// Where the first bucket had nothing: fetches by the second one.
#[inline(always)]
fn fetch_entry_again(director: &Director, staged: &mut Staged) {
    let Some(probe) = &mut staged.probe else { return };
    match &staged.parsed {
        Parsed::V4(_) => director.v4.probe_again(probe),
        Parsed::V6(_) => director.v6.probe_again(probe),
        _ => {}
    }
}

/// Decides about a frame at length, and carries the verdict out.
#[inline(never)]
fn decide<I: Io>(
    breath: &mut Breath<'_>,
    io: &mut I,
    waiting: &mut WaitingRoom<I::Frame>,
    mut frame: I::Frame,
    Staged { parsed, probe, .. }: &Staged,
) {
    let port = breath.arrived;
    let verdict = breath.decide(&mut frame, parsed, probe.as_ref());
    io.is_decided(breath, &frame, &verdict);
    match verdict {
        Verdict::Wait(wait) => {
            let held = Held::new(frame, port, wait, parsed, breath);
            if let Err(frame) = waiting.hold(held) {
                breath.stats.drop(Drop::WaitingFull);
                io.give(frame);
            }
        }
        verdict => conclude(breath, io, port, frame, verdict),
    }
}

/// Carries a verdict out and counts it. Every frame goes somewhere: out, or home.
#[inline(always)]
fn conclude<I: Io>(
    breath: &mut Breath<'_>,
    io: &mut I,
    arrived: PortId,
    frame: I::Frame,
    verdict: Verdict,
) {
    let stats = breath.stats;
    match verdict {
        Verdict::Send { port, split: None } => send(stats, io, port, frame),
        Verdict::Send { port, split: Some(mtu) } => {
            crate::split::send_parts(breath, io, port, frame, mtu);
        }
        Verdict::Answer { port, reason, kind } => {
            stats.drop(reason);
            stats.answer(kind);
            send(stats, io, port, frame);
        }
        Verdict::Resets { ports } => crate::reset::send_resets(breath, io, frame, ports),
        Verdict::Drop(reason) => {
            stats.drop(reason);
            io.give(frame);
        }
        // Nobody else's packets come from there, and the kernel has seen them already.
        Verdict::Punt(_) if breath.is_probing() => {
            stats.drop(Drop::StrayProbe);
            io.give(frame);
        }
        Verdict::Punt(reason) => {
            if io.punt(arrived, frame.bytes(), reason) {
                stats.punt(reason);
            } else {
                stats.drop(Drop::PuntLimited);
            }
            io.give(frame);
        }
        Verdict::Wait(_) => unreachable!("waiting frames are held by the worker"),
    }
}

/// Sends one frame; what the ring does not take is dropped by name.
#[inline(always)]
pub(crate) fn send<I: Io>(stats: &Stats, io: &mut I, port: PortId, frame: I::Frame) {
    match io.send(port, frame) {
        Ok(()) => stats.tx_packets.add(1),
        Err(frame) => {
            stats.drop(Drop::TxRingFull);
            io.give(frame);
        }
    }
}
