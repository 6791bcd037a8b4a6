//! Health probes by way of a service: to the server that they are pinned to, whatever it is, and
//! back, in each mode; and they leave no trace in what operators see.

use std::net::Ipv4Addr;

use dataplane::{
    forward::{Forward, Protocol, ServiceKey},
    policy::Policy,
    verdict::Drop,
};

use crate::bench::{
    ACK, Bench, CLIENT, End, FIN, LOCAL, Outcome, PROBE, RST, SYN, TWO, VIP, datagram, segment,
};

/// Addresses and ports of the only packet that was sent, with the last octet of the MAC that it
/// goes to; of what is in a tunnel, with the tunnel's end.
fn only(outcome: &Outcome) -> (u8, Option<Ipv4Addr>, End, End) {
    assert_eq!((outcome.sent.len(), &outcome.punted[..]), (1, &[][..]));
    let frame = &outcome.sent[0];
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    // RFC 791: protocol 4 is an IP header in the packet, of 20 octets like the outer one.
    let (outer, ip) = if frame[23] == 4 { (Some(address(30)), 34) } else { (None, 14) };
    let (source, destination) = (address(ip + 12), address(ip + 16));
    (frame[5], outer, (source, port(ip + 20)), (destination, port(ip + 22)))
}

/// The second of two servers is down; a probe is pinned to it.
fn bench(protocol: Protocol, forward: Forward) -> (Bench, End) {
    let mut bench = Bench::new(protocol, forward, Policy::default());
    bench.server(1, |server| server.up = false);
    let port = bench.director.pins.pin(1).expect("a port");
    (bench, (PROBE, port))
}

const MODES: [Forward; 4] = [Forward::Nat, Forward::FullNat, Forward::Dr, Forward::Tun];

/// What the server sees of the probe, and from where to where its answers go.
fn seen(forward: Forward, probe: End) -> (Option<Ipv4Addr>, (End, End), (End, End)) {
    match forward {
        Forward::Nat => (None, (probe, TWO), (TWO, probe)),
        Forward::FullNat => (None, (LOCAL, TWO), (TWO, LOCAL)),
        Forward::Dr => (None, (probe, VIP), (VIP, probe)),
        Forward::Tun => (Some(TWO.0), (probe, VIP), (VIP, probe)),
    }
}

#[test]
fn a_whole_connection_to_a_server_that_is_down() {
    for forward in MODES {
        let (mut bench, probe) = bench(Protocol::Tcp, forward);
        let (outer, to_server, back) = seen(forward, probe);
        let talk = [
            (true, SYN, 100, 0),
            (false, SYN | ACK, 900, 101),
            (true, ACK, 101, 901),
            (true, FIN | ACK, 101, 901),
            (false, FIN | ACK, 901, 102),
            (true, ACK, 102, 902),
        ];
        for (from_probe, flags, sequence, acknowledgment) in talk {
            let numbers = (flags, sequence, acknowledgment);
            if from_probe {
                let outcome = bench.probe(&segment(probe, VIP, numbers, &[]));
                assert_eq!(only(&outcome), (12, outer, to_server.0, to_server.1), "{forward:?}");
            } else {
                let outcome = bench.serve(&segment(back.0, back.1, numbers, &[]));
                assert_eq!(only(&outcome), (99, None, VIP, probe), "{forward:?}");
            }
        }
        let record = bench.director.server(1);
        assert_eq!((record.active(), record.inactive()), (0, 0), "{forward:?}: not counted");
        let traffic = bench.stats.server(1);
        let counts = [&traffic.in_packets, &traffic.out_packets, &traffic.in_bytes];
        assert_eq!(counts.map(|count| count.value()), [0; 3], "{forward:?}: no traffic");
        assert_eq!((bench.stats.opened.value(), bench.director.half_open()), (0, 0));
        bench.wait(13);
        assert_eq!(bench.state(), None, "{forward:?}: over after 10 s");
    }
}

/// To the port that clients' packets get there, also where the service itself has none (marks).
#[test]
fn servers_ports() {
    for mark in [false, true] {
        let (mut bench, probe) = bench(Protocol::Tcp, Forward::Nat);
        bench.publish(|services| {
            services.servers[1].as_mut().expect("there").port = 8080;
            if mark {
                let key = ServiceKey::Mark { mark: 7, ipv6: false };
                services.services[0].as_mut().expect("there").key = key;
                services.by_key = [(key, 0)].into_iter().collect();
            }
        });
        let outcome = bench.probe(&segment(probe, VIP, (SYN, 100, 0), &[]));
        assert_eq!(only(&outcome), (12, None, probe, (TWO.0, 8080)), "{mark}");
    }
}

/// A refusal comes back, so that it is told from silence.
#[test]
fn a_reset_comes_back() {
    for forward in MODES {
        let (mut bench, probe) = bench(Protocol::Tcp, forward);
        let (.., back) = seen(forward, probe);
        bench.probe(&segment(probe, VIP, (SYN, 100, 0), &[]));
        let reset = segment(back.0, back.1, (RST | ACK, 0, 101), &[]);
        assert_eq!(only(&bench.serve(&reset)), (99, None, VIP, probe), "{forward:?}");
    }
}

#[test]
fn datagrams() {
    for forward in MODES {
        let (mut bench, probe) = bench(Protocol::Udp, forward);
        let (outer, to_server, back) = seen(forward, probe);
        let asked = bench.probe(&datagram(probe, VIP, 8));
        assert_eq!(only(&asked), (12, outer, to_server.0, to_server.1), "{forward:?}");
        let answered = bench.serve(&datagram(back.0, back.1, 8));
        assert_eq!(only(&answered), (99, None, VIP, probe), "{forward:?}");
    }
}

/// The next probe from a port goes to whom that one is pinned, whatever is left of the last one.
#[test]
fn a_port_is_pinned_anew() {
    for forward in MODES {
        let (mut bench, probe) = bench(Protocol::Tcp, forward);
        let syn = segment(probe, VIP, (SYN, 100, 0), &[]);
        assert_eq!(only(&bench.probe(&syn)).0, 12);
        bench.director.pins.release(probe.1);
        // Ports come in turn: this one is the next one's after all others.
        while bench.director.pins.pin(0) != Some(probe.1) {}
        assert_eq!(only(&bench.probe(&syn)).0, 11, "{forward:?}");
    }
}

/// What no probe sent, or nobody's, goes nowhere: not to a server, not to the kernel.
#[test]
fn strays() {
    for forward in MODES {
        let (mut bench, probe) = bench(Protocol::Tcp, forward);
        let strays = [
            segment((PROBE, probe.1 + 1), VIP, (SYN, 100, 0), &[]),
            segment(probe, VIP, (ACK, 100, 7), &[]),
            segment((PROBE, 80), VIP, (SYN, 100, 0), &[]),
        ];
        for (count, stray) in (1..).zip(&strays) {
            assert_eq!(bench.probe(stray), Outcome::default(), "{forward:?}");
            assert_eq!(bench.drops(Drop::StrayProbe), count, "{forward:?}");
        }
        // From the network nobody comes with a probe's address.
        assert_eq!(bench.serve(&segment(probe, VIP, (SYN, 1, 0), &[])), Outcome::default());
        assert_eq!(bench.drops(Drop::BadSource), 1, "{forward:?}");
    }
}

/// Clients and probes do not meet: the scheduler's turn is the clients'.
#[test]
fn schedulers_do_not_see_probes() {
    let (mut bench, probe) = bench(Protocol::Tcp, Forward::Dr);
    bench.server(1, |server| server.up = true);
    for (at, expected) in [(0, 11), (1, 12), (2, 11), (3, 12)] {
        bench.probe(&segment(probe, VIP, (SYN, 100, 0), &[]));
        let client = (CLIENT.0, CLIENT.1 + at);
        assert_eq!(bench.goes_to(&segment(client, VIP, (SYN, 1, 0), &[])), expected);
    }
}
