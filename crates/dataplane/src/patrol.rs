//! `drop_entry`: while memory is short, half-open and nearly unused connections are ended, and
//! persistence templates that no connection needs (`ip_vs_random_dropentry` of LVS).

use std::ops::Range;

use crate::{
    breath::Breath,
    connection_log::End,
    director::Family,
    effort::Effort,
    sctp,
    state::State,
    table::{Found, Keys},
    tcp,
    topology::NO_HOP,
};

impl Breath<'_> {
    /// Ends a connection to make room.
    fn drop_entry<A: Family>(&self, found: &Found<A>, effort: &mut Effort) {
        if let Some(meta) = A::table(self.director).take(found) {
            self.director.ended(&found.connection, meta.state());
            self.log_end(&found.connection, found.reference(), meta.state(), End::DropEntry);
            self.stats.dropped_entries.add(1);
            effort.ends();
        }
    }

    /// Ends a template that no connection needs, and that none ever showed to be a real client's.
    fn drop_template<A: Family>(&self, found: &Found<A>, effort: &mut Effort) {
        if A::templates(self.director).is_idle(found) {
            self.director.end_template(found);
            self.stats.dropped_entries.add(1);
            effort.ends();
        }
    }
}

/// One worker's walk through its part of a table while `drop_entry` is in force: a 32nd of it
/// in each second (`ip_vs_random_dropentry` takes random ones; these come in turn, so that each
/// is looked at within 32 seconds).
#[derive(Debug)]
pub struct Patrol {
    worker: usize,
    workers: usize,
    /// The next entry, relative to the part.
    next: usize,
    /// 32000ths of an entry that may be looked at already.
    credit: u64,
    /// Candidates since one was dropped.
    spared: u32,
}

impl Patrol {
    /// Of the candidates that may have been of use one of so many goes (`todrop_rate`).
    const SPARED: u32 = 8;
    /// What had a packet within so many seconds is no candidate.
    const IDLE_SECONDS: u32 = 60;

    /// That of worker number `worker` of `workers`.
    pub const fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers, next: 0, credit: 0, spared: 0 }
    }

    /// Goes on by what is due after `elapsed_ms`, within what a breath may do.
    pub(crate) fn walk<A: Family>(
        &mut self,
        breath: &Breath<'_>,
        elapsed_ms: u64,
        effort: &mut Effort,
    ) {
        if !breath.director.defences.drop_entry(A::IPV6) {
            return;
        }
        let table = A::table(breath.director);
        self.earn(table.capacity(), elapsed_ms);
        while self.is_due() && effort.goes_on() {
            let slots = self.step(table.capacity());
            effort.looks(slots.len());
            table.for_each_in(slots, &mut |found| {
                if self.drops(&found, breath.now.seconds()) {
                    breath.drop_entry(&found, effort);
                }
            });
        }
    }

    /// The same among the persistence templates.
    pub(crate) fn walk_templates<A: Family>(
        &mut self,
        breath: &Breath<'_>,
        elapsed_ms: u64,
        effort: &mut Effort,
    ) {
        if !breath.director.defences.drop_entry(A::IPV6) {
            return;
        }
        let table = A::templates(breath.director).table();
        self.earn(table.capacity(), elapsed_ms);
        while self.is_due() && effort.goes_on() {
            let slots = self.step(table.capacity());
            effort.looks(slots.len());
            table.for_each_in(slots, &mut |found| breath.drop_template(&found, effort));
        }
    }

    /// This worker's entries.
    const fn part(&self, capacity: usize) -> Range<usize> {
        capacity * self.worker / self.workers..capacity * (self.worker + 1) / self.workers
    }

    /// Adds what is due of a pass, at most one second's.
    fn earn(&mut self, capacity: usize, elapsed_ms: u64) {
        let part = self.part(capacity).len() as u64;
        self.credit = (self.credit + part * elapsed_ms.min(1000)).min(part.max(32) * 1000);
    }

    const fn is_due(&self) -> bool {
        self.credit >= 32_000
    }

    /// The entries that are to be looked at next.
    fn step(&mut self, capacity: usize) -> Range<u32> {
        let Range { start: first, end } = self.part(capacity);
        let due = ((self.credit / 32_000) as usize).min(Effort::STEP);
        self.credit -= due as u64 * 32_000;
        let from = first + self.next;
        let to = (from + due).min(end);
        self.next = if to == end { 0 } else { to - first };
        from as u32..to as u32
    }

    /// Which ones the kernel drops.
    fn drops<A>(&mut self, found: &Found<A>, now: u32) -> bool {
        use sctp::State::{Init, Init1};
        use tcp::State::{Established, SynAck, SynRecv};
        if found.connection.keys == Keys::Probe {
            return false;
        }
        match State::from_number(found.meta.state()) {
            Some(State::Tcp(SynRecv | SynAck) | State::Sctp(Init | Init1)) => true,
            Some(State::Tcp(Established) | State::Sctp(sctp::State::Established) | State::Udp) => {
                self.hardly_used(found, now)
            }
            _ => false,
        }
    }

    /// `todrop_entry`: without a packet for a minute, and with few before. The kernel counts
    /// packets (1 to 8: of those with n, one in n goes); an entry here has no room for a count.
    /// What stands for it: where answers pass here and none did since routes changed, nobody but
    /// the client ever said anything, and the connection goes; of others one in eight.
    fn hardly_used<A>(&mut self, found: &Found<A>, now: u32) -> bool {
        if now.saturating_sub(found.stamp) < Self::IDLE_SECONDS {
            return false;
        }
        if found.connection.forward.two_way() && found.hops.hop_out() == NO_HOP {
            return true;
        }
        self.spared = (self.spared + 1) % Self::SPARED;
        self.spared == 0
    }
}
