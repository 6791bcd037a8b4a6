//! What the simulation or a reader found, each as the shortest story that shows it.

use std::net::IpAddr;

use dataplane::{director::Limits, tcp::State, verdict::Drop};

use crate::{
    desk::{Desk, LIMITS, datagram, segment},
    ground::{BACK, FRONT},
    lives::list,
    wire::{FIN, SYN, Segment},
};

/// A later fragment comes first and waits; its first one comes, but then the server's
/// neighbour is not known. What gives up then is a translated connection's, not the kernel's.
#[test]
fn a_fragment_that_waits_for_a_neighbour_in_the_end_is_not_the_kernels() {
    let mut desk = Desk::new(LIMITS);
    let parts = datagram(4000, 2000).cut(1500);
    desk.arrive(FRONT, &parts[1]);
    assert!(desk.breathe(1_000).is_empty());
    desk.ground.neighbours.iter_mut().for_each(|neighbour| neighbour.known = false);
    desk.publish();
    desk.arrive(FRONT, &parts[0]);
    assert!(desk.breathe(1_900).is_empty());
    assert!(desk.breathe(2_000).is_empty());
    assert_eq!(desk.stats.drops[Drop::NeighbourUnresolved as usize].value(), 1);
    assert!(desk.breathe(2_900).is_empty());
    assert_eq!(desk.stats.drops[Drop::NeighbourUnresolved as usize].value(), 2);
    assert_eq!(desk.punts(), []);
}

/// A later fragment that came first leaves as soon as its first one was seen.
#[test]
fn a_later_fragment_follows_its_first_one_at_once() {
    let mut desk = Desk::new(LIMITS);
    let parts = datagram(4000, 2000).cut(1500);
    desk.arrive(FRONT, &parts[1]);
    assert!(desk.breathe(1_000).is_empty());
    desk.arrive(FRONT, &parts[0]);
    let first = desk.breathe(1_001);
    let second = desk.breathe(1_002);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!((first[0].dst, second[0].offset), (second[0].dst, parts[1].offset));
}

/// A held packet leaves in the first breath that knows its neighbour.
#[test]
fn a_packet_leaves_as_soon_as_its_neighbour_is_known() {
    let mut desk = Desk::new(LIMITS);
    for (known, sent) in [(false, 0), (true, 1)] {
        desk.ground.neighbours.iter_mut().for_each(|neighbour| neighbour.known = known);
        desk.publish();
        if !known {
            desk.arrive(FRONT, &datagram(4000, 100));
        }
        assert_eq!(desk.breathe(1_000).len(), sent);
    }
}

/// A FIN waits for the neighbour; a SYN opens the next connection of the same tuple, to another
/// server. The FIN is not that one's, and no state is counted twice.
#[test]
fn a_held_packet_stays_with_its_connection() {
    let mut desk = Desk::new(LIMITS);
    desk.arrive(FRONT, &segment(4000, SYN));
    let first = desk.breathe(1_000).swap_remove(0).dst;
    for known in [false, true] {
        desk.ground.neighbours.iter_mut().for_each(|neighbour| neighbour.known = known);
        desk.publish();
        if !known {
            desk.arrive(FRONT, &segment(4000, FIN));
            desk.arrive(FRONT, &segment(4000, SYN));
            assert!(desk.breathe(1_001).is_empty());
        }
    }
    let sent = desk.breathe(1_002);
    assert_eq!(sent.len(), 1, "the SYN alone");
    assert_ne!(sent[0].dst, first);
    assert_eq!(Segment::read(&sent[0]).map(|segment| segment.flags), Ok(SYN));
    let listing = list(&desk.director);
    let states: Vec<_> = listing.values().map(|line| (line.server.ip(), line.state)).collect();
    assert_eq!(states, [(sent[0].dst, State::SynRecv as u8)]);
    assert_eq!(desk.stats.opened.value(), 2);
}

/// A refused first fragment takes one turn of the scheduler, as a refused whole packet does.
#[test]
fn a_refused_first_fragment_is_scheduled_once() {
    let servers = [100, 2000].map(|refused_len| {
        let mut desk = Desk::new(Limits { connections_v4: 1, ..LIMITS });
        let mut server_of = |ip, at| -> Option<IpAddr> {
            desk.arrive(FRONT, &ip);
            desk.breathe(at).first().map(|sent| sent.dst)
        };
        let first = server_of(datagram(4000, 100), 1_000);
        let refused = server_of(datagram(4001, refused_len).cut(1500).swap_remove(0), 1_001);
        assert_eq!(refused, None);
        let idle = desk.breathe(303_001);
        assert!(idle.is_empty() && desk.director.v4.is_empty());
        desk.arrive(FRONT, &datagram(4002, 100));
        let next = desk.breathe(303_002).first().map(|sent| sent.dst);
        assert!(first.is_some() && next.is_some() && first != next);
        next
    });
    assert_eq!(servers[0], servers[1]);
}

/// All frames are in the worker's hands, and each packet needs one more: it goes as a whole or
/// not at all. What a refused one leaves serves the next. (The daemon's pool holds more than
/// its rings and a burst can take, so that there the transmit ring is full first.)
#[test]
fn without_a_free_frame_no_part_of_a_packet_leaves() {
    let mut desk = Desk::new(LIMITS);
    desk.ground.ports[usize::from(BACK)].mtu = 1300;
    desk.publish();
    for sport in 4000..4064 {
        desk.arrive(FRONT, &datagram(sport, 1400));
    }
    let sent = desk.breathe(1_000);
    assert_eq!(desk.stats.drops[Drop::FramePoolEmpty as usize].value(), 32);
    assert_eq!(sent.len(), 64, "two parts of each of the others");
    assert!(sent.chunks(2).all(|parts| parts[0].more && parts[1].offset > 0));
    assert_eq!(desk.io.outstanding(), 0);
}

#[test]
fn an_empty_frame_is_dropped() {
    let mut desk = Desk::new(LIMITS);
    assert!(desk.io.arrive(FRONT, &[]));
    assert!(desk.breathe(1_000).is_empty());
    assert_eq!(desk.stats.drops[Drop::Malformed as usize].value(), 1);
    assert_eq!(desk.io.outstanding(), 0);
}
