//! `on_join: reset_counts` with every scheduler that looks at counts: when a server joins, the
//! counts of all become their bases, and schedulers see max(0, now - base), base = min(base, now).
//!
//! Servers 1, 2 and 3 have weights 1, 2 and 3. Server 1 has 10 active and 5 inactive connections,
//! server 2 has 20 active ones, when server 3 joins. New connections are half open, so each adds 257
//! to a server's overhead (`(active << 8) + total`); picks are worked out by hand from the
//! kernel's rules (A.14), with 257 as the unit.

use dataplane::{
    forward::{Forward, Protocol},
    policy::{OnJoin, Policy},
    tcp::State,
};
use sched::Kind;

use crate::office::{Net, Office, Send, at, by, one, vip};

/// No server takes it.
const NONE: u16 = 0;

/// The next picks of an office.
fn picks(office: &mut Office, first: u16, count: u16) -> Vec<u16> {
    let to = (at(false, Net::Vips, 1), 80);
    let syn = |cport| Send::new(Protocol::Tcp, (at(false, Net::Clients, 1), cport), to);
    (first..first + count).map(|cport| office.send(syn(cport)).host().unwrap_or(NONE)).collect()
}

/// A service whose server 3 is away, with so many old connections (active and inactive) each.
fn before(kind: Kind, on_join: OnJoin, old: [(u32, u32); 2]) -> Office {
    let policy = Policy { on_join, ..by(kind) };
    let key = vip(false, Protocol::Tcp, 80);
    let mut office = Office::new(one(key, policy, Forward::Dr, (&[1, 2, 3], 80)), 1);
    for id in 0..3 {
        office.server(id).weight = id + 1;
    }
    office.server(2).weight = 0;
    office.changed();
    for (id, (active, inactive)) in (0..).zip(old) {
        (0..active).for_each(|_| office.director.opened(id, State::Established as u8));
        (0..inactive).for_each(|_| office.director.opened(id, State::TimeWait as u8));
    }
    office
}

/// Server 3 comes.
fn join(office: &mut Office) {
    office.server(2).weight = 3;
    office.changed();
}

/// A scheduler; six picks without new bases, six with them, and six more when all ten old active
/// connections of server 1 have ended: its base sinks to what it has left, so it counts as idle.
type Row = (Kind, [u16; 6], [u16; 6], [u16; 6]);

const ROWS: [Row; 7] = [
    // Whatever the weights. 0 0 0: in turns; then 0 2 2.
    (Kind::Lc, [3; 6], [1, 2, 3, 1, 2, 3], [1, 1, 1, 2, 3, 1]),
    // By n/w, the first of equals: 0 0 0, 1 0 0, 1 1/2 0, 1 1/2 1/3, 1 1/2 2/3, 1 1 2/3; then
    // 0 1 1, 1 1 1, 2 1 1, 2 3/2 1, 2 3/2 4/3, 2 3/2 5/3.
    (Kind::Wlc, [3; 6], [1, 2, 3, 3, 2, 3], [1, 1, 2, 3, 3, 2]),
    // By (n+1)/w: 1 1/2 1/3, 1 1/2 2/3, 1 1 2/3, 1 1 1, 2 1 1, 2 3/2 1; then
    // 1 3/2 4/3, 2 3/2 4/3, 2 3/2 5/3, 2 2 5/3, 2 2 2, 3 2 2.
    (Kind::Sed, [3; 6], [3, 2, 3, 1, 2, 3], [1, 3, 2, 3, 1, 2]),
    // Whoever is idle, the first of them; else as sed: 2 1 2/3, 2 1 1, 2 3/2 1; then the idle one,
    // and as sed.
    (Kind::Nq, [3; 6], [1, 2, 3, 3, 2, 3], [1, 3, 2, 3, 1, 2]),
    // The heaviest that has no more active ones than its weight: weight + 1 of them.
    (Kind::Ovf, [3, 3, 3, 3, NONE, NONE], [3, 3, 3, 3, 2, 2], [2, 1, 1, NONE, NONE, NONE]),
    // As wlc, and stays until it has more than its weight while another is half idle: 1 at two of
    // 1, 2 at three of 2; then 3 at four of 3, and for 1 no other is half idle.
    (Kind::Lblc, [3; 6], [1, 1, 2, 2, 2, 3], [3, 3, 3, 1, 1, 1]),
    // The set grows as lblc moves, to 3 2 1, the newest first; the least n/w of it serves: 1/3 3/2 0,
    // 1/3 3/2 1, 2/3 3/2 1, 1 3/2 1, 4/3 3/2 1, 4/3 3/2 2.
    (Kind::Lblcr, [3; 6], [1, 1, 2, 2, 2, 3], [1, 3, 3, 3, 1, 3]),
];

#[test]
fn every_scheduler_counts_from_the_arrival_on() {
    for (kind, flooded, spared, after) in ROWS {
        let mut office = before(kind, OnJoin::Nothing, [(10, 5), (20, 0)]);
        join(&mut office);
        assert_eq!(picks(&mut office, 1000, 6), flooded, "{kind:?}, nothing");
        let mut office = before(kind, OnJoin::ResetCounts, [(10, 5), (20, 0)]);
        join(&mut office);
        assert_eq!(picks(&mut office, 1000, 6), spared, "{kind:?}, reset_counts");
        (0..10).for_each(|_| office.director.closed(0, State::Established as u8));
        assert_eq!(picks(&mut office, 2000, 6), after, "{kind:?}, after the old ones' end");
    }
}

/// twos draws two servers by weight and takes the less loaded one. Server 3 weighs half of all, so it
/// is among the two three times of four, and with 10,000 connections less than the others it is
/// taken each time: 450 of 600. Counted from its arrival it gets its half: 300. Both differ by
/// chance; 60 is five standard deviations of the former (sqrt(600 · 3/4 · 1/4) = 10.6).
#[test]
fn two_choices_count_from_the_arrival_on() {
    for (on_join, expected) in [(OnJoin::Nothing, 450), (OnJoin::ResetCounts, 300)] {
        let mut office = before(Kind::Twos, on_join, [(10_000, 0), (20_000, 0)]);
        join(&mut office);
        let picks = picks(&mut office, 1000, 600);
        let third = picks.iter().filter(|host| **host == 3).count();
        assert!(third.abs_diff(expected) <= 60, "{on_join:?}: {third} of 600");
        assert!(!picks.contains(&NONE));
    }
}
