//! `secure_tcp` and `drop_entry`.

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Defence, Policy},
    tcp::State,
};

use crate::bench::{ACK, Bench, CLIENT, End, ONE, SYN, VIP, datagram, segment};

fn bench(protocol: Protocol, forward: Forward, defence: Defence) -> Bench {
    let mut bench = Bench::new(protocol, forward, Policy::default());
    bench.publish(|services| services.settings.defence = defence);
    bench.wait(2);
    bench
}

fn client(n: u16) -> End {
    (CLIENT.0, 40_000 + n)
}

#[test]
fn with_secure_tcp_only_the_server_establishes() {
    let defence = Defence { secure_tcp: 3, ..Defence::default() };
    let mut bench = bench(Protocol::Tcp, Forward::Nat, defence);
    // As Debian's 6.1 kernel was seen to do it.
    let steps = [
        (CLIENT, VIP, SYN, State::SynRecv),
        (CLIENT, VIP, ACK, State::SynRecv),
        (ONE, CLIENT, SYN | ACK, State::SynAck),
        (CLIENT, VIP, ACK, State::SynAck),
        (ONE, CLIENT, ACK, State::Established),
    ];
    for (from, to, flags, state) in steps {
        bench.serve(&segment(from, to, (flags, 1, 1), &[]));
        assert_eq!(bench.state(), Some(state as u8));
    }
    assert_eq!(bench.director.half_open(), 0);
}

#[test]
fn memory_is_short_below_the_threshold() {
    let defence = Defence { secure_tcp: 1, amemthresh: 16, ..Defence::default() };
    let mut bench = bench(Protocol::Udp, Forward::Dr, defence);
    for n in 0..49 {
        assert!(!bench.director.defences.secure_tcp(false), "{n} of 64");
        bench.serve(&datagram(client(n), VIP, 1));
        bench.wait(1);
    }
    bench.wait(1);
    assert!(
        bench.director.defences.secure_tcp(false) && bench.director.defences.memory_short(false)
    );
    bench.wait(320);
    assert!(!bench.director.defences.memory_short(false), "all are gone");
}

/// A part of a 32nd in each second: after 33 seconds each one was looked at once.
#[test]
fn half_open_and_hardly_used_connections_are_dropped() {
    let defence = Defence { drop_entry: 3, ..Defence::default() };
    let mut half_open = bench(Protocol::Tcp, Forward::Nat, defence);
    for n in 0..20 {
        half_open.serve(&segment(client(n), VIP, (SYN, 1, 0), &[]));
    }
    half_open.wait(10);
    let left = half_open.director.v4.len();
    assert!((1..20).contains(&left), "a part goes in each second: {left}");
    half_open.wait(23);
    assert_eq!((half_open.director.v4.len(), half_open.director.half_open()), (0, 0));
    assert_eq!(half_open.stats.dropped_entries.value(), 20);

    let mut idle = bench(Protocol::Udp, Forward::Nat, defence);
    for n in 0..20 {
        idle.serve(&datagram(client(n), VIP, 1));
        if n % 2 == 0 {
            // rr: the even ones are the first server's.
            idle.serve(&datagram(ONE, client(n), 1));
        }
    }
    idle.wait(59);
    let unanswered = idle.director.v4.len();
    assert_eq!(unanswered, 20, "not within a minute");
    idle.wait(33);
    let gone = idle.stats.dropped_entries.value();
    assert!((10..=12).contains(&gone), "all that nobody answered, an eighth of the others: {gone}");
}

#[test]
fn without_it_nothing_is_dropped() {
    let mut bench = bench(Protocol::Udp, Forward::Nat, Defence::default());
    bench.serve(&datagram(CLIENT, VIP, 1));
    bench.wait(200);
    assert_eq!((bench.director.v4.len(), bench.stats.dropped_entries.value()), (1, 0));
}
