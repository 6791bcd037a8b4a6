//! Connections that an operator ends: each worker walks once through its part of the tables, a
//! bounded part in each breath. TCP is reset as where its server is gone ([`crate::gone`]): both
//! ends at once in NAT and FullNAT, where they are asked for their numbers as idle ones are, the
//! client with its next packet in DR and TUN. What is no TCP is forgotten: its next packet may open
//! another one.

use std::{
    net::IpAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{
    breath::Breath,
    connection_log::End,
    director::Family,
    forward::{Protocol, V4, V6},
    io::Io,
    prefix::Prefix,
    state::State,
    table::{Found, Keys, Meta},
    tcp, template,
};

/// What a connection must be to end; what is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doomed {
    /// The client's network.
    pub client: Option<Prefix>,
    /// The address that the client talks to.
    pub vip: Option<IpAddr>,
    /// By server id: it is one of these.
    pub servers: Option<Vec<bool>>,
    /// Its protocol.
    pub protocol: Option<Protocol>,
    /// Its state, by the name that listings have.
    pub state: Option<String>,
    /// Persistence templates end, too.
    pub templates: bool,
}

/// The name of a connection's state in listings.
pub fn state_name(protocol: Protocol, meta: Meta) -> &'static str {
    match (protocol, State::from_number(meta.state())) {
        // It has one state only, whatever opened the connection.
        (Protocol::Udp, _) => State::Udp.name(),
        (_, state) => state.map_or("NONE", State::name),
    }
}

impl Doomed {
    /// Client, VIP and server fit.
    fn ends<A: Family>(&self, found: &Found<A>) -> bool {
        let c = &found.connection;
        let listed = |ids: &Vec<bool>| ids.get(c.server_id as usize).copied().unwrap_or(false);
        self.client.is_none_or(|network| network.contains(c.client.ip()))
            && self.servers.as_ref().is_none_or(listed)
    }

    fn is_connection<A: Family>(&self, found: &Found<A>) -> bool {
        let c = &found.connection;
        let state = || state_name(c.protocol, found.meta);
        c.keys == Keys::Both
            && self.ends(found)
            && self.vip.is_none_or(|vip| vip == c.vip.ip())
            && self.protocol.is_none_or(|protocol| protocol == c.protocol)
            && self.state.as_ref().is_none_or(|wanted| wanted == state())
    }

    fn is_template<A: Family>(&self, found: &Found<A>) -> bool {
        let (protocol, vip, _) = template::virtual_service(&found.connection);
        let state = || template::state_name(found.meta.state());
        self.templates
            && self.ends(found)
            && self.vip.is_none_or(|wanted| wanted == vip)
            && self.protocol.is_none_or(|wanted| protocol == Some(wanted))
            && self.state.as_ref().is_none_or(|wanted| wanted == state())
    }
}

/// One order to all workers, and how far they are.
#[derive(Debug)]
pub struct Kill {
    doomed: Doomed,
    ended: AtomicU64,
    templates: AtomicU64,
    /// Workers that are not through.
    left: AtomicUsize,
}

impl Kill {
    /// For so many workers. Who orders keeps it until it is [done](Self::is_done), so that no
    /// worker has to free it.
    pub fn new(doomed: Doomed, workers: usize) -> Self {
        let (ended, templates) = Default::default();
        Self { doomed, ended, templates, left: AtomicUsize::new(workers) }
    }

    /// Connections, and templates, that it ended up to now.
    pub fn ended(&self) -> (u64, u64) {
        (self.ended.load(Relaxed), self.templates.load(Relaxed))
    }

    /// Every worker is through.
    pub fn is_done(&self) -> bool {
        self.left.load(std::sync::atomic::Ordering::Acquire) == 0
    }

    fn finished(&self) {
        self.left.fetch_sub(1, std::sync::atomic::Ordering::Release);
    }
}

/// One worker's walk.
#[derive(Debug)]
pub(crate) struct Hunt {
    kill: Arc<Kill>,
    worker: usize,
    workers: usize,
    /// Which of the tables.
    table: usize,
    /// Entries of it that were looked at, in this worker's part.
    seen: usize,
}

/// Entries that are looked at in one breath.
const STRIDE: usize = 1024;
/// So many are looked at before it is asked whether the breath has ended enough of them.
const STEP: usize = 32;
/// So many ends are enough for one breath.
const ENOUGH: u64 = 32;

impl Hunt {
    /// That of worker number `worker` of `workers`.
    pub(crate) const fn new(kill: Arc<Kill>, (worker, workers): (usize, usize)) -> Self {
        Self { kill, worker, workers, table: 0, seen: 0 }
    }

    /// Goes on by what fits a breath; true if it is over.
    pub(crate) fn walk<I: Io>(&mut self, breath: &mut Breath<'_>, io: &mut I) -> bool {
        let director = breath.director;
        let kill = Arc::clone(&self.kill);
        let (mut looked, mut ended, mut forgotten) = (0, 0, 0);
        for _ in 0..STRIDE / STEP {
            let capacity = match self.table {
                0 => director.v4.capacity(),
                1 => director.v6.capacity(),
                2 => director.templates_v4.table().capacity(),
                _ => director.templates_v6.table().capacity(),
            };
            let slots = self.next(capacity);
            let doomed = &kill.doomed;
            match self.table {
                0 => ended += kill_in::<V4, I>(breath, io, slots.clone(), doomed),
                1 => ended += kill_in::<V6, I>(breath, io, slots.clone(), doomed),
                2 if doomed.templates => forgotten += self.forget::<V4>(breath, slots.clone()),
                3 if doomed.templates => forgotten += self.forget::<V6>(breath, slots.clone()),
                _ => {}
            }
            looked += slots.len() as u64;
            if slots.is_empty() {
                (self.table, self.seen) = (self.table + 1, 0);
            }
            if ended + forgotten >= ENOUGH || self.table > 3 {
                break;
            }
        }
        kill.ended.fetch_add(ended, Relaxed);
        breath.stats.upkeep_looks.add(looked);
        breath.stats.upkeep_ends.add(ended + forgotten);
        let over = self.table > 3;
        if over {
            kill.finished();
        }
        over
    }

    /// The next entries of a table in this worker's part; none at its end.
    fn next(&mut self, capacity: usize) -> Range<u32> {
        let [first, end] =
            [self.worker, self.worker + 1].map(|worker| capacity * worker / self.workers);
        let from = (first + self.seen).min(end);
        let to = (from + STEP).min(end);
        self.seen += to - from;
        from as u32..to as u32
    }

    /// Ends the doomed templates in these entries; how many.
    fn forget<A: Family>(&self, breath: &Breath<'_>, slots: Range<u32>) -> u64 {
        let mut ended = 0;
        A::templates(breath.director).table().for_each_in(slots, &mut |found| {
            if self.kill.doomed.is_template(&found) {
                breath.director.end_template(&found);
                ended += 1;
            }
        });
        self.kill.templates.fetch_add(ended, Relaxed);
        ended
    }
}

impl Drop for Hunt {
    /// A worker that ends on its way, or is sent on another one, keeps nobody waiting.
    fn drop(&mut self) {
        if self.table <= 3 {
            self.kill.finished();
        }
    }
}

/// Ends the doomed connections in these entries; how many.
fn kill_in<A: Family, I: Io>(
    breath: &mut Breath<'_>,
    io: &mut I,
    slots: Range<u32>,
    doomed: &Doomed,
) -> u64 {
    let mut ended = 0;
    A::table(breath.director).for_each_in(slots, &mut |found| {
        if doomed.is_connection(&found) && breath.kill(io, &found) {
            ended += 1;
        }
    });
    ended
}

impl Breath<'_> {
    /// Ends a connection; false if it was over before.
    fn kill<A: Family, I: Io>(&mut self, io: &mut I, found: &Found<A>) -> bool {
        if found.connection.protocol == Protocol::Tcp {
            let lives = found.meta.state() != tcp::RESETTING;
            return lives && self.reset_both(io, found, End::Killed);
        }
        let taken = A::table(self.director).take(found);
        if let Some(meta) = taken {
            self.director.ended(&found.connection, meta.state());
            self.log_end(&found.connection, found.reference(), meta.state(), End::Killed);
        }
        taken.is_some()
    }
}
