//! Connections of servers that are gone, where they are to end (`expire_nodest_conn` 1): they do
//! within a second, also without a packet (`ip_vs_expire_nodest_conn_flush`). A packet that comes
//! before is looked at by `gone.rs`.

use crate::{
    breath::Breath,
    connection_log::End,
    director::Family,
    effort::Effort,
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
    /// Thousandths of an entry that may be looked at already.
    credit: u64,
}

impl Purge {
    /// That of worker number `worker` of `workers`.
    pub(crate) const fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers, heeded: 0, left: 0, credit: 0 }
    }

    /// Goes on by what is due after `elapsed_ms`, if there is anything to do, within what a breath
    /// may do.
    pub(crate) fn walk<A: Family>(
        &mut self,
        breath: &Breath<'_>,
        elapsed_ms: u64,
        effort: &mut Effort,
    ) {
        let services = &breath.snapshot.services;
        let table = A::table(breath.director);
        let [first, end] =
            [self.worker, self.worker + 1].map(|worker| table.capacity() * worker / self.workers);
        if self.heeded != services.liveness {
            self.heeded = services.liveness;
            self.left = if any_ends(services) { end - first } else { 0 };
            self.credit = 0;
        }
        // All of it in a second.
        self.credit += (end - first) as u64 * elapsed_ms.min(1000);
        while self.left > 0 && self.credit >= 1000 && effort.goes_on() {
            let due = ((self.credit / 1000) as usize).min(Effort::STEP).min(self.left);
            let from = end - self.left;
            self.left -= due;
            self.credit -= due as u64 * 1000;
            effort.looks(due);
            let slots = from as u32..(from + due) as u32;
            table.for_each_in(slots, &mut |found| breath.purge(&found, effort));
        }
        if self.left == 0 {
            self.credit = 0;
        }
    }
}

impl Breath<'_> {
    fn purge<A: Family>(&self, found: &Found<A>, effort: &mut Effort) {
        let services = &self.snapshot.services;
        if self.gone(found)
            && services.end_of(found.connection.server_id) == Gone::Expire
            && let Some(meta) = A::table(self.director).take(found)
        {
            self.director.ended(&found.connection, meta.state());
            self.log_end(&found.connection, found.reference(), meta.state(), End::ServerGone);
            effort.ends();
        }
    }
}

/// True if connections of some server end because it is gone.
fn any_ends(services: &Services) -> bool {
    let known = services.servers.iter().enumerate().filter(|(_, server)| server.is_some());
    let mut ids = known.map(|(id, _)| id as ServerId);
    ids.any(|id| services.is_gone(id) && services.end_of(id) == Gone::Expire)
}
