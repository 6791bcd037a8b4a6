//! `schedule_icmp`, `nat_icmp_send`, `pmtu_disc`, and ICMP errors about servers that are gone.

use dataplane::{
    forward::{Forward, Protocol},
    policy::{Gone, Policy},
    tcp::{State, UDP_STATE},
    verdict::{Drop, Punt},
};

use crate::bench::{ACK, Bench, CLIENT, ONE, Outcome, RST, VIP, datagram, error, segment};

#[test]
fn an_error_about_no_connection_may_open_one() {
    for scheduled in [false, true] {
        let mut policy = Policy::default();
        policy.lifecycle.schedule_icmp = scheduled;
        let mut bench = Bench::new(Protocol::Udp, Forward::Dr, policy);
        let frame = error(CLIENT.0, VIP.0, (3, 3), &datagram(VIP, CLIENT, 10));
        if !scheduled {
            let punted = vec![Punt::Icmp];
            assert_eq!(bench.serve(&frame), Outcome { sent: vec![], punted });
            assert!(bench.director.v4.is_empty());
            continue;
        }
        assert_eq!(bench.goes_to(&frame), 11);
        assert_eq!(bench.state(), Some(State::None as u8));
        // Its first datagram makes it an ordinary one.
        assert_eq!(bench.goes_to(&datagram(CLIENT, VIP, 10)), 11);
        assert_eq!(bench.state(), Some(UDP_STATE));
        bench.wait(10);
        assert_eq!(bench.state(), Some(UDP_STATE));
    }
}

#[test]
fn what_only_an_error_opened_ends_in_2_seconds() {
    let mut policy = Policy::default();
    policy.lifecycle.schedule_icmp = true;
    let mut bench = Bench::new(Protocol::Tcp, Forward::Nat, policy);
    let about = segment(VIP, CLIENT, (ACK, 1, 1), &[]);
    assert_eq!(bench.goes_to(&error(CLIENT.0, VIP.0, (3, 3), &about)), 11);
    bench.wait(5);
    assert!(bench.director.v4.is_empty());
}

#[test]
fn a_server_may_be_told_that_nobody_listens() {
    let rows = [
        (Protocol::Udp, datagram(ONE, CLIENT, 10), true),
        (Protocol::Tcp, segment(ONE, CLIENT, (ACK, 1, 1), &[]), true),
        (Protocol::Tcp, segment(ONE, CLIENT, (RST, 1, 0), &[]), false),
        (Protocol::Tcp, segment((ONE.0, 81), CLIENT, (ACK, 1, 1), &[]), false),
    ];
    for (protocol, packet, told) in rows {
        for send in [false, true] {
            let mut policy = Policy::default();
            policy.lifecycle.nat_icmp_send = send;
            let mut bench = Bench::new(protocol, Forward::Nat, policy);
            let Outcome { sent, punted } = bench.serve(&packet);
            if !(send && told) {
                assert_eq!((sent.len(), punted), (0, vec![Punt::Alien]));
                continue;
            }
            assert_eq!((sent[0][5], &sent[0][34..36], &punted[..]), (11, &[3, 3][..], &[][..]));
            assert_eq!(bench.drops(Drop::NoServerConnection), 1);
        }
    }
}

#[test]
fn without_pmtu_disc_the_outer_packet_is_fragmented() {
    for obeyed in [true, false] {
        let mut policy = Policy::default();
        policy.lifecycle.pmtu_disc = obeyed;
        let mut bench = Bench::new(Protocol::Udp, Forward::Tun, policy);
        // 1472 of data: 1500 octets of IP, with DF.
        let Outcome { sent, .. } = bench.serve(&datagram(CLIENT, VIP, 1472));
        if obeyed {
            assert_eq!((sent.len(), &sent[0][34..36]), (1, &[3, 4][..]));
            assert_eq!(sent[0][40..42], 1480u16.to_be_bytes());
            continue;
        }
        // As the kernel was seen to do without DF: 1500 with MF, and 40 at offset 1480.
        let fields = |frame: &Vec<u8>| (frame.len() - 14, frame[20], frame[21]);
        let parts: Vec<_> = sent.iter().map(fields).collect();
        assert_eq!(parts, [(1500, 0x20, 0), (40, 0, 185)]);
        // A small one: DF is not copied.
        let Outcome { sent, .. } = bench.serve(&datagram(CLIENT, VIP, 100));
        assert_eq!((sent.len(), sent[0][20]), (1, 0));
    }
}

#[test]
fn errors_towards_a_server_that_is_gone() {
    for (gone, to) in [(Gone::Hold, Some(11)), (Gone::Expire, None), (Gone::Reset, None)] {
        let mut policy = Policy::default();
        policy.lifecycle.gone = gone;
        let mut bench = Bench::new(Protocol::Udp, Forward::Nat, policy);
        assert_eq!(bench.goes_to(&datagram(CLIENT, VIP, 10)), 11);
        bench.server(0, |server| server.removed = true);
        let frame = error(CLIENT.0, VIP.0, (3, 3), &datagram(VIP, CLIENT, 10));
        let Outcome { sent, .. } = bench.serve(&frame);
        assert_eq!(sent.first().map(|frame| frame[5]), to, "{gone:?}");
        assert_eq!(bench.drops(Drop::ServerGone), u64::from(to.is_none()));
        // What the server complains about still reaches the client.
        let frame = error(ONE.0, CLIENT.0, (3, 3), &datagram(CLIENT, ONE, 10));
        assert_eq!(bench.goes_to(&frame), 10, "{gone:?}");
    }
}
