//! Every state of every protocol ends in its time, by an injected clock: LVS's values, written
//! down here by hand (`ip_vs_proto_tcp.c`, `ip_vs_proto_udp.c`, `ip_vs_proto_sctp.c`), and an
//! operator's.

use dataplane::{
    forward::{Forward, Protocol, V4},
    policy::{Lifecycle, Policy},
    sctp,
    state::State,
    table::{Connection, Keys, TemplateRef},
    tcp,
};

use crate::bench::{Bench, CLIENT, ONE, VIP};

const TCP: [(tcp::State, u32); 11] = [
    (tcp::State::None, 2),
    (tcp::State::Established, 900),
    (tcp::State::SynSent, 120),
    (tcp::State::SynRecv, 60),
    (tcp::State::FinWait, 120),
    (tcp::State::TimeWait, 120),
    (tcp::State::Close, 10),
    (tcp::State::CloseWait, 60),
    (tcp::State::LastAck, 30),
    (tcp::State::Listen, 120),
    (tcp::State::SynAck, 120),
];

const SCTP: [(sctp::State, u32); 14] = [
    (sctp::State::None, 2),
    (sctp::State::Init1, 4),
    (sctp::State::Init, 61),
    (sctp::State::CookieSent, 61),
    (sctp::State::CookieReplied, 61),
    (sctp::State::CookieWait, 61),
    (sctp::State::WaitCookie, 61),
    (sctp::State::CookieEchoed, 61),
    (sctp::State::Established, 900),
    (sctp::State::ShutdownSent, 61),
    (sctp::State::ShutdownReceived, 61),
    (sctp::State::ShutdownAckSent, 61),
    (sctp::State::Rejected, 4),
    (sctp::State::Closed, 61),
];

#[test]
fn lvs_times() {
    for (state, seconds) in TCP {
        ends_in(Protocol::Tcp, State::Tcp(state), &Policy::default(), seconds);
    }
    for (state, seconds) in SCTP {
        ends_in(Protocol::Sctp, State::Sctp(state), &Policy::default(), seconds);
    }
    ends_in(Protocol::Udp, State::Udp, &Policy::default(), 300);
}

#[test]
fn an_operators_times() {
    let mut policy = Policy::default();
    policy.timeouts.udp = 7;
    for (at, timeout) in policy.timeouts.tcp.iter_mut().enumerate() {
        *timeout = 3 + at as u32;
    }
    for (at, timeout) in policy.timeouts.sctp.iter_mut().enumerate() {
        *timeout = 5 + at as u32;
    }
    for (at, (state, _)) in (0..).zip(TCP) {
        ends_in(Protocol::Tcp, State::Tcp(state), &policy, 3 + at);
    }
    for (at, (state, _)) in (0..).zip(SCTP) {
        ends_in(Protocol::Sctp, State::Sctp(state), &policy, 5 + at);
    }
    ends_in(Protocol::Udp, State::Udp, &policy, 7);
}

/// A connection in this state is there when its time is over, to the second, and gone two
/// seconds later.
fn ends_in(protocol: Protocol, state: State, policy: &Policy, seconds: u32) {
    let policy = Policy {
        // An idle one that is reset stays a while longer.
        lifecycle: Lifecycle { reset_idle: false, ..Lifecycle::default() },
        ..policy.clone()
    };
    assert_eq!(state.timeout(&policy.timeouts), seconds, "{state:?}");
    let mut bench = Bench::new(protocol, Forward::Nat, policy);
    let [client, vip, server] = [CLIENT, VIP, ONE].map(|(address, _)| V4(address.into()));
    let connection = Connection {
        client,
        cport: CLIENT.1,
        vip,
        vport: VIP.1,
        server,
        rport: ONE.1,
        local: client,
        lport: CLIENT.1,
        protocol,
        forward: Forward::Nat,
        server_id: 0,
        flags: 0,
        keys: Keys::Both,
        template: TemplateRef::NONE,
    };
    bench.director.opened(0, state.number());
    let table = &bench.director.v4;
    table.insert(&connection, state.number(), seconds, bench.now.seconds()).expect("room");
    bench.wait(seconds.into());
    assert_eq!(bench.director.v4.len(), 1, "{state:?}: too early");
    bench.wait(2);
    assert_eq!(bench.director.v4.len(), 0, "{state:?}: too late");
}
