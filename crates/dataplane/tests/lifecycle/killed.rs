//! Connections that an operator ends, and sources that one denies.

use std::sync::Arc;

use dataplane::{
    forward::{Forward, Protocol},
    kill::{Doomed, Kill},
    policy::{Persistence, Policy},
    prefix::Prefix,
    snapshot::Denial,
    tcp::RESETTING,
    verdict::{Answer, Drop, Punt},
};

use crate::bench::{
    ACK, Bench, CLIENT, LOCAL, ONE, Outcome, RST, SYN, VIP, datagram, segment, spoken,
};

fn number(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*frame[at..].first_chunk().expect("a TCP header"))
}

/// Everything goes; what was sent meanwhile, and how many connections and templates ended.
fn kill(bench: &mut Bench, doomed: Doomed) -> (Outcome, (u64, u64)) {
    let kill = Arc::new(Kill::new(doomed, 1));
    bench.kill(Arc::clone(&kill));
    let mut outcome = Outcome::default();
    for _ in 0..10_000 {
        let Outcome { sent, punted } = bench.wait_ms(1);
        outcome.sent.extend(sent);
        outcome.punted.extend(punted);
        if kill.is_done() {
            return (outcome, kill.ended());
        }
    }
    panic!("no end");
}

#[test]
fn both_ends_are_asked_and_reset_where_both_pass_here() {
    for (forward, local) in [(Forward::Nat, CLIENT), (Forward::FullNat, LOCAL)] {
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        bench.establish();
        let (outcome, ended) = kill(&mut bench, Doomed::default());
        assert_eq!(ended, (1, 0), "{forward:?}");
        let asked = |from, to, frame: &Vec<u8>| {
            // RFC 9293 3.8.4, with a number that is not expected, and no data.
            assert_eq!(*frame, spoken(from, to, (ACK, number(frame, 38), 0)), "{forward:?}");
        };
        assert_eq!((outcome.sent.len(), bench.answers(Answer::Probe)), (2, 2));
        asked(VIP, CLIENT, &outcome.sent[0]);
        asked(local, ONE, &outcome.sent[1]);
        assert_eq!((bench.state(), bench.director.server(0).active()), (Some(RESETTING), 0));
        // RFC 9293 3.10.7.4: an unacceptable segment is answered <SEQ=SND.NXT><ACK=RCV.NXT>.
        let answer = bench.serve(&segment(ONE, local, (ACK, 9000, 3000), &[]));
        let to_server = spoken(local, ONE, (RST, 3000, 0));
        assert_eq!(answer.sent, [spoken(VIP, CLIENT, (RST | ACK, 9000, 3000)), to_server]);
        // Once is enough.
        assert_eq!(kill(&mut bench, Doomed::default()), (Outcome::default(), (0, 0)));
        bench.wait(13);
        assert_eq!((bench.state(), bench.director.server(0).inactive()), (None, 0));
    }
}

#[test]
fn where_answers_go_another_way_the_client_is_reset_with_its_next_packet() {
    for forward in [Forward::Dr, Forward::Tun] {
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        bench.establish();
        assert_eq!(kill(&mut bench, Doomed::default()), (Outcome::default(), (1, 0)));
        let answer = bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[]));
        assert_eq!(answer.sent, [spoken(VIP, CLIENT, (RST, 5000, 0))], "{forward:?}");
        // And whoever begins anew is let in.
        assert_eq!(bench.serve(&segment(CLIENT, VIP, (SYN, 7000, 0), &[])).sent.len(), 1);
    }
}

#[test]
fn a_datagram_after_it_opens_another_one() {
    let mut bench = Bench::new(Protocol::Udp, Forward::Nat, Policy::default());
    assert_eq!(bench.goes_to(&datagram(CLIENT, VIP, 100)), 11);
    assert_eq!(kill(&mut bench, Doomed::default()), (Outcome::default(), (1, 0)));
    assert_eq!((bench.state(), bench.director.server(0).inactive()), (None, 0));
    assert_eq!(bench.goes_to(&datagram(CLIENT, VIP, 100)), 12);
}

#[test]
fn only_what_fits_ends() {
    let network = |text: &str, length| Prefix::new(text.parse().unwrap(), length);
    let ids = |ids: [bool; 2]| Some(ids.to_vec());
    let rows = [
        (Doomed { client: network("192.0.2.0", 24), ..Doomed::default() }, true),
        (Doomed { client: network("192.0.2.11", 32), ..Doomed::default() }, false),
        (Doomed { client: network("2001:db8::", 0), ..Doomed::default() }, false),
        (Doomed { vip: Some(VIP.0.into()), ..Doomed::default() }, true),
        (Doomed { vip: Some(ONE.0.into()), ..Doomed::default() }, false),
        (Doomed { servers: ids([true, false]), ..Doomed::default() }, true),
        (Doomed { servers: ids([false, true]), ..Doomed::default() }, false),
        (Doomed { servers: Some(vec![]), ..Doomed::default() }, false),
        (Doomed { protocol: Some(Protocol::Tcp), ..Doomed::default() }, true),
        (Doomed { protocol: Some(Protocol::Udp), ..Doomed::default() }, false),
        (Doomed { state: Some("ESTABLISHED".to_owned()), ..Doomed::default() }, true),
        (Doomed { state: Some("SYN_RECV".to_owned()), ..Doomed::default() }, false),
    ];
    for (doomed, expected) in rows {
        let mut bench = Bench::new(Protocol::Tcp, Forward::Nat, Policy::default());
        bench.establish();
        let (_, ended) = kill(&mut bench, doomed.clone());
        assert_eq!(ended, (u64::from(expected), 0), "{doomed:?}");
    }
}

#[test]
fn templates_end_where_that_is_wanted() {
    for templates in [false, true] {
        let persistence = Some(Persistence { timeout: 360, prefix: 32 });
        let policy = Policy { persistence, ..Policy::default() };
        let mut bench = Bench::new(Protocol::Tcp, Forward::Nat, policy);
        bench.establish();
        assert_eq!(bench.director.server(0).persistent(), 1);
        let (_, ended) = kill(&mut bench, Doomed { templates, ..Doomed::default() });
        assert_eq!(ended, (1, u64::from(templates)));
        assert_eq!(bench.director.server(0).persistent(), u32::from(!templates));
    }
}

/// A breath ends no more than some of them.
#[test]
fn a_breath_ends_a_bounded_number() {
    let mut bench = Bench::new(Protocol::Udp, Forward::Nat, Policy::default());
    // As many as fit.
    for port in 0..64 {
        bench.serve(&datagram((CLIENT.0, 30_000 + port), VIP, 100));
    }
    let kill = Arc::new(Kill::new(Doomed::default(), 1));
    bench.kill(Arc::clone(&kill));
    let (mut before, mut breaths) = (0, 0);
    while !kill.is_done() {
        bench.wait_ms(0);
        let (ended, _) = kill.ended();
        assert!(ended - before < 64, "{ended} after {before}");
        (before, breaths) = (ended, breaths + 1);
    }
    assert_eq!(before, 64);
    assert!(breaths > 1, "{breaths}");
}

#[test]
fn a_denied_source_opens_nothing_and_keeps_what_it_has() {
    let other = (std::net::Ipv4Addr::new(192, 0, 2, 11), 40_000);
    let network = Prefix::new(CLIENT.0.into(), 32).expect("a network");
    for (service, expected) in [(None, true), (Some(0), true), (Some(1), false)] {
        let mut bench = Bench::new(Protocol::Tcp, Forward::Nat, Policy::default());
        bench.establish();
        bench.publish(|services| {
            services.denied = vec![Denial { source: network, service }];
        });
        let syn = |from: (std::net::Ipv4Addr, u16)| segment(from, VIP, (SYN, 1, 0), &[]);
        let outcome = bench.serve(&syn((CLIENT.0, 40_001)));
        assert_eq!(outcome.sent.is_empty(), expected, "{service:?}");
        assert_eq!(bench.drops(Drop::DeniedForNow), u64::from(expected));
        assert_eq!(bench.serve(&syn(other)).sent.len(), 1, "others may");
        let goes_on = bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5000), &[]));
        assert_eq!((goes_on.sent.len(), &goes_on.punted[..]), (1, &[] as &[Punt]));
    }
}
