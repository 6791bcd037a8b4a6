//! Idle times, and what becomes of a connection whose time is over.

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Lifecycle, Policy},
    tcp::RESETTING,
    verdict::{Answer, Drop, Punt},
};

use crate::bench::{ACK, Bench, CLIENT, LOCAL, ONE, Outcome, RST, VIP, datagram, segment, spoken};

const HELLO: (u8, u32, u32) = (ACK, 1000, 5000);

fn number(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*frame[at..].first_chunk().expect("a TCP header"))
}

#[test]
fn an_idle_connection_asks_both_ends_and_resets_them() {
    for (forward, local) in [(Forward::Nat, CLIENT), (Forward::FullNat, LOCAL)] {
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        bench.establish();
        assert_eq!(bench.wait(899), Outcome::default());
        let outcome = bench.wait(4);
        let asked = |from, to, frame: &Vec<u8>| {
            // RFC 9293 3.8.4, with a number that is not expected, and no data.
            assert_eq!(*frame, spoken(from, to, (ACK, number(frame, 38), 0)), "{forward:?}");
        };
        assert_eq!((outcome.sent.len(), bench.answers(Answer::Probe)), (2, 2));
        asked(VIP, CLIENT, &outcome.sent[0]);
        asked(local, ONE, &outcome.sent[1]);
        assert_eq!((bench.state(), bench.director.server(0).active()), (Some(RESETTING), 0));
        assert_eq!(bench.stats.opened.value(), 1);
        // RFC 9293 3.10.7.4: an unacceptable segment is answered <SEQ=SND.NXT><ACK=RCV.NXT>.
        let answer = bench.serve(&segment(ONE, local, (ACK, 9000, 3000), &[]));
        let to_server = spoken(local, ONE, (RST, 3000, 0));
        assert_eq!(answer.sent, [spoken(VIP, CLIENT, (RST | ACK, 9000, 3000)), to_server]);
        bench.wait(13);
        assert_eq!(bench.state(), None);
    }
}

#[test]
fn no_more_is_asked_than_frames_allow() {
    let mut bench = Bench::new(Protocol::Tcp, Forward::Nat, Policy::default());
    bench.establish();
    bench.io = dataplane::memory::MemoryIo::new(1, 0);
    assert_eq!(bench.wait(904), Outcome::default());
    assert_eq!(bench.state(), Some(RESETTING));
}

#[test]
fn without_the_policy_or_the_servers_packets_the_kernel_answers() {
    let kept = Lifecycle { reset_idle: false, ..Lifecycle::default() };
    for (forward, lifecycle) in
        [(Forward::Nat, kept), (Forward::Dr, Lifecycle::default()), (Forward::Tun, kept)]
    {
        let policy = Policy { lifecycle, ..Policy::default() };
        let mut bench = Bench::new(Protocol::Tcp, forward, policy);
        bench.establish();
        assert_eq!(bench.wait(904), Outcome::default());
        assert_eq!(bench.state(), None);
        let outcome = bench.serve(&segment(CLIENT, VIP, HELLO, &[]));
        assert_eq!(outcome, Outcome { sent: vec![], punted: vec![Punt::NoConnection] });
    }
}

/// The kernel resets only in the name of its own addresses.
#[test]
fn for_a_vip_that_the_kernel_does_not_have_we_answer() {
    let mut bench = Bench::new(Protocol::Tcp, Forward::Dr, Policy::default());
    bench.vip_is_local = false;
    bench.publish(|_| {});
    let outcome = bench.serve(&segment(CLIENT, VIP, HELLO, b"x"));
    assert_eq!(
        outcome,
        Outcome { sent: vec![spoken(VIP, CLIENT, (RST, 5000, 0))], punted: vec![] }
    );
    let outcome = bench.serve(&segment(CLIENT, VIP, (RST, 1000, 0), &[]));
    assert_eq!((outcome.sent.len(), bench.drops(Drop::Reset)), (0, 1));
    // `icmp_ratelimit`: six at once for each peer.
    let sent = (0..20).filter(|_| !bench.serve(&segment(CLIENT, VIP, HELLO, &[])).sent.is_empty());
    assert_eq!(sent.count(), 5);
}

#[test]
fn a_packet_that_comes_before_the_sweep_resets_too() {
    let mut bench = Bench::new(Protocol::Tcp, Forward::Nat, Policy::default());
    bench.establish();
    bench.now.millis += 901_000;
    let outcome = bench.serve(&segment(CLIENT, VIP, HELLO, &[]));
    let to_server = spoken(CLIENT, ONE, (RST | ACK, 1000, 5000));
    assert_eq!(outcome.sent[..2], [to_server, spoken(VIP, CLIENT, (RST, 5000, 0))]);
    let outcome = bench.serve(&segment(CLIENT, VIP, HELLO, &[]));
    assert_eq!(outcome.sent.len(), 2, "it is not forwarded until it ends");
}

/// `ipvsadm --set`: live connections take it with their next packet.
#[test]
fn a_new_idle_time_reaches_live_connections() {
    let mut policy = Policy::default();
    policy.lifecycle.reset_idle = false;
    let rows = [
        (Protocol::Tcp, segment(CLIENT, VIP, HELLO, &[])),
        (Protocol::Udp, datagram(CLIENT, VIP, 10)),
    ];
    for (protocol, packet) in rows {
        let mut bench = Bench::new(protocol, Forward::Nat, policy.clone());
        if protocol == Protocol::Tcp {
            bench.establish();
        } else {
            bench.goes_to(&packet);
        }
        bench.publish(|services| {
            let timeouts = &mut services.services[0].as_mut().expect("there").policy.timeouts;
            timeouts.tcp[1] = 30;
            timeouts.udp = 30;
        });
        assert_eq!(bench.goes_to(&packet), 11);
        bench.wait(28);
        assert!(bench.state().is_some(), "{protocol:?}");
        bench.wait(5);
        assert_eq!(bench.state(), None, "{protocol:?}");
    }
}
