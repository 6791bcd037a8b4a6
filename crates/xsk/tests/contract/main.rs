//! The ordered match contract, rule by rule, for both families, through `BPF_PROG_RUN`.
//! Needs CAP_BPF and CAP_NET_ADMIN; without them the tests fail and say so.

mod marks;
#[path = "../packets/mod.rs"]
mod packets;
mod wide;
mod world;

use packets::{Family, MAC, Packet, Piece, ethernet, icmp_error, quote, tcp, udp};
use std::net::IpAddr;
use world::{TCP, UDP, World, expect, program};
use xsk::{
    Action::{Drop, Pass, Take},
    EndpointFlags, MatchCapacities, MatchMaps, Program, WhenDown,
};

#[test]
fn endpoints_rules_1_to_4() {
    let program = program();
    for w in World::both() {
        let to = |source, destination, payload: Vec<u8>, protocol| {
            w.packet(source, destination).frame(protocol, payload)
        };
        let (c, v, s) = (w.client, w.vip, w.server);
        expect(
            &program,
            &[
                ("1: TCP to a service", to(c, v, tcp(4000, 80), TCP), Take),
                ("1: UDP to a service", to(c, v, udp(4000, 53), UDP), Take),
                (
                    "1: a service whose address is not on the box",
                    to(c, w.away, tcp(4000, 80), TCP),
                    Take,
                ),
                ("1: the other protocol", to(c, v, udp(4000, 80), UDP), Pass),
                ("1: from a server, to a service", to(s, v, tcp(8080, 80), TCP), Take),
                ("2: lowest local port", to(s, w.local, tcp(8080, 10_000), TCP), Take),
                ("2: highest local port", to(w.stranger, w.local, udp(53, 20_000), UDP), Take),
                ("2: a VIP's answer to a probe", to(v, w.local, tcp(80, 10_000), TCP), Take),
                ("2: a VIP's answer by UDP", to(v, w.local, udp(53, 20_000), UDP), Take),
                ("2: below the range", to(c, w.local, tcp(53, 9_999), TCP), Pass),
                ("2: above the range", to(c, w.local, tcp(53, 20_001), TCP), Pass),
                ("3: another port of the VIP is the kernel's", to(c, v, tcp(4000, 22), TCP), Pass),
                ("3: ssh to the box", to(c, w.own, tcp(4000, 22), TCP), Pass),
                (
                    "3: a server's answer to the box itself",
                    to(s, w.own, tcp(8080, 40_000), TCP),
                    Pass,
                ),
                (
                    "3: a server's answer to a check from the VIP",
                    to(s, v, tcp(8080, 40_000), TCP),
                    Pass,
                ),
                (
                    "3: out of the local range, from a server",
                    to(s, w.local, tcp(8080, 9), TCP),
                    Pass,
                ),
                ("4: a server's answer to a client", to(s, c, tcp(8080, 4000), TCP), Take),
                ("4: UDP", to(s, c, udp(5353, 4000), UDP), Take),
                ("4: another port of the server", to(s, c, tcp(22, 4000), TCP), Pass),
                ("4: the other protocol", to(s, c, udp(8080, 4000), UDP), Pass),
                ("4: a service's endpoint is no server's", to(v, c, tcp(80, 4000), TCP), Pass),
                ("4: a server's answer to a VIP elsewhere", to(s, w.away, tcp(8080, 9), TCP), Take),
                ("routed through the box", to(c, s, tcp(4000, 8080), TCP), Pass),
                ("of no interest", to(c, w.stranger, tcp(4000, 80), TCP), Pass),
                ("another protocol to the VIP", to(c, v, tcp(4000, 80), 132), Pass),
                ("echo request to the VIP", to(c, v, vec![8, 0, 0, 0, 0, 1, 0, 1], 1), Pass),
            ],
        );
    }
}

#[test]
fn link_layer() {
    let program = program();
    for w in World::both() {
        let inner = w.packet(w.client, w.vip).ip(TCP, tcp(4000, 80));
        let ethertype = w.family.ethertype();
        let tagged = |outer: u16| {
            let mut tag = vec![0, 7];
            tag.extend(ethertype.to_be_bytes());
            tag.extend(&inner);
            ethernet(MAC, outer, tag)
        };
        let other = [2, 0, 0, 0, 0, 0x99];
        let macvlan = [2, 0, 0, 0, 0, 0x77];
        let multicast = [0x33, 0x33, 0, 0, 0, 1];
        expect(
            &program,
            &[
                ("to us", ethernet(MAC, ethertype, inner.clone()), Take),
                ("to another host", ethernet(other, ethertype, inner.clone()), Pass),
                ("broadcast", ethernet([255; 6], ethertype, inner.clone()), Pass),
                ("multicast", ethernet(multicast, ethertype, inner.clone()), Pass),
                ("802.1Q", tagged(0x8100), Pass),
                ("802.1ad", tagged(0x88a8), Pass),
                ("ARP", ethernet(MAC, 0x0806, inner.clone()), Pass),
                ("802.3 length", ethernet(MAC, 100, inner.clone()), Pass),
                ("macvlan, unknown", ethernet(macvlan, ethertype, inner.clone()), Pass),
            ],
        );
        program.add_mac(macvlan).unwrap();
        let frame = ethernet(macvlan, ethertype, inner.clone());
        expect(&program, &[("macvlan", frame.clone(), Take)]);
        assert!(program.remove_mac(macvlan).unwrap());
        expect(&program, &[("macvlan, forgotten", frame, Pass)]);
        program.set_mac(other);
        expect(
            &program,
            &[
                ("the new MAC", ethernet(other, ethertype, inner.clone()), Take),
                ("the old MAC", ethernet(MAC, ethertype, inner.clone()), Pass),
            ],
        );
        program.set_mac(MAC);
    }
}

#[test]
fn truncated_and_malformed() {
    let program = program();
    for w in World::both() {
        let whole = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
        let ports_end = whole.len() - 20 + 4;
        for length in 14..whole.len() {
            let expected = if length >= ports_end { Take } else { Pass };
            assert_eq!(program.run(&whole[..length]).unwrap(), expected, "{length} octets");
        }
        let mut version = whole.clone();
        version[14] ^= 0xf0;
        let mut padded = whole.clone();
        padded.resize(200, 0);
        expect(&program, &[("wrong version", version, Pass), ("padded", padded, Take)]);
    }
    let w = World::new(Family::V4);
    let mut long_header = w.packet(w.client, w.vip).frame(TCP, Vec::new());
    long_header[14] = 0x4f;
    let mut bad_checksum = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
    bad_checksum[24] ^= 1;
    expect(
        &program,
        &[
            ("IHL beyond the end", long_header, Pass),
            ("a bad checksum of a service's packet is ours to count", bad_checksum, Take),
        ],
    );
}

/// With a header of 16 octets the destination address would be read as ports.
#[test]
fn a_header_shorter_than_ipv4s() {
    let maps = MatchMaps::new(MatchCapacities::default()).expect("needs root");
    let (client, vip) = (IpAddr::from([10, 0, 2, 7]), IpAddr::from([10, 0, 0, 80]));
    maps.set_endpoint(TCP, vip, 80, EndpointFlags::SERVICE).unwrap();
    let program = Program::load_dry(&maps, MAC).unwrap();
    let whole = Packet::new(client, vip).frame(TCP, tcp(4000, 80));
    let mut short = whole.clone();
    short[14] = 0x44;
    expect(&program, &[("IHL 5", whole, Take), ("IHL 4", short, Pass)]);
}

#[test]
fn ipv4_options() {
    let program = program();
    let w = World::new(Family::V4);
    for words in 1..=10 {
        let options = vec![1u8; words * 4];
        let packet = w.packet(w.client, w.vip).options(options);
        let (service, other) = (tcp(4000, 80), tcp(4000, 81));
        expect(
            &program,
            &[
                ("options, to a service", packet.clone().frame(TCP, service), Take),
                ("options, to another port", packet.frame(TCP, other), Pass),
            ],
        );
    }
}

#[test]
fn ipv6_extension_headers() {
    let program = program();
    let w = World::new(Family::V6);
    let with = |headers: &[(u8, u8)], port| {
        w.packet(w.client, w.vip).extensions(headers).frame(TCP, tcp(4000, port))
    };
    let (hop, routing, destination) = (0, 43, 60);
    let six = [(destination, 0); 6];
    let seven = [(destination, 0); 7];
    expect(
        &program,
        &[
            ("hop-by-hop", with(&[(hop, 0)], 80), Take),
            ("hop-by-hop, 24 octets", with(&[(hop, 2)], 80), Take),
            ("routing", with(&[(routing, 1)], 80), Take),
            ("destination options", with(&[(destination, 0)], 80), Take),
            ("all three", with(&[(hop, 0), (destination, 1), (routing, 2)], 80), Take),
            (
                "all three, another port",
                with(&[(hop, 0), (destination, 1), (routing, 2)], 81),
                Pass,
            ),
            ("as many as are walked", with(&six, 80), Take),
            ("one more", with(&seven, 80), Pass),
            ("ESP", w.packet(w.client, w.vip).frame(50, tcp(4000, 80)), Pass),
            ("AH", w.packet(w.client, w.vip).frame(51, tcp(4000, 80)), Pass),
            ("no next header", w.packet(w.client, w.vip).frame(59, tcp(4000, 80)), Pass),
            (
                "atomic fragment",
                w.packet(w.client, w.vip).piece(Piece::Atomic, 1).frame(TCP, tcp(4000, 80)),
                Take,
            ),
        ],
    );
    let mut beyond = with(&[(hop, 0)], 80);
    beyond[14 + 41] = 255;
    expect(&program, &[("an extension beyond the end", beyond, Pass)]);
}

#[test]
fn fragments_rule_5() {
    for w in World::both() {
        let program = program();
        let first = |source, destination, id, ports: Vec<u8>, protocol| {
            w.packet(source, destination).piece(Piece::First, id).frame(protocol, ports)
        };
        let later = |source, destination, id, protocol| {
            w.packet(source, destination).piece(Piece::Later, id).frame(protocol, vec![0; 64])
        };
        let (c, v, s) = (w.client, w.vip, w.server);
        let icmp = w.family.icmp();
        expect(
            &program,
            &[
                ("first to a service", first(c, v, 1, udp(4000, 53), UDP), Take),
                ("later to a VIP", later(c, v, 1, UDP), Take),
                ("later to a VIP, early", later(c, v, 2, UDP), Take),
                ("later to a VIP elsewhere", later(c, w.away, 2, TCP), Take),
                ("later to a FullNAT address", later(s, w.local, 3, UDP), Take),
                ("later from a server", later(s, c, 3, UDP), Take),
                ("later from a server to the box", later(s, w.own, 3, UDP), Pass),
                ("later to the box", later(c, w.own, 3, UDP), Pass),
                ("later of no interest", later(c, w.stranger, 3, UDP), Pass),
                ("first to another port of the VIP", first(c, v, 4, udp(4000, 5000), UDP), Pass),
                ("its later one", later(c, v, 4, UDP), Pass),
                ("and the next", later(c, v, 4, UDP), Pass),
                ("another datagram's later one", later(c, v, 5, UDP), Take),
                ("the same id, another protocol", later(c, v, 4, TCP), Take),
                ("the same id, another source", later(w.stranger, v, 4, UDP), Take),
                ("first from another port of a server", first(s, c, 6, udp(123, 4000), UDP), Pass),
                ("its later one", later(s, c, 6, UDP), Pass),
                ("the id again, now to a service", first(c, v, 4, udp(4000, 53), UDP), Take),
                ("its later one", later(c, v, 4, UDP), Take),
                (
                    "first of a big ping to a VIP",
                    first(c, v, 7, vec![8, 0, 0, 0, 0, 0, 0, 0], icmp),
                    Pass,
                ),
                ("later of a big ping to a VIP", later(c, v, 7, icmp), Pass),
                ("first without ports", first(c, v, 8, vec![0; 2], UDP), Pass),
            ],
        );
    }
}

#[test]
fn icmp_errors_rule_6() {
    let program = program();
    for w in World::both() {
        let (c, v, s) = (w.client, w.vip, w.server);
        let router = w.stranger;
        let about = |kind, quoted: Vec<u8>| {
            let payload = icmp_error(kind, &quoted);
            w.packet(router, w.own).frame(w.family.icmp(), payload)
        };
        let error = w.family.errors()[0];
        let quoted = |source, destination, protocol, payload: Vec<u8>| {
            quote(w.packet(source, destination).ip(protocol, payload), 8 + w.family.header())
        };
        for kind in 0..=255 {
            let expected = if w.family.errors().contains(&kind) { Take } else { Pass };
            let frame = about(kind, quoted(v, c, TCP, tcp(80, 4000)));
            expect(&program, &[(&format!("type {kind}"), frame, expected)]);
        }
        let row = |name: &'static str, source, destination, protocol, payload, action| {
            (name, about(error, quoted(source, destination, protocol, payload)), action)
        };
        let later = |source, destination| {
            let packet = w.packet(source, destination).piece(Piece::Later, 1);
            about(error, packet.ip(UDP, vec![0; 8]))
        };
        let tunnel_protocol = 4;
        expect(
            &program,
            &[
                row("a service's answer", v, c, UDP, udp(53, 4000), Take),
                row("another port of the VIP", v, c, UDP, udp(54, 4000), Pass),
                row("a FullNAT packet", w.local, s, TCP, tcp(10_000, 8080), Take),
                row("a probe to a VIP", w.local, v, TCP, tcp(10_000, 80), Take),
                row("a FullNAT packet to an unknown server", w.local, c, TCP, tcp(20_000, 1), Take),
                row("out of the local range", w.local, c, TCP, tcp(9_999, 8080), Pass),
                row("a NAT packet to a server", c, s, TCP, tcp(4000, 8080), Take),
                row("another port of the server", c, s, TCP, tcp(4000, 22), Pass),
                row("the client's own packet", c, v, TCP, tcp(4000, 80), Pass),
                row("a server's own packet", s, c, TCP, tcp(8080, 4000), Pass),
                row("of no interest", c, router, TCP, tcp(1, 2), Pass),
                row("a tunnel packet of ours", w.own, w.tunnel, tunnel_protocol, vec![0; 8], Take),
                row("the other inner family", v, w.tunnel, 41, vec![0; 8], Take),
                row("a tunnel of somebody else", c, w.tunnel, tunnel_protocol, vec![0; 8], Pass),
                row("a tunnel to elsewhere", w.own, c, tunnel_protocol, vec![0; 8], Pass),
                row("a quoted echo", v, c, w.family.icmp(), vec![0; 8], Pass),
                row("quoted ports cut off", v, c, TCP, vec![0, 80, 1], Pass),
                ("a later fragment from a VIP", later(v, c), Take),
                ("a later fragment from a FullNAT address", later(w.local, s), Take),
                ("a later fragment to a server", later(c, s), Take),
                ("a later fragment of no interest", later(c, v), Pass),
                ("no quote", about(error, Vec::new()), Pass),
                ("half a header", about(error, vec![0x45; 12]), Pass),
            ],
        );
    }
}

#[test]
fn quoted_headers_with_options_and_extensions() {
    let program = program();
    let (four, six) = (World::new(Family::V4), World::new(Family::V6));
    let options = four.packet(four.vip, four.client).options(vec![1; 8]).ip(UDP, udp(53, 1));
    let hop = six.packet(six.vip, six.client).extensions(&[(0, 1)]).ip(UDP, udp(53, 1));
    let about = |w: &World, kind, quoted: &[u8]| {
        w.packet(w.stranger, w.own).frame(w.family.icmp(), icmp_error(kind, quoted))
    };
    let whole_six = six.packet(six.vip, six.client).ip(UDP, udp(53, 1));
    let split = |w: &World, kind, quoted: &[u8]| {
        let packet = w.packet(w.stranger, w.own).piece(Piece::First, 1);
        packet.frame(w.family.icmp(), icmp_error(kind, quoted))
    };
    let whole = four.packet(four.vip, four.client).ip(UDP, udp(53, 1));
    expect(
        &program,
        &[
            ("IPv4 options", about(&four, 3, &options), Take),
            ("IPv6 hop-by-hop", about(&six, 2, &hop), Take),
            ("the other family inside", about(&four, 3, &hop), Pass),
            (
                "ICMPv6's number in IPv4",
                four.packet(four.stranger, four.own).frame(58, icmp_error(1, &hop)),
                Pass,
            ),
            ("a fragmented error is the kernel's", split(&four, 3, &whole), Pass),
            ("a fragmented ICMPv6 error", split(&six, 2, &whole_six), Pass),
        ],
    );
}

#[test]
fn what_does_not_fit_a_frame_is_counted() {
    let program = program();
    let w = World::new(Family::V4);
    let of = |length: usize| {
        let mut frame = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
        frame.resize(length, 0);
        frame
    };
    let before = program.counters().unwrap();
    expect(&program, &[("fits", of(1792), Take), ("does not fit", of(1793), Drop)]);
    let mut strange = w.packet(w.client, w.own).frame(TCP, tcp(4000, 80));
    strange.resize(3000, 0);
    expect(&program, &[("the kernel's may be large", strange, Pass)]);
    let after = program.counters().unwrap();
    assert_eq!(after.oversize - before.oversize, 1);
    assert_eq!(after.passed - before.passed, 1);
    assert_eq!(after.no_socket - before.no_socket, 1, "a dry run has no sockets");
}

#[test]
fn without_a_socket_the_fallback_decides() {
    let maps = MatchMaps::new(MatchCapacities::default()).expect("needs root");
    let w = World::new(Family::V4);
    w.fill(&maps);
    let frame = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
    for (when_down, action) in [(WhenDown::Pass, Pass), (WhenDown::Drop, Drop)] {
        let program = Program::load(&maps, MAC, when_down).unwrap();
        expect(&program, &[("no socket", frame.clone(), action)]);
        assert_eq!(program.counters().unwrap().no_socket, 1);
    }
}

#[test]
fn changes_take_effect_at_once() {
    let maps = MatchMaps::new(MatchCapacities::default()).expect("needs root");
    for w in World::both() {
        let program = Program::load_dry(&maps, MAC).unwrap();
        let frame = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
        expect(&program, &[("unknown", frame.clone(), Pass)]);
        w.fill(&maps);
        expect(&program, &[("known", frame.clone(), Take)]);
        assert!(maps.remove_endpoint(TCP, w.vip, 80).unwrap());
        assert!(!maps.remove_endpoint(TCP, w.vip, 80).unwrap());
        assert!(maps.remove_address(w.vip).unwrap());
        expect(&program, &[("forgotten", frame, Pass)]);
    }
}

#[test]
fn a_full_map_says_so() {
    let capacities = MatchCapacities { endpoints: 2, ..MatchCapacities::default() };
    let maps = MatchMaps::new(capacities).expect("needs root");
    let full = (0..2000).find_map(|port| {
        maps.set_endpoint(TCP, IpAddr::from([10, 0, 0, 1]), port, EndpointFlags::SERVICE).err()
    });
    assert_eq!(full.and_then(|error| error.raw_os_error()), Some(libc::E2BIG));
}
