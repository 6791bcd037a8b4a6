//! Connections of servers that are gone, where they are to end (`expire_nodest_conn` 1): they do
//! within a second, also without a packet (`ip_vs_expire_nodest_conn_flush`). A packet that comes
//! before is looked at by `gone.rs`.

use std::ops::Range;

use crate::{
    breath::Breath,
    connection_log::End,
    director::Family,
    policy::Gone,
    snapshot::{ServerId, Services},
    table::Found,
};

/// One worker's walk through its part of a table: once, whenever a server went.
#[derive(Debug)]
pub(crate) struct Purge {
    worker: usize,
    workers: usize,
    /// [`Services::liveness`] that it has heeded.
    heeded: u32,
    /// Entries that are still to be looked at.
    left: usize,
}

impl Purge {
    /// Entries in one call at most.
    const STRIDE: usize = 4096;

    /// That of worker number `worker` of `workers`.
    pub(crate) const fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers, heeded: 0, left: 0 }
    }

    /// Goes on by what is due after `elapsed_ms`, if there is anything to do.
    pub(crate) fn walk<A: Family>(&mut self, breath: &Breath<'_>, elapsed_ms: u64) {
        let services = &breath.snapshot.services;
        let table = A::table(breath.director);
        let [first, end] =
            [self.worker, self.worker + 1].map(|worker| table.capacity() * worker / self.workers);
        if self.heeded != services.liveness {
            self.heeded = services.liveness;
            self.left = if any_ends(services) { end - first } else { 0 };
        }
        if self.left > 0 {
            let slots = self.due(first..end, elapsed_ms);
            table.for_each_in(slots, &mut |found| breath.purge(&found));
        }
    }

    /// The entries that are to be looked at now: all of `part` in a second.
    fn due(&mut self, part: Range<usize>, elapsed_ms: u64) -> Range<u32> {
        let pace = (part.len() as u64 * elapsed_ms.min(1000)).div_ceil(1000);
        let due = (pace as usize).min(Self::STRIDE).min(self.left);
        let from = part.end - self.left;
        self.left -= due;
        from as u32..(from + due) as u32
    }
}

impl Breath<'_> {
    fn purge<A: Family>(&self, found: &Found<A>) {
        let services = &self.snapshot.services;
        if self.gone(found)
            && services.end_of(found.connection.server_id) == Gone::Expire
            && let Some(meta) = A::table(self.director).take(found)
        {
            self.director.ended(&found.connection, meta.state());
            self.log_end(&found.connection, found.reference(), meta.state(), End::ServerGone);
        }
    }
}

/// True if connections of some server end because it is gone.
fn any_ends(services: &Services) -> bool {
    let known = services.servers.iter().enumerate().filter(|(_, server)| server.is_some());
    let mut ids = known.map(|(id, _)| id as ServerId);
    ids.any(|id| services.is_gone(id) && services.end_of(id) == Gone::Expire)
}
