//! Servers that get another method while they have connections.

use dataplane::{
    forward::{Forward, Protocol, Tunnel},
    policy::Policy,
    snapshot::Former,
};

use crate::bench::{ACK, Bench, CLIENT, LOCAL, ONE, SYN, VIP, segment};

/// What the server gets: protocol and destination of the outermost IP header.
fn leaves(bench: &mut Bench, sport: u16, flags: u8) -> (u8, [u8; 4]) {
    let outcome = bench.serve(&segment((CLIENT.0, sport), VIP, (flags, 1000, 5000), &[]));
    let [frame] = &outcome.sent[..] else { panic!("{outcome:?}") };
    (frame[14 + 9], frame[14 + 16..14 + 20].try_into().unwrap())
}

/// `ip_vs_edit_dest` changes what new connections get; a live one keeps the method that it began
/// with (`cp->packet_xmit`).
#[test]
fn a_live_connection_keeps_its_method() {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let gre = Tunnel::Gre { checksum: false };
    let gue = Tunnel::Gue { port: 6080, checksum: true };
    let (vip, one) = (VIP.0.octets(), ONE.0.octets());
    let tunnels = [(Tunnel::Ipip, 4), (gre, 47), (gue, UDP)];
    let rows = tunnels.map(|(tunnel, protocol)| (Forward::Tun, tunnel, (protocol, one)));
    let others = [
        (Forward::Nat, Tunnel::Ipip, (TCP, one)),
        (Forward::FullNat, Tunnel::Ipip, (TCP, one)),
        (Forward::Dr, Tunnel::Ipip, (TCP, vip)),
    ];
    for (forward, tunnel, way) in rows.into_iter().chain(others) {
        let mut bench = Bench::new(Protocol::Tcp, forward, Policy::default());
        bench.server(0, |server| server.tunnel = tunnel);
        bench.server(1, |server| server.weight = 0);
        assert_eq!(leaves(&mut bench, CLIENT.1, SYN), way);
        assert_eq!(leaves(&mut bench, CLIENT.1, ACK), way);
        let next = if forward == Forward::Dr { Forward::Nat } else { Forward::Dr };
        bench.server(0, |server| {
            server.former = Former::NONE.and(forward);
            server.forward = next;
        });
        assert_eq!(leaves(&mut bench, CLIENT.1, ACK), way, "{forward:?}");
        let new = if next == Forward::Dr { vip } else { one };
        assert_eq!(leaves(&mut bench, CLIENT.1 + 1, SYN), (TCP, new), "{forward:?}");
        if forward.two_way() {
            let to = if forward == Forward::FullNat { LOCAL } else { CLIENT };
            let answer = bench.serve(&segment(ONE, to, (ACK, 1, 1), &[]));
            assert_eq!((answer.sent.len(), &answer.sent[0][26..30]), (1, &vip[..]), "{forward:?}");
        }
    }
}
