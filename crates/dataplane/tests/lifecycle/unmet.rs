//! Handshakes that fail are counted by server where its answers pass here.

use dataplane::{
    forward::{Forward, Protocol},
    policy::Policy,
};

use crate::bench::{ACK, Bench, CLIENT, End, LOCAL, ONE, RST, SYN, VIP, segment};

const SYN_SENT: (u8, u32, u32) = (SYN, 999, 0);

/// Unanswered and refused SYNs of the first server.
fn unmet(bench: &Bench) -> (u64, u64) {
    let unmet = &bench.stats.unmet[0];
    (unmet.unanswered.value(), unmet.refused.value())
}

/// Where the server's answers go.
fn back(forward: Forward) -> End {
    if forward == Forward::FullNat { LOCAL } else { CLIENT }
}

#[test]
fn a_syn_that_comes_again_before_any_answer() {
    for (forward, seen) in [
        (Forward::Nat, true),
        (Forward::FullNat, true),
        (Forward::Dr, false),
        (Forward::Tun, false),
    ] {
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        let syn = segment(CLIENT, VIP, SYN_SENT, &[]);
        bench.serve(&syn);
        assert_eq!(unmet(&bench), (0, 0), "{forward:?}: the first one");
        // RFC 6298 section 2.1: one second, then two, then four.
        for (wait, count) in [(1, 1), (2, 2), (4, 3)] {
            bench.wait(wait);
            bench.serve(&syn);
            assert_eq!(unmet(&bench), (if seen { count } else { 0 }, 0), "{forward:?}");
        }
        if seen {
            // An answer: that the client did not get it is not the server's fault.
            bench.serve(&segment(ONE, back(forward), (SYN | ACK, 5000, 1000), &[]));
            bench.wait(8);
            bench.serve(&syn);
            assert_eq!(unmet(&bench), (3, 0), "{forward:?}");
        }
    }
}

#[test]
fn a_syn_that_is_answered_by_a_reset() {
    for forward in [Forward::Nat, Forward::FullNat] {
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        bench.serve(&segment(CLIENT, VIP, SYN_SENT, &[]));
        bench.serve(&segment(ONE, back(forward), (RST | ACK, 0, 1000), &[]));
        assert_eq!(unmet(&bench), (0, 1), "{forward:?}");
        // One that was established, and is reset, was served.
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        bench.serve(&segment(CLIENT, VIP, SYN_SENT, &[]));
        bench.serve(&segment(ONE, back(forward), (SYN | ACK, 5000, 1000), &[]));
        bench.serve(&segment(CLIENT, VIP, (ACK, 1000, 5001), &[]));
        bench.serve(&segment(ONE, back(forward), (RST | ACK, 5001, 1000), &[]));
        assert_eq!(unmet(&bench), (0, 0), "{forward:?}");
    }
}
