//! `timeouts:`, idle times by state.

use dataplane::policy;

use super::{cursor::Cursor, scalar};
use crate::fault::Fault;

/// The idle times that are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts(Vec<(Slot, u32)>);

/// Which idle time: a state's number in the kernel, by protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Tcp(usize),
    Udp,
    Sctp(usize),
}

/// The keys with the kernel's numbers of the states (`enum ip_vs_tcp_states`,
/// `enum ip_vs_sctp_states`); NONE is 0 and has no key.
const KEYS: [(&str, Slot); 24] = [
    ("tcp_established", Slot::Tcp(1)),
    ("tcp_syn_sent", Slot::Tcp(2)),
    ("tcp_syn_recv", Slot::Tcp(3)),
    ("tcp_fin_wait", Slot::Tcp(4)),
    ("tcp_time_wait", Slot::Tcp(5)),
    ("tcp_close", Slot::Tcp(6)),
    ("tcp_close_wait", Slot::Tcp(7)),
    ("tcp_last_ack", Slot::Tcp(8)),
    ("tcp_listen", Slot::Tcp(9)),
    ("tcp_synack", Slot::Tcp(10)),
    ("udp", Slot::Udp),
    ("sctp_init1", Slot::Sctp(1)),
    ("sctp_init", Slot::Sctp(2)),
    ("sctp_cookie_sent", Slot::Sctp(3)),
    ("sctp_cookie_replied", Slot::Sctp(4)),
    ("sctp_cookie_wait", Slot::Sctp(5)),
    ("sctp_cookie", Slot::Sctp(6)),
    ("sctp_cookie_echoed", Slot::Sctp(7)),
    ("sctp_established", Slot::Sctp(8)),
    ("sctp_shutdown_sent", Slot::Sctp(9)),
    ("sctp_shutdown_received", Slot::Sctp(10)),
    ("sctp_shutdown_ack_sent", Slot::Sctp(11)),
    ("sctp_rejected", Slot::Sctp(12)),
    ("sctp_closed", Slot::Sctp(13)),
];

impl Timeouts {
    /// The keys that are written, with their seconds.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        let key = |slot: Slot| KEYS.iter().find(|(_, known)| *known == slot).map(|(key, _)| *key);
        self.0.iter().filter_map(move |(slot, seconds)| Some((key(*slot)?, *seconds)))
    }

    /// What would have to be written for `now` beside `base`.
    pub fn beside(now: &policy::Timeouts, base: &policy::Timeouts) -> Self {
        let of = |timeouts: &policy::Timeouts, slot| match slot {
            Slot::Tcp(state) => timeouts.tcp[state],
            Slot::Udp => timeouts.udp,
            Slot::Sctp(state) => timeouts.sctp[state],
        };
        let slots = KEYS.iter().map(|(_, slot)| *slot);
        let changed = slots.filter(|slot| of(now, *slot) != of(base, *slot));
        Self(changed.map(|slot| (slot, of(now, slot))).collect())
    }

    /// What is written replaces what `base` has.
    pub fn over(&self, base: &policy::Timeouts) -> policy::Timeouts {
        let mut timeouts = base.clone();
        for (slot, seconds) in &self.0 {
            match *slot {
                Slot::Tcp(state) => timeouts.tcp[state] = *seconds,
                Slot::Udp => timeouts.udp = *seconds,
                Slot::Sctp(state) => timeouts.sctp[state] = *seconds,
            }
        }
        timeouts
    }
}

pub(super) fn timeouts(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Timeouts {
    let mut written = Timeouts::default();
    let Some(mut keys) = at.keys(faults) else { return written };
    for (key, slot) in KEYS {
        let put = keys.take(key).and_then(|at| at.read(faults, scalar::idle_time));
        written.0.extend(put.map(|put| (slot, put.value)));
    }
    keys.finish(faults, |_| false);
    written
}
