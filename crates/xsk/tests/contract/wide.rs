//! Services and servers that are not one port: services on port 0, FTP's data connections,
//! NAT servers that keep the client's port; SCTP; the tunnels' outer headers.

use crate::{
    packets::{Family, MAC, Piece, icmp_error, quote, tcp, udp},
    world::{SCTP, TCP, UDP, World, expect, maps},
};
use std::net::IpAddr;
use xsk::{
    Action::{self, Pass, Take},
    AddressFlags as Address, EndpointFlags, MatchMaps, Program,
};

/// A VIP with a service on port 0 that excepts ports, and an exact one; a server of it.
fn every_port(w: &World, maps: &MatchMaps) {
    let ranges = [22..=22, 179..=179, 40_000..=50_000];
    maps.set_exceptions(TCP, w.vip, &ranges).unwrap();
    maps.set_endpoint(TCP, w.vip, 179, EndpointFlags::SERVICE).unwrap();
    let vip = Address::every_port(TCP, true) | Address::every_port(UDP, false);
    maps.set_address(w.vip, vip | Address::VIP | Address::BOX).unwrap();
    maps.set_address(w.own, Address::BOX).unwrap();
    maps.set_address(w.server, Address::from_every_port(TCP) | Address::SERVER).unwrap();
}

fn about(w: &World, quoted: Vec<u8>) -> Vec<u8> {
    let quoted = quote(quoted, 8 + w.family.header());
    w.packet(w.stranger, w.own).frame(w.family.icmp(), icmp_error(w.family.errors()[0], &quoted))
}

#[test]
fn a_service_on_port_0() {
    for w in World::both() {
        let maps = maps();
        every_port(&w, &maps);
        let program = Program::load_dry(&maps, MAC).unwrap();
        let to = |port| w.packet(w.client, w.vip).frame(TCP, tcp(4000, port));
        let frame =
            |from: IpAddr, to: IpAddr, protocol, ports| w.packet(from, to).frame(protocol, ports);
        let quoted =
            |from, to, protocol, ports: Vec<u8>| about(&w, w.packet(from, to).ip(protocol, ports));
        let (c, v, s) = (w.client, w.vip, w.server);
        let later = |from, to, id, protocol| {
            w.packet(from, to).piece(Piece::Later, id).frame(protocol, vec![0; 64])
        };
        let first = |from, to, id, protocol, ports| {
            w.packet(from, to).piece(Piece::First, id).frame(protocol, ports)
        };
        expect(
            &program,
            &[
                ("1: any port", to(80), Take),
                ("1: port 1", to(1), Take),
                ("1: the last port", to(65_535), Take),
                ("1: ssh is excepted", to(22), Pass),
                ("1: beside ssh", to(23), Take),
                ("1: excepted, but a service of its own", to(179), Take),
                ("1: lowest of an excepted range", to(40_000), Pass),
                ("1: highest of an excepted range", to(50_000), Pass),
                ("1: below it", to(39_999), Take),
                ("1: above it", to(50_001), Take),
                ("1: UDP has no exceptions", frame(c, v, UDP, udp(4000, 22)), Take),
                ("1: SCTP has no service", frame(c, v, SCTP, tcp(4000, 80)), Pass),
                ("1: ping to the VIP", frame(c, v, w.family.icmp(), vec![8; 8]), Pass),
                ("3: another address of the box", frame(c, w.own, TCP, tcp(4000, 80)), Pass),
                ("4: a server's answer from any port", frame(s, c, TCP, tcp(1234, 4000)), Take),
                ("4: the other protocol", frame(s, c, UDP, udp(1234, 4000)), Pass),
                ("3: a server to the box", frame(s, w.own, TCP, tcp(1234, 4000)), Pass),
                ("5: first to an excepted port", first(c, v, 1, TCP, tcp(4000, 22)), Pass),
                ("5: its later one", later(c, v, 1, TCP), Pass),
                ("5: first to the service", first(c, v, 2, TCP, tcp(4000, 80)), Take),
                ("5: its later one", later(c, v, 2, TCP), Take),
                ("6: a service's answer", quoted(v, c, TCP, tcp(80, 4000)), Take),
                ("6: ssh's answer", quoted(v, c, TCP, tcp(22, 4000)), Pass),
                ("6: a packet to a server", quoted(c, s, TCP, tcp(4000, 9999)), Take),
                ("6: the box's own to a server", quoted(w.own, s, TCP, tcp(4000, 9999)), Pass),
            ],
        );
        assert!(maps.remove_exceptions(TCP, w.vip).unwrap());
        expect(&program, &[("no exceptions", to(22), Take)]);
    }
}

#[test]
fn as_many_exceptions_as_there_is_room() {
    for w in World::both() {
        let maps = maps();
        let ranges: Vec<_> = (0..16).map(|i| 100 * i + 10..=100 * i + 19).collect();
        maps.set_exceptions(UDP, w.vip, &ranges).unwrap();
        maps.set_address(w.vip, Address::VIP | Address::every_port(UDP, true)).unwrap();
        let program = Program::load_dry(&maps, MAC).unwrap();
        for port in 0..1700 {
            let frame = w.packet(w.client, w.vip).frame(UDP, udp(4000, port));
            let excepted = port < 1600 && (10..20).contains(&(port % 100));
            let expected = if excepted { Pass } else { Take };
            assert_eq!(program.run(&frame).unwrap(), expected, "port {port}");
        }
        let too_many = [ranges, vec![1..=1]].concat();
        let error = maps.set_exceptions(UDP, w.vip, &too_many).unwrap_err();
        assert!(error.to_string().contains("more than 16 ranges"), "{error}");
    }
}

/// `ip_vs_service_find`: port 20, and from 1024 (`ip_unprivileged_port_start`).
#[test]
fn data_connections_of_ftp() {
    for w in World::both() {
        let maps = maps();
        maps.set_endpoint(TCP, w.vip, 21, EndpointFlags::SERVICE).unwrap();
        maps.set_address(w.vip, Address::VIP | Address::BOX | Address::FTP).unwrap();
        let program = Program::load_dry(&maps, MAC).unwrap();
        let rows: [(u16, Action); 8] = [
            (21, Take),
            (20, Take),
            (19, Pass),
            (22, Pass),
            (80, Pass),
            (1023, Pass),
            (1024, Take),
            (65_535, Take),
        ];
        for (port, action) in rows {
            let frame = w.packet(w.client, w.vip).frame(TCP, tcp(4000, port));
            let error = about(&w, w.packet(w.vip, w.client).ip(TCP, tcp(port, 4000)));
            expect(&program, &[("FTP", frame, action), ("an error", error, action)]);
        }
        let udp = w.packet(w.client, w.vip).frame(UDP, udp(4000, 2000));
        expect(&program, &[("UDP", udp, Pass)]);
    }
}

#[test]
fn sctp_as_the_others() {
    for w in World::both() {
        let maps = maps();
        maps.set_endpoint(SCTP, w.vip, 3868, EndpointFlags::SERVICE).unwrap();
        maps.set_address(w.vip, Address::VIP | Address::BOX).unwrap();
        maps.set_endpoint(SCTP, w.server, 3868, EndpointFlags::SERVER).unwrap();
        maps.set_address(w.server, Address::SERVER | Address::from_every_port(SCTP)).unwrap();
        maps.set_address(w.local, Address::local(10_000..=20_000) | Address::BOX).unwrap();
        let program = Program::load_dry(&maps, MAC).unwrap();
        let (c, v, s) = (w.client, w.vip, w.server);
        let frame = |from, to, ports| w.packet(from, to).frame(SCTP, ports);
        let error = |from, to, ports| about(&w, w.packet(from, to).ip(SCTP, ports));
        let later = w.packet(c, v).piece(Piece::Later, 9).frame(SCTP, vec![0; 64]);
        expect(
            &program,
            &[
                ("1: to a service", frame(c, v, tcp(4000, 3868)), Take),
                ("1: another port", frame(c, v, tcp(4000, 3869)), Pass),
                ("1: TCP", w.packet(c, v).frame(TCP, tcp(4000, 3868)), Pass),
                ("2: to a local port", frame(s, w.local, tcp(3868, 10_000)), Take),
                ("4: an answer", frame(s, c, tcp(3868, 4000)), Take),
                ("4: from any port", frame(s, c, tcp(1, 4000)), Take),
                ("5: a later fragment", later, Take),
                ("6: about an answer", error(v, c, tcp(3868, 4000)), Take),
                ("6: about another port", error(v, c, tcp(3869, 4000)), Pass),
                ("6: about a packet to a server", error(c, s, tcp(4000, 3868)), Take),
            ],
        );
    }
}

#[test]
fn outer_headers_of_tunnels() {
    for w in World::both() {
        let maps = maps();
        w.fill(&maps);
        let program = Program::load_dry(&maps, MAC).unwrap();
        let error = |from, to, protocol, payload: Vec<u8>| {
            about(&w, w.packet(from, to).ip(protocol, payload))
        };
        let (own, far) = (w.own, w.tunnel);
        let gre = vec![0, 0, 8, 0, 0x45, 0, 0, 0];
        let later = w.packet(own, far).piece(Piece::Later, 1).ip(UDP, vec![0; 8]);
        expect(
            &program,
            &[
                ("IPv4 within", error(own, far, 4, vec![0; 8]), Take),
                ("IPv6 within", error(own, far, 41, vec![0; 8]), Take),
                ("GRE", error(own, far, 47, gre.clone()), Take),
                ("GUE", error(own, far, UDP, udp(40_000, 6080)), Take),
                ("UDP to another port", error(own, far, UDP, udp(40_000, 53)), Pass),
                ("TCP to that port", error(own, far, TCP, tcp(40_000, 6080)), Pass),
                ("GRE of somebody else", error(w.client, far, 47, gre.clone()), Pass),
                ("GUE of somebody else", error(w.client, far, UDP, udp(1, 6080)), Pass),
                ("GRE to elsewhere", error(own, w.client, 47, gre), Pass),
                ("GUE to elsewhere", error(own, w.server, UDP, udp(1, 6080)), Pass),
                ("a later fragment of GUE", about(&w, later), Pass),
            ],
        );
        if w.family == Family::V4 {
            let cut = w.packet(own, far).ip(UDP, vec![0; 3]);
            expect(&program, &[("GUE, cut off", about(&w, cut), Pass)]);
        }
    }
}
