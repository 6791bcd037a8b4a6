//! Connections whose server was removed or is down.

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Gone, Lifecycle, Policy},
    snapshot::Services,
    tcp::{RESETTING, State},
    verdict::{Answer, Drop, Punt},
};

use crate::bench::{
    ACK, Bench, CLIENT, End, FIN, LOCAL, ONE, Outcome, RST, SYN, VIP, datagram, segment, spoken,
};

fn policy(gone: Gone) -> Policy {
    Policy { lifecycle: Lifecycle { gone, ..Lifecycle::default() }, ..Policy::default() }
}

fn bench(protocol: Protocol, forward: Forward, gone: Gone) -> Bench {
    Bench::new(protocol, forward, policy(gone))
}

/// The ways in which a server goes.
const WAYS: [fn(&mut Services); 3] = [
    |services| services.servers[0].as_mut().expect("there").removed = true,
    |services| services.servers[0].as_mut().expect("there").up = false,
    |services| {
        services.by_key.clear();
        services.services[0].as_mut().expect("there").servers.clear();
        services.servers.iter_mut().flatten().for_each(|server| server.removed = true);
    },
];

/// Where the server sees the client.
fn seen(forward: Forward) -> End {
    if forward == Forward::FullNat { LOCAL } else { CLIENT }
}

#[test]
fn a_reset_reaches_both_ends_with_the_numbers_that_they_expect() {
    for forward in [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun] {
        for goes in WAYS {
            let mut bench = bench(Protocol::Tcp, forward, Gone::Reset);
            bench.establish();
            bench.publish(goes);
            let outcome = bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), b"hello"));
            // RFC 9293 3.10.7.1: SEQ=SEG.ACK; and as the client: its next octet is 1000.
            let mut resets = vec![spoken(VIP, CLIENT, (RST, 5000, 0))];
            if forward.two_way() {
                resets.insert(0, spoken(seen(forward), ONE, (RST | ACK, 1000, 5000)));
            }
            assert_eq!(outcome, Outcome { sent: resets, punted: vec![] }, "{forward:?}");
            assert_eq!(bench.state(), Some(RESETTING));
            let others = u64::from(forward.two_way());
            assert_eq!(
                (bench.answers(Answer::Reset), bench.answers(Answer::ResetOther)),
                (1, others)
            );
            assert_eq!(bench.drops(Drop::Reset), 1);
            assert_eq!(bench.director.server(0).active(), 0);
            // As long as one in CLOSE.
            bench.wait(13);
            assert_eq!((bench.state(), bench.director.server(0).inactive()), (None, 0));
        }
    }
}

#[test]
fn the_servers_packet_resets_as_well() {
    for forward in [Forward::Nat, Forward::FullNat] {
        let mut bench = bench(Protocol::Tcp, forward, Gone::Reset);
        bench.establish();
        bench.publish(WAYS[1]);
        let outcome = bench.serve(&segment(ONE, seen(forward), (ACK | FIN, 7000, 1200), b"bye"));
        let to_server = spoken(seen(forward), ONE, (RST, 1200, 0));
        let to_client = spoken(VIP, CLIENT, (RST | ACK, 7000, 1200));
        assert_eq!(outcome.sent, [to_client, to_server], "{forward:?}");
    }
}

#[test]
fn a_reset_is_not_answered_and_a_segment_without_ack_by_its_end() {
    let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Reset);
    bench.establish();
    bench.publish(WAYS[0]);
    let outcome = bench.serve(&segment(CLIENT, VIP, (RST, 1000, 0), &[]));
    assert_eq!(outcome.sent, [spoken(CLIENT, ONE, (RST, 1000, 0))]);
    // RFC 9293 3.10.7.1: SEQ=0, ACK=SEG.SEQ+SEG.LEN; the FIN counts.
    let outcome = bench.serve(&segment(CLIENT, VIP, (FIN, 1000, 0), b"12345"));
    assert_eq!(outcome.sent[1], spoken(VIP, CLIENT, (RST | ACK, 0, 1006)));
}

#[test]
fn without_a_free_frame_the_other_end_waits_for_the_next_packet() {
    let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Reset);
    bench.io = dataplane::memory::MemoryIo::new(1, 1);
    bench.establish();
    bench.publish(WAYS[0]);
    let outcome = bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[]));
    assert_eq!(outcome.sent, [spoken(VIP, CLIENT, (RST, 5000, 0))]);
    assert_eq!((bench.answers(Answer::Reset), bench.answers(Answer::ResetOther)), (1, 0));
}

#[test]
fn resets_are_limited() {
    let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Reset);
    bench.establish();
    bench.publish(WAYS[0]);
    let packet = segment(CLIENT, VIP, (ACK, 1000, 5000), &[]);
    let sent: usize = (0..1500).map(|_| bench.serve(&packet).sent.len()).sum();
    // `Limits::icmp_rate`, in one moment.
    assert_eq!((sent, bench.answers(Answer::RateLimited)), (2000, 500));
    assert_eq!(bench.drops(Drop::Reset), 1500);
}

#[test]
fn a_syn_opens_another_connection_at_once() {
    for gone in [Gone::Reset, Gone::Expire] {
        let mut bench = bench(Protocol::Tcp, Forward::Nat, gone);
        bench.establish();
        bench.publish(WAYS[1]);
        assert_eq!(bench.goes_to(&segment(CLIENT, VIP, (SYN, 77, 0), &[])), 12, "{gone:?}");
    }
    let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Reset);
    bench.establish();
    bench.publish(WAYS[1]);
    bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[]));
    assert_eq!(bench.goes_to(&segment(CLIENT, VIP, (SYN, 77, 0), &[])), 12, "while it is reset");
}

#[test]
fn held_connections_take_the_servers_packets_only_and_their_timer_runs() {
    for goes in WAYS {
        let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Hold);
        bench.establish();
        bench.publish(goes);
        for flags in [ACK, SYN] {
            let outcome = bench.serve(&segment(CLIENT, VIP, (flags, 1000, 5000), &[]));
            assert_eq!(outcome, Outcome::default());
        }
        assert_eq!(bench.drops(Drop::ServerGone), 2);
        assert_eq!(bench.goes_to(&segment(ONE, CLIENT, (ACK, 5000, 1000), &[])), 10);
        bench.wait(890);
        bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[]));
        assert_eq!(bench.drops(Drop::ServerGone), 3);
        bench.publish(|services| {
            let service = services.services[0].as_mut().expect("there");
            service.policy.lifecycle.reset_idle = false;
        });
        bench.wait(13);
        assert_eq!(bench.state(), None, "the client's packets did not refresh it");
    }
}

/// `ip_vs_expire_nodest_conn_flush`: a second later; not those of a server that only drains.
#[test]
fn expired_connections_end_without_a_packet() {
    for (gone, ends) in [(Gone::Expire, true), (Gone::Hold, false), (Gone::Reset, false)] {
        for goes in WAYS {
            let mut bench = bench(Protocol::Tcp, Forward::Nat, gone);
            bench.establish();
            bench.server(0, |server| server.drained = true);
            bench.wait(2);
            assert!(bench.state().is_some());
            bench.publish(goes);
            bench.wait(2);
            assert_eq!(bench.state().is_none(), ends, "{gone:?}");
            assert_eq!(bench.director.server(0).active(), u32::from(!ends), "{gone:?}");
        }
    }
}

#[test]
fn expired_connections_end_with_the_clients_next_packet() {
    let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Expire);
    bench.establish();
    bench.publish(WAYS[0]);
    assert_eq!(bench.goes_to(&segment(ONE, CLIENT, (ACK, 5000, 1000), &[])), 10, "a reply");
    let outcome = bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[]));
    assert_eq!(outcome, Outcome { sent: vec![], punted: vec![Punt::NoConnection] });
    assert_eq!(bench.state(), None);
}

#[test]
fn udp_leaves_a_server_that_is_gone_and_holds_if_it_must() {
    for (gone, to) in [(Gone::Reset, Some(12)), (Gone::Expire, Some(12)), (Gone::Hold, None)] {
        let mut bench = bench(Protocol::Udp, Forward::Nat, gone);
        assert_eq!(bench.goes_to(&datagram(CLIENT, VIP, 10)), 11);
        bench.publish(WAYS[1]);
        assert_eq!(bench.goes_to(&datagram(ONE, CLIENT, 10)), 10, "a reply");
        let outcome = bench.serve(&datagram(CLIENT, VIP, 10));
        assert_eq!(outcome.sent.first().map(|frame| frame[5]), to, "{gone:?}");
    }
}

#[test]
fn without_its_service_a_datagram_is_the_kernels() {
    let mut bench = bench(Protocol::Udp, Forward::Nat, Gone::Reset);
    assert_eq!(bench.goes_to(&datagram(CLIENT, VIP, 10)), 11);
    bench.publish(WAYS[2]);
    let outcome = bench.serve(&datagram(CLIENT, VIP, 10));
    assert_eq!(outcome, Outcome { sent: vec![], punted: vec![Punt::Alien] });
}

/// LVS: a server that comes back has its connections again.
#[test]
fn a_server_that_returns_has_its_connections() {
    for goes in WAYS {
        let mut bench = bench(Protocol::Tcp, Forward::Nat, Gone::Hold);
        bench.establish();
        let before = bench.services.clone();
        bench.publish(goes);
        let packet = segment(CLIENT, VIP, (ACK, 1000, 5000), &[]);
        assert_eq!(bench.serve(&packet), Outcome::default());
        bench.publish(|services| {
            let liveness = services.liveness;
            *services = Services { liveness, ..before };
        });
        assert_eq!(bench.goes_to(&packet), 11);
        let record = bench.director.server(0);
        assert_eq!((record.active(), record.opened()), (1, 1));
    }
}

#[test]
fn weight_0_and_drained_are_not_gone() {
    for gone in [Gone::Reset, Gone::Hold, Gone::Expire] {
        let mut bench = bench(Protocol::Tcp, Forward::Nat, gone);
        bench.establish();
        bench.server(0, |server| server.drained = true);
        assert_eq!(bench.goes_to(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[])), 11);
        bench.server(0, |server| (server.drained, server.weight) = (false, 0));
        assert_eq!(bench.goes_to(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[])), 11);
        // `expire_nodest_conn` 1: a SYN moves away from weight 0, in whatever state.
        let to = if gone == Gone::Expire { 12 } else { 11 };
        assert_eq!(bench.goes_to(&segment(CLIENT, VIP, (SYN, 1000, 0), &[])), to, "{gone:?}");
    }
}

/// A.6: `conn_reuse_mode` by state and forwarding method.
#[test]
fn a_reused_port_reaches_another_server_by_the_mode() {
    const TIME_WAIT: (State, &[(bool, u8)]) =
        (State::TimeWait, &[(true, ACK | FIN), (false, ACK | FIN)]);
    const CLOSE: (State, &[(bool, u8)]) = (State::Close, &[(true, RST)]);
    const FIN_WAIT: (State, &[(bool, u8)]) = (State::FinWait, &[(true, ACK | FIN)]);
    const BY_SERVER: (State, &[(bool, u8)]) = (State::FinWait, &[(false, ACK | FIN)]);
    let rows = [
        (Forward::Nat, TIME_WAIT, [11, 12, 12, 12]),
        (Forward::Nat, CLOSE, [11, 12, 12, 12]),
        (Forward::Nat, BY_SERVER, [11, 11, 11, 11]),
        (Forward::Dr, CLOSE, [11, 12, 12, 12]),
        (Forward::Dr, FIN_WAIT, [11, 11, 12, 12]),
    ];
    for (forward, (state, story), expected) in rows {
        for (mode, to) in (0..).zip(expected) {
            let mut policy = policy(Gone::Hold);
            policy.lifecycle.conn_reuse_mode = mode;
            let mut bench = Bench::new(Protocol::Tcp, forward, policy);
            bench.establish();
            for (client, flags) in story {
                let (from, to) = if *client { (CLIENT, VIP) } else { (ONE, CLIENT) };
                bench.goes_to(&segment(from, to, (*flags, 1000, 5000), &[]));
            }
            assert_eq!(bench.state(), Some(state as u8), "{forward:?}");
            let reached = bench.goes_to(&segment(CLIENT, VIP, (SYN, 1, 0), &[]));
            assert_eq!(reached, to, "{forward:?} {state:?} mode {mode}");
        }
    }
}
